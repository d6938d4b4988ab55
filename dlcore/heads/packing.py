"""How heads are packed into slots, folds into bits, and rows into samples and blocks."""

import jax.numpy as jnp
import numpy as np

from dlcore._types import Array

SAMPLE = 16
"""Rows per column with which Newton starts, where there are many more."""
Head = tuple[int, int]
"""The number of a problem, which is fit · targets + target, and that of a strength."""


def strides(rows: int, features: int) -> list[int]:
    """Samples of rows to start on, each as much larger than the one before as all rows are than the last."""
    most = rows // (SAMPLE * (features + 1))
    if most < 4:
        return []
    return [most, round(most**0.5)] if most >= 9 else [most]


def rows_at_once(x: Array, rows: int, size: int, bytes_of_row: int) -> int:
    """Rows per block, from shapes alone: at least enough for a product, all of them on an accelerator."""
    size = size if next(iter(x.devices())).platform == "cpu" else 2**28
    most = max(1, min(rows, max(256, size // bytes_of_row)))
    return -(-rows // -(-rows // most))


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
