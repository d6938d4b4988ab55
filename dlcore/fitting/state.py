"""State of a fit: the state of the compiled loop, its history, and both together as the progress."""

from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import optax

from dlcore._core.types import Array, Params

PyTree: TypeAlias = Any
"""A pytree of arrays. Its structure depends on the optimizer, or on the caller's function `record`."""


class LoopState(NamedTuple):
    """State of the loop between two calls. Checkpoints contain the names of its fields.

    Attributes:
      step: number of updates.
      code: `stopping.RUNNING`, or the reason why the loop ended.
      params: the parameters after `step` updates.
      optimizer: the state of the optimizer.
      value: J at the last evaluation. After the loop has ended, that is J at `params`. While the loop runs, it is
        J before the last update. With minibatches, it is J at the start of the epoch.
      gradient_norm: ‖∇J‖ at the last evaluation.
      first_value: J at the start.
      first_gradient_norm: ‖∇J‖ at the start.
      order: the order of the batches in this epoch. None without minibatches.
    """

    step: Array
    code: Array
    params: Params
    optimizer: optax.OptState
    value: Array
    gradient_norm: Array
    first_value: Array
    first_gradient_norm: Array
    order: Array | None = None


class HistoryBuffers(NamedTuple):
    """History of one call of the loop, with an entry for each evaluation of J.

    The loop fills buffers of shape (capacity, ...) from the front. On the host they are cut to their entries.
    """

    value: Array
    gradient_norm: Array
    recorded: PyTree


class LoopProgress(NamedTuple):
    """State of a fit between two calls of the loop, with the history up to that state."""

    state: LoopState
    histories: list[HistoryBuffers]


def first_entries(buffers: HistoryBuffers, count: int) -> HistoryBuffers:
    """Return a copy of the first `count` entries of the buffers, on the host."""
    return jax.tree.map(lambda buffer: np.array(np.asarray(buffer)[:count]), buffers)


def concatenate(histories: list[HistoryBuffers]) -> HistoryBuffers:
    """Return the history of all calls of the loop."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *histories)
