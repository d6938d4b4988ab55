"""Steps and gradient changes that L-BFGS remembers on the device, and their products with new vectors.

The host decides from inner products alone (`lbfgs.py`). The device holds the vectors: a pass over the rows, these
two programs, and nothing else is compiled.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core.types import Array
from dlcore.heads.evaluate import HeadBatch, Sums, finalize
from dlcore.heads.frame import Frame
from dlcore.heads.packing import along
from dlcore.heads.preconditioner import Preconditioner, apply_inverse
from dlcore.heads.quick_jit import quick_jit
from dlcore.linalg import matmul, vecdot


class Rings(NamedTuple):
    r"""The last h pairs of B heads, each pair divided by $\sqrt{s \cdot y}$; 0 where there is none.

    Attributes:
      s: steps, shape (B, h, K·(m + 1)), float32.
      y: changes of the gradient, the same shape.
    """

    s: Any
    y: Any


class Point(NamedTuple):
    """Position of B heads.

    Attributes:
      theta: coefficients and intercepts, shape (B, K, m + 1).
      gradient: ∇J there, the same shape.
      direction: of the next step, the same shape.
      trial: the next point to evaluate, the same shape.
    """

    theta: Any
    gradient: Any
    direction: Any
    trial: Any


class Observation(NamedTuple):
    """Numbers of each head that the host needs after a pass; g is the gradient at the trial point.

    Attributes:
      value: J at the trial point, shape (B,).
      penalty: the part of J that the penalty adds.
      misclassified: number of rows.
      slope: g · direction.
      grad_norm: ‖g‖² of the coefficients, each divided by the factor of its column.
      grad_intercept: g of the intercepts, shape (B, K).
      usable: whether the pair was stored.
      g_g: g · g.
      g_hg: g · Hg, with the preconditioner H.
      s_g: products of all s with g, shape (B, h).
      s_y: products of all s with the new y.
      y_y: products of all y with the new y.
      y_hy: products of all y with H times the new y.
      y_g: products of all y with g.
      y_hg: products of all y with Hg.
      new: products of the new s, the new y and H times it with the gradient at the current point, shape (B, 3).
    """

    value: Any
    penalty: Any
    misclassified: Any
    slope: Any
    grad_norm: Any
    grad_intercept: Any
    usable: Any
    g_g: Any
    g_hg: Any
    s_g: Any
    s_y: Any
    y_y: Any
    y_hy: Any
    y_g: Any
    y_hg: Any
    new: Any


@quick_jit(donate_argnums=(0,))
def observe(
    rings: Rings,
    point: Point,
    shards: Sequence[Sums],
    batch: HeadBatch,
    frame: Frame,
    preconditioner: Preconditioner,
    line: tuple[Array, Array, Array],
) -> tuple[Rings, Array, Observation]:
    """Return the rings with the pair of the trial point, the gradient there, and the numbers for the host.

    Args:
      rings: pairs so far; the memory is reused.
      point: where the heads are.
      shards: sums of the pass at `point.trial`.
      batch: the heads.
      frame: the centering of the rows.
      preconditioner: H.
      line: the place of the pair in the rings; step sizes, shape (B,); which heads are active, shape (B,).
    """
    place, step_size, active = line
    heads = len(batch.l2)
    seen = finalize(point.trial, batch, shards, frame)

    def flat(array: Array) -> Array:
        return array.reshape(heads, -1)

    def inverse(array: Array) -> Array:
        shaped = array.reshape(seen.gradient.shape)
        return flat(apply_inverse(preconditioner, shaped, batch.share, batch.l2, frame.intercept))

    g, old = flat(seen.gradient), flat(point.gradient)
    s, y = step_size[:, None] * flat(point.direction), g - old
    s_y = vecdot(s, y)
    usable = active & (s_y > float(jnp.finfo(jnp.float32).eps) * vecdot(abs(s), abs(y)))
    scale = 1 / jnp.sqrt(jnp.where(usable, s_y, 1))
    s, y = (jnp.where(usable[:, None], scale[:, None] * pair, 0).astype(jnp.float32) for pair in (s, y))
    rings = Rings(
        jax.lax.dynamic_update_index_in_dim(rings.s, s, place, 1),
        jax.lax.dynamic_update_index_in_dim(rings.y, y, place, 1),
    )

    def wide(array: Array) -> Array:
        return array.astype(jnp.float64)

    h_y, h_g = inverse(wide(y)), inverse(g)

    def products(ring: Array, *vectors: Array) -> Array:
        narrow = jnp.stack([vector.astype(jnp.float32) for vector in vectors], axis=-1)
        return matmul(ring, narrow).astype(jnp.float64)

    with_s, with_y = products(rings.s, g, y), products(rings.y, y, h_y, g, h_g)
    slope_coef = seen.gradient[..., :-1] ** 2 / batch.ratio[:, None]
    return (
        rings,
        seen.gradient,
        Observation(
            value=seen.value,
            penalty=seen.penalty,
            misclassified=seen.misclassified,
            slope=vecdot(g, flat(point.direction)),
            grad_norm=slope_coef.sum((1, 2)),
            grad_intercept=seen.gradient[..., -1],
            usable=usable,
            g_g=vecdot(g, g),
            g_hg=vecdot(g, h_g),
            s_g=with_s[..., 0],
            s_y=with_s[..., 1],
            y_y=with_y[..., 0],
            y_hy=with_y[..., 1],
            y_g=with_y[..., 2],
            y_hg=with_y[..., 3],
            new=jnp.stack([vecdot(wide(s), old), vecdot(wide(y), old), vecdot(h_y, old)], axis=-1),
        ),
    )


class Combination(NamedTuple):
    """The next direction, −(Σ aᵢsᵢ + (κH + μI)(Σ bᵢyᵢ + g)), as coefficients for each head.

    Attributes:
      s: a, shape (B, h).
      y: b, shape (B, h).
      inverse: κ, shape (B,).
      identity: μ, shape (B,).
      renewed: whether a head takes this direction, shape (B,); else it keeps its own.
      accepted: whether a head moves to its trial point, shape (B,).
      step_size: of the next step, shape (B,).
    """

    s: Any
    y: Any
    inverse: Any
    identity: Any
    renewed: Any
    accepted: Any
    step_size: Any


@quick_jit()
def advance(
    rings: Rings,
    point: Point,
    trial_gradient: Array,
    combination: Combination,
    batch: HeadBatch,
    frame: Frame,
    preconditioner: Preconditioner,
) -> Point:
    """Return the point after the host's decision, with the next direction and trial."""
    accepted, renewed = (along(choice, point.theta) for choice in (combination.accepted, combination.renewed))
    theta = jnp.where(accepted, point.trial, point.theta)
    gradient = jnp.where(accepted, trial_gradient, point.gradient)

    def combined(coefficients: Array, vectors: Array) -> Array:
        total = matmul(coefficients[:, None].astype(jnp.float32), vectors)
        return total.astype(jnp.float64).reshape(theta.shape)

    inner = combined(combination.y, rings.y) + gradient
    turned = apply_inverse(preconditioner, inner, batch.share, batch.l2, frame.intercept)
    guess = along(combination.inverse, inner) * turned + along(combination.identity, inner) * inner
    direction = -(combined(combination.s, rings.s) + guess)
    # What the history holds of a class that this fold has not goes nowhere.
    direction = jnp.where((batch.share > 0)[..., None], direction, 0)
    direction = jnp.where(renewed, direction, point.direction)
    return Point(theta, gradient, direction, theta + along(combination.step_size, theta) * direction)


@quick_jit()
def select(rings: Rings, slots: Array) -> Rings:
    """Return the rings of the slots of these numbers."""
    return Rings(rings.s[slots], rings.y[slots])
