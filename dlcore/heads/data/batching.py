"""Packing of heads into slots, and of rows into blocks."""

import numpy as np

from dlcore._core.types import AnyArray, Array
from dlcore.devices import platform_of
from dlcore.objective.borrowed import BorrowedRows

ACCELERATOR_BYTES = 2**28
"""Bytes of a block of rows and of its intermediate results, on an accelerator."""
TILE = 2048
"""The number of rows of a block on an accelerator is a multiple of this.

XLA splits a product over the rows among the cores. With another number of rows it would pad a copy of them.
"""
Head = tuple[int, int]
"""The number of a problem, which is fit · targets + target, and that of a strength."""


def rows_at_once(x: Array | BorrowedRows, rows: int, size: int, bytes_of_row: int) -> int:
    """Return the number of rows of a block. On an accelerator it is a multiple of `TILE`, or all rows.

    Args:
      x: the table, which tells the device.
      rows: the number of all rows.
      size: bytes of a block on a CPU.
      bytes_of_row: bytes of a row and of its intermediate results.
    """
    is_accelerator = platform_of(x) != "cpu"
    most = max(1, min(rows, max(256, (ACCELERATOR_BYTES if is_accelerator else size) // bytes_of_row)))
    evenly = -(-rows // -(-rows // most))
    return min(rows, -(-evenly // TILE) * TILE) if is_accelerator else evenly


def expand_to(numbers: AnyArray, leaf: AnyArray) -> AnyArray:
    """Return numbers of each slot, shape (B,), with axes of length 1 appended.

    They broadcast with `leaf`, shape (B, …).
    """
    return numbers.reshape(numbers.shape + (1,) * (leaf.ndim - 1))


def chunked(heads: list[Head], size: int) -> list[list[Head]]:
    """Return the heads in chunks of a size; the last may be shorter."""
    return [heads[start : start + size] for start in range(0, len(heads), size)]


def pad_to(numbers: np.ndarray, size: int) -> np.ndarray:
    """Return an array that is padded to a length with its first entry."""
    return np.concatenate([numbers, np.repeat(numbers[:1], size - len(numbers), axis=0)])
