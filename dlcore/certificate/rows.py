"""The rows of a table in float64, a block at a time, and how far sums over them are off."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK_BYTES = 2**23
"""Size of a block of rows in float64: the data is read in place, at most this much of it, and a few
times as much of what is computed from it, is held at once."""

UNIT = float(np.finfo(np.float64).eps) / 2
"""The unit roundoff u of float64: a result of one operation is off by at most u of itself."""

PAIRWISE = 64
"""A sum of n < 2⁴⁰ terms by `numpy.sum`, pairwise over runs of 128, is off by at most this many u·Σ|terms|."""


class Rounding(NamedTuple):
    """How far a sum over all rows is off, in parts of the sum of magnitudes.

    Attributes:
      sums: by `numpy.sum` along contiguous memory within a block, then block by block.
      products: by a matrix product within a block, in whatever order its terms are added, then block by block.
    """

    sums: float
    products: float


class Weights(NamedTuple):
    """The weights of rows, one set for all heads or one for each.

    Attributes:
      numbers: shape (1, n) or (heads, n), in the dtype they came in.
      exponent: shape (1, 1) or (heads, 1): J does not change with the scale of the weights, and times 2^exponent
        they stay exact and far from the ends of the range.
    """

    numbers: np.ndarray
    exponent: np.ndarray


def scaled_weights(numbers: np.ndarray) -> Weights:
    """Weights of shape (1, n) or (heads, n) whose largest becomes a number in [½, 1)."""
    largest = numbers.max(axis=1, keepdims=True).astype(np.float64)
    return Weights(numbers, -np.frexp(largest)[1])


def weights_of(weights: Weights, heads: slice, rows: slice | np.ndarray) -> np.ndarray:
    """In float64, (1, rows) or (heads, rows)."""
    shared = len(weights.numbers) == 1
    numbers, exponent = weights if shared else (weights.numbers[heads], weights.exponent[heads])
    return np.ldexp(numbers[:, rows].astype(np.float64), exponent)


def row_slices(x: np.ndarray, heads: int, columns: int = 1) -> list[slice]:
    """Blocks of rows for products with so many heads of so many columns.

    Neither a block nor what one head makes of it exceeds the size of a block; and where there are many heads, rows
    are few enough that hundreds of columns meet them at once.
    """
    step = max(1, BLOCK_BYTES // (8 * max(x.shape[1], columns, min(heads * columns, 512))))
    return [slice(start, min(start + step, len(x))) for start in range(0, len(x), step)]


def index_slices(rows: int, columns: int) -> list[slice]:
    """Blocks of so many rows of so many columns."""
    step = max(1, BLOCK_BYTES // (8 * columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def taken(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Those rows, ascending; in place where they follow one another."""
    first, last = int(index[0]), int(index[-1])
    return x[first : last + 1] if last - first + 1 == len(index) else x[index]


def head_slices(heads: int, rows: int, columns: int = 1) -> Iterator[slice]:
    """Groups of so many heads that `columns` numbers for each row and head do not exceed half a block."""
    step = max(1, BLOCK_BYTES // (16 * rows * columns))
    for start in range(0, heads, step):
        yield slice(start, min(start + step, heads))


def rounding_over(slices: list[slice]) -> Rounding:
    """Of sums over these blocks."""
    longest = slices[0].stop - slices[0].start
    return Rounding((PAIRWISE + len(slices)) * UNIT, (longest + len(slices)) * UNIT)


def lengths(rows: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
    """‖x‖, or ‖x/σ‖, of each row, (n,)."""
    rows = rows if scale is None else rows / scale
    return np.sqrt(np.einsum("ij,ij->i", rows, rows))
