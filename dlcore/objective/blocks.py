"""Examples on the device, and the blocks of rows in which they are summed.

A sum over examples may be associated in any way. On a CPU a block fits the cache. Each row is then read from
memory once for all quantities that are computed from it. On an accelerator all rows are one block.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh

from dlcore._core.types import Array, Loss
from dlcore.devices import platform_of

BLOCK_BYTES = 2**19
"""Size of a block of rows on a CPU: half of the smallest second-level cache in common use."""

Rows: TypeAlias = tuple[Array, Array, Array | None]
"""Rows of x and y, and their weights or None."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """A view of neighbouring rows, the same ones on every device. Nothing is copied.

    Attributes:
      index: number of the batch, from 0.
      weight_sum: the sum of the weights of all rows divided by the number of batches. A sum over the batch is
        divided by it. The mean over all batches is then the value of all rows, also with weights and with a
        shorter last batch. None where only sums are needed.
      rows: rows of a batch on each device. Where they do not divide the data, the last batch begins early. It
        weighs 0 the rows of the batch before it.
    """

    index: Array | np.integer
    weight_sum: Array | None
    rows: int = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockedData:
    """Examples on the device, with the number of rows that are summed at a time.

    `Objective.prepare` checks the values and makes one. All functions that take data accept it.

    Attributes:
      x: shape (n, ...), any real dtype; blocks are cast to the dtype of the parameters. `BorrowedRows` are
        accepted where only `sum_over_blocks` reads x.
      y: shape (n, ...), or a tuple of such arrays where only `sum_over_blocks` reads it.
      weights: weights of the rows, shape (n,), at least 0; None weighs all rows 1.
      block: rows per block, at least 1; part of the compiled program.
      checked_for: the loss for which the targets were checked; None if they were not checked.
      mesh: the devices over which the rows are sharded, equally many on each; None for one device.
      blocking: whether the caller waits for the program before the next one; used on several CPU devices.
      batch: the rows to sum; None for all.
    """

    x: Any  # type checkers know `Array` alone to index, cast and multiply
    y: Any
    weights: Array | None
    block: int = dataclasses.field(metadata={"static": True})
    checked_for: Loss | None = dataclasses.field(default=None, metadata={"static": True})
    mesh: Mesh | None = dataclasses.field(default=None, metadata={"static": True})
    blocking: bool = dataclasses.field(default=False, metadata={"static": True})
    batch: Batch | None = None

    @property
    def rows_per_device(self) -> int:
        """The number of rows on each device."""
        return self.x.shape[0] // (1 if self.mesh is None else self.mesh.size)


Data: TypeAlias = BlockedData | Sequence[object]
"""(x, y) or (x, y, weights), or the result of `Objective.prepare`."""


def rows_per_block(x: Array, devices: int = 1) -> int:
    """Return the number of rows that fit `BLOCK_BYTES` on a CPU, or all rows of a device on an accelerator."""
    rows = x.shape[0] // devices
    if platform_of(x) != "cpu" or x.size == 0:
        return rows
    return max(1, min(rows, BLOCK_BYTES // (x.size // x.shape[0] * x.dtype.itemsize)))
