"""The damping of Newton's steps: trials that were no good are taken back and made shorter, whatever a head is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.heads.packing import along
from dlcore.linalg import vecdot

UNKNOWN = np.finfo(np.float64).max
"""A size before anything was measured: larger than any, and no infinity, which `jax.debug_infs` refuses."""
ARMIJO = 1e-4
"""A step must bring this share of the decrease that its slope promises."""
IDLE_AT_MOST = 6
"""So many passes in a row without progress: rounding decides, not the step."""


class State(NamedTuple):
    """State between two passes: each head's best place, the step from there, and the trial that is looked at next.

    Attributes:
      place: what a pass told there of each head: `value` J, (K,), `gradient` ∇J, (K, …), and what else is kept.
      least: the smallest size of a gap so far.
      idle: passes in a row without progress.
    """

    theta: Array
    trial: Array
    place: Any
    step: Array
    rate: Array
    least: Array
    idle: Array
    laps: Array
    active: Array
    flat: Array


def begin(theta: Array, nothing: Any, active: Array) -> State:
    """Return the state before the first pass; `nothing` has the shapes of what a pass tells."""
    heads = len(theta)
    step, least, zero = jnp.zeros_like(theta), jnp.full(heads, UNKNOWN, jnp.float64), jnp.zeros(heads, jnp.int32)
    return State(theta, theta, nothing, step, jnp.ones(heads), least, zero, zero, active, zero > 0)


def move(
    state: State,
    seen: Any,
    step: Array,
    noise: Callable[[Array], Array],
    judged: Callable[[Any, Array], tuple[Array, Array]],
    most: Array,
) -> State:
    """Return the state after a pass: a better trial is the new place, else the step becomes shorter.

    Args:
      state: of K heads.
      seen: what the pass at the trials tells, as `State.place`.
      step: shape (K, …), Newton's from there, which is subtracted.
      noise: (J) to what rounding may add to it.
      judged: (place, step) to the size of the gap there and whether that is good enough.
      most: shape (K,), the passes that each head may make.
    """
    first = state.laps == 0
    promised = state.rate * _inner(state.place.gradient, state.step)
    enough = seen.value <= state.place.value - ARMIJO * promised + noise(state.place.value)
    better = state.active & (first | enough)

    def where_better(new: Array, old: Array) -> Array:
        return jnp.where(along(better, new), new, old)

    place, step = jax.tree.map(where_better, (seen, step), (state.place, state.step))
    theta = where_better(state.trial, state.theta)
    rate = jnp.where(better, jnp.minimum(1.0, 4 * state.rate), state.rate / 4)
    size, flat = judged(place, step)
    progress = better & ((size < 0.9 * state.least) | first | (promised > 1e-9 * place.value))
    idle = jnp.where(progress, 0, state.idle + 1)
    laps = state.laps + state.active.astype(jnp.int32)
    usable = jnp.isfinite(step.reshape(len(step), -1)).all(1)
    return State(
        theta=theta,
        trial=theta - along(rate, step) * step,
        place=place,
        step=step,
        rate=rate,
        least=jnp.minimum(size, state.least),
        idle=idle,
        laps=laps,
        active=state.active & ~flat & (laps < most) & (idle < IDLE_AT_MOST) & usable,
        flat=jnp.where(state.active, flat, state.flat),
    )


def _inner(a: Array, b: Array) -> Array:
    return vecdot(a.reshape(len(a), -1), b.reshape(len(b), -1))
