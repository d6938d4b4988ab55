"""Rows in blocks: the hinge on which cache, devices and storage turn.

A sum over examples may be associated in any way. On a CPU a block of rows that fits the cache is read once
from memory for all that is computed from it; on an accelerator the whole array is one block.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from dlcore._guards import is_traced
from dlcore._types import Array, Loss

BLOCK_BYTES = 2**19
"""Size of a block of rows on a CPU: half of the smallest second-level cache in common use."""

Summand = TypeVar("Summand")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlockedData:
    """Examples on the device, and how many rows of them are summed at a time.

    Made by `Objective.prepare`, which checks the values; accepted wherever data is.

    Attributes:
      x: shape (n, ...), any real dtype; blocks are cast to the dtype of the parameters.
      y: shape (n, ...).
      weights: shape (n,), at least 0; None weighs all rows 1.
      block: rows per block, at least 1; part of the compiled program.
      checked_for: the loss whose targets these were found to be; None where nobody looked.
    """

    x: Array
    y: Array
    weights: Array | None
    block: int = dataclasses.field(metadata={"static": True})
    checked_for: Loss | None = dataclasses.field(default=None, metadata={"static": True})


def rows_per_block(x: Array) -> int:
    """As many rows as fit `BLOCK_BYTES` on a CPU, all of them on an accelerator."""
    rows = x.shape[0]
    if _platform(x) != "cpu" or x.size == 0:
        return rows
    return max(1, min(rows, BLOCK_BYTES // (x.size // rows * x.dtype.itemsize)))


def sum_over_blocks(summand: Callable[[Array, Array, Array | None], Summand], data: BlockedData) -> Summand:
    r"""Sum of `summand` over the blocks of `data`.

    Args:
      summand: (x, y, weights) of some rows to a pytree of arrays: their sum, each row times its weight.
      data: n rows. Where n is no multiple of the block, the last block begins early and weighs 0 the rows
        that the block before it has summed: nothing is padded or copied.

    Returns:
      The sum over all rows, blocks added in order of their rows: the same bits for the same program.
    """
    rows = data.x.shape[0]
    if data.block >= rows:
        return summand(data.x, data.y, data.weights)

    def block(index: Array) -> Summand:
        first = jnp.minimum(index * data.block, rows - data.block)

        def cut(array: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(array, first, data.block)

        weights = jnp.ones(data.block, bool) if data.weights is None else cut(data.weights)
        if rows % data.block:
            fresh = first + jnp.arange(data.block, dtype=jnp.int32) >= index * data.block
            weights = jnp.where(fresh, weights, jnp.zeros_like(weights))
        elif data.weights is None:
            weights = None
        return summand(cut(data.x), cut(data.y), weights)

    # The rows of a block are cut again, not kept, when a derivative is taken of the sum: X is never copied.
    recomputed = jax.checkpoint(block)

    def add(total: Summand, index: Array) -> tuple[Summand, None]:
        return jax.tree.map(jnp.add, total, recomputed(index)), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(block, jnp.int32(0)))
    return jax.lax.scan(add, zeros, jnp.arange(-(-rows // data.block), dtype=jnp.int32))[0]


def _platform(x: Array) -> str:
    """Where `x` is, or where a program that is being traced will run."""
    if not is_traced(x):
        return next(iter(x.devices())).platform
    chosen = jax.config.values["jax_default_device"]  # a device, the name of a platform, or None
    return getattr(chosen, "platform", chosen) or jax.default_backend()
