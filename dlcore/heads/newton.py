"""Damped Newton for K heads, each with its own curvature: what always works."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from dlcore._core.types import Array
from dlcore.heads.damped import State, begin, move
from dlcore.heads.factors import factor, solve
from dlcore.heads.frame import Frame
from dlcore.heads.laps import Method
from dlcore.heads.slots import Place, Slots, Sums, gap_estimate, place_of, sums_at
from dlcore.linalg import vecdot
from dlcore.objective import BlockedData
from dlcore.objective.value_scale import value_scale

UNPENALISED = 1e-6
"""Where nothing proves the gap, the decrement is taken this much further: one more of Newton's steps."""


class Newton(NamedTuple):
    """State of K slots at their end.

    Attributes:
      theta: shape (K, m + 1), the best place that was looked at.
      ahead: where the next step would go: better yet where full steps are being taken, and never looked at.
      derivative: dθ/d ln λ of the optimum, as far as the curvature there tells.
      value: J at `theta`.
      curvature: of the data at `theta`.
      steps: passes made.
      wrong: how many rows are on the wrong side.
      flat: whether the gap was good enough.
    """

    theta: Array
    ahead: Array
    derivative: Array
    value: Array
    curvature: Array
    steps: Array
    wrong: Array
    flat: Array


class Given(NamedTuple):
    """Problem of Newton's method.

    Attributes:
      slots: K heads.
      frame: how rows are read.
      rough: whether the decrement stands for the gap: no bound, but no larger where λ is small.
    """

    slots: Slots
    frame: Frame
    rough: Any


def _start(given: Given) -> State:
    theta = jnp.asarray(given.slots.theta)
    heads, columns = theta.shape
    zero = jnp.zeros(heads, jnp.int32)
    curvature = jnp.zeros((heads, columns, columns))
    nothing = Place(jnp.zeros(heads), jnp.zeros_like(theta), curvature, zero, jnp.zeros(heads))
    return begin(theta, nothing, zero == 0)


def _look(curved: str, given: Given, state: State, data: BlockedData) -> Sums:
    return sums_at(given.slots, state.trial, data, given.frame, curved=jnp.dtype(curved), valued=True)


def _move(curved: str, given: Given, state: State, sums: Sequence[Sums]) -> State:
    slots, frame, _ = given
    seen = place_of(slots, state.trial, frame, sums)
    step = solve(factor(seen.curvature, slots.penalty, frame.intercept, curved), seen.gradient)

    def noise(value: Array) -> Array:
        return 8 * jnp.finfo(jnp.float64).eps * value

    def judged(place: Place, step: Array) -> tuple[Array, Array]:
        size, enough = _judged(given, place, step)
        # Curvature in float64 is for heads that float32 or a certificate has found too far.
        return size, enough & (state.laps > 0) if curved == "float64" else enough

    return move(state, seen, step, noise, judged, slots.steps)


def _judged(given: Given, place: Place, step: Array) -> tuple[Array, Array]:
    """Return about how large the gap is, and whether that is small enough."""
    slots, frame, rough = given
    penalised = slots.l2 > 0
    decrement = vecdot(place.gradient, step) / 2
    size = jnp.where(penalised & ~rough, gap_estimate(slots, frame, place.gradient), decrement)
    aim = slots.aim * jnp.where(penalised, 1.0, UNPENALISED)
    eps = float(jnp.finfo(jnp.float64).eps)
    enough = size <= aim * value_scale(place.value, place.penalty, slots.null_value, eps)
    return size, enough | (~penalised & (place.wrong == 0))


def _finish(curved: str, given: Given, state: State) -> Newton:
    slots, frame, _ = given
    theta, step, place = state.theta, state.step, state.place
    sure = (state.rate == 1) & jnp.isfinite(step).all(1)
    ahead = jnp.where(sure[:, None], theta - step, theta)
    factors = factor(place.curvature, slots.penalty, frame.intercept, curved)
    derivative = -solve(factors, slots.penalty * ahead)
    return Newton(theta, ahead, derivative, place.value, place.curvature, state.laps, place.wrong, state.flat)


def _newton(curved: str) -> Method:
    """Return Newton's method: one pass gives J, ∇J and the curvature of all heads at their trial points."""
    look, move, finish = (functools.partial(function, curved) for function in (_look, _move, _finish))
    return Method(_start, look, move, finish)


NEWTON = {curved: _newton(curved) for curved in ("float32", "float64")}
"""By the dtype of the products that the curvature is summed from; all else is float64."""
