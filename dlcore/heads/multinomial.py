"""Sums over the rows for many softmax heads at once: value, slope and spread in one pass, and held-out scores."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core.jit_cache import cached_jit
from dlcore._core.types import Array
from dlcore.heads.frame import Frame, about
from dlcore.heads.packing import has_bit
from dlcore.linalg import matmul
from dlcore.objective import BlockedData, sum_over_blocks

ABSENT = -1e30
"""The intercept of a class that no row trains: its probability is 0, and no number is infinite."""


class Task(NamedTuple):
    """Problem of b heads of K classes.

    Attributes:
      l2: shape (b,).
      ratio: shape (b, m), what λ is multiplied by for each column.
      bit: shape (b,), uint32, the fit that each row's bits are asked for.
      total: shape (b,), the sum of the weights of its rows.
      share: shape (b, K), the part of each class in it.
      goal: shape (b,): stop where the estimate of the gap is below this share of `objective.value_scale`.
      null_value: shape (b,), J of the best constant prediction.
    """

    l2: Any
    ratio: Any
    bit: Any
    total: Any
    share: Any
    goal: Any
    null_value: Any


class Place(NamedTuple):
    r"""Evaluation of b heads by a pass over the rows.

    Attributes:
      value: shape (b,), J.
      gradient: shape (b, K, m + 1), the intercepts' part last.
      spread: shape (b, K), the mean of $p_k(1 - p_k)$.
      doubted: shape (b,), int32: rows of which the right class has no more than half the probability.
      penalty: shape (b,), the part of J that the penalty adds.
    """

    value: Any
    gradient: Any
    spread: Any
    doubted: Any
    penalty: Any


def look(theta: Array, task: Task, data: BlockedData, frame: Frame, dtype: jnp.dtype) -> Place:
    """One pass at theta (b, K, m + 1), about the centre: products in `dtype`, sums over blocks in float64."""
    heads, classes, columns = theta.shape
    weight = theta[..., :-1].reshape(-1, columns - 1).astype(dtype)
    bias = jnp.where(task.share > 0, frame.intercept * theta[..., -1], ABSENT).astype(dtype)

    def block(x: Array, y: Array, weights: Array | None) -> tuple[Array, ...]:
        assert weights is not None
        rows = about(x, frame, dtype)
        scale = jnp.where(has_bit(y[:, 1], task.bit), weights[None], 0.0).astype(dtype)
        logit = matmul(weight, rows.T).reshape(heads, classes, -1) + bias[:, :, None]
        own = (y[:, 0][None] == jnp.arange(classes, dtype=jnp.uint32)[:, None])[None]
        top = logit.max(1)
        power = jnp.exp(logit - top[:, None])
        right = jnp.where(own, power, 0).sum(1)
        rest = jnp.where(own, 0, power).sum(1)
        whole = rest + right
        loss = jnp.log(whole) + top - jnp.where(own, logit, 0).sum(1)
        # What the right class lacks is the sum of the others: 1 − p would have no digits where p is near 1.
        share = (scale / whole)[:, None]
        residual = jnp.where(own, -rest[:, None], power) * share
        ones = jnp.ones(len(rows), dtype)  # a product sums along a row faster than a sum does
        spread = matmul(power * share * (1 - power / whole[:, None]), ones)
        slope = matmul(residual.reshape(heads * classes, -1), rows)
        doubted = ((scale > 0) & (rest >= right)).sum(1, dtype=jnp.int32)
        total = (scale.astype(jnp.float64) * loss.astype(jnp.float64)).sum(1)
        sums = (slope, matmul(residual, ones), spread)
        return total, *(part.astype(jnp.float64) for part in sums), doubted

    loss, slope, excess, spread, doubted = sum_over_blocks(block, data)
    slope = slope.reshape(heads, classes, -1) / task.total[:, None, None]
    excess = frame.intercept * excess / task.total[:, None]
    penalised = task.ratio[:, None] * theta[..., :-1]
    penalty = task.l2 / 2 * (penalised * theta[..., :-1]).sum((1, 2))
    slope = slope + task.l2[:, None, None] * penalised
    gradient = jnp.concatenate([slope, excess[..., None]], axis=-1)
    return Place(loss / task.total + penalty, gradient, spread / task.total[:, None], doubted, penalty)


@cached_jit()
def held_out(theta: Array, bit: Array, data: BlockedData, frame: Frame) -> tuple[Array, Array]:
    """Sums over the rows that each head is scored on: weight times loss, weight of what is predicted right."""
    heads, classes, columns = theta.shape
    weight, bias = theta[..., :-1].reshape(-1, columns - 1), frame.intercept * theta[..., -1]

    def block(x: Array, y: Array, weights: Array | None) -> tuple[Array, Array]:
        assert weights is not None
        rows = about(x, frame, jnp.float64)
        scale = jnp.where(has_bit(y[:, 2], bit), weights[None], 0.0)
        logit = matmul(weight, rows.T).reshape(heads, classes, -1) + bias[:, :, None]
        own = (y[:, 0][None] == jnp.arange(classes, dtype=jnp.uint32)[:, None])[None]
        loss = jax.nn.logsumexp(logit, axis=1) - jnp.where(own, logit, 0).sum(1)
        right = logit.argmax(1).astype(jnp.uint32) == y[:, 0][None]
        return jnp.where(scale > 0, scale * loss, 0.0).sum(1), jnp.where(right, scale, 0.0).sum(1)

    return sum_over_blocks(block, data)
