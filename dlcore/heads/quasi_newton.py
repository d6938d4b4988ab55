"""L-BFGS for many softmax heads at once, in one program: each has its own memory and its own step.

The program works on the first `size` slots, for one of a few sizes, until so many of them have ended that a
smaller size holds the others: heads that are done stop costing, and no shape depends on how many there are.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core.jit_cache import cached_jit
from dlcore._core.types import Array
from dlcore.heads.damped import UNKNOWN
from dlcore.heads.frame import Frame
from dlcore.heads.metric import Metric, invert
from dlcore.heads.multinomial import Place, Task, look
from dlcore.heads.packing import along
from dlcore.heads.slots import intercept_gap
from dlcore.linalg import vecdot
from dlcore.objective import BlockedData
from dlcore.objective.value_scale import value_scale

ARMIJO = 1e-4
"""A step must bring this share of the decrease that its slope promises."""
IDLE_AT_MOST = 30
"""So many passes in a row without progress: rounding decides, not the step."""
UNPENALISED = 1e-3
"""Where nothing proves the gap, the decrement is taken this much further."""


class Memory(NamedTuple):
    r"""The last h steps s of all slots and what they changed of the gradients, y; a ring.

    Attributes:
      step: shape (h, B, K·(m + 1)), float32, $s/\sqrt{s\cdot y}$, 0 where there is none.
      change: the same of y.
      written: how many have been written.
    """

    step: Any
    change: Any
    written: Any


class State(NamedTuple):
    """State of B heads.

    Attributes:
      task: what they minimise.
      theta: shape (B, K, m + 1).
      place: at theta; a value of infinity where nobody has looked yet.
      direction: shape (B, K, m + 1), of the next step.
      rate: shape (B,), its length.
      lowest: shape (B,), the smallest J so far.
      least: shape (B,), the smallest estimate of the gap so far.
      idle: shape (B,), int32, passes since the last progress.
      left: shape (B,), int32, the passes that it may still make.
      active: shape (B,).
      flat: shape (B,): the goal is met.
    """

    task: Task
    theta: Any
    place: Place
    direction: Any
    rate: Any
    lowest: Any
    least: Any
    idle: Any
    left: Any
    active: Any
    flat: Any


@cached_jit("sizes", "dtype")
def descend(
    state: State,
    memory: Memory,
    order: Array,
    source: Array,
    level: Array,
    data: BlockedData,
    metric: Metric,
    frame: Frame,
    *,
    sizes: tuple[int, ...],
    dtype: str,
) -> tuple[State, Memory]:
    """Takes the slots in the given order, with the memories of `source`, and lets `sizes[level]` of them descend.

    Args:
      state: B heads.
      memory: of B slots.
      order: shape (B,), int32, the ones that are active first.
      source: shape (B,), int32, whose memory each of them takes.
      level: an index of `sizes`.
      data: the rows.
      metric: what stands in for curvature.
      frame: how rows are read.
      sizes: ascending, the last is B.
      dtype: of the products.
    """
    state = jax.tree.map(lambda leaf: leaf[order], state)
    memory = Memory(memory.step[:, source], memory.change[:, source], memory.written)

    def of_size(size: int, enough: int):
        def run(state: State, memory: Memory) -> tuple[State, Memory]:
            few = jax.tree.map(lambda leaf: leaf[:size], state)
            past = Memory(memory.step[:, :size], memory.change[:, :size], memory.written)
            few, past = _descend(few, past, enough, data, metric, frame, jnp.dtype(dtype))
            state = jax.tree.map(lambda whole, part: whole.at[:size].set(part), state, few)
            step, change = (whole.at[:, :size].set(part) for whole, part in zip(memory[:2], past[:2], strict=True))
            return state, Memory(step, change, past.written)

        return run

    branches = [of_size(size, enough) for size, enough in zip(sizes, (0, *sizes), strict=False)]
    return jax.lax.switch(level, branches, state, memory)


def _descend(state, memory, enough, data, metric, frame, dtype) -> tuple[State, Memory]:
    """Until no more than `enough` are active; each turn is one pass over the rows."""
    eps = float(jnp.finfo(dtype).eps)

    def go_on(carry: tuple[State, Memory]) -> Array:
        return carry[0].active.sum(dtype=jnp.int32) > enough

    def go(carry: tuple[State, Memory]) -> tuple[State, Memory]:
        state, memory = carry
        task, place = state.task, state.place
        step = state.rate[:, None, None] * state.direction
        seen = look(state.theta + step, task, data, frame, dtype)
        before, after = _inner(place.gradient, step), _inner(seen.gradient, step)
        # J is convex: where the slope along the step has not turned round, J has not risen by more than noise.
        noise = 4 * eps * (1 + seen.value)
        lower = seen.value <= place.value + ARMIJO * before
        better = lower | ((seen.value <= place.value + noise) & (after <= -0.8 * before))
        better = state.active & better & jnp.isfinite(seen.gradient).all((1, 2))
        shorter = jnp.clip(jnp.nan_to_num(before / (before - after), nan=0.1), 0.1, 0.5)
        rate = jnp.where(better, 1.0, state.rate * shorter)
        memory = _remember(memory, step, seen.gradient - place.gradient, better)
        # Below the place alone would be no progress: rounding lets J rise and fall again for ever.
        fell = state.lowest - seen.value > 1e-2 * eps * seen.value
        theta = jnp.where(along(better, step), state.theta + step, state.theta)
        place = jax.tree.map(lambda new, old: jnp.where(along(better, new), new, old), seen, place)

        towards = _towards(memory, place, task, metric, frame, dtype)
        direction = jnp.where(along(better, towards), towards, state.direction)
        size = gap_estimate(place, direction, task, frame.radius)
        scale = value_scale(place.value, place.penalty, task.null_value, eps)
        flat = size <= task.goal * jnp.where(task.l2 > 0, 1.0, UNPENALISED) * scale
        flat |= (task.l2 == 0) & (place.doubted == 0)
        flat &= state.least < UNKNOWN  # who begins anew has been found too far, by another dtype or a certificate
        idle = jnp.where(better & (fell | (size < 0.9 * state.least)), 0, state.idle + 1)
        left = state.left - state.active.astype(jnp.int32)
        active = state.active & ~flat & (left > 0) & (idle < IDLE_AT_MOST)
        state = State(
            task,
            theta,
            place,
            direction,
            rate,
            jnp.where(better, jnp.minimum(seen.value, state.lowest), state.lowest),
            jnp.minimum(size, state.least),
            idle,
            left,
            active,
            jnp.where(state.active, flat, state.flat),
        )
        return state, memory

    return jax.lax.while_loop(go_on, go, (state, memory))


def gap_estimate(place: Place, direction: Array, task: Task, radius: Array) -> Array:
    r"""An estimate of the duality bound, its repair of the intercept replaced by what that does at most.

    Moving the mass of class k by the excess $g_k$ of its probabilities costs a divergence of about
    $g_k^2/\pi_k$, see `slots.intercept_gap`. Without a penalty there is no bound, and the decrement of the step
    stands in.
    """
    excess = place.gradient[..., -1]
    squares = place.gradient[..., :-1] ** 2 / task.ratio[:, None]
    slope = jnp.sqrt(squares.sum((1, 2))) + radius * jnp.sqrt((excess**2).sum(1))
    share = jnp.where(task.share > 0, task.share, 1)
    duality = slope**2 / (2 * jnp.where(task.l2 > 0, task.l2, 1))
    duality = duality + intercept_gap(excess, share, task.l2[:, None], radius).sum(1)
    return jnp.where(task.l2 > 0, duality, -_inner(place.gradient, direction) / 2)


def _remember(memory: Memory, step: Array, change: Array, better: Array) -> Memory:
    """Writes the pair of every slot that has made a step, and zeros for the others."""
    kept, heads, size = memory.step.shape
    along = _inner(step, change)
    least = float(jnp.finfo(jnp.float32).eps) * jnp.sqrt(_inner(step, step) * _inner(change, change))
    usable = better & (along > least)
    scale = jnp.where(usable, 1 / jnp.sqrt(jnp.where(usable, along, 1)), 0)[:, None]
    at = memory.written % kept

    def write(ring: Array, new: Array) -> Array:
        scaled = jnp.where(usable[:, None], scale * new.reshape(heads, size), 0)
        return jax.lax.dynamic_update_index_in_dim(ring, scaled.astype(ring.dtype), at, 0)

    written = memory.written + usable.any().astype(jnp.int32)
    return Memory(write(memory.step, step), write(memory.change, change), written)


def _towards(memory: Memory, place: Place, task: Task, metric: Metric, frame: Frame, dtype) -> Array:
    r"""The L-BFGS direction (two loops); the metric's inverse alone where that fails.

    The first guess is half the metric's inverse, half the identity, each scaled to the last pair: y·Hy = s·y.
    Where few rows hold all the curvature, as of nearly separable classes, the metric says little of it. Where the
    penalty is all the curvature of the weights, and none of the intercepts', the identity says nothing of either.

    Source: Nocedal and Wright, Numerical Optimization, section 7.2 (the identity's scale).
    """
    kept, heads, size = memory.step.shape
    count = jnp.minimum(memory.written, kept)
    shape = place.gradient.shape
    # The mean of p_k is the class's share at the optimum: no wider spread than this is wanted, nor much less.
    spread = jnp.clip(place.spread, 0.05 * task.share, task.share)

    def inverse(gradient: Array) -> Array:
        return invert(metric, gradient.reshape(shape), spread, task.l2, frame.intercept).reshape(heads, size)

    last = memory.change[(memory.written - 1) % kept].astype(dtype)
    there = (last != 0).any(1) & (task.l2 <= frame.radius**2)
    by_metric, by_identity = vecdot(last, inverse(last)), vecdot(last, last)
    by_metric, by_identity = (1 / jnp.where(there, part, 1) for part in (by_metric, by_identity))

    def first_guess(gradient: Array) -> Array:
        turned = inverse(gradient)
        mixed = 0.5 * (by_metric[:, None] * turned + by_identity[:, None] * gradient)
        return jnp.where(there[:, None], mixed, turned)

    def pair(age: Array) -> tuple[Array, Array]:
        at = (memory.written - 1 - age) % kept
        step, change = (jax.lax.dynamic_index_in_dim(ring, at, 0, False) for ring in memory[:2])
        return step.astype(dtype), change.astype(dtype)

    def back(age: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, shares = carry
        step, change = pair(age)
        share = vecdot(step, rest)
        return rest - share[:, None] * change, shares.at[age].set(share)

    def forth(turn: Array, rest: Array) -> Array:
        age = count - 1 - turn
        step, change = pair(age)
        return rest + (shares[age] - vecdot(change, rest))[:, None] * step

    gradient = place.gradient.astype(dtype).reshape(heads, size)
    rest, shares = jax.lax.fori_loop(0, count, back, (gradient, jnp.zeros((kept, heads), dtype)))
    direction = jax.lax.fori_loop(0, count, forth, first_guess(rest))
    # What the memory holds of a class that this fold has not goes nowhere.
    known = jnp.broadcast_to((task.share > 0)[..., None], shape).reshape(heads, size)
    direction = jnp.where(known, direction, 0)
    falls = ((direction * gradient).sum(1) > 0) & jnp.isfinite(direction).all(1)
    direction = jnp.where(falls[:, None], direction, inverse(gradient))
    return -direction.reshape(shape).astype(jnp.float64)


def _inner(a: Array, b: Array) -> Array:
    return vecdot(a.reshape(len(a), -1), b.reshape(len(b), -1))
