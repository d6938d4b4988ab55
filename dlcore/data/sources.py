"""Sources of columns: the names of a table, and the function that reads some of its columns."""

import contextlib
import difflib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

SHOWN = 12
"""Maximum number of columns that a message lists."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      values: shape (n,), or (n, d) where every row holds d numbers. Entries of missing rows have no meaning.
      missing: which rows hold no value, shape (n,). None if no row is known to lack its value.
    """

    values: np.ndarray
    missing: np.ndarray | None = None


class Source(NamedTuple):
    """A table whose columns are not read yet.

    Attributes:
      description: the path or the kind of the object, with which messages begin.
      names: the names of the columns.
      load: a function of names that returns their columns.
      matrix: the whole table where it is one matrix, shape (n, columns), else None.
    """

    description: str
    names: tuple[str, ...]
    load: Callable[[Sequence[str]], Mapping[str, Column]]
    matrix: np.ndarray | None = None


def source_of_arrays(description: str, arrays: Mapping[str, np.ndarray]) -> Source:
    """Return a source of named arrays of shape (n,) or (n, d)."""
    return Source(description, tuple(arrays), lambda names: {name: Column(arrays[name]) for name in names})


def source_of_matrix(description: str, array: np.ndarray) -> Source:
    """Return a source of one array: a matrix whose columns are named 0, 1, …, or a structured array.

    Raises:
      ValueError: if the array is neither 2-D nor a 1-D structured array.
    """
    if array.dtype.names is not None and array.ndim == 1:
        return source_of_arrays(description, {name: array[name] for name in array.dtype.names})
    if array.ndim != 2:
        raise ValueError(f"{description}: expected a 2-D array [n, columns], got shape {array.shape}")
    names = tuple(map(str, range(array.shape[1])))
    return Source(description, names, lambda chosen: {k: Column(array[:, int(k)]) for k in chosen}, array)


def check_names(source: Source) -> None:
    """Raise a `ValueError` if the table has no columns or two columns of one name."""
    if not source.names:
        raise ValueError(f"{source.description}: expected at least one column, got none")
    repeated = [name for name, count in Counter(source.names).items() if count > 1]
    if repeated:
        raise ValueError(f"{source.description}: expected distinct names of columns, got {repeated[0]!r} twice")


def check_column(source: Source, argument: str, name: str) -> str:
    """Return the name of a column, or raise a `ValueError` that lists similar names."""
    if name in source.names:
        return name
    folded = {other.casefold(): other for other in source.names}
    near = [folded[key] for key in difflib.get_close_matches(name.casefold(), folded, n=3)]
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        more = f" and {len(source.names) - SHOWN} more" if len(source.names) > SHOWN else ""
        hint = f"there are {', '.join(map(repr, source.names[:SHOWN]))}{more}"
    raise ValueError(f"{argument}: {source.description} has no column {name!r}; {hint}")


@contextlib.contextmanager
def unreadable_as_value_error(path: Path, kind: str) -> Iterator[None]:
    """Turn any error of a block that reads a file into a `ValueError` that names the file."""
    try:
        yield
    except (MemoryError, ModuleNotFoundError):
        raise
    except Exception as error:  # readers of a dozen formats raise a dozen types
        lines = str(error).strip().splitlines() or [type(error).__name__]
        text = lines[0] if str(path) not in lines[0] else lines[0].replace(f"{path}: ", "")
        raise ValueError(f"{path}: cannot be read as {kind}: {text}") from error


def regular_file(path: Path) -> Path:
    """Return the path of a regular file that is not empty, or raise a `ValueError`."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # a zero byte in the path
        raise ValueError(f"{str(path)!r}: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: expected a regular file")
    if not status.st_size:
        raise ValueError(f"{path}: the file is empty")
    return path


def files_in(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the files of a folder and its subfolders by suffix, sorted. Linked folders are not followed."""
    wanted = tuple(suffixes)
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=False)
        for name in names
        if name.lower().endswith(wanted) and not name.startswith((".", "_"))
    ]
    return sorted(found)
