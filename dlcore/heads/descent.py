"""Many logistic heads at once: safeguarded Newton steps, all slots in one pass over the rows.

A slot is one head: its strength, its fold (a bit) and its parameters. Settings are data, so that any number of
heads runs the same two programs, a few slots at a time: `newton` with each slot's own curvature, and `chord`,
whose steps need gradients alone because the curvature is a neighbour's.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore._types import Array
from dlcore.linalg import matmul, vecdot
from dlcore.objective import BlockedData, sum_over_blocks

ARMIJO = 1e-4
"""A step must bring this share of the decrease that its slope promises."""
UNPENALISED = 1e-6
"""Where nothing proves the gap, the decrement is taken this much further: one more of Newton's steps."""
IDLE_AT_MOST = 6
"""So many passes in a row without progress: rounding decides, not the step."""


class Slots(NamedTuple):
    """K heads that are fitted together.

    Attributes:
      theta: shape (K, m + 1), weights and, last, the intercept.
      l2: shape (K,).
      bit: shape (K,), uint32, the fit that each row's bits are asked for.
      total: shape (K,), the sum of the weights of its rows.
      accuracy: shape (K,): stop where the estimate of the gap is below this share of max(J, floor).
      floor: shape (K,).
      steps: shape (K,), int32: the passes that this slot may make; 0 for a slot that stands empty.
    """

    theta: Array
    l2: Array
    bit: Array
    total: Array
    accuracy: Array
    floor: Array
    steps: Array


class Place(NamedTuple):
    """What a pass over the rows tells of K heads: J, ∇J, the data's part of ∇²J, how many rows are wrong."""

    value: Array
    gradient: Array
    curvature: Array
    wrong: Array


class Descended(NamedTuple):
    """Where K slots ended: parameters, the data's curvature, passes made, rows on the wrong side, flat or not."""

    theta: Array
    curvature: Array
    steps: Array
    wrong: Array
    flat: Array


@functools.partial(jax.jit, static_argnames="curved")
def newton(slots: Slots, data: BlockedData, intercept: Array, radius: Array, *, curved: str) -> Descended:
    """Damped Newton; `curved` is the dtype of curvature and factors, gradients are float64."""

    def direction(place: Place) -> Array:
        return _solve(_factor(place.curvature, slots.l2, intercept), place.gradient)

    return _descend(slots, data, intercept, radius, direction, jnp.dtype(curved))


@jax.jit
def chord(
    slots: Slots, data: BlockedData, intercept: Array, radius: Array, anchors: Array, left: Array, share: Array
) -> Descended:
    r"""Steps $(1-a)H_j + aH_{j+1} + \lambda I$ from the anchors' curvature: no slot forms its own.

    Args:
      slots: K heads.
      data: the rows.
      intercept: 1 or 0.
      radius: root of the mean squared length of a row.
      anchors: shape (A, m + 1, m + 1), the data's curvature at neighbouring strengths.
      left: shape (K,), int32: j.
      share: shape (K,): a.
    """
    weight = share.astype(anchors.dtype)[:, None, None]
    factor = _factor((1 - weight) * anchors[left] + weight * anchors[left + 1], slots.l2, intercept)

    def direction(place: Place) -> Array:
        return _solve(factor, place.gradient)

    return _descend(slots, data, intercept, radius, direction, None)


def _descend(slots, data, intercept, radius, direction, curved) -> Descended:
    """From trial to trial: one pass over the rows gives J and ∇J of all slots at their trial points."""
    features = slots.theta.shape[1] - 1

    def look(theta: Array) -> Place:
        return _evaluate(slots, theta, data, intercept, curved)

    def gap(place: Place, step: Array) -> Array:
        # The duality bound, its repair of the intercept replaced by a bound on what it does to the slope;
        # without a penalty there is none, and the decrement of Newton's step stands in.
        slope = jnp.sqrt((place.gradient[:, :features] ** 2).sum(1)) + radius * jnp.abs(
            place.gradient[:, features]
        )
        duality = slope**2 / (2 * jnp.where(slots.l2 > 0, slots.l2, 1))
        return jnp.where(slots.l2 > 0, duality, vecdot(place.gradient, step) / 2)

    def judged(place: Place, step: Array) -> tuple[Array, Array]:
        size = gap(place, step)
        aim = slots.accuracy * jnp.where(slots.l2 > 0, 1.0, UNPENALISED)
        enough = size <= aim * jnp.maximum(place.value, slots.floor)
        return size, enough | ((slots.l2 == 0) & (place.wrong == 0))

    def go_on(state) -> Array:
        return state["active"].any()

    def go(state):
        theta, place, step, rate = state["theta"], state["place"], state["step"], state["rate"]
        trial = theta - rate[:, None] * step
        seen = look(trial)
        promised = rate * vecdot(place.gradient, step)
        noise = 8 * jnp.finfo(jnp.float64).eps * place.value
        better = state["active"] & (seen.value <= place.value - ARMIJO * promised + noise)
        place = jax.tree.map(lambda new, old: jnp.where(_along(better, new), new, old), seen, place)
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

    place = look(slots.theta)
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
    place = end["place"]
    return Descended(end["theta"], place.curvature, end["count"], place.wrong, end["flat"])


def _evaluate(slots: Slots, theta: Array, data: BlockedData, intercept: Array, curved) -> Place:
    r"""J and ∇J in float64; where `curved` is a dtype, the data's curvature in it.

    That is $\frac1S\sum_i s_ip_i(1-p_i)\tilde x_i\tilde x_i^\top$, where $\tilde x$ is x with a last entry 1, or 0
    where there is no intercept.
    """
    heads, columns = theta.shape

    def block(x: Array, y: Array, weights: Array | None) -> tuple[Array, ...]:
        assert weights is not None
        rows = x.astype(jnp.float64)
        last = jnp.broadcast_to(intercept, (len(rows), 1))
        rows = jnp.concatenate([rows, last], axis=1)
        chosen = _bit_of(y[:, 1], slots.bit)
        weight = jnp.where(chosen, weights[None], 0.0)
        sign = jnp.where(y[:, 0] == 1, 1.0, -1.0)
        margin = sign[None] * matmul(theta, rows.T)
        tail = jnp.exp(-jnp.abs(margin))
        other = jnp.where(margin > 0, tail, 1.0) / (1 + tail)  # the other class's probability
        loss = (weight * (jnp.maximum(-margin, 0) + jnp.log1p(tail))).sum(1)
        residual = -weight * other * sign[None]
        missed = ((weight > 0) & (margin <= 0)).sum(1, dtype=jnp.int32)
        if curved is None:
            return loss, matmul(residual, rows), jnp.zeros((heads, 0, 0)), missed
        narrow = rows.astype(curved)
        curve = (weight * other * (1 - other)).astype(curved)
        return loss, matmul(residual, rows), matmul(narrow.T[None] * curve[:, None, :], narrow), missed

    loss, slope, curvature, missed = sum_over_blocks(block, data)
    penalty = jnp.concatenate(
        [jnp.broadcast_to(slots.l2[:, None], (heads, columns - 1)), jnp.zeros((heads, 1))], 1
    )
    value = loss / slots.total + (penalty * theta**2).sum(1) / 2
    gradient = slope / slots.total[:, None] + penalty * theta
    curvature = curvature / slots.total.astype(curvature.dtype)[:, None, None]
    return Place(value, gradient, curvature, missed)


def _factor(curvature: Array, l2: Array, intercept: Array) -> Array:
    """Cholesky factors of curvature + λI, the intercept without λ."""
    size = curvature.shape[-1]
    dtype = curvature.dtype
    penalty = jnp.broadcast_to(l2.astype(dtype)[:, None], (len(l2), size))
    is_last = jnp.arange(size) == size - 1
    free = jnp.where(intercept > 0, 0.0, 1.0).astype(dtype)  # without an intercept its row is that of I
    penalty = jnp.where(is_last[None], free, penalty)
    # Rounding may leave the smallest eigenvalue below 0 by this much.
    mean = jnp.trace(curvature, axis1=-2, axis2=-1)[:, None] * jnp.asarray(4 * jnp.finfo(dtype).eps, dtype)
    return jnp.linalg.cholesky(curvature + jnp.eye(size, dtype=dtype)[None] * (penalty + mean)[:, None, :])


def _solve(factor: Array, gradient: Array) -> Array:
    solved = jax.scipy.linalg.cho_solve((factor, True), gradient.astype(factor.dtype)[..., None])[..., 0]
    return solved.astype(gradient.dtype)


def _bit_of(bits: Array, bit: Array) -> Array:
    """Shape (K, n): whether that bit of each row is set."""
    return ((bits[None] >> bit[:, None]) & jnp.uint32(1)).astype(bool)


def _along(choice: Array, leaf: Array) -> Array:
    return choice.reshape(choice.shape + (1,) * (leaf.ndim - 1))


@jax.jit
def spread(data: BlockedData) -> Array:
    """Root of the mean squared length of a row of positive weight."""

    def block(x: Array, y: Array, weights: Array | None) -> tuple[Array, Array]:
        del y
        assert weights is not None
        return vecdot(weights, (x.astype(jnp.float64) ** 2).sum(1)), weights.sum()

    square, total = sum_over_blocks(block, data)
    return jnp.sqrt(square / total)


@jax.jit
def held_out(slots: Slots, data: BlockedData, intercept: Array) -> tuple[Array, Array]:
    """Sums over the rows that each slot is scored on: weight times loss, weight of what is predicted right."""

    def block(x: Array, y: Array, weights: Array | None) -> tuple[Array, Array]:
        assert weights is not None
        rows = x.astype(jnp.float64)
        logit = matmul(slots.theta[:, :-1], rows.T) + intercept * slots.theta[:, -1:]
        chosen = _bit_of(y[:, 2], slots.bit)
        weight = jnp.where(chosen, weights[None], 0.0)
        margin = jnp.where(y[:, 0] == 1, 1.0, -1.0)[None] * logit
        right = jnp.where((y[None, :, 0] == 1) == (logit > 0), weight, 0.0)
        loss = jnp.maximum(-margin, 0) + jnp.log1p(jnp.exp(-jnp.abs(margin)))
        return (weight * loss).sum(1), right.sum(1)

    return sum_over_blocks(block, data)
