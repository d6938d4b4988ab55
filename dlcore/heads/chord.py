"""Steps with a neighbour's curvature: a pass needs gradients alone, of as many heads as fit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore._types import Array
from dlcore.heads.factors import factor, solve
from dlcore.heads.frame import Frame
from dlcore.heads.slots import Slots, gap_estimate, look
from dlcore.linalg import vecdot
from dlcore.objective import BlockedData

SLOWEST = 0.25
"""A step that does not bring the decrement below this share of the one before stops its head."""
EXPECTED = 1 / 30
"""What a first step is taken to bring the gap down to, at least: it is seldom above a hundredth. A certificate
follows, so that a head for which it was more costs another round, and no truth."""
MARGIN = 4.0
"""A later step is taken to bring down the gap as the one before did, but for this factor."""


class Chord(NamedTuple):
    """Where K slots ended: the parameters, passes made, whether the gap is expected to be good enough."""

    theta: Array
    steps: Array
    flat: Array


@jax.jit
def chord(slots: Slots, data: BlockedData, frame: Frame, anchors: Array, left: Array, share: Array) -> Chord:
    r"""Steps by $((1-a)H_j + aH_{j+1} + \Lambda)^{-1}\nabla J$ from the anchors' curvature.

    The last step of a head is not looked at where the ones before it say that it arrives.

    Args:
      slots: K heads, λ > 0; `floor` is what J will be, or more.
      data: see `look`.
      frame: how rows are read.
      anchors: shape (A, m + 1, m + 1), the data's curvature at neighbouring strengths.
      left: shape (K,), int32: j.
      share: shape (K,): a.
    """
    weight = share.astype(anchors.dtype)[:, None, None]
    following = jnp.minimum(left + 1, len(anchors) - 1)
    between = (1 - weight) * anchors[left] + weight * anchors[following]
    factors = factor(between, slots.penalty, frame.intercept)
    goal = slots.aim * slots.floor

    def go_on(state) -> Array:
        return state["active"].any()

    def go(state):
        theta, active = state["theta"], state["active"]
        gradient = look(slots, theta, data, frame, curved=None, valued=False).gradient
        step = solve(factors, gradient)
        decrement, size = vecdot(gradient, step), gap_estimate(slots, frame, gradient)
        first = jnp.isinf(state["size"])
        better = jnp.isfinite(step).all(1) & (first | (decrement < SLOWEST * state["decrement"]))
        flat = size <= goal
        ratio = jnp.where(first, EXPECTED, jnp.minimum(MARGIN * size / state["size"], 1.0))
        arrives = better & (size * ratio <= goal)
        moved = theta - step
        count = state["count"] + active.astype(jnp.int32)
        # Where a step was no good the place before it stands.
        place = jnp.where(
            (better & ~flat)[:, None], moved, jnp.where((better | flat)[:, None], theta, state["before"])
        )
        ended = flat | arrives
        return {
            "theta": jnp.where(active[:, None], place, theta),
            "before": jnp.where(active[:, None], theta, state["before"]),
            "size": jnp.where(active, size, state["size"]),
            "decrement": jnp.where(active, decrement, state["decrement"]),
            "count": count,
            "flat": state["flat"] | (active & ended),
            "active": active & better & ~ended & (count < slots.steps),
        }

    nothing = jnp.zeros(len(slots.l2), jnp.int32)
    start = {
        "theta": slots.theta,
        "before": slots.theta,
        "size": jnp.full(len(slots.l2), jnp.inf),
        "decrement": jnp.full(len(slots.l2), jnp.inf),
        "count": nothing,
        "flat": nothing > 0,
        "active": slots.steps > 0,
    }
    end = jax.lax.while_loop(go_on, go, start)
    return Chord(end["theta"], end["count"], end["flat"])
