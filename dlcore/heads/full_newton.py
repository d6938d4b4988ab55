"""Damped Newton with the whole Hessian of a softmax head: where L-BFGS has no end and that is small."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core.types import Array
from dlcore.heads.damped import State, begin, move
from dlcore.heads.evaluate import ABSENT, Evaluation, HeadBatch, accumulate, finalize
from dlcore.heads.factors import factor, solve
from dlcore.heads.frame import Frame, about
from dlcore.heads.laps import Method
from dlcore.heads.packing import has_bit
from dlcore.heads.slots import intercept_gap
from dlcore.linalg import matmul, vecdot
from dlcore.objective import BlockedData, sum_over_blocks
from dlcore.objective.value_scale import value_scale


class Given(NamedTuple):
    """Problem of the full Newton method.

    Attributes:
      task: of b heads, λ > 0.
      theta: shape (b, K, m + 1), where they start.
      left: shape (b,), int32, the passes that each may make.
      frame: how rows are read.
    """

    task: HeadBatch
    theta: Any
    left: Any
    frame: Frame


class Seen(NamedTuple):
    """A pass at the trial points: J with its gradient, and the data's Hessian (b, K·(m + 1), K·(m + 1))."""

    place: Evaluation
    curvature: Any


class FullNewton(NamedTuple):
    """Result of b heads: the parameters, passes made, misclassified rows, whether the gap was good enough."""

    theta: Array
    steps: Array
    misclassified: Array
    flat: Array


def _start(given: Given) -> State:
    theta = jnp.asarray(given.theta)
    heads = len(theta)
    nothing = Evaluation(jnp.zeros(heads), jnp.zeros(heads), jnp.zeros_like(theta), jnp.zeros(heads, jnp.int32))
    return begin(theta, nothing, given.left > 0)


def _look(given: Given, state: State, data: BlockedData) -> Seen:
    task, frame = given.task, given.frame
    sums = accumulate(state.trial, task, data, frame, loss="softmax", dtype="float64")
    place = finalize(state.trial, task, [sums], frame)
    return Seen(place, curvature_at(state.trial, task, data, frame))


def curvature_at(theta: Array, task: HeadBatch, data: BlockedData, frame: Frame) -> Array:
    r"""The Hessian in float64, $\sum_i s_i (\mathrm{diag}(p_i) - p_i p_i^\top) \otimes x_i x_i^\top / S$."""
    heads, classes, columns = theta.shape

    def block(x: Array, y: Array, weights: Array | None) -> Array:
        assert weights is not None
        rows = about(x, frame, jnp.float64)
        rows = jnp.concatenate([rows, jnp.full((len(rows), 1), frame.intercept, rows.dtype)], axis=1)

        def of_head(one: tuple[Array, Array, Array]) -> Array:
            theta, bit, share = one
            scale = jnp.where(has_bit(y[:, 0], bit[None])[0], weights, 0.0)
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
    """Return Newton's step. A direction without curvature has no gradient, and gets any curvature."""
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
    (seen,) = sums
    task, frame = given.task, given.frame

    def noise(value: Array) -> Array:
        return 4 * jnp.finfo(jnp.float64).eps * (1 + value)

    def judged(place: Evaluation, step: Array) -> tuple[Array, Array]:
        del step
        size = _estimate_gap(place, task, frame.radius)
        eps = float(jnp.finfo(jnp.float64).eps)
        enough = size <= task.gap_tol * value_scale(place.value, place.penalty, task.null_value, eps)
        return size, enough & (state.laps > 0)  # who asks has found the place too far, by a certificate or L-BFGS

    return move(state, seen.place, _newton_step(given, seen), noise, judged, given.left)


def _estimate_gap(place: Evaluation, task: HeadBatch, radius: Array) -> Array:
    """Return the estimate of the duality bound that L-BFGS has, where λ > 0."""
    excess = place.gradient[..., -1]
    squares = place.gradient[..., :-1] ** 2 / task.ratio[:, None]
    slope = jnp.sqrt(squares.sum((1, 2))) + radius * jnp.sqrt(vecdot(excess, excess))
    share = jnp.where(task.share > 0, task.share, 1)
    return slope**2 / (2 * task.l2) + intercept_gap(excess, share, task.l2[:, None], radius).sum(1)


def _finish(given: Given, state: State) -> FullNewton:
    del given
    return FullNewton(state.theta, state.laps, state.place.misclassified, state.flat)


FULL_NEWTON = Method(_start, _look, _move, _finish)
"""One pass gives J, ∇J and the Hessian of all heads at their trial points; all rows in one part."""
