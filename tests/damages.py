"""Damaged copies of files: bits flipped, ends cut off, and bytes moved, inserted, deleted or overwritten."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def damaged(good: bytes, other: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` damaged copies of a file, of each kind in turn. `other` is another file of the same format."""
    rng = np.random.default_rng(seed)
    n_copies = 0
    while n_copies < count:
        copy = KINDS[n_copies % len(KINDS)](good, other, rng)
        if copy != good:
            n_copies += 1
            yield copy


def flipped(data: bytes, bit: int) -> bytes:
    copy = bytearray(data)
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


def _flip(good: bytes, other: bytes, rng: Any) -> bytes:
    return flipped(good, int(rng.integers(8 * len(good))))


def _flip_in_directory(good: bytes, other: bytes, rng: Any) -> bytes:
    start = directory_of(good)
    return flipped(good, int(rng.integers(8 * start, 8 * len(good))))


def _flip_several(good: bytes, other: bytes, rng: Any) -> bytes:
    for bit in rng.integers(8 * len(good), size=rng.integers(2, 20)):
        good = flipped(good, int(bit))
    return good


def _truncate(good: bytes, other: bytes, rng: Any) -> bytes:
    return good[: rng.integers(len(good))]


def _overwrite(good: bytes, other: bytes, rng: Any) -> bytes:
    """Overwrite bytes with other bytes of the file, bytes of the other file, zeros or random bytes."""
    start, length = int(rng.integers(len(good))), int(2 ** rng.uniform(0, 12))
    length = min(length, len(good) - start)
    source = int(rng.integers(len(good) - length + 1))
    new = (
        good[source : source + length],
        other[start : start + length],
        bytes(length),
        rng.bytes(length),
    )[rng.integers(4)]
    return good[:start] + new + good[start + length :]


def _insert(good: bytes, other: bytes, rng: Any) -> bytes:
    start, source = rng.integers(len(good), size=2)
    return good[:start] + good[source : source + int(2 ** rng.uniform(0, 10))] + good[start:]


def _delete(good: bytes, other: bytes, rng: Any) -> bytes:
    start = int(rng.integers(len(good)))
    return good[:start] + good[start + int(2 ** rng.uniform(0, 12)) :]


def _splice(good: bytes, other: bytes, rng: Any) -> bytes:
    return good[: rng.integers(len(good))] + other[rng.integers(len(other)) :]


KINDS = (
    _flip,
    _flip_in_directory,
    _overwrite,
    _flip_several,
    _truncate,
    _insert,
    _flip_in_directory,
    _delete,
    _splice,
)


def directory_of(data: bytes) -> int:
    """Return the offset of the directory of a zip file."""
    return int.from_bytes(data[-6:-2], "little")


def parts_of(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an archive, including its header."""
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def write_parts(path: Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an archive with this header, which need not match the arrays."""
    members: dict[str, Any] = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays}
    with path.open("wb") as file:
        np.savez(file, **members)


def compressed(path: Path, to: Path) -> None:
    """Copy a zip file with compressed members."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name))
