"""One file of arrays and of what they are, written so that what was saved before is never lost. NumPy alone.

A file is a NumPy archive without pickles, with a text in JSON. It is written under another name beside its own,
forced to the disk and renamed: at any moment the name stands for a whole file, the old one or the new.
"""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

ABOUT = "about"
"""The name of the text among the arrays."""


def check_path(name: str, path: Any) -> Path:
    """The path of a file, there or not, in a folder that is there."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}: expected a path, got {path!r}")
    found = Path(os.fspath(path)).absolute()
    if not found.parent.is_dir() or found.is_dir():
        raise ValueError(f"{name}: expected the path of a file in a folder that exists, got {str(path)!r}")
    return found


def write(path: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays of dtypes that NumPy knows, and what they are; what is there is replaced, in one instant.

    Args:
      path: of the file.
      about: what JSON can say, its "kind" and "format" among it.
      arrays: by name.
    """
    named: dict[str, Any] = {ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays}
    with replacing(path) as file:
        np.savez(file, **named)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into that takes the place of `path` when the block ends; where it fails, nothing changes.

    Raises:
      OSError: of the kind that came, naming `path`, if it cannot be written or the disk is full.
    """
    beside = path.with_name(path.name + ".partial")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(f"{path} cannot be written ({reason}); what was there is unchanged") from error
    finally:
        with contextlib.suppress(OSError):  # it is gone, or its folder is
            beside.unlink()
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(name: str, path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What was written: the text and the arrays.

    Raises:
      ValueError: if the file is not there, is damaged, or is of another kind or format; under the name of the
        argument that the path came in.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            about = json.loads(bytes(archive[ABOUT]))
            found, written = about["kind"], about["format"]
            arrays = {key: archive[key] for key in archive.files if key != ABOUT}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{name}: {path} is damaged, or no {kind}: {error}") from error
    if found != kind:
        raise ValueError(f"{name}: {path} holds {found!r}, expected {kind!r}")
    if written != version:
        raise ValueError(f"{name}: {path} is of format {written}, this version reads {version}")
    return about, arrays


def check_same(name: str, path: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """A file is of the problem that is wanted: each part by name, as a short text."""
    keys = sorted(found.keys() | wanted.keys())
    changed = [f"{k} was {found.get(k)}, is {wanted.get(k)}" for k in keys if found.get(k) != wanted.get(k)]
    if changed:
        raise ValueError(f"{name}: {path} is of another problem: {'; '.join(changed)}; pass another path")


def digest(array: np.ndarray) -> str:
    """Of the bits of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()[:16]
