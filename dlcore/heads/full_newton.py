"""Damped Newton with the whole Hessian of a softmax head: where L-BFGS has no end and that is small."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore._types import Array
from dlcore.heads.factors import factor, solve
from dlcore.heads.frame import Frame, about
from dlcore.heads.laps import Method
from dlcore.heads.multinomial import ABSENT, Place, Task, look
from dlcore.heads.packing import along, has_bit
from dlcore.heads.quasi_newton import ARMIJO, gap_estimate
from dlcore.linalg import matmul, vecdot
from dlcore.objective import BlockedData, sum_over_blocks

IDLE_AT_MOST = 6
"""So many passes in a row without progress: rounding decides, not the step."""


class Given(NamedTuple):
    """What is solved.

    Attributes:
      task: of b heads, λ > 0.
      theta: shape (b, K, m + 1), where they start.
      left: shape (b,), int32, the passes that each may make.
      frame: how rows are read.
    """

    task: Task
    theta: Any
    left: Any
    frame: Frame


class Seen(NamedTuple):
    """A pass at the trial points: J with its gradient, and the data's Hessian (b, K·(m + 1), K·(m + 1))."""

    place: Place
    curvature: Any


class State(NamedTuple):
    """Between two passes: each head's best place, the step from there, and the trial that is looked at next.

    Attributes:
      least: the smallest estimate of the gap so far.
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


class FullNewton(NamedTuple):
    """Where b heads ended: the parameters, passes made, rows that are doubted, whether the gap was good enough."""

    theta: Array
    steps: Array
    doubted: Array
    flat: Array


def _start(given: Given) -> State:
    theta = jnp.asarray(given.theta)
    heads, classes, _ = theta.shape
    zero, infinite = jnp.zeros(heads, jnp.int32), jnp.full(heads, jnp.inf, jnp.float64)
    nothing = jnp.zeros_like(theta)
    place = Place(infinite, nothing, jnp.zeros((heads, classes)), zero)
    return State(theta, theta, place, nothing, jnp.ones(heads), infinite, zero, zero, given.left > 0, zero > 0)


def _look(given: Given, state: State, data: BlockedData) -> Seen:
    task, frame = given.task, given.frame
    place = look(state.trial, task, data, frame, jnp.dtype(jnp.float64))
    return Seen(place, curvature_at(state.trial, task, data, frame))


def curvature_at(theta: Array, task: Task, data: BlockedData, frame: Frame) -> Array:
    r"""The Hessian in float64, $\sum_i s_i (\mathrm{diag}(p_i) - p_i p_i^\top) \otimes x_i x_i^\top / S$."""
    heads, classes, columns = theta.shape

    def block(x: Array, y: Array, weights: Array | None) -> Array:
        assert weights is not None
        rows = about(x, frame, jnp.float64)
        rows = jnp.concatenate([rows, jnp.full((len(rows), 1), frame.intercept, rows.dtype)], axis=1)

        def of_head(one: tuple[Array, Array, Array]) -> Array:
            theta, bit, share = one
            scale = jnp.where(has_bit(y[:, 1], bit[None])[0], weights, 0.0)
            logit = matmul(rows, theta.T) + jnp.where(share > 0, 0.0, ABSENT)[None]
            p = jax.nn.softmax(logit, axis=1)
            own = jnp.eye(classes, dtype=bool)[None]
            # 1 − p would have no digits where p is near 1: it is the sum of the others.
            rest = jnp.where(own, 0.0, p[:, None, :]).sum(2)
            mixed = jnp.where(own, (p * rest)[:, :, None], -p[:, :, None] * p[:, None, :]) * scale[:, None, None]
            weighted = mixed[:, :, :, None] * rows[:, None, None, :]
            return matmul(weighted.reshape(len(rows), -1).T, rows)

        return jax.lax.map(of_head, (theta, task.bit, task.share))

    whole = sum_over_blocks(block, data).reshape(heads, classes, classes, columns, columns)
    size = classes * columns
    return whole.swapaxes(2, 3).reshape(heads, size, size) / task.total[:, None, None]


def _newton_step(given: Given, seen: Seen) -> Array:
    """What no row and no penalty curves gets a curvature: it has no gradient, so any will do."""
    task, frame = given.task, given.frame
    heads, classes, columns = seen.place.gradient.shape
    penalty = jnp.broadcast_to((task.l2[:, None] * task.ratio)[:, None], (heads, classes, columns - 1))
    free = jnp.where((task.share > 0) & (frame.intercept > 0), 0.0, 1.0)[..., None]
    diagonal = jnp.concatenate([penalty, free], axis=-1).reshape(heads, -1)
    last = jnp.tile(jnp.arange(columns) == columns - 1, classes)
    # The same added to all intercepts changes no probability.
    together = (last[:, None] & last[None]).astype(jnp.float64) / classes
    whole = seen.curvature + together[None] + jnp.eye(classes * columns)[None] * diagonal[:, None]
    factors = factor(whole, jnp.zeros_like(diagonal), jnp.ones(()), jnp.float64)
    return solve(factors, seen.place.gradient.reshape(heads, -1)).reshape(seen.place.gradient.shape)


def _move(given: Given, state: State, sums: Sequence[Seen]) -> State:
    """Where the trials were better they are the places from now on; else the step was too long."""
    (seen,) = sums
    task, first = given.task, state.laps == 0
    promised = state.rate * _inner(state.place.gradient, state.step)
    noise = 4 * jnp.finfo(jnp.float64).eps * (1 + seen.place.value)
    better = state.active & (first | (seen.place.value <= state.place.value - ARMIJO * promised + noise))
    place = jax.tree.map(lambda new, old: jnp.where(along(better, new), new, old), seen.place, state.place)
    step = jnp.where(along(better, state.step), _newton_step(given, seen), state.step)
    theta = jnp.where(along(better, step), state.trial, state.theta)
    rate = jnp.where(better, jnp.minimum(1.0, 4 * state.rate), state.rate / 4)
    size = gap_estimate(place, -step, task, given.frame.radius)
    flat = size <= task.goal * jnp.maximum(place.value, task.floor)
    progress = better & ((size < 0.9 * state.least) | first | (promised > 1e-9 * place.value))
    idle = jnp.where(progress, 0, state.idle + 1)
    laps = state.laps + state.active.astype(jnp.int32)
    usable = jnp.isfinite(step).all((1, 2))
    return State(
        theta=theta,
        trial=theta - rate[:, None, None] * step,
        place=place,
        step=step,
        rate=rate,
        least=jnp.minimum(size, state.least),
        idle=idle,
        laps=laps,
        active=state.active & ~flat & (laps < given.left) & (idle < IDLE_AT_MOST) & usable,
        flat=jnp.where(state.active, flat, state.flat),
    )


def _finish(given: Given, state: State) -> FullNewton:
    del given
    return FullNewton(state.theta, state.laps, state.place.doubted, state.flat)


def _inner(a: Array, b: Array) -> Array:
    return vecdot(a.reshape(len(a), -1), b.reshape(len(b), -1))


FULL_NEWTON = Method(_start, _look, _move, _finish)
"""One pass gives J, ∇J and the Hessian of all heads at their trial points; all rows in one part."""
