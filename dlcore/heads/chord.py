"""Steps with a neighbour's curvature: a pass needs gradients alone, of as many heads as fit."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from dlcore._core.types import Array
from dlcore.heads.damped import UNKNOWN
from dlcore.heads.factors import Factors, factor, solve
from dlcore.heads.frame import Frame
from dlcore.heads.laps import Method
from dlcore.heads.slots import Slots, Sums, gap_estimate, place_of, sums_at
from dlcore.linalg import vecdot
from dlcore.objective import BlockedData

SLOWEST = 0.25
"""A step that does not bring the decrement below this share of the one before stops its head."""
EXPECTED = 1 / 30
"""What a first step is taken to bring the gap down to, at least: it is seldom above a hundredth. A certificate
follows, so that a head for which it was more costs another round, and no truth."""
MARGIN = 4.0
"""A later step is taken to bring down the gap as the one before did, but for this factor."""


class Given(NamedTuple):
    """Problem of the chord method.

    Attributes:
      slots: K heads, λ > 0.
      frame: how rows are read.
      anchors: shape (A, m + 1, m + 1), the data's curvature at neighbouring strengths, of products in float32.
      left: shape (K,), int32: j, the anchor at or below the strength.
      share: shape (K,): a, how far it is to the next.
    """

    slots: Slots
    frame: Frame
    anchors: Any
    left: Any
    share: Any


class State(NamedTuple):
    """State between two passes.

    Attributes:
      before: the place before `theta`.
      size, decrement: the gap and Newton's decrement before the last step; infinite before the first.
      factors: of each head's curvature.
    """

    theta: Array
    before: Array
    size: Array
    decrement: Array
    laps: Array
    flat: Array
    active: Array
    factors: Factors


class Chord(NamedTuple):
    """Result of K slots: the parameters, passes made, whether the gap is expected to be good enough."""

    theta: Array
    steps: Array
    flat: Array


def _start(given: Given) -> State:
    slots, frame, anchors, left, share = given
    weight = share[:, None, None]
    following = jnp.minimum(left + 1, len(anchors) - 1)
    between = (1 - weight) * anchors[left] + weight * anchors[following]
    factors = factor(between, slots.penalty, frame.intercept, jnp.float32)
    theta, zero = jnp.asarray(slots.theta), jnp.zeros(len(slots.l2), jnp.int32)
    unknown = jnp.full(len(slots.l2), UNKNOWN, jnp.float64)
    return State(theta, theta, unknown, unknown, zero, zero > 0, slots.steps > 0, factors)


def _look(given: Given, state: State, data: BlockedData) -> Sums:
    return sums_at(given.slots, state.theta, data, given.frame, curved=None, valued=False)


def _move(given: Given, state: State, sums: Sequence[Sums]) -> State:
    slots, frame = given.slots, given.frame
    theta, active, goal = state.theta, state.active, slots.aim * slots.scale
    gradient = place_of(slots, theta, frame, sums).gradient
    step = solve(state.factors, gradient)
    decrement, size = vecdot(gradient, step), gap_estimate(slots, frame, gradient)
    first = state.size >= UNKNOWN
    better = jnp.isfinite(step).all(1) & (first | (decrement < SLOWEST * state.decrement))
    flat = size <= goal
    ratio = jnp.where(first, EXPECTED, jnp.minimum(MARGIN * size / state.size, 1.0))
    arrives = better & (size * ratio <= goal)
    laps = state.laps + active.astype(jnp.int32)
    # Where a step was no good the place before it stands.
    place = jnp.where(
        (better & ~flat)[:, None], theta - step, jnp.where((better | flat)[:, None], theta, state.before)
    )
    ended = flat | arrives
    return State(
        theta=jnp.where(active[:, None], place, theta),
        before=jnp.where(active[:, None], theta, state.before),
        size=jnp.where(active, size, state.size),
        decrement=jnp.where(active, decrement, state.decrement),
        laps=laps,
        flat=state.flat | (active & ended),
        active=active & better & ~ended & (laps < slots.steps),
        factors=state.factors,
    )


def _finish(given: Given, state: State) -> Chord:
    del given
    return Chord(state.theta, state.laps, state.flat)


CHORD = Method(_start, _look, _move, _finish)
r"""Steps by $((1-a)H_j + aH_{j+1} + \Lambda)^{-1}\nabla J$ from the anchors' curvature.

The last step of a head is not looked at where the ones before it say that it arrives.
"""
