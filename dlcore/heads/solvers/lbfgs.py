"""L-BFGS for many linear heads at once. The host decides; passes run on a device or by NumPy.

Each head has its own history and step size. All inner products of an iteration come in one transfer. The direction
is a combination of stored vectors, and the host computes the coefficients in float64. The line search of
`minimize` has the Armijo condition, or the approximate Wolfe condition if rounding hides the decrease.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlcore._core.types import AnyArray
from dlcore.devices import to_device
from dlcore.heads.solvers.gap_estimate import estimate_gap
from dlcore.heads.solvers.lbfgs_history import Combination, Observation, Rings, select_on_device
from dlcore.heads.solvers.lbfgs_vectors import DeviceVectors, HostVectors, Options, Problem
from dlcore.objective.value_scale import value_scale

ARMIJO = 1e-4
"""The Armijo constant: a step must achieve this fraction of the decrease that the slope predicts."""
LONGEST_STEP = 2.0
"""A step is at most this multiple of J/|slope|, because J ≥ 0.

A quadratic of this value and slope that is nowhere negative has its minimum within 2·J/|slope|. A longer step
comes from pairs that know too little of the curvature.
Source: Fletcher, Practical Methods of Optimization, 1987, section 2.6 (a step bounded by a lower bound of J).
"""
STALLED_STEPS = 30
"""A head stops after this many consecutive passes without progress: rounding then dominates."""
UNPENALISED = 1e-3
"""Factor of the tolerance at λ = 0, where the estimate of the gap is half the Newton decrement and is no bound."""
LEAST_VARIANCE = 1e-3
"""Added to the variances of ln(yᵀHy) and ln(yᵀy): smaller variances do not change the weights."""
UNKNOWN = np.finfo(np.float64).max / 2
"""Stands for an unknown value or gap. It is finite, because `jax.debug_infs` refuses infinity."""


@dataclasses.dataclass
class History:
    """The pairs of B slots, with their inner products on the host.

    Attributes:
      rings: the vectors, on the host or on the device.
      inverse: the inverse of the products of each s with the same and later y, shape (B, h, h), by place in the
        rings; 0 at missing pairs.
      products: products of y with H times y, and of y, shape (2, B, h, h).
      newest: the place of the last pair, shape (B,).
      count: the number of places that were written, some more than once.
    """

    rings: Rings
    inverse: np.ndarray
    products: np.ndarray
    newest: np.ndarray
    count: int

    @classmethod
    def empty(cls, heads: int, pairs: int, size: int) -> "History":
        """Return the history of heads before the first step.

        Args:
          heads: the number of heads, B.
          pairs: the number of pairs that are kept, h.
          size: the number of coefficients of a head.
        """
        rings = Rings(*(_empty_ring(heads, pairs, size) for _ in Rings._fields))
        inverse, products = np.zeros((heads, pairs, pairs)), np.zeros((2, heads, pairs, pairs))
        return cls(rings, inverse, products, np.zeros(heads, int), 0)

    def select(self, slots: np.ndarray, *, to_host: bool = False) -> "History":
        """Return the history of some slots, by index, on the host if it is there or if it is asked for."""
        if to_host or isinstance(self.rings.s, np.ndarray):
            rings = Rings(*(_select(np.asarray(ring), slots, self.count) for ring in self.rings))
        else:
            rings = select_on_device(*to_device((self.rings, slots.astype(np.int32))))
        return History(rings, self.inverse[slots], self.products[:, slots], self.newest[slots], self.count)

    def clear(self, slots: np.ndarray) -> None:
        """Remove the pairs of a history on the host in a mask of slots, shape (B,)."""
        for part in (*self.rings, self.inverse, *self.products):
            part[slots] = 0

    def record(self, place: int, seen: Observation) -> None:
        """Store the inner products of the pair at a place of the rings, where the oldest pair was.

        The inverse of a triangle without its first row and column is the rest of its inverse.
        """
        self.inverse[:, place] = self.inverse[:, :, place] = 0
        self.inverse[:, :, place] = -_times(self.inverse, np.asarray(seen.s_y))
        self.inverse[:, place, place] = seen.is_stored  # a stored pair has s · y = 1
        self.newest = np.where(seen.is_stored, place, self.newest)
        self.products[..., place] = self.products[..., place, :] = seen.y_hy, seen.y_y
        self.count += bool(seen.is_stored.any())

    def first_guess(self, mixes: AnyArray) -> tuple[np.ndarray, np.ndarray]:
        r"""Return κ and μ of the first guess of the inverse Hessian, κH + μI, shape (B,) each.

        H and I are scaled so that $y^\top \gamma Hy = s^\top y$ for the last pair. The guess is a weighted mean of
        the two. A good inverse Hessian has the same ratio $y^\top Hy / s^\top y$ for all pairs, so each weight is
        inversely proportional to the variance of the logarithm of the ratio. With nearly separable classes few
        rows hold the curvature, and H is a poor guess.

        Args:
          mixes: which heads mix the two, shape (B,); the others have H alone.

        Source: Nocedal and Wright, Numerical Optimization, section 7.2, equation 7.20 (the scale).
        """
        own = np.diagonal(self.products, axis1=2, axis2=3)
        stored = (np.diagonal(self.inverse, axis1=1, axis2=2) > 0.5) & (own > 0).all(0)
        head = np.arange(len(stored))
        last_y_hy, last_y_y = np.where(stored[head, self.newest], own[:, head, self.newest], 1)
        spread_h, spread_i = _variance_of_log(own, stored) + LEAST_VARIANCE
        is_mixed = mixes & (stored.sum(1) > 2)
        weight = np.where(is_mixed, spread_i / (spread_h + spread_i), 1)
        return weight / last_y_hy, (1 - weight) / last_y_y

    def coefficients(
        self, s_g: np.ndarray, y_g: np.ndarray, y_hg: np.ndarray, guess: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients of s and y in the L-BFGS direction, by the compact representation.

        Args:
          s_g: products of s with the gradient, shape (B, h).
          y_g: products of y with the gradient, shape (B, h).
          y_hg: products of y with H times the gradient, shape (B, h).
          guess: κ and μ of the first guess, shape (B,) each.

        Source: Nocedal and Wright, Numerical Optimization, section 7.2, equation 7.24.
        """
        first = _times(self.inverse, s_g)
        inverse_weight, identity_weight = (part[:, None] for part in guess)
        along_hy, along_y = _times(self.products, first)
        middle = first + inverse_weight * (along_hy - y_hg) + identity_weight * (along_y - y_g)
        return _times(self.inverse.swapaxes(1, 2), middle), -first


def _empty_ring(heads: int, pairs: int, size: int) -> np.ndarray:
    """Return zeros of shape (B, h, size). The pairs of a place are side by side: memory is used as needed."""
    return np.zeros((pairs, heads, size), np.float32).swapaxes(0, 1)


def _select(ring: np.ndarray, slots: np.ndarray, count: int) -> np.ndarray:
    """Return some slots of a ring by index. Places that were never written are not copied."""
    selected = _empty_ring(len(slots), *ring.shape[1:])
    selected[:, :count] = ring[slots, :count]
    return selected


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the product of each head's matrix and vector, shape (B, h)."""
    return np.matmul(matrices, vectors[..., None])[..., 0]


def _variance_of_log(numbers: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return the variances of the logarithms of the counted numbers of each head, shape (…, B)."""
    logarithm, count = np.log(np.where(counted, numbers, 1)), np.maximum(counted.sum(-1), 1)
    mean = logarithm.sum(-1) / count
    return (np.where(counted, logarithm - mean[..., None], 0) ** 2).sum(-1) / count


class _AtPoint(NamedTuple):
    """Products with the gradient at the current point, as in `Observation`."""

    s_g: np.ndarray
    y_g: np.ndarray
    y_hg: np.ndarray
    g_g: np.ndarray
    g_hg: np.ndarray


class Result(NamedTuple):
    """Result of B heads.

    Attributes:
      theta: shape (B, K, m + 1).
      steps: passes that each head took part in, shape (B,).
      converged: whether the estimate of the gap met its tolerance.
      active: whether a head has still to continue, in a smaller batch.
      history: the pairs of the slots.
    """

    theta: np.ndarray
    steps: np.ndarray
    converged: np.ndarray
    active: np.ndarray
    history: History


def minimize(
    problem: Problem,
    theta: np.ndarray,
    max_steps: np.ndarray,
    history: History,
    options: Options,
    *,
    stop_at: int = 0,
    may_end_at_once: bool = False,
    on_pass: Callable[[int], object] | None = None,
) -> Result:
    """Minimise the objectives of B heads until each has converged, stalled or used its steps.

    Args:
      problem: the heads and the rows.
      theta: the starting point, shape (B, K, m + 1).
      max_steps: passes that each head may make, shape (B,); 0 for an empty slot.
      history: pairs of earlier steps. The arrays are overwritten.
      options: loss and dtype.
      stop_at: number of active heads at which the batch stops.
      may_end_at_once: whether a head may converge at its start. It is True for interpolated starts only.
      on_pass: a function that is called with the number of converged heads after each pass.
    """
    make = DeviceVectors if problem.host_rows is None else HostVectors
    vectors = make(problem, theta, history.rings, options)
    spread = np.where(problem.batch.spread > 0, problem.batch.spread, 1)
    heads, pairs = len(max_steps), history.rings.s.shape[1]
    host, eps = problem.batch, float(np.finfo(options.dtype).eps)
    value, penalty, slope = np.full(heads, UNKNOWN), np.zeros(heads), np.zeros(heads)
    best_value, best_gap = np.full(heads, UNKNOWN), np.full(heads, UNKNOWN)
    at_point = _AtPoint(*np.zeros((3, heads, pairs)), *np.zeros((2, heads)))
    # Under a stronger penalty the curvature is almost λI, which H contains.
    mixes = host.l2 <= problem.centering.radius**2
    step_size, stalled, rejected = np.ones(heads), np.zeros(heads, int), np.zeros(heads, int)
    steps, converged, active = np.zeros(heads, int), np.zeros(heads, bool), max_steps > 0
    first = True
    while active.sum() > stop_at:
        place, places = history.count % pairs, min(history.count + 1, pairs)
        controls = np.empty((heads, 4))
        controls[:, 0], controls[:, 1], controls[:, 2:] = step_size, active & (not first), (place, places)
        seen = vectors.observe(controls)
        steps += active
        before, after = step_size * slope, step_size * seen.slope
        # Where rounding hides the decrease of J, the slope decides: the approximate Wolfe condition with δ = 0.1
        # (Hager and Zhang, A new conjugate gradient method with guaranteed descent, 2005, section 2).
        noise = 4 * eps * (1 + abs(seen.value))
        accepted = seen.value <= value + ARMIJO * before
        accepted |= (seen.value <= value + noise) & (after <= -0.8 * before)
        accepted &= active & np.isfinite(seen.g_hg) & np.isfinite(seen.value)
        if first:
            accepted = active & np.isfinite(seen.g_hg)
        history.record(place, seen)
        # A rejected trial point gives a curvature pair too. The pair is stored, and the next direction uses it.
        for products, new in zip(at_point[:3], seen.new.T, strict=True):
            products[:, place] = new
        at_point = _AtPoint(
            *(
                np.where(accepted[:, None] if new.ndim == 2 else accepted, new, old)
                for new, old in zip((getattr(seen, name) for name in _AtPoint._fields), at_point, strict=True)
            )
        )
        value, penalty = np.where(accepted, seen.value, value), np.where(accepted, seen.penalty, penalty)
        renewed = active & (accepted | seen.is_stored)
        rejected = np.where(accepted, 0, rejected + 1)
        step_size = np.where(renewed, 0.5 ** np.maximum(rejected - 1, 0), 0.1 * step_size)

        guess = inverse_weight, identity_weight = history.first_guess(mixes)
        coef_s, coef_y = history.coefficients(at_point.s_g, at_point.y_g, at_point.y_hg, guess)
        ahead = inverse_weight * at_point.g_hg + identity_weight * at_point.g_g
        inner = inverse_weight[:, None] * at_point.y_hg + identity_weight[:, None] * at_point.y_g
        downhill = -((coef_s * at_point.s_g).sum(1) + (coef_y * inner).sum(1) + ahead)
        is_descent = np.isfinite(downhill) & (downhill < 0)
        coef_s, coef_y = (np.where(is_descent[:, None], part, 0) for part in (coef_s, coef_y))
        slope = np.where(renewed, np.where(is_descent, downhill, -ahead), slope)
        is_too_long = renewed & (step_size * -slope > LONGEST_STEP * value)
        step_size = np.where(is_too_long, LONGEST_STEP * value / np.where(is_too_long, -slope, 1), step_size)
        step = Combination(coef_s, coef_y, inverse_weight, identity_weight, renewed, accepted, step_size)
        vectors.advance(step)

        grad_intercept = seen.grad_intercept * problem.left_of_intercepts
        gap = estimate_gap(
            host.l2, seen.squared_grad_norm, grad_intercept, slope, spread, problem.centering.radius
        )
        scale = value_scale(value, penalty, host.null_value, eps, np)
        is_within_tol = accepted & (gap <= host.gap_tol * np.where(host.l2 > 0, 1, UNPENALISED) * scale)
        is_within_tol |= accepted & (host.l2 == 0) & (seen.misclassified == 0)
        fell = best_value - value > 1e-2 * eps * abs(value)
        progress = accepted & (fell | (gap < 0.9 * best_gap))
        stalled = np.where(progress, 0, stalled + 1)
        best_value = np.where(accepted, np.minimum(value, best_value), best_value)
        best_gap = np.where(accepted, np.minimum(gap, best_gap), best_gap)
        if may_end_at_once or not first:
            converged |= active & is_within_tol
        active = active & ~converged & (steps < max_steps) & (stalled < STALLED_STEPS)
        active &= accepted | (not first)
        first = False
        if on_pass is not None:
            on_pass(int(converged.sum()))
    history.rings = vectors.rings
    return Result(vectors.theta, steps, converged, active, history)
