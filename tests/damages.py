"""Damages of files: flipped bits, lost ends, bytes that were moved, put in, left out or overwritten."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def damaged(good: bytes, other: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` damaged copies of a file, of every kind in turn; `other` is a whole file like it."""
    rng = np.random.default_rng(seed)
    made = 0
    while made < count:
        bad = KINDS[made % len(KINDS)](good, other, rng)
        if bad != good:
            made += 1
            yield bad


def flipped(data: bytes, bit: int) -> bytes:
    bad = bytearray(data)
    bad[bit // 8] ^= 1 << bit % 8
    return bytes(bad)


def _flip(good: bytes, other: bytes, rng: Any) -> bytes:
    return flipped(good, int(rng.integers(8 * len(good))))


def _flip_in_directory(good: bytes, other: bytes, rng: Any) -> bytes:
    start = directory_of(good)
    return flipped(good, int(rng.integers(8 * start, 8 * len(good))))


def _flip_several(good: bytes, other: bytes, rng: Any) -> bytes:
    for bit in rng.integers(8 * len(good), size=rng.integers(2, 20)):
        good = flipped(good, int(bit))
    return good


def _lose_the_end(good: bytes, other: bytes, rng: Any) -> bytes:
    return good[: rng.integers(len(good))]


def _overwrite(good: bytes, other: bytes, rng: Any) -> bytes:
    """With other bytes of the file, with those at the same place of another, with zeros, or with noise."""
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


def _put_in(good: bytes, other: bytes, rng: Any) -> bytes:
    start, source = rng.integers(len(good), size=2)
    return good[:start] + good[source : source + int(2 ** rng.uniform(0, 10))] + good[start:]


def _leave_out(good: bytes, other: bytes, rng: Any) -> bytes:
    start = int(rng.integers(len(good)))
    return good[:start] + good[start + int(2 ** rng.uniform(0, 12)) :]


def _splice(good: bytes, other: bytes, rng: Any) -> bytes:
    return good[: rng.integers(len(good))] + other[rng.integers(len(other)) :]


KINDS = (
    _flip,
    _flip_in_directory,
    _overwrite,
    _flip_several,
    _lose_the_end,
    _put_in,
    _flip_in_directory,
    _leave_out,
    _splice,
)


def directory_of(data: bytes) -> int:
    """Return where the directory of a zip file begins."""
    return int.from_bytes(data[-6:-2], "little")


def parts_of(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an archive, its text among them."""
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def write_parts(path: Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an archive with that text, whatever it lists."""
    members: dict[str, Any] = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays}
    with path.open("wb") as file:
        np.savez(file, **members)


def compressed(path: Path, to: Path) -> None:
    """Copy a zip file, its members compressed."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name))
