r"""Newton's method with backtracking, in float64, for the few heads that L-BFGS does not bring to their tolerance.

One pass for each step gives J, the gradient and the Hessian of the data of every head. The host solves for the
step and decides.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from dlcore._core.types import AnyArray
from dlcore.devices import to_device
from dlcore.heads.data.batching import expand_to
from dlcore.heads.data.centering import Centering
from dlcore.heads.passes.evaluate import Evaluation, HeadBatch, Sums, finalize
from dlcore.heads.passes.hessian import HostHessianPass, accumulate_with_hessian
from dlcore.heads.solvers.gap_estimate import estimate_gap
from dlcore.heads.solvers.lbfgs import ARMIJO, UNKNOWN, UNPENALISED
from dlcore.heads.solvers.lbfgs_vectors import Problem
from dlcore.objective.value_scale import value_scale

STALLED_STEPS = 6
"""A head stops after this many consecutive passes without progress: rounding then dominates."""
EPS = float(np.finfo(np.float64).eps)


class NewtonResult(NamedTuple):
    """Result of B heads.

    Attributes:
      theta: shape (B, K, m + 1).
      steps: passes that each head took part in, shape (B,).
      converged: whether the estimate of the gap met its tolerance.
    """

    theta: np.ndarray
    steps: np.ndarray
    converged: np.ndarray


def minimize_with_newton(problem: Problem, theta: np.ndarray, max_steps: np.ndarray, loss: str) -> NewtonResult:
    """Minimise the objectives of B heads until each has converged, stalled or used its steps.

    Args:
      problem: the heads and the rows.
      theta: the starting point, shape (B, K, m + 1).
      max_steps: passes that each head may make, shape (B,); 0 for an empty slot.
      loss: name of the loss.
    """
    batch, centering = problem.batch, problem.centering
    evaluate = _pass_of(problem, loss)
    heads = len(max_steps)
    step, slope, step_size = np.zeros_like(theta), np.zeros(heads), np.ones(heads)
    value, best_gap = np.full(heads, UNKNOWN), np.full(heads, UNKNOWN)
    penalty, stalled, steps = np.zeros(heads), np.zeros(heads, int), np.zeros(heads, int)
    converged, active = np.zeros(heads, bool), max_steps > 0
    least = EPS * batch.spread.sum(1)  # a smaller J is rounding of the losses
    while active.any():
        trial = theta + expand_to(step_size, step) * step
        shards = evaluate(trial)
        seen = finalize(trial, batch, [sums for sums, _ in shards], centering, np)
        hessian = sum(part for _, part in shards) / batch.total[:, None, None]
        steps += active
        predicted = -step_size * slope
        noise = 4 * EPS * (1 + abs(value))
        accepted = active & np.isfinite(seen.value)
        # J is convex, so J(trial) − J ≤ `after`. Where rounding of J hides the decrease, the slope decides.
        after = step_size * np.where(accepted, (seen.gradient * step).sum((1, 2)), 0)
        is_hidden = (predicted <= 1e-9 * value) & (after <= 0.8 * predicted)
        accepted &= (steps == 1) | is_hidden | (seen.value <= value - ARMIJO * predicted + noise)
        for head in np.flatnonzero(accepted).tolist():
            theta[head] = trial[head]
            step[head] = newton_step(seen.gradient[head], hessian[head], batch, centering, head)
        slope = np.where(accepted, (seen.gradient * step).sum((1, 2)), slope)
        value, penalty = np.where(accepted, seen.value, value), np.where(accepted, seen.penalty, penalty)
        step_size = np.where(accepted, np.minimum(1, 4 * step_size), step_size / 4)

        gap = _gap(problem, seen, slope)
        tol = batch.gap_tol * np.where(batch.l2 > 0, 1, UNPENALISED)
        is_within_tol = gap <= tol * value_scale(value, penalty, batch.null_value, EPS, np)
        is_within_tol |= (batch.l2 == 0) & (seen.misclassified == 0)
        # A head does not converge at its start (steps > 1): L-BFGS or a certificate has rejected that point.
        converged |= accepted & is_within_tol & (steps > 1)
        progress = (gap < 0.9 * best_gap) | (steps == 1) | (predicted > 1e-9 * np.maximum(value, least))
        progress &= accepted
        best_gap = np.where(accepted, np.minimum(gap, best_gap), best_gap)
        stalled = np.where(progress, 0, stalled + 1)
        active = active & ~converged & (steps < max_steps) & (stalled < STALLED_STEPS)
        active &= np.isfinite(slope) & (slope < 0)
    return NewtonResult(theta, steps, converged)


def _pass_of(problem: Problem, loss: str) -> Callable[[np.ndarray], list[tuple[Sums, np.ndarray]]]:
    """Return a function from a trial point to the sums and Hessians of each shard of the rows."""
    if problem.host_rows is not None:
        on_host = HostHessianPass(problem.host_rows, problem.batch, loss)
        return lambda trial: [on_host(trial)]
    constants = to_device([(problem.batch, shard, problem.centering) for shard in problem.shards])
    program = None

    def on_device(trial: np.ndarray) -> list[tuple[Sums, np.ndarray]]:
        nonlocal program
        sets = [(to_device(trial), *constant) for constant in constants]
        program = program or accumulate_with_hessian.prepare(sets, loss=loss)
        return jax.device_get(program(sets))

    return on_device


def newton_step(
    gradient: AnyArray, hessian: AnyArray, batch: HeadBatch, centering: Centering, head: int
) -> np.ndarray:
    """Return Newton's step of one head, shape (K, m + 1); nan if the solver finds a zero pivot.

    The diagonal of the Hessian is raised, so that the solve succeeds for every order of summation. For size
    N = K·(m + 1), rounding may lower the smallest eigenvalue by eps·trace/√N. Cholesky's factorisation would
    succeed above (N + 1)·eps/2·trace. The diagonal is raised by the first number plus twice the second.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, theorems 10.3 and 10.7.
    """
    outputs, width = gradient.shape
    size = gradient.size
    diagonal = np.zeros((outputs, width))
    diagonal[:, :-1] = batch.l2[head] * batch.ratio[head]
    is_free = (batch.spread[head] > 0) & (centering.has_intercept > 0)
    diagonal[:, -1] = np.where(is_free, 0, 1)  # an intercept that is not fitted has no gradient
    diagonal = diagonal.reshape(-1) + np.trace(hessian) * EPS * (size**-0.5 + size + 1)
    matrix = hessian + np.diag(diagonal)
    if outputs > 1:
        # Adding one number to all intercepts changes no probability: this direction gets curvature 1/K.
        last = np.arange(size) % width == width - 1
        matrix[np.ix_(last, last)] += 1 / outputs
    try:
        return -np.linalg.solve(matrix, gradient.reshape(-1)).reshape(gradient.shape)
    except np.linalg.LinAlgError:
        return np.full_like(gradient, np.nan)


def _gap(problem: Problem, seen: Evaluation, slope: np.ndarray) -> np.ndarray:
    """Return the estimate of the gap of each head, shape (B,)."""
    batch = problem.batch
    squares = (seen.gradient[..., :-1] ** 2 / batch.ratio[:, None]).sum((1, 2))
    spread, radius = np.where(batch.spread > 0, batch.spread, 1), problem.centering.radius
    return estimate_gap(batch.l2, squares, seen.gradient[..., -1], slope, spread, radius)
