"""Function `read`: any table as one `Dataset`."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.data import arrow_files, numpy_files, safetensors_files
from dlcore.data.columns import assemble, label_column, number_column
from dlcore.data.dataset import Dataset
from dlcore.data.missing import missing_rows
from dlcore.data.sources import Column, Source, check_column, check_names, source_of_arrays, source_of_matrix

TableLike: TypeAlias = str | os.PathLike[str] | npt.ArrayLike | Mapping[str, npt.ArrayLike] | arrow_files.Frame
"""What `read` takes: a path, an array, named arrays or a data frame."""
ColumnLike: TypeAlias = str | npt.ArrayLike | None
"""The name of a column, or its values, shape (n,)."""

READERS: dict[str, Callable[[Path], Source]] = {
    ".npy": numpy_files.npy_source,
    ".npz": numpy_files.npz_source,
    ".safetensors": safetensors_files.safetensors_source,
    ".parquet": arrow_files.parquet_source,
    ".pq": arrow_files.parquet_source,
    ".arrow": arrow_files.ipc_source,
    ".feather": arrow_files.ipc_source,
    ".ipc": arrow_files.ipc_source,
    ".csv": arrow_files.csv_source,
    ".tsv": arrow_files.csv_source,
}
"""The reader of each suffix. A suffix .gz after .csv or .tsv is decompressed."""


def read(
    source: TableLike,
    target: ColumnLike = None,
    *,
    features: Sequence[str] | None = None,
    weight: ColumnLike = None,
    groups: ColumnLike = None,
    split: ColumnLike = None,
    drop_missing: bool = False,
) -> Dataset:
    """Read a table: features, and the columns that are named.

    Files are .npy, .npz, .safetensors, .parquet, .arrow, .feather, .csv and .tsv. A folder holds Parquet files of
    the same columns, or .npy files, each an array named after the file. Arrays in .npy files and in uncompressed
    .npz files are mapped and stay on disk until they are used. torch and JAX arrays on the CPU are shared through
    DLPack; those of an accelerator are copied. Reading runs no code: nothing is unpickled.

    Args:
      source: the path of a file or a folder; a data frame of pandas, polars or pyarrow; a dictionary of arrays of
        shape (n,) or (n, d); or an array of shape (n, columns), whose columns are named "0", "1", ….
      target: the name of the target's column, or its values, shape (n,).
      features: the names of the columns that become features. None takes all columns that have no other role.
        A column of lists of d numbers, or an array of shape (n, d), becomes d features named "column[0]", ….
      weight: weights of the rows, as `target`.
      groups: the group of each row, as `target`.
      split: the side of a split that each row is on, as `target`, for `train_test_split`.
      drop_missing: whether rows with a missing value are dropped. They are an error otherwise.

    Returns:
      A `Dataset`. The features have the narrowest dtype that holds those of all columns; booleans become uint8.

    Raises:
      ValueError: if the file cannot be read, is damaged or holds pickled objects; a column does not exist, then
        with similar names; two columns have one name; columns differ in their number of rows; a value is missing,
        then with the number of such rows and the first; a number is infinite; or no row or feature is left.
      TypeError: if a feature or a weight is no real number, or an argument has another type.
      ModuleNotFoundError: if a format needs an extra that is not installed.

    Source: the formats of NumPy (NEP 1), safetensors, Apache Arrow and Apache Parquet.

    >>> data = read({"x": [[1.0, 2.0], [3.0, 4.0]], "y": ["a", "b"]}, "y")
    >>> print(data, data.names, data.target)
    Dataset(2 rows, 2 features float64, target, dict) ('x[0]', 'x[1]') ['a' 'b']
    """
    if not isinstance(drop_missing, bool):
        raise TypeError(f"drop_missing: expected True or False, got {drop_missing!r}")
    table = open_source(source)
    check_names(table)
    roles = {"target": target, "weight": weight, "groups": groups, "split": split}
    named = {role: check_column(table, role, name) for role, name in roles.items() if isinstance(name, str)}
    given = {role: values for role, values in roles.items() if values is not None and role not in named}
    chosen = _feature_names(table, features, named)
    matrix = table.matrix
    loaded = dict(table.load([*named.values(), *([] if matrix is not None else chosen)]))
    x, names = assemble(table.description, matrix, chosen, loaded)
    columns = {role: loaded[name] for role, name in named.items()}
    columns |= {role: Column(_given_values(role, values)) for role, values in given.items()}
    parts = {
        role: (number_column if role == "weight" else label_column)(f"{table.description}: {role}", column, len(x))
        for role, column in columns.items()
    }
    used = [loaded[name] for name in chosen if name in loaded] + list(columns.values())
    missing = missing_rows(table.description, x, [*parts.values()], used)
    if len(missing) and not drop_missing:
        rows = "row has" if len(missing) == 1 else "rows have"
        raise ValueError(
            f"{table.description}: {len(missing)} {rows} a missing value, first row {missing[0]}; "
            "drop_missing=True (--drop-missing) leaves them out"
        )
    target, weight, groups, split = (parts.get(role) for role in roles)
    data = Dataset(x, target, weight, groups, split, names, table.description, missing)
    if not len(missing):
        return data
    if len(missing) == len(x):
        raise ValueError(f"{table.description}: every row has a missing value")
    kept = np.ones(len(x), bool)
    kept[missing] = False
    return data.take(kept)


def open_source(source: TableLike) -> Source:
    """Return the columns of whatever `read` takes, without reading them if the format allows it."""
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source))
    if arrow_files.is_frame(source):
        return arrow_files.frame_source(source)
    kind = type(source).__name__
    if isinstance(source, Mapping):
        return source_of_arrays(kind, {str(name): as_array(str(name), part) for name, part in source.items()})
    return source_of_matrix(kind, as_array("source", source))


def _open_path(path: Path) -> Source:
    if path.is_dir():
        found = arrow_files.parquet_folder_source(path)
        arrays = [] if found else numpy_files.npy_files(path)
        if found is None and not arrays:
            raise ValueError(f"{path}: expected .parquet or .npy files in the folder, got none")
        return found or numpy_files.npy_folder_source(path, arrays)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-2] if suffixes[-1:] == [".gz"] and suffixes[-2:-1] else (suffixes or [""])[-1]
    if suffix not in READERS or (suffixes[-1:] == [".gz"] and suffix not in (".csv", ".tsv")):
        raise ValueError(f"{path}: expected a folder or a file that ends with {', '.join(READERS)}")
    return READERS[suffix](path)


def as_array(name: str, data: object) -> np.ndarray:
    """Return an array of any library as NumPy's, over the same memory where it is that of the CPU.

    Raises:
      TypeError: if it holds Python objects other than numbers and strings.
    """
    if isinstance(data, np.ndarray) and data.dtype.kind in "biufUTV":
        host_checks.check_array_type(name, data)
        return data
    if hasattr(data, "__dlpack__") and not isinstance(data, np.ndarray):
        detach = getattr(data, "detach", None)  # of torch: a tensor with a gradient is not lent
        try:
            return np.from_dlpack(cast("Any", detach() if detach else data))
        except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):  # bfloat16, an accelerator
            return host_checks.as_numpy(name, data)
    array = np.asarray(cast("npt.ArrayLike", data))
    if array.dtype.kind in "OUST":
        texts = array.reshape(-1).tolist()
        if texts and all(isinstance(text, str) for text in texts):
            return array.astype(np.str_)
    return host_checks.as_numpy(name, data)


def _given_values(role: str, values: object) -> np.ndarray:
    array = as_array(role, values)
    if array.ndim != 1:
        raise ValueError(f"{role}: expected the name of a column or values of shape (n,), got shape {array.shape}")
    return array


def _feature_names(table: Source, features: Sequence[str] | None, named: Mapping[str, str]) -> list[str]:
    """Return the names of the columns that become features."""
    if features is None:
        chosen = [name for name in table.names if name not in named.values()]
    elif isinstance(features, str):
        raise TypeError(f"features: expected a list of names, got {features!r}")
    else:
        chosen = [check_column(table, "features", name) for name in dict.fromkeys(features)]
    for role, name in named.items():
        if name in chosen:
            raise ValueError(f"features: {name!r} is the column of {role}")
    if not chosen:
        raise ValueError(f"{table.description}: expected at least one feature, got none")
    return chosen
