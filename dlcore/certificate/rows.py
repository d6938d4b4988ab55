"""Rows of a table and their weights, read in float64 one block at a time."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from dlcore._core.blas_threads import one_blas_thread
from dlcore._core.tables.sparse import SparseRows
from dlcore._core.threads import map_on_threads, runs_of

Result = TypeVar("Result")

BLOCK_BYTES = 2**23
"""Size of a block of rows in float64.

The data is read in place. A pass over the rows needs the memory of one block for each thread, and a few times as
much for intermediate results. Sums of products of the columns need more, see `moments.KEPT_BYTES`.
"""

CACHE_BYTES = 2**20
"""Unit of the size of a block that stays in the cache.

The float64 logits of up to 512 heads take at most half of it, and the rows take at most twice it. The value was
measured. Smaller blocks cost overhead, and larger blocks leave the cache.
"""

RUNS = 4
"""Maximum number of runs of blocks. Each run is summed separately, and a thread sums one run or more."""

HostTable: TypeAlias = np.ndarray | SparseRows
"""A checked table as `host_checks.as_numpy_or_sparse` returns it."""


class SparseTable(Protocol):
    """A sparse table of SciPy's, of any format."""

    def tocsr(self) -> object:
        """Return the table compressed by rows."""
        ...


DataLike: TypeAlias = npt.ArrayLike | SparseTable | SparseRows
"""A table as callers pass it: an array that NumPy can read, or a sparse table."""


class RowTable(Protocol):
    """A table whose rows are read by a slice or by indices: a `HostTable`, or a view of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the numbers of rows and columns."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class ColumnSubset:
    """A view of some columns of a table, in float64.

    Attributes:
      table: rows, shape (n, m).
      columns: indices of the columns, shape (c,).
    """

    table: RowTable
    columns: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of rows and columns."""
        return len(self.table), len(self.columns)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.table[rows].astype(np.float64)[:, self.columns]


class RowWeights(NamedTuple):
    """Weights of the rows: a set that all heads share, or a set for each head.

    J does not change with the scale of the weights. Multiplied by 2^exponent, the weights stay exact, and far from
    overflow and underflow.

    Attributes:
      values: shape (1, n) or (heads, n), in the dtype of the input.
      exponent: shape (1, 1) or (heads, 1).
    """

    values: np.ndarray
    exponent: np.ndarray

    @property
    def is_shared(self) -> bool:
        """Return whether all heads share a set."""
        return len(self.values) == 1

    def subset(self, k: int) -> "RowWeights":
        """Return set k alone."""
        return RowWeights(self.values[k : k + 1], self.exponent[k : k + 1])

    def of_head(self, h: int) -> "RowWeights":
        """Return the set of head h."""
        return self if self.is_shared else self.subset(h)

    def block(self, rows: slice | np.ndarray, heads: slice = slice(None)) -> np.ndarray:
        """Return the weights in float64, shape (1, rows) or (heads, rows)."""
        values, exponent = self if self.is_shared else (self.values[heads], self.exponent[heads])
        return np.ldexp(values[:, rows].astype(np.float64), exponent)


def scaled_weights(values: np.ndarray) -> RowWeights:
    """Scale each set of weights, shape (1, n) or (heads, n), so that its largest weight lies in [½, 1)."""
    largest = values.max(axis=1, keepdims=True).astype(np.float64)
    return RowWeights(values, -np.frexp(largest)[1])


class TrainingData(NamedTuple):
    """Rows with their classes or targets and their weights.

    Attributes:
      x: features, shape (n, m).
      y: classes, shape (n,), or targets, shape (n,) or (n, targets).
      weights: weights of the rows.
    """

    x: RowTable
    y: np.ndarray
    weights: RowWeights

    def of_head(self, h: int) -> "TrainingData":
        """Return the data with the weights of head h."""
        return self._replace(weights=self.weights.of_head(h))

    def weighted_block(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of positive weight in a block, in float64, and their classes."""
        rows, _, positive = weighted_rows(self.x, self.weights, block)
        return rows, self.y[block][positive].astype(np.intp)


def weighted_rows(x: RowTable, weights: RowWeights, block: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of positive weight in a block, in float64, their weights, and the mask that selects them.

    A row is returned if its weight is positive in any set.
    """
    weight = weights.block(block).max(0)
    positive = weight > 0
    return x[block][positive].astype(np.float64), weight[positive], positive


def row_slices(x: RowTable, heads: int, columns: int = 1) -> list[slice]:
    """Return blocks of rows for products with `heads` heads of `columns` columns.

    Neither a block nor its logits of one head exceed `BLOCK_BYTES`. With many heads, a block has fewer rows, so
    that 512 columns of its logits fit in `BLOCK_BYTES` too.
    """
    return index_slices(len(x), max(x.shape[1], columns, min(heads * columns, 512)))


def cached_row_slices(x: RowTable, heads: int) -> list[slice]:
    """Return blocks of rows, smaller than those of `row_slices`, whose logits stay in the cache."""
    return slices_of(
        len(x), max(1, min(CACHE_BYTES // (16 * min(heads, 512)), 2 * CACHE_BYTES // (8 * x.shape[1])))
    )


def index_slices(rows: int, columns: int) -> list[slice]:
    """Return blocks of rows whose `columns` columns take at most `BLOCK_BYTES`."""
    return slices_of(rows, max(1, BLOCK_BYTES // (8 * columns)))


def slices_of(length: int, step: int) -> list[slice]:
    """Return slices of `step` entries that cover a length. The last slice may be shorter."""
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def take_rows(x: RowTable, index: np.ndarray) -> np.ndarray:
    """Return rows by ascending indices, as a view if the indices are consecutive."""
    first, last = int(index[0]), int(index[-1])
    return x[first : last + 1] if last - first + 1 == len(index) else x[index]


def map_runs(function: Callable[[list[slice]], Result], blocks: list[slice]) -> list[Result]:
    """Return the results of a function for at most `RUNS` runs of neighboring blocks, computed by threads.

    The runs depend on the blocks alone. A sum over them in their order has the same bits on any number of cores.
    """
    count = min(RUNS, len(blocks))
    runs = [blocks[k * len(blocks) // count : (k + 1) * len(blocks) // count] for k in range(count)]
    with one_blas_thread() as is_limited:
        shares = runs_of(runs, count if is_limited else 1)
        return [
            result
            for share in map_on_threads(lambda some: [function(run) for run in some], shares)
            for result in share
        ]


def add_runs(results: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Return the sum over runs of each array."""
    return tuple(functools.reduce(np.add, parts) for parts in zip(*results, strict=True))


def read_rows(x: RowTable, rows: slice | np.ndarray, buffer: np.ndarray) -> np.ndarray:
    """Copy rows into the first rows of a buffer, and return them in the dtype of the buffer.

    Args:
      x: the table.
      rows: a block of it, or ascending indices.
      buffer: at least as many rows.
    """
    table_rows = x[rows] if isinstance(rows, slice) else take_rows(x, rows)
    # An array for each block would double the time of a pass.
    copied = buffer[: len(table_rows)]
    copied[...] = table_rows
    return copied


def head_slices(heads: int, rows: int, columns: int = 1) -> Iterator[slice]:
    """Yield groups of heads.

    For a group, an array of rows × heads × `columns` numbers takes at most half of `BLOCK_BYTES`.
    """
    step = max(1, BLOCK_BYTES // (16 * rows * columns))
    yield from slices_of(heads, step)


def row_norms(rows: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
    """Return ‖x‖, or ‖x/σ‖, of each row, shape (n,)."""
    rows = rows if scale is None else rows / scale
    return np.sqrt(np.einsum("ij,ij->i", rows, rows))
