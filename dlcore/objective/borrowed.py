"""Rows of a NumPy array that the device reads in place, where JAX would copy them.

JAX reads the memory of NumPy without a copy only if it is contiguous and begins at a multiple of 64 bytes.
`malloc` places a large array 16 bytes behind such a multiple. JAX is therefore given a long vector that begins
at the first multiple inside the array. The few rows that cross its two ends are copied. The place of the vector
inside the array is data: arrays of any alignment run the same program. Memory outside the array is never read.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array, Device
from dlcore.devices import ALIGNMENT


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BorrowedRows:
    """A matrix whose numbers lie in a vector that JAX shares with NumPy.

    Attributes:
      memory: the numbers of the matrix without up to 63 bytes at its two ends, shape (numbers,), on a CPU.
      edges: copies of the first rows and of the last rows, equally many, shape (rows, m).
      offset: int64, the number of entries of the matrix before `memory`.
      shape: n rows, m columns.
      row_stride: entries from the beginning of a row to that of the next, at least m.
    """

    memory: Array
    edges: Array
    offset: Array | np.int64
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    row_stride: int = dataclasses.field(metadata={"static": True})

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the numbers."""
        return self.memory.dtype

    @property
    def size(self) -> int:
        """The number of entries of the matrix."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def devices(self) -> set[Device]:
        """Return the device of the memory."""
        return self.memory.devices()

    def slice_rows(self, first: Array | int, size: int) -> Array:
        """Return `size` rows from row `first` on, shape (size, m)."""
        first = jnp.asarray(first, jnp.int64)
        edge = len(self.edges) // 2

        def slice_memory() -> Array:
            start = first * self.row_stride - self.offset
            numbers = jax.lax.dynamic_slice_in_dim(self.memory, start, size * self.row_stride)
            return numbers.reshape(size, self.row_stride)

        def gather_rows() -> Array:
            return self[first + jnp.arange(size)]

        if self.row_stride != self.shape[1] or size > len(self) - 2 * edge:
            return gather_rows()
        in_memory = (first >= edge) & (first + size <= len(self) - edge)
        return jax.lax.cond(in_memory, slice_memory, gather_rows)

    def __getitem__(self, index: Array) -> Array:
        """Return the rows of these numbers, shape (k, m). Needs x64: places may exceed 2³¹."""
        starts = index.astype(jnp.int64) * self.row_stride - self.offset
        rows = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(self.memory, start, self.shape[1]))(starts)
        edge = len(self.edges) // 2
        is_first, is_last = index < edge, index >= len(self) - edge
        edge_rows = self.edges[jnp.where(is_first, index, index - len(self) + 2 * edge)]
        return jnp.where((is_first | is_last)[:, None], edge_rows, rows)


def borrow(x: np.ndarray) -> BorrowedRows | None:
    """Return a NumPy matrix as rows that the CPU reads in place.

    Args:
      x: shape (n, m), not empty. It lives as long as the result. Nobody may write to it meanwhile.

    Returns:
      None where the rows do not lie at one distance, the numbers are not aligned to their size, or all rows are at
      the edges.
    """
    width, columns = x.dtype.itemsize, x.shape[1]
    row_stride, unaligned = divmod(x.strides[0], width)
    if x.strides[1] != width or unaligned or row_stride < columns or x.ctypes.data % width or ALIGNMENT % width:
        return None
    excess = ALIGNMENT // width - 1  # the memory is as much shorter than the matrix, wherever the matrix begins
    edge = math.ceil(excess / row_stride)
    if len(x) <= 2 * edge:
        return None
    numbers = np.lib.stride_tricks.as_strided(x, (row_stride * (len(x) - 1) + columns,), (width,), writeable=False)
    offset = -x.ctypes.data % ALIGNMENT // width
    memory = numbers[offset : offset + len(numbers) - excess]
    edges = np.concatenate([x[:edge], x[-edge:]])
    return BorrowedRows(jax.device_put(memory), jax.device_put(edges), np.int64(offset), x.shape, row_stride)
