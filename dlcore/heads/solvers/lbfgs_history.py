"""Steps and gradient changes that L-BFGS keeps on the device, and their products with new vectors.

The host decides from inner products alone (`lbfgs.py`). The device holds the vectors. Three programs are compiled
besides the pass: `observe`, `advance` and `select_on_device`.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import AnyArray, Array
from dlcore.heads.data.batching import expand_to
from dlcore.heads.data.centering import Centering
from dlcore.heads.passes.evaluate import HeadBatch, Sums, finalize
from dlcore.heads.passes.products import inner, product
from dlcore.heads.quick_jit import QUICK, quick_jit
from dlcore.heads.solvers.preconditioner import Preconditioner, apply_inverse
from dlcore.objective.threads import threaded_program


class Rings(NamedTuple):
    r"""The last h pairs of B heads, each pair divided by $\sqrt{s \cdot y}$. Missing pairs are 0.

    Attributes:
      s: steps, shape (B, h, K·(m + 1)), float32.
      y: changes of the gradient, the same shape.
      h_y: the preconditioner H times y, the same shape.
    """

    s: AnyArray
    y: AnyArray
    h_y: AnyArray


class Constants(NamedTuple):
    """Problem of L-BFGS, the same at every step.

    Attributes:
      batch: the heads.
      centering: the centering of the rows.
      preconditioner: H.
    """

    batch: HeadBatch
    centering: Centering
    preconditioner: Preconditioner


class Point(NamedTuple):
    """Position of B heads.

    Attributes:
      theta: coefficients and intercepts, shape (B, K, m + 1).
      gradient: ∇J at `theta`, the same shape.
      preconditioned: H∇J at `theta`, the same shape.
      direction: the direction of the next step, the same shape.
      trial: the next point to evaluate, the same shape.
    """

    theta: AnyArray
    gradient: AnyArray
    preconditioned: AnyArray
    direction: AnyArray
    trial: AnyArray


class Gradient(NamedTuple):
    """Gradient of B heads at the trial point.

    Attributes:
      gradient: shape (B, K, m + 1).
      preconditioned: the preconditioner H times the gradient, the same shape.
    """

    gradient: AnyArray
    preconditioned: AnyArray


class Observation(NamedTuple):
    """Numbers of each head that the host needs after a pass; g is the gradient at the trial point.

    Attributes:
      value: J at the trial point, shape (B,).
      penalty: the part of J that the penalty adds.
      misclassified: number of misclassified rows.
      slope: g · direction.
      squared_grad_norm: ‖g‖² of the coefficients, each square divided by the factor of its column.
      grad_intercept: g of the intercepts, shape (B, K).
      is_stored: whether the pair was stored.
      g_g: g · g.
      g_hg: g · Hg, with the preconditioner H.
      s_g: products of all s with g, shape (B, h).
      s_y: products of all s with the new y.
      y_y: products of all y with the new y.
      y_hy: products of all y with H times the new y.
      y_g: products of all y with g.
      y_hg: products of all y with Hg.
      new: inner products of the new s, y and Hy with the gradient at the current point, before the host's
        decision, shape (B, 3).
    """

    value: AnyArray
    penalty: AnyArray
    misclassified: AnyArray
    slope: AnyArray
    squared_grad_norm: AnyArray
    grad_intercept: AnyArray
    is_stored: AnyArray
    g_g: AnyArray
    g_hg: AnyArray
    s_g: AnyArray
    s_y: AnyArray
    y_y: AnyArray
    y_hy: AnyArray
    y_g: AnyArray
    y_hg: AnyArray
    new: AnyArray

    def packed(self) -> Array:
        """Return all numbers side by side, shape (B, …), for one transfer."""
        return jnp.concatenate([jnp.atleast_2d(part.T).T.astype(jnp.float64) for part in self], axis=1)

    @classmethod
    def unpacked(cls, numbers: np.ndarray, pairs: int, outputs: int) -> "Observation":
        """Return the observation of packed numbers, for histories of that many pairs and that many logits."""
        widths = {"grad_intercept": outputs, "new": 3} | dict.fromkeys(PER_PAIR, pairs)
        parts, start = {}, 0
        for name in cls._fields:
            width = widths.get(name)
            parts[name] = numbers[:, start] if width is None else numbers[:, start : start + width]
            start += width or 1
        return cls(**parts | {"is_stored": parts["is_stored"] > 0})


PER_PAIR = ("s_g", "s_y", "y_y", "y_hy", "y_g", "y_hg")
"""Numbers of an observation for each pair."""


def observe_trial(
    rings: Rings,
    point: Point,
    shards: Sequence[Sums],
    constants: Constants,
    controls: AnyArray,
    xp: ModuleType = jnp,
) -> tuple[Rings, Gradient, Observation]:
    """Return the rings with the pair of the trial point, the gradient there, and what the host needs.

    H is linear: Hy = H∇J(trial) − H∇J(current), so that one product with H per pass is enough.

    Args:
      rings: pairs so far. The memory is reused.
      point: the position of the heads.
      shards: sums of the pass at `point.trial`.
      constants: the parts of the problem that are the same at every step.
      controls: for each head the step size, 1 if it is active, the place of the pair in the rings, and the number
        of places that have been written with it, shape (B, 4).
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    batch, centering, preconditioner = constants
    step_size, active, place = controls[:, 0], controls[:, 1] > 0, controls[0, 2].astype(xp.int32)
    heads = len(batch.l2)
    seen = finalize(point.trial, batch, shards, centering, xp)

    def flat(array: AnyArray) -> AnyArray:
        return array.reshape(heads, -1)

    preconditioned = apply_inverse(
        preconditioner, seen.gradient, batch.spread, batch.l2, centering.has_intercept, xp
    )
    g, h_g, old = flat(seen.gradient), flat(preconditioned), flat(point.gradient)
    s, y, h_y = step_size[:, None] * flat(point.direction), g - old, h_g - flat(point.preconditioned)
    s_y = inner(s, y, xp)
    is_stored = active & (s_y > float(xp.finfo(xp.float32).eps) * inner(abs(s), abs(y), xp))
    scale = 1 / xp.sqrt(xp.where(is_stored, s_y, 1))
    pair = [xp.where(is_stored[:, None], scale[:, None] * part, 0).astype(xp.float32) for part in (s, y, h_y)]
    rings = Rings(*(_with_row(ring, row, place, xp) for ring, row in zip(rings, pair, strict=True)))
    _, y, h_y = pair

    def wide(array: AnyArray) -> AnyArray:
        return array.astype(xp.float64)

    def products(ring: AnyArray, *vectors: AnyArray) -> AnyArray:
        narrow = xp.stack([vector.astype(xp.float32) for vector in vectors], axis=-1)
        return product(ring, narrow, xp).astype(xp.float64)

    with_s, with_y = products(rings.s, g, y), products(rings.y, y, h_y, g, h_g)
    coef_squares = seen.gradient[..., :-1] ** 2 / batch.ratio[:, None]
    return (
        rings,
        Gradient(seen.gradient, preconditioned),
        Observation(
            value=seen.value,
            penalty=seen.penalty,
            misclassified=seen.misclassified,
            slope=inner(g, flat(point.direction), xp),
            squared_grad_norm=coef_squares.sum((1, 2)),
            grad_intercept=seen.gradient[..., -1],
            is_stored=is_stored,
            g_g=inner(g, g, xp),
            g_hg=inner(g, h_g, xp),
            s_g=with_s[..., 0],
            s_y=with_s[..., 1],
            y_y=with_y[..., 0],
            y_hy=with_y[..., 1],
            y_g=with_y[..., 2],
            y_hg=with_y[..., 3],
            new=xp.stack([inner(wide(part), old, xp) for part in pair], axis=-1),
        ),
    )


class Combination(NamedTuple):
    """The next direction, −(Σ aᵢsᵢ + (κH + μI)(Σ bᵢyᵢ + g)), as coefficients for each head.

    Attributes:
      s: a, shape (B, h).
      y: b, shape (B, h).
      inverse_weight: κ, shape (B,).
      identity_weight: μ, shape (B,).
      renewed: whether a head takes this direction, shape (B,). Otherwise it keeps its last direction.
      accepted: whether a head moves to its trial point, shape (B,).
      step_size: the length of the next step, in units of the direction, shape (B,).
    """

    s: AnyArray
    y: AnyArray
    inverse_weight: AnyArray
    identity_weight: AnyArray
    renewed: AnyArray
    accepted: AnyArray
    step_size: AnyArray

    def packed(self) -> np.ndarray:
        """Return all numbers side by side, shape (B, 2·h + 5), for one transfer."""
        return np.concatenate([self.s, self.y, np.stack(self[2:], axis=1)], axis=1)

    @classmethod
    def unpacked(cls, numbers: AnyArray) -> "Combination":
        """Return the combination of packed numbers."""
        pairs = (numbers.shape[1] - 5) // 2
        inverse_weight, identity_weight, renewed, accepted, step_size = numbers[:, 2 * pairs :].T
        s, y = numbers[:, :pairs], numbers[:, pairs : 2 * pairs]
        return cls(s, y, inverse_weight, identity_weight, renewed > 0, accepted > 0, step_size)


def take_step(
    rings: Rings,
    point: Point,
    at_trial: Gradient,
    combination: Combination,
    constants: Constants,
    xp: ModuleType = jnp,
) -> Point:
    """Return the point after the host's decision, with the next direction and trial."""
    accepted, renewed = (expand_to(choice, point.theta) for choice in (combination.accepted, combination.renewed))
    theta = xp.where(accepted, point.trial, point.theta)
    gradient = xp.where(accepted, at_trial.gradient, point.gradient)
    preconditioned = xp.where(accepted, at_trial.preconditioned, point.preconditioned)

    def combined(coefficients: AnyArray, vectors: AnyArray) -> AnyArray:
        total = product(coefficients[:, None].astype(xp.float32), vectors, xp)
        return total.astype(xp.float64).reshape(theta.shape)

    weights = combination.inverse_weight, combination.identity_weight
    inverse_weight, identity_weight = (expand_to(weight, theta) for weight in weights)
    guess = inverse_weight * (combined(combination.y, rings.h_y) + preconditioned)
    guess += identity_weight * (combined(combination.y, rings.y) + gradient)
    direction = -(combined(combination.s, rings.s) + guess)
    # Coefficients of an absent class do not move.
    direction = xp.where((constants.batch.spread > 0)[..., None], direction, 0)
    direction = xp.where(renewed, direction, point.direction)
    trial = theta + expand_to(combination.step_size, theta) * direction
    return Point(theta, gradient, preconditioned, direction, trial)


@threaded_program(cpu_options=QUICK, donate_argnums=(0,))
def observe(
    rings: Rings, point: Point, shards: Sequence[Sums], constants: Constants, controls: Array
) -> tuple[Rings, Gradient, Array]:
    """Return what `observe_trial` returns, the `Observation` packed. The memory of the rings is reused."""
    rings, at_trial, seen = observe_trial(rings, point, shards, constants, controls)
    return rings, at_trial, seen.packed()


@threaded_program(cpu_options=QUICK)
def advance(rings: Rings, point: Point, at_trial: Gradient, numbers: Array, constants: Constants) -> Point:
    """Return what `take_step` returns for a packed `Combination`."""
    return take_step(rings, point, at_trial, Combination.unpacked(numbers), constants)


def _with_row(ring: AnyArray, row: AnyArray, place: AnyArray, xp: ModuleType) -> AnyArray:
    """Return a ring with a new row at a place, in the same memory."""
    if xp is jnp:
        return jax.lax.dynamic_update_index_in_dim(ring, row, place, 1)
    ring[:, place] = row
    return ring


@quick_jit()
def select_on_device(rings: Rings, slots: Array) -> Rings:
    """Return the rings of some slots, by index."""
    return Rings(*(ring[slots] for ring in rings))
