"""Damped Newton for K heads, each with its own curvature: what always works."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore._types import Array
from dlcore.heads.factors import factor, solve
from dlcore.heads.frame import Frame
from dlcore.heads.packing import along
from dlcore.heads.slots import Place, Slots, gap_estimate, look
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


@functools.partial(jax.jit, static_argnames="curved")
def newton(slots: Slots, data: BlockedData, frame: Frame, rough: Array, *, curved: str) -> Newton:
    """From trial to trial: one pass gives J, ∇J and the curvature of all slots at their trial points.

    Args:
      slots: K heads.
      data: see `look`.
      frame: how rows are read.
      rough: whether the decrement stands for the gap: no bound, but no larger where λ is small.
      curved: the dtype of curvature and factors; gradients are float64.
    """

    def seen_at(theta: Array) -> Place:
        return look(slots, theta, data, frame, curved=jnp.dtype(curved), valued=True)

    def direction(place: Place) -> Array:
        return solve(factor(place.curvature, slots.penalty, frame.intercept), place.gradient)

    def judged(place: Place, step: Array) -> tuple[Array, Array]:
        penalised = slots.l2 > 0
        decrement = vecdot(place.gradient, step) / 2
        size = jnp.where(penalised & ~rough, gap_estimate(slots, frame, place.gradient), decrement)
        aim = slots.aim * jnp.where(penalised, 1.0, UNPENALISED)
        enough = size <= aim * jnp.maximum(place.value, slots.floor)
        return size, enough | (~penalised & (place.wrong == 0))

    def go_on(state) -> Array:
        return state["active"].any()

    def go(state):
        theta, place, step, rate = state["theta"], state["place"], state["step"], state["rate"]
        trial = theta - rate[:, None] * step
        seen = seen_at(trial)
        promised = rate * vecdot(place.gradient, step)
        noise = 8 * jnp.finfo(jnp.float64).eps * place.value
        better = state["active"] & (seen.value <= place.value - ARMIJO * promised + noise)
        place = jax.tree.map(lambda new, old: jnp.where(along(better, new), new, old), seen, place)
        theta = jnp.where(better[:, None], trial, theta)
        step = jnp.where(better[:, None], direction(place), step)
        rate = jnp.where(better, jnp.minimum(1.0, 4 * rate), rate / 4)
        size, flat = judged(place, step)
        progress = better & ((size < 0.9 * state["least"]) | (promised > 1e-9 * place.value))
        idle = jnp.where(progress, 0, state["idle"] + 1)
        count = state["count"] + state["active"].astype(jnp.int32)
        usable = jnp.isfinite(step).all(1)
        active = state["active"] & ~flat & (count < slots.steps) & (idle < IDLE_AT_MOST) & usable
        return {
            "theta": theta,
            "place": place,
            "step": step,
            "rate": rate,
            "least": jnp.minimum(size, state["least"]),
            "idle": idle,
            "count": count,
            "active": active,
            "flat": flat,
        }

    place = seen_at(slots.theta)
    step = direction(place)
    size, flat = judged(place, step)
    count = jnp.ones(len(slots.l2), jnp.int32)
    start = {
        "theta": slots.theta,
        "place": place,
        "step": step,
        "rate": jnp.ones_like(slots.l2),
        "least": size,
        "idle": jnp.zeros_like(count),
        "count": count,
        "active": ~flat & (count < slots.steps) & jnp.isfinite(step).all(1),
        "flat": flat,
    }
    end = jax.lax.while_loop(go_on, go, start)
    place, theta, step = end["place"], end["theta"], end["step"]
    sure = (end["rate"] == 1) & jnp.isfinite(step).all(1)
    ahead = jnp.where(sure[:, None], theta - step, theta)
    derivative = -solve(factor(place.curvature, slots.penalty, frame.intercept), slots.penalty * ahead)
    return Newton(theta, ahead, derivative, place.value, place.curvature, end["count"], place.wrong, end["flat"])
