"""Damped Newton for K heads, each with its own curvature: what always works."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore._types import Array
from dlcore.heads.factors import factor, solve
from dlcore.heads.frame import Frame
from dlcore.heads.laps import Method
from dlcore.heads.packing import along
from dlcore.heads.slots import Place, Slots, Sums, gap_estimate, place_of, sums_at
from dlcore.linalg import vecdot
from dlcore.objective import BlockedData

ARMIJO = 1e-4
"""A step must bring this share of the decrease that its slope promises."""
UNPENALISED = 1e-6
"""Where nothing proves the gap, the decrement is taken this much further: one more of Newton's steps."""
IDLE_AT_MOST = 6
"""So many passes in a row without progress: rounding decides, not the step."""


class Newton(NamedTuple):
    """Where K slots ended.

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
    """What is solved.

    Attributes:
      slots: K heads.
      frame: how rows are read.
      rough: whether the decrement stands for the gap: no bound, but no larger where λ is small.
    """

    slots: Slots
    frame: Frame
    rough: Any


class State(NamedTuple):
    """Between two passes: each head's best place, the step from there, and the trial that is looked at next.

    Attributes:
      least: the smallest size of a gap so far.
      idle: passes in a row without progress.
    """

    theta: Array
    trial: Array
    place: Place
    step: Array
    rate: Array
    least: Array
    idle: Array
    laps: Array
    active: Array
    flat: Array


def _start(given: Given) -> State:
    theta = jnp.asarray(given.slots.theta)
    heads, columns = theta.shape
    nothing, zero = jnp.zeros(heads), jnp.zeros(heads, jnp.int32)
    place = Place(nothing, jnp.zeros_like(theta), jnp.zeros((heads, columns, columns)), zero)
    least, no = jnp.full(heads, jnp.inf, jnp.float64), zero > 0
    return State(theta, theta, place, jnp.zeros_like(theta), jnp.ones(heads), least, zero, zero, ~no, no)


def _look(curved: str, given: Given, state: State, data: BlockedData) -> Sums:
    return sums_at(given.slots, state.trial, data, given.frame, curved=jnp.dtype(curved), valued=True)


def _move(curved: str, given: Given, state: State, sums: Sequence[Sums]) -> State:
    """Where the trials were better they are the places from now on; else the step was too long."""
    slots, frame, _ = given
    first = state.laps == 0
    seen = place_of(slots, state.trial, frame, sums)
    promised = state.rate * vecdot(state.place.gradient, state.step)
    noise = 8 * jnp.finfo(jnp.float64).eps * state.place.value
    better = first | (state.active & (seen.value <= state.place.value - ARMIJO * promised + noise))
    place = jax.tree.map(lambda new, old: jnp.where(along(better, new), new, old), seen, state.place)
    theta = jnp.where(better[:, None], state.trial, state.theta)
    newton_step = solve(factor(place.curvature, slots.penalty, frame.intercept, curved), place.gradient)
    step = jnp.where(better[:, None], newton_step, state.step)
    rate = jnp.where(better, jnp.minimum(1.0, 4 * state.rate), state.rate / 4)
    size, flat = _judged(given, place, step)
    progress = better & ((size < 0.9 * state.least) | (promised > 1e-9 * place.value))
    idle = jnp.where(progress, 0, state.idle + 1)
    laps = state.laps + state.active.astype(jnp.int32)
    usable = jnp.isfinite(step).all(1)
    return State(
        theta=theta,
        trial=theta - rate[:, None] * step,
        place=place,
        step=step,
        rate=rate,
        least=jnp.minimum(size, state.least),
        idle=idle,
        laps=laps,
        active=state.active & ~flat & (laps < slots.steps) & (idle < IDLE_AT_MOST) & usable,
        flat=flat,
    )


def _judged(given: Given, place: Place, step: Array) -> tuple[Array, Array]:
    """About how large the gap is, and whether that will do."""
    slots, frame, rough = given
    penalised = slots.l2 > 0
    decrement = vecdot(place.gradient, step) / 2
    size = jnp.where(penalised & ~rough, gap_estimate(slots, frame, place.gradient), decrement)
    aim = slots.aim * jnp.where(penalised, 1.0, UNPENALISED)
    enough = size <= aim * jnp.maximum(place.value, slots.floor)
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
    """From trial to trial: one pass gives J, ∇J and the curvature of all heads at their trial points."""
    look, move, finish = (functools.partial(function, curved) for function in (_look, _move, _finish))
    return Method(_start, look, move, finish)


NEWTON = {curved: _newton(curved) for curved in ("float32", "float64")}
"""By the dtype of the products that the curvature is summed from; all else is float64."""
