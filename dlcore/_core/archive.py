"""An archive format: arrays and a JSON header in one file, in which any damage is detected. NumPy alone.

A file is a NumPy archive (npz) without pickles and without compression.
The header, in JSON, is the array of bytes `about`.
It lists the name, dtype, shape and checksum of every array, and ends with a checksum of itself.
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
from typing import IO, Any, NamedTuple

import numpy as np

from dlcore._core.files import atomic_writer
from dlcore._core.status import Status

HEADER_KEY = "about"
"""The name of the header among the arrays of a file."""
ARRAYS_KEY, CHECKSUM_KEY = "arrays", "checksum"
"""Entries of the header: [dtype, shape, checksum] of each array by name, and the checksum of the other entries."""
DTYPE_KINDS = "biufcU"
"""The kinds of dtypes that an archive holds, in NumPy's letters: numbers and texts."""
KIND_NAMES = {"i": "integers", "U": "texts"}
CHUNK_BYTES = 1 << 20
"""The number of bytes that are read at a time."""

Header = dict[str, Any]
"""Values that JSON can hold, by name."""


class ArrayInfo(NamedTuple):
    """Dtype, shape and memory order of a stored array, with its checksum if the file lists one."""

    dtype: np.dtype
    shape: tuple[int, ...]
    checksum: str | None = None
    fortran_order: bool = False


def write(path: Path, about: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and their header to a file, which replaces any file at `path`; see `files.atomic_writer`.

    Args:
      path: the path of the file.
      about: the header, values that JSON can hold, with the entries "kind" and "format".
      arrays: arrays of numbers or texts, by name.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in DTYPE_KINDS:
            raise TypeError(f"{path}: expected arrays of numbers or texts, got {array.dtype} of {name!r}")
    listing = {name: [array.dtype.str, list(array.shape), digest(array)] for name, array in arrays.items()}
    header = {**about, ARRAYS_KEY: listing}
    text = json.dumps(header | {CHECKSUM_KEY: _header_checksum(header)}).encode()
    members: dict[str, Any] = {HEADER_KEY: np.frombuffer(text, np.uint8), **arrays}
    with atomic_writer(path) as file:
        np.savez(file, **members)


def read(name: str, path: Path, kind: str, version: int, unchecked: int) -> tuple[Header, dict[str, np.ndarray]]:
    """Return the header and the arrays of a file that `write` made.

    No array is allocated before the file is known to hold all of its bytes, and nothing is decompressed.

    Args:
      name: the argument that the path came in.
      path: the path of the file.
      kind: the kind that the file must have.
      version: the format that the file must have.
      unchecked: the format of older files, which list no checksums. Their zip checksums are compared, and no part
        of the file may be skipped.

    Raises:
      ValueError: if the file is missing, is damaged in any way, or has another kind or format. The error names it.
    """
    with damage_as_value_error(name, path, kind):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = _read_members(file, archive)
            about, has_checksums = _read_header(archive, members.pop(HEADER_KEY))
            actual_kind, actual_version = about["kind"], about["format"]
            if actual_kind == kind and actual_version == (version if has_checksums else unchecked):
                listing = _read_listing(about) if has_checksums else None
                arrays = {key: _read_array(archive, info, listing, key) for key, info in members.items()}
                if listing is not None and (missing := sorted(listing.keys() - arrays.keys())):
                    raise ValueError(f"it lists {missing[0]!r}, which it does not hold")
                return about, arrays
            if actual_kind == kind and actual_version in (version, unchecked):
                raise ValueError("its format and its checksums disagree")
    if actual_kind != kind:
        raise ValueError(f"{name}: {path} holds {actual_kind!r}, expected {kind!r}")
    raise ValueError(
        f"{name}: {path} is of format {actual_version}, this version reads {version} and the older {unchecked}"
    )


@contextlib.contextmanager
def damage_as_value_error(name: str, path: Path, kind: str) -> Iterator[None]:
    """Turn any error of a block that reads a file into a ValueError that names the file."""
    try:
        yield
    except Exception as error:  # the readers of zip, JSON and NumPy raise a dozen types
        is_plain = isinstance(error, ValueError | OSError) and not isinstance(error, UnicodeError)
        reason = str(error) if is_plain else f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: {path} is damaged, or no {kind}: {reason}") from error


def check_array(
    description: str, array: object, kind: str, shape: Sequence[int | None] | None, *, may_be_nan: bool = False
) -> None:
    """Raise a ValueError unless an array has the expected dtype and shape.

    Args:
      description: the name of the array in an error.
      array: the array.
      kind: a dtype such as "float64"; or a kind of dtypes in NumPy's letters, "i" for integers and "U" for texts;
        or "Status", for texts that are statuses.
      shape: the shape, with None for an axis of any length. None accepts any shape.
      may_be_nan: whether an entry may be nan.
    """
    dtype = "U" if kind == "Status" else kind
    if not isinstance(array, np.ndarray) or dtype not in (array.dtype.name, array.dtype.kind):
        actual = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{description}: expected an array of {KIND_NAMES.get(dtype, dtype)}, got {actual}")
    if kind == "Status" and (unknown := sorted({*array.ravel().tolist()} - {*Status})):
        raise ValueError(f"{description}: expected a status, such as 'converged', got {unknown[0]!r}")
    lengths = array.shape if shape is None else shape
    matches = len(lengths) == array.ndim and all(
        expected in (None, actual) for expected, actual in zip(lengths, array.shape, strict=True)
    )
    if not matches:
        expected = ", ".join("any" if length is None else str(length) for length in lengths)
        raise ValueError(f"{description}: expected shape ({expected}), got {array.shape}")
    if not may_be_nan and array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{description}: expected numbers, got nan")


def check_same_problem(name: str, path: Path, stored: object, current: Mapping[str, str]) -> None:
    """Raise a ValueError unless a file belongs to the current problem.

    Args:
      name: the argument that the path came in.
      path: the path of the file.
      stored: the description of the problem in the file: a dict of short texts.
      current: the description of the current problem.
    """
    if not isinstance(stored, dict):
        raise ValueError(
            f"{name}: {path} is damaged: problem: expected texts by name, got {type(stored).__name__}"
        )
    keys = sorted(stored.keys() | current.keys())
    changes = [f"{k} was {stored.get(k)}, is {current.get(k)}" for k in keys if stored.get(k) != current.get(k)]
    if changes:
        raise ValueError(f"{name}: {path} is of another problem: {'; '.join(changes)}; pass another path")


def digest(array: np.ndarray) -> str:
    """Return a checksum of the bits of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()[:16]


def _header_checksum(header: Mapping[str, object]) -> str:
    """Return the checksum of a header, the same before it is written and after it is read."""
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _read_members(file: IO[bytes], archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by the names of their arrays. Raise unless they fill the file without gaps."""
    members, end = {}, 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise ValueError(f"{info.filename!r} is compressed or encrypted, which dlcore writes none")
        file.seek(info.header_offset + 26)
        lengths = file.read(4)  # of the name and of the extra field
        header_size = 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        if info.header_offset != end or not info.filename.endswith(".npy"):
            raise ValueError(f"there is more in it than its directory says, before {info.filename!r}")
        end += header_size + info.file_size
        members[info.filename.removesuffix(".npy")] = info
    if end != archive.start_dir or len(members) != len(archive.infolist()):
        raise ValueError("there is more in it than its directory says")
    return members


def _read_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[Header, bool]:
    """Return the header, and whether the file has checksums."""
    with archive.open(info) as member:
        _read_npy_header(member)
        about = json.loads(member.read())
    if not isinstance(about, dict):
        raise ValueError(f"expected names and values in its header, got {type(about).__name__}")
    if CHECKSUM_KEY not in about and ARRAYS_KEY not in about:
        return about, False
    if about.pop(CHECKSUM_KEY, None) != _header_checksum(about):
        raise ValueError("its header is not what was written: the checksum differs")
    return about, True


def _read_listing(about: Header) -> dict[str, ArrayInfo]:
    """Remove the list of arrays from the header and return it."""
    listing = {}
    for key, (dtype, shape, checksum) in about.pop(ARRAYS_KEY).items():
        valid_dtype = re.fullmatch(rf"[<>|][{DTYPE_KINDS}][1-9]\d*", dtype)
        if not valid_dtype or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"{key}: expected a dtype and a shape, got {dtype!r} and {shape!r}")
        listing[key] = ArrayInfo(np.dtype(dtype), tuple(shape), checksum)
    return listing


def _read_array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, listing: Mapping[str, ArrayInfo] | None, key: str
) -> np.ndarray:
    """Return an array. The header must list it if the file has checksums."""
    if listing is not None and key not in listing:
        raise ValueError(f"it holds {key!r}, which it does not list")
    with archive.open(info) as member:
        header = _read_npy_header(member)
        expected = _parse_npy_header(header) if listing is None else listing[key]
        dtype, shape, checksum, fortran_order = expected
        if info.file_size != len(header) + math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{key}: expected {dtype} of shape {shape}, got {info.file_size - len(header)} bytes")
        array = np.empty(shape, dtype, order="F" if fortran_order else "C")
        _read_into(array.reshape(-1, order="A").view(np.uint8), member)
    if listing is not None and checksum != digest(array):
        raise ValueError(f"{key} is not what was written: the checksum differs")
    return array


def _read_npy_header(member: IO[bytes]) -> bytes:
    """Read a member up to the numbers of its array."""
    start = member.read(10)
    if start[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("expected arrays in NumPy's format 1.0")
    return start + member.read(int.from_bytes(start[8:], "little"))


def _parse_npy_header(header: bytes) -> ArrayInfo:
    """Return the dtype, shape and order that the member itself states."""
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    if dtype.kind not in DTYPE_KINDS or not dtype.itemsize or any(length < 0 for length in shape):
        raise ValueError(f"expected numbers or texts, got {dtype} of shape {shape}")
    return ArrayInfo(dtype, shape, fortran_order=fortran_order)


def _read_into(buffer: np.ndarray, member: IO[bytes]) -> None:
    """Fill a buffer from a member, up to its end, at which zip compares its own checksum."""
    position = 0
    while chunk := member.read(CHUNK_BYTES):
        buffer[position : position + len(chunk)] = np.frombuffer(chunk, np.uint8)
        position += len(chunk)
    if position != len(buffer):
        raise ValueError("it ends too early")
