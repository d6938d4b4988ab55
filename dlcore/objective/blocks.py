"""Rows in blocks: the hinge on which cache, devices and storage turn.

A sum over examples may be associated in any way. On a CPU a block of rows that fits the cache is read once
from memory for all that is computed from it; on an accelerator the whole array is one block.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dlcore._core.array_checks import is_traced
from dlcore._core.types import Array, Loss
from dlcore.devices import platform_of
from dlcore.objective.borrowed import LentRows
from dlcore.objective.sharding import check_awaited, run_alone, sum_over_devices

BLOCK_BYTES = 2**19
"""Size of a block of rows on a CPU: half of the smallest second-level cache in common use."""

Summand = TypeVar("Summand")

Rows = tuple[Any, Array, Array | None]
"""x, y and weights, or None, of some rows."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Some neighbouring rows, the same ones of every device: a view, nothing is copied.

    Attributes:
      index: which batch, from 0.
      weight_sum: the sum of the weights of all rows divided by the number of batches. What is summed over the
        batch is divided by it, so that the mean over all batches is what all rows give, weights and a shorter
        last batch included. None where only sums are asked for.
      rows: of one batch on each device. Where they do not divide, the last batch begins early and weighs 0 what
        the one before it has.
    """

    index: Array | np.integer
    weight_sum: Array | None
    rows: int = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockedData:
    """Examples on the device, and how many rows of them are summed at a time.

    Made by `Objective.prepare`, which checks the values; accepted wherever data is.

    Attributes:
      x: shape (n, ...), any real dtype; blocks are cast to the dtype of the parameters. An array, or `LentRows`
        where nothing but `sum_over_blocks` reads it.
      y: shape (n, ...).
      weights: shape (n,), at least 0; None weighs all rows 1.
      block: rows per block, at least 1; part of the compiled program.
      checked_for: the loss whose targets these were found to be; None where nobody looked.
      mesh: the devices that the rows lie over, equally many on each; None for one device.
      awaited: whether whoever runs the program waits for it before the next; of interest to several CPU devices.
      batch: the rows that count; None for all.
    """

    x: Any
    y: Array
    weights: Array | None
    block: int = dataclasses.field(metadata={"static": True})
    checked_for: Loss | None = dataclasses.field(default=None, metadata={"static": True})
    mesh: Mesh | None = dataclasses.field(default=None, metadata={"static": True})
    awaited: bool = dataclasses.field(default=False, metadata={"static": True})
    batch: Batch | None = None

    @property
    def rows_each(self) -> int:
        """How many rows each device has."""
        return self.x.shape[0] // (1 if self.mesh is None else self.mesh.size)


def rows_per_block(x: Array, devices: int = 1) -> int:
    """As many rows as fit `BLOCK_BYTES` on a CPU, all that a device has on an accelerator."""
    rows = x.shape[0] // devices
    if platform_of(x) != "cpu" or x.size == 0:
        return rows
    return max(1, min(rows, BLOCK_BYTES // (x.size // x.shape[0] * x.dtype.itemsize)))


def sum_over_blocks(summand: Callable[..., Summand], data: BlockedData, *shared: Any) -> Summand:
    r"""Sum of `summand` over the blocks of `data`, on every device that the rows lie over.

    Args:
      summand: (x, y, weights, *shared) of some rows to a pytree of arrays: their sum, each row times its weight.
      data: n rows. Where n is no multiple of the block, the last block begins early and weighs 0 the rows
        that the block before it has summed: nothing is padded or copied.
      shared: what the summand needs besides; over several devices it must not close over what a derivative is
        taken of.

    Returns:
      The sum over all rows, blocks added in order of their rows, devices by one collective at the end: the same
      bits for the same program and the same devices.
    """
    size, batch = data.block, data.batch

    def sum_of(rows: Rows, shared: tuple[Any, ...]) -> Summand:
        begin, *rest = shared
        count = None if batch is None else batch.rows
        return _sum_over_blocks(lambda x, y, weights: summand(x, y, weights, *rest), rows, size, begin, count)

    rows = data.x, data.y, data.weights
    shared = (None if batch is None else batch.index, *shared)
    if data.mesh is None:
        return sum_of(rows, shared)
    if not data.awaited:
        check_awaited(data.mesh)
    return sum_over_devices(sum_of, data.mesh, rows, shared)


def parts_of(data: BlockedData, count: int) -> list[BlockedData]:
    """The rows in so many parts of one size, the same program for all; the last begins early, as a batch does."""
    rows = -(-data.x.shape[0] // count)
    if count == 1:
        return [data]
    return [dataclasses.replace(data, batch=Batch(np.int32(part), None, rows)) for part in range(count)]


def run_program(program: Callable[[Any], Any], data: Any, *arguments: Any) -> Any:
    """What `program(data)` gives; of rows over several CPU devices, only once it is done.

    Args:
      program: a compiled function that sums over the blocks of `data`.
      data: as `Objective.value` takes it.
      arguments: the other arrays that the program works on. Where one of them or the data is traced, somebody else
        runs the program.
    """
    if not isinstance(data, BlockedData) or data.mesh is None:
        return program(data)
    if any(map(is_traced, jax.tree.leaves((data, arguments)))):
        return program(data)
    waiting = dataclasses.replace(data, awaited=True)
    return run_alone(lambda: program(waiting), data.mesh)


def _sum_over_blocks(
    summand: Callable[..., Summand], arrays: Rows, size: int, batch: Array | None = None, count: int | None = None
) -> Summand:
    """The sum over the rows of one device, or over the `count` rows of one batch of them."""
    y, given = arrays[1:]
    rows = arrays[0].shape[0]
    start = fresh = 0
    if batch is not None and count is not None:
        fresh = batch * count
        start, size = jnp.minimum(fresh, rows - count), min(size, count)
    elif size >= rows:
        return summand(_cut(arrays[0], jnp.int32(0), rows), *arrays[1:])
    many = rows if count is None else count
    repeats = many % size != 0 or (count is not None and rows % count != 0)

    def block(index: Array) -> Summand:
        x = arrays[0]
        if x.dtype == jnp.bfloat16:
            # What a block is cast to does not depend on the block: a CPU would cast all rows before the loop.
            x, index = jax.lax.optimization_barrier((x, index))
        first = start + jnp.minimum(index * size, many - size)

        def cut(array: Array | LentRows) -> Array:
            return _cut(array, first, size)

        weights = jnp.ones(size, bool) if given is None else cut(given)
        if repeats:
            new = jnp.maximum(start + index * size, fresh)
            weights = jnp.where(first + jnp.arange(size, dtype=jnp.int32) >= new, weights, jnp.zeros_like(weights))
        elif given is None:
            weights = None
        return summand(cut(x), cut(y), weights)

    if size >= many:
        return block(jnp.int32(0))
    # The rows of a block are cut again, not kept, when a derivative is taken of the sum: X is never copied.
    recomputed = jax.checkpoint(block)

    def add(total: Summand, index: Array) -> tuple[Summand, None]:
        return jax.tree.map(jnp.add, total, recomputed(index)), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(block, jnp.int32(0)))
    return jax.lax.scan(add, zeros, jnp.arange(-(-many // size), dtype=jnp.int32))[0]


def _cut(array: Array | LentRows, first: Array, size: int) -> Array:
    if isinstance(array, LentRows):
        return array.cut(first, size)
    return array if size == array.shape[0] else jax.lax.dynamic_slice_in_dim(array, first, size)
