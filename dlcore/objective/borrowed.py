"""Rows of NumPy's that the device reads where they lie, though JAX would copy them.

JAX takes memory as it is only where it begins at a multiple of 64 bytes and rows follow each other without a gap;
what `malloc` returns for a large array begins 16 bytes after one. So JAX is lent the memory from the multiple
before the array on, as one long vector, and programs that read rows in blocks take them out of it from the array's
own first number on. Where that is, is data: arrays that begin elsewhere run the same program. What surrounds an
array is never read.
"""

import dataclasses
import mmap

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array, Device
from dlcore.devices import ALIGNMENT


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LentRows:
    """A matrix inside a vector; what a program wants to know of an array of rows, it answers.

    Attributes:
      memory: on a CPU, up to 64 bytes longer than the matrix; nothing but `cut` and `[index]` may read it.
      before: int64, the place of the matrix' first number.
      shape: n rows, m columns.
      pitch: from the first number of a row to that of the next, at least m.
    """

    memory: Array
    before: Array | np.int64
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    pitch: int = dataclasses.field(metadata={"static": True})

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers."""
        return self.memory.dtype

    @property
    def size(self) -> int:
        """How many numbers the matrix has."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def devices(self) -> set[Device]:
        """Where the memory is."""
        return self.memory.devices()

    def cut(self, first: Array | int, size: int) -> Array:
        """Shape (size, m): so many rows from one on."""
        if self.pitch != self.shape[1]:
            return self[first + jnp.arange(size)]
        place = self.before + jnp.asarray(first, jnp.int64) * self.pitch
        return jax.lax.dynamic_slice_in_dim(self.memory, place, size * self.pitch).reshape(size, self.pitch)

    def __getitem__(self, index: Array) -> Array:
        """Shape (k, m): the rows of those numbers. Wants x64: places may be beyond 2³¹."""
        places = self.before + index.astype(jnp.int64) * self.pitch
        return jax.vmap(lambda place: jax.lax.dynamic_slice_in_dim(self.memory, place, self.shape[1]))(places)


def lend(x: np.ndarray) -> LentRows | None:
    """A NumPy matrix as the CPU can read it in place, or None.

    Args:
      x: shape (n, m), not empty; it lives as long as what is lent, and nobody may write to it meanwhile.

    Returns:
      None where its numbers do not lie as rows at one distance, or what surrounds it may not be memory: beyond the
      page that its last number is in.
    """
    address, width = x.ctypes.data, x.dtype.itemsize
    over, pitch = address % ALIGNMENT, x.strides[0]
    span = pitch * (len(x) - 1) + width * x.shape[1]  # bytes
    length = span + ALIGNMENT - width  # the same wherever x begins
    beyond = (address - over + length - 1) // mmap.PAGESIZE != (address + span - 1) // mmap.PAGESIZE
    if x.strides[1] != width or pitch < width * x.shape[1] or pitch % width or over % width or beyond:
        return None
    memory = np.asarray(_Memory(x, address - over, length)).view(x.dtype)
    return LentRows(jax.device_put(memory), np.int64(over // width), x.shape, pitch // width)


class _Memory:
    """Bytes from an address on, which keep their owner alive."""

    def __init__(self, owner: np.ndarray, address: int, length: int) -> None:
        self.owner = owner
        self.__array_interface__ = {"version": 3, "data": (address, True), "shape": (length,), "typestr": "|u1"}
