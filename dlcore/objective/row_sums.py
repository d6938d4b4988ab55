"""Sums over rows, block by block on each device, then over the devices."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from dlcore._core.types import Array
from dlcore.objective.blocks import BlockedData, Rows
from dlcore.objective.borrowed import BorrowedRows
from dlcore.objective.sharding import check_blocking, sum_over_devices

Summand = TypeVar("Summand")


def sum_over_blocks(summand: Callable[..., Summand], data: BlockedData, *shared: object) -> Summand:
    r"""Sum `summand` over the blocks of `data`, on every device over which the rows are sharded.

    Args:
      summand: maps (x, y, weights, *shared) of a block to the weighted sum over its rows, a pytree of arrays.
      data: n rows. Where the block does not divide n, the last block begins early. It weighs 0 the rows of the
        block before it: nothing is padded or copied.
      shared: other arguments of the summand. Over several devices, pass everything here of which a derivative is
        taken: the summand must not close over it.

    Returns:
      The sum over all rows. Blocks are added in the order of their rows, devices by one collective at the end.
      The same program on the same devices gives the same bits.
    """
    block, batch = data.block, data.batch

    def sum_on_device(rows: Rows, shared: tuple[Any, ...]) -> Summand:
        batch_index, *arguments = shared
        window = None if batch is None else (batch_index, batch.rows)
        return _sum_on_device(lambda x, y, weights: summand(x, y, weights, *arguments), rows, block, window)

    rows = data.x, data.y, data.weights
    shared = (None if batch is None else batch.index, *shared)
    if data.mesh is None:
        return sum_on_device(rows, shared)
    if not data.blocking:
        check_blocking(data.mesh)
    return sum_over_devices(sum_on_device, data.mesh, rows, shared)


def _sum_on_device(
    summand: Callable[..., Summand], rows: Rows, size: int, window: tuple[Array, int] | None
) -> Summand:
    """Sum over the rows of one device in blocks of `size`, or over one batch of them.

    Args:
      summand: (x, y, weights) of a block to its sum.
      rows: of the device.
      size: rows of a block.
      window: (index, rows) of the batch; None sums all rows.
    """
    x, y, weights = rows
    row_count = x.shape[0]
    if window is not None:
        index, count = window
        first_new = index * count
        start, size = jnp.minimum(first_new, row_count - count), min(size, count)
    elif size >= row_count:
        return summand(_slice_rows(x, jnp.int32(0), row_count), y, weights)
    else:
        start, first_new, count = 0, 0, row_count
    repeats_rows = count % size != 0 or row_count % count != 0

    def sum_block(index: Array) -> Summand:
        x = rows[0]
        if x.dtype == jnp.bfloat16:
            # The cast of x does not depend on the block. Without the barrier a CPU casts all rows before the loop.
            x, index = jax.lax.optimization_barrier((x, index))
        first = start + jnp.minimum(index * size, count - size)
        block_weights = jnp.ones(size, bool) if weights is None else _slice_rows(weights, first, size)
        if repeats_rows:
            new = jnp.maximum(start + index * size, first_new)
            is_new = first + jnp.arange(size, dtype=jnp.int32) >= new
            block_weights = jnp.where(is_new, block_weights, jnp.zeros_like(block_weights))
        elif weights is None:
            block_weights = None
        block_y = jax.tree.map(lambda part: _slice_rows(part, first, size), y)
        return summand(_slice_rows(x, first, size), block_y, block_weights)

    if size >= count:
        return sum_block(jnp.int32(0))
    # The derivative slices the rows again: they are not stored, and X is never copied.
    recomputed = jax.checkpoint(sum_block)

    def add(total: Summand, index: Array) -> tuple[Summand, None]:
        return jax.tree.map(jnp.add, total, recomputed(index)), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(sum_block, jnp.int32(0)))
    return jax.lax.scan(add, zeros, jnp.arange(-(-count // size), dtype=jnp.int32))[0]


def _slice_rows(array: Array | BorrowedRows, first: Array, size: int) -> Array:
    """Return `size` rows from row `first` on."""
    if isinstance(array, BorrowedRows):
        return array.slice_rows(first, size)
    return array if size == array.shape[0] else jax.lax.dynamic_slice_in_dim(array, first, size)
