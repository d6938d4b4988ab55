"""Readers of .npy and .npz files and of folders of .npy files. Arrays on disk are mapped, not read.

No reader unpickles. Sizes that a header states are compared with the file before anything is allocated.
"""

import math
import zipfile
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from dlcore.data.sources import Source, files_in, regular_file, source_of_arrays, source_of_matrix
from dlcore.data.sources import unreadable_as_value_error as readable

LOCAL_HEADER_BYTES = 30
"""Size of the fixed part of the header of a member of a zip file."""
MAX_DEFLATE_RATIO = 1_032
"""The largest factor by which deflate can shrink data."""


class ArrayHeader(NamedTuple):
    """Header of an .npy file: the shape, the order and the dtype of the array, and where its numbers begin."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    offset: int

    @property
    def n_bytes(self) -> int:
        """The number of bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_source(path: Path) -> Source:
    """Return the columns of an .npy file: a matrix, whose columns are 0, 1, …, or a structured array."""
    return source_of_matrix(str(path), read_npy(path))


def npz_source(path: Path) -> Source:
    """Return the arrays of an .npz file. Those that are stored without compression are mapped."""
    with readable(regular_file(path), "an .npz file"), open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("two of its arrays have one name")
        arrays = {info.filename.removesuffix(".npy"): _read_member(path, file, archive, info) for info in infos}
    return source_of_arrays(str(path), arrays)


def npy_folder_source(folder: Path, paths: list[Path]) -> Source:
    """Return the arrays of the .npy files of a folder, named after the files."""
    return source_of_arrays(str(folder), {path.stem: read_npy(path) for path in paths})


def npy_files(folder: Path) -> list[Path]:
    """Return the .npy files in a folder itself, without those in subfolders."""
    return [path for path in files_in(folder, (".npy",)) if path.parent == folder]


def read_npy(path: Path) -> np.ndarray:
    """Return the array of an .npy file as a memory map.

    Raises:
      ValueError: if the file is damaged, is shorter than its header states, or holds pickled objects.
    """
    with readable(regular_file(path), "an .npy file"), open(path, "rb") as file:
        header = _read_header(file)
        size = path.stat().st_size - header.offset
        if header.n_bytes != size:
            raise ValueError(f"its header states {header.n_bytes} bytes of numbers, and the file has {size}")
        return _map(path, header, header.offset)


def _map(path: Path, header: ArrayHeader, offset: int) -> np.ndarray:
    if not header.n_bytes:
        return np.empty(header.shape, header.dtype)
    order = "F" if header.fortran_order else "C"
    return np.memmap(path, header.dtype, "r", offset, header.shape, order)


def _read_header(file: IO[bytes]) -> ArrayHeader:
    """Read the header of an array, and leave the file at its numbers."""
    start = file.tell()
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"expected NumPy's format 1.0 or 2.0, got {version[0]}.{version[1]}")
    shape, fortran_order, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, which dlcore never reads")
    if any(length < 0 for length in shape):
        raise ValueError(f"its header states the shape {shape}")
    return ArrayHeader(shape, fortran_order, dtype, file.tell() - start)


def _read_member(path: Path, file: IO[bytes], archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return an array of an .npz file: a memory map if it is stored without compression."""
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename} is encrypted")
    if info.compress_type == zipfile.ZIP_DEFLATED and info.file_size > MAX_DEFLATE_RATIO * info.compress_size + 64:
        raise ValueError(f"{info.filename} states {info.file_size} bytes, more than deflate can hold in the file")
    with archive.open(info) as member:
        header = _read_header(member)
    if header.offset + header.n_bytes != info.file_size:
        raise ValueError(
            f"the header of {info.filename} states {header.n_bytes} bytes of numbers, and the file has "
            f"{info.file_size - header.offset}"
        )
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size:
        file.seek(info.header_offset + 26)
        lengths = file.read(4)  # of the name and of the extra field
        extra = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        start = info.header_offset + LOCAL_HEADER_BYTES + extra
        if start + info.file_size > path.stat().st_size:
            raise ValueError(f"{info.filename} ends after the file")
        return _map(path, header, start + header.offset)
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
