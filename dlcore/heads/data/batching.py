"""Packing of heads into slots, and of rows into blocks."""

import numpy as np

from dlcore._core.types import AnyArray, Array
from dlcore.devices import platform_of
from dlcore.objective.borrowed import BorrowedRows

ACCELERATOR_BYTES = 2**28
"""Size of a block of rows and of what is made of it on an accelerator."""
TILE = 2048
"""XLA splits a product over the rows among the cores of a GPU, and copies rows of another number to pad them."""
Head = tuple[int, int]
"""The number of a problem, which is fit · targets + target, and that of a strength."""


def rows_at_once(x: Array | BorrowedRows, rows: int, size: int, bytes_of_row: int) -> int:
    """Return the rows of a block, from shapes alone: enough for a product, on an accelerator many whole tiles."""
    is_accelerator = platform_of(x) != "cpu"
    most = max(1, min(rows, max(256, (ACCELERATOR_BYTES if is_accelerator else size) // bytes_of_row)))
    evenly = -(-rows // -(-rows // most))
    return min(rows, -(-evenly // TILE) * TILE) if is_accelerator else evenly


def expand_to(choice: AnyArray, leaf: AnyArray) -> AnyArray:
    """Return a choice for each slot, shape (K,), in as many dimensions as what is chosen, shape (K, …)."""
    return choice.reshape(choice.shape + (1,) * (leaf.ndim - 1))


def chunked(heads: list[Head], size: int) -> list[list[Head]]:
    """Return the heads in chunks of a size; the last may be shorter."""
    return [heads[start : start + size] for start in range(0, len(heads), size)]


def pad_to(numbers: np.ndarray, size: int) -> np.ndarray:
    """Return an array that is filled up to a size with its first entry."""
    return np.concatenate([numbers, np.repeat(numbers[:1], size - len(numbers), axis=0)])
