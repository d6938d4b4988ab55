"""An archive: arrays and a text in one file, in which any damage is found. NumPy alone.

A file is a NumPy archive without pickles and without compression. The text, in JSON, is the array of bytes
`about`. It lists the name, dtype, shape and checksum of every array, and ends with a checksum of itself.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from dlcore._core.files import atomic_writer
from dlcore._core.status import Status

ABOUT = "about"
"""The name of the text among the arrays."""
ARRAYS, CHECKSUM = "arrays", "checksum"
"""Entries of the text: [dtype, shape, checksum] of each array by its name, and the checksum of all else in it."""
KINDS = "biufcU"
"""The dtypes of arrays, as NumPy names their kinds: numbers and texts."""
NAMES = {"i": "integers", "U": "texts"}
CHUNK = 1 << 20
"""Bytes read at a time."""

Entry = tuple[np.dtype, tuple[int, ...], str]


def write(path: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays, and what they are, in place of what stands at `path`; see `_files.atomic_writer`.

    Args:
      path: of the file.
      about: what JSON can say, its "kind" and "format" among it.
      arrays: by name; numbers or texts.
    """
    named = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in named.items():
        if array.dtype.kind not in KINDS:
            raise TypeError(f"{path}: expected arrays of numbers or texts, got {array.dtype} of {name!r}")
    listed = {name: [array.dtype.str, list(array.shape), digest(array)] for name, array in named.items()}
    header = {**about, ARRAYS: listed}
    text = json.dumps(header | {CHECKSUM: _checksum(header)}).encode()
    members: dict[str, Any] = {ABOUT: np.frombuffer(text, np.uint8), **named}
    with atomic_writer(path) as file:
        np.savez(file, **members)


def read(
    name: str, path: Path, kind: str, version: int, unchecked: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what `write` was given: the text and the arrays, all of them as they were.

    No array is made before its size is known to be in the file, and nothing is expanded.

    Args:
      name: of the argument that the path came in.
      path: of the file.
      kind: that the file must be of.
      version: of the format that the file must be of.
      unchecked: the version of older files, which list no checksums; of theirs those of zip are compared, and that
        no part of the file is passed over.

    Raises:
      ValueError: naming the file, if it is not there, is damaged in any way, or is of another kind or format.
    """
    with damage(name, path, kind):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = _members(file, archive)
            about, checked = _header(archive, members.pop(ABOUT))
            found, written = about["kind"], about["format"]
            if found == kind and written == (version if checked else unchecked):
                listed = _listed(about) if checked else None
                arrays = {key: _array(archive, info, listed, key) for key, info in members.items()}
                if listed is not None and (lost := sorted(listed.keys() - arrays.keys())):
                    raise ValueError(f"it lists {lost[0]!r}, which it does not hold")
                return about, arrays
            if found == kind and written in (version, unchecked):
                raise ValueError("its format and its checksums disagree")
    if found != kind:
        raise ValueError(f"{name}: {path} holds {found!r}, expected {kind!r}")
    raise ValueError(
        f"{name}: {path} is of format {written}, this version reads {version} and the older {unchecked}"
    )


@contextlib.contextmanager
def damage(name: str, path: Path, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong in a block that reads a file into a ValueError that names the file."""
    try:
        yield
    except Exception as error:  # the readers of zip, JSON and NumPy raise a dozen types
        expected = isinstance(error, ValueError | OSError) and not isinstance(error, UnicodeError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: {path} is damaged, or no {kind}: {reason}") from error


def check_array(
    where: str, array: Any, kind: str, shape: Sequence[int | None] | None, *, may_be_nan: bool = False
) -> None:
    """Raise a ValueError that says `where`, if an array is not as it must be.

    Args:
      where: what is read.
      array: what was read.
      kind: a dtype such as "float64"; or NumPy's name of a kind of them: "i" of integers, "U" of texts; or
        "Status", texts that are statuses.
      shape: of it, with None for any length; None for any shape.
      may_be_nan: whether an entry may be nan.
    """
    dtype = "U" if kind == "Status" else kind
    if not isinstance(array, np.ndarray) or dtype not in (array.dtype.name, array.dtype.kind):
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{where}: expected an array of {NAMES.get(dtype, dtype)}, got {got}")
    if kind == "Status" and (unknown := sorted({*array.ravel().tolist()} - {*Status})):
        raise ValueError(f"{where}: expected a status, such as 'converged', got {unknown[0]!r}")
    lengths = array.shape if shape is None else shape
    same = len(lengths) == array.ndim and all(w in (None, n) for w, n in zip(lengths, array.shape, strict=True))
    if not same:
        wanted = ", ".join("any" if length is None else str(length) for length in lengths)
        raise ValueError(f"{where}: expected shape ({wanted}), got {array.shape}")
    if not may_be_nan and array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{where}: expected numbers, got nan")


def check_same(name: str, path: Path, found: Any, wanted: Mapping[str, str]) -> None:
    """Raise a ValueError unless a file is of the problem that is wanted: each part by name, as a short text."""
    if not isinstance(found, dict):
        raise ValueError(f"{name}: {path} is damaged: problem: expected texts by name, got {type(found).__name__}")
    keys = sorted(found.keys() | wanted.keys())
    changed = [f"{k} was {found.get(k)}, is {wanted.get(k)}" for k in keys if found.get(k) != wanted.get(k)]
    if changed:
        raise ValueError(f"{name}: {path} is of another problem: {'; '.join(changed)}; pass another path")


def digest(array: np.ndarray) -> str:
    """Return a checksum of the bits of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()[:16]


def _checksum(header: Mapping[str, Any]) -> str:
    """Return the checksum of a text that was, or will be, in JSON."""
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _members(file: IO[bytes], archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by the names of their arrays. They are all that the file holds, one after another."""
    members, end = {}, 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise ValueError(f"{info.filename!r} is compressed or encrypted, which dlcore writes none")
        file.seek(info.header_offset + 26)
        lengths = file.read(4)  # of the name and of the extra field
        parts = 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        if info.header_offset != end or not info.filename.endswith(".npy"):
            raise ValueError(f"there is more in it than its directory says, before {info.filename!r}")
        end += parts + info.file_size
        members[info.filename.removesuffix(".npy")] = info
    if end != archive.start_dir or len(members) != len(archive.infolist()):
        raise ValueError("there is more in it than its directory says")
    return members


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[dict[str, Any], bool]:
    """Return the text, and whether it has checksums."""
    with archive.open(info) as member:
        _npy_header(member)
        about = json.loads(member.read())
    if not isinstance(about, dict):
        raise ValueError(f"expected names and values in its header, got {type(about).__name__}")
    if CHECKSUM not in about and ARRAYS not in about:
        return about, False
    if about.pop(CHECKSUM, None) != _checksum(about):
        raise ValueError("its header is not what was written: the checksum differs")
    return about, True


def _listed(about: dict[str, Any]) -> dict[str, Entry]:
    """Return what the header says of each array."""
    found = {}
    for key, (dtype, shape, checksum) in about.pop(ARRAYS).items():
        if not re.fullmatch(rf"[<>|][{KINDS}][1-9]\d*", dtype) or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"{key}: expected a dtype and a shape, got {dtype!r} and {shape!r}")
        found[key] = np.dtype(dtype), tuple(shape), checksum
    return found


def _array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, listed: Mapping[str, Entry] | None, key: str
) -> np.ndarray:
    """Return an array, which the header lists where the file has checksums."""
    with archive.open(info) as member:
        header = _npy_header(member)
        if listed is None:
            (dtype, shape, fortran), checksum = _parsed(header), None
        elif key in listed:
            (dtype, shape, checksum), fortran = listed[key], False
        else:
            raise ValueError(f"it holds {key!r}, which it does not list")
        if info.file_size != len(header) + math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{key}: expected {dtype} of shape {shape}, got {info.file_size - len(header)} bytes")
        array = np.empty(shape, dtype, order="F" if fortran else "C")
        _fill(array.reshape(-1, order="A").view(np.uint8), member)
    if checksum is not None and checksum != digest(array):
        raise ValueError(f"{key} is not what was written: the checksum differs")
    return array


def _npy_header(member: IO[bytes]) -> bytes:
    """Read up to the numbers of an array in NumPy's format."""
    start = member.read(10)
    if start[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("expected arrays in NumPy's format 1.0")
    return start + member.read(int.from_bytes(start[8:], "little"))


def _parsed(header: bytes) -> tuple[np.dtype, tuple[int, ...], bool]:
    """Return the dtype, the shape and the order of an array that no text lists."""
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    if dtype.kind not in KINDS or not dtype.itemsize or any(length < 0 for length in shape):
        raise ValueError(f"expected numbers or texts, got {dtype} of shape {shape}")
    return dtype, shape, fortran


def _fill(buffer: np.ndarray, member: IO[bytes]) -> None:
    """Read all bytes of a buffer, piece by piece, to the end of a member, where zip compares its own checksum."""
    done = 0
    while piece := member.read(CHUNK):
        buffer[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    if done != len(buffer):
        raise ValueError("it ends too early")
