"""Packing of heads into slots, of folds into bits, and of rows into samples and blocks."""

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.devices import platform_of
from dlcore.objective.borrowed import BorrowedRows

SAMPLE = 16
"""Rows per column with which Newton starts, where there are many more."""
LAST_STRIDE = 8
"""Every so many rows make the sample whose curvature serves all rows."""
AMPLE = 64
"""Rows per column whose curvature, taken at their optimum, brings the gap of all rows down fast enough."""
ACCELERATOR_BYTES = 2**28
"""Size of a block of rows and of what is made of it on an accelerator."""
TILE = 2048
"""XLA splits a product over the rows among the cores of a GPU, and copies rows of another number to pad them."""
Head = tuple[int, int]
"""The number of a problem, which is fit · targets + target, and that of a strength."""


def strides(rows: int, features: int, *, last: bool) -> list[int]:
    """Samples of rows to start on, every so many, from the coarsest; none where there are few rows.

    Args:
      rows: how many there are.
      features: the columns of each.
      last: whether the finest sample gives the curvature for all rows. It then has every eighth row; where that is
        too few for a good curvature it is not among them, and the samples only lead to a better start.
    """
    most = rows // (SAMPLE * (features + 1))
    if most < 4:
        return []
    if last and is_ample(rows, features):
        return [most, round((most * LAST_STRIDE) ** 0.5), LAST_STRIDE]
    return [most, round(most**0.5)] if most >= 9 else [most]


def is_ample(rows: int, features: int) -> bool:
    """Return whether every eighth row is enough for a curvature that is that of all rows but for a few percent."""
    return rows >= LAST_STRIDE * AMPLE * (features + 1)


def rows_at_once(x: Array | BorrowedRows, rows: int, size: int, bytes_of_row: int) -> int:
    """Rows per block, from shapes alone: at least enough for a product, on an accelerator many whole tiles."""
    there = platform_of(x) != "cpu"
    most = max(1, min(rows, max(256, (ACCELERATOR_BYTES if there else size) // bytes_of_row)))
    evenly = -(-rows // -(-rows // most))
    return min(rows, -(-evenly // TILE) * TILE) if there else evenly


def work_of(x: Array | BorrowedRows, heads: int, *, squared: bool) -> int:
    """Return how many numbers a pass makes for these heads outside its products, which use all cores in any case.

    Those of the rows, and about eight for each head; with curvature the rows anew for each head.
    """
    return x.size * (1 + heads * squared) + 8 * heads * x.shape[0]


def has_bit(bits: Array, bit: Array) -> Array:
    """Shape (K, n): whether each of K bits of each of n rows is set."""
    return ((bits[None] >> bit[:, None]) & jnp.uint32(1)).astype(bool)


def along(choice: Array, leaf: Array) -> Array:
    """A choice for each slot, (K,), in as many dimensions as what is chosen, (K, …)."""
    return choice.reshape(choice.shape + (1,) * (leaf.ndim - 1))


def batches(heads: list[Head], size: int) -> list[list[Head]]:
    """So many at a time."""
    return [heads[start : start + size] for start in range(0, len(heads), size)]


def padded(numbers: np.ndarray, size: int) -> np.ndarray:
    """Filled up with the first."""
    return np.concatenate([numbers, np.repeat(numbers[:1], size - len(numbers), axis=0)])
