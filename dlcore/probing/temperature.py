"""Temperature scaling: one number that calibrates logits, with a certified gap."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.status import Status
from dlcore.probing.data.provenance import make_record
from dlcore.probing.data.rows import CheckedRows
from dlcore.probing.table import ProbeTable

EPS = float(np.finfo(np.float64).eps)
MAX_STEPS = 200
"""Evaluations of the derivative. Bisection of float64 numbers needs at most about 100."""
LARGEST = 2.0**40
"""The largest inverse temperature that is tried, in units of 1/(the largest difference of logits)."""


class Derivative(NamedTuple):
    """The mean log loss at β, its derivatives, and a bound on the rounding error of the first derivative."""

    value: float
    slope: float
    curvature: float
    error: float


def temperature_scaling(
    logits: npt.ArrayLike, y: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None, tol: float = 1e-10
) -> ProbeTable:
    r"""Fit the temperature T that minimises the log loss of softmax(logits/T) on validation rows.

    The log loss f is convex in the inverse temperature $\beta = 1/T \ge 0$. Newton steps, and bisection where they
    leave the bracket, shrink a bracket in which the derivative changes its sign beyond its rounding error. By
    convexity $f(\beta) - f^* \le (|f'(\beta)| + \epsilon)\,(b - a)$, with the bracket [a, b] and the bound ε on
    the rounding error of f'.

    Args:
      logits: shape (n, classes), or (n,) for the logit of class 1.
      y: class numbers 0, 1, …, shape (n,).
      sample_weight: weights of the rows, shape (n,). None weighs every row 1.
      tol: the gap relative to f at which the fit is converged.

    Returns:
      A table with one row: inverse_temperature, temperature, log_loss_before, log_loss, lower, upper, gap, status,
      steps. The status is "separable" if the logits of every row rank its class first, so that f falls for ever. β
      is 0 and the temperature infinite if the logits are no better than none.

    Raises:
      ValueError: if shapes do not fit, a number is not finite, a label has no column, or all weights are 0.
      TypeError: if an argument is no array of numbers.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, section 4.2.

    >>> table = temperature_scaling([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.0, 4.0]], [0, 1, 0, 0])
    >>> float(table["temperature"][0].round(4)), str(table["status"][0])
    (3.641, 'converged')
    """
    z, labels, weight = _read(logits, y, sample_weight)
    host_checks.check_number("tol", tol, above=0)
    # Differences to the label's logit: the label has 0 and the loss is log Σ exp(β d).
    d = z - np.take_along_axis(z, labels[:, None], 1)
    scale = float(np.abs(d).max())
    size = float(np.abs(z).max())
    before = _evaluate(d, weight, 1.0, size).value
    beta, lower, upper, steps = 1.0, 0.0, math.inf, 0
    at_zero = _evaluate(d, weight, 0.0, size)
    if scale == 0 or at_zero.slope - at_zero.error >= 0:
        beta, lower, upper, status = 0.0, 0.0, 0.0, Status.CONVERGED
        gap = 0.0
    elif (d <= 0).all():
        beta, status, gap = math.inf, Status.SEPARABLE, math.inf
    else:
        beta, lower, upper, steps = _minimize(d, weight, size, tol, LARGEST / scale)
        here = _evaluate(d, weight, beta, size)
        gap = (abs(here.slope) + here.error) * (upper - lower)
        status = Status.CONVERGED if gap <= tol * here.value else Status.PRECISION_FLOOR
    loss = 0.0 if math.isinf(beta) else _evaluate(d, weight, beta, size).value
    columns = {
        "inverse_temperature": beta,
        "temperature": math.inf if beta == 0 else 1 / beta,
        "log_loss_before": before,
        "log_loss": loss,
        "lower": lower,
        "upper": upper,
        "gap": gap,
        "status": str(status),
        "steps": steps,
    }
    rows = CheckedRows("validation", z, labels, None, None)
    record = make_record("temperature_scaling", {"tol": float(tol)}, [rows], "NumPy on the host")
    return ProbeTable({name: np.array([value]) for name, value in columns.items()}, record)


def _read(
    logits: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z, labels = host_checks.as_numpy("logits", logits).astype(np.float64), host_checks.as_numpy("y", y)
    if z.ndim == 1:
        z = np.stack([np.zeros(len(z)), z], axis=1)
    host_checks.check_rank("logits", z, 2, "[n, classes]")
    host_checks.check_rank("y", labels, 1, "[n], the class of each row")
    host_checks.check_same_length(logits=z, y=labels)
    host_checks.check_finite("logits", z)
    if z.shape[1] < 2:
        raise ValueError(f"logits: expected at least two classes, got shape {z.shape}")
    if not (np.isin(labels, np.arange(z.shape[1]))).all():
        wrong = labels[~np.isin(labels, np.arange(z.shape[1]))][0]
        raise ValueError(f"y: expected class numbers from 0 to {z.shape[1] - 1}, got {wrong}")
    weight = np.ones(len(z)) if sample_weight is None else host_checks.as_numpy("sample_weight", sample_weight)
    weight = weight.astype(np.float64)
    host_checks.check_weights(weight, len(z), "sample_weight", "logits")
    counted = weight > 0
    return z[counted], labels[counted].astype(np.intp), weight[counted] / math.fsum(weight)


def _evaluate(d: np.ndarray, weight: np.ndarray, beta: float, size: float) -> Derivative:
    r"""Return the mean log loss at β and its derivatives.

    The rounding error of p is at most (2βD + K + 8) eps relative to p, D the largest difference of the row, and
    that of d at most eps times the size of the logits. Sums over the rows are exact to one rounding.

    Args:
      d: logits less that of the label, shape (n, K).
      weight: weights that sum to 1, shape (n,).
      beta: β.
      size: the largest magnitude of a logit.
    """
    top = d.max(1, keepdims=True)
    powers = np.exp(beta * (d - top))
    total = powers.sum(1, keepdims=True)
    p = powers / total
    mean = (p * d).sum(1)
    spread = (p * (d - mean[:, None]) ** 2).sum(1)
    value = beta * top[:, 0] + np.log(total[:, 0])
    largest = np.abs(d).max(1)
    factor = 2 * (2 * beta * largest + d.shape[1] + 8) * EPS
    error = factor * (p * np.abs(d)).sum(1) + (2 + 4 * beta * largest) * EPS * size
    slope = math.fsum(weight * mean)
    rounding = math.fsum(weight * error) + 4 * EPS * math.fsum(weight * np.abs(mean))
    return Derivative(math.fsum(weight * value), slope, math.fsum(weight * spread), rounding)


def _minimize(
    d: np.ndarray, weight: np.ndarray, size: float, tol: float, largest: float
) -> tuple[float, float, float, int]:
    """Return β, the ends of a bracket that certainly has the minimum, and the number of evaluations."""
    lower, upper, beta = 0.0, math.inf, 1.0
    best, best_slope = 1.0, math.inf
    step = 0
    for step in range(1, MAX_STEPS + 1):
        here = _evaluate(d, weight, beta, size)
        if abs(here.slope) < best_slope:
            best, best_slope = beta, abs(here.slope)
        if abs(here.slope) <= here.error:
            return _close_bracket(d, weight, size, beta, (lower, upper), step)
        if here.slope < 0:
            lower = beta
        else:
            upper = beta
        if (abs(here.slope) + here.error) * (upper - lower) <= tol * here.value:
            return beta, lower, upper, step
        newton = beta - here.slope / here.curvature if here.curvature > 0 else math.inf
        if math.isinf(upper):  # a flat derivative sends a Newton step too far
            newton = min(newton, 16 * beta)
        middle = 2 * beta if math.isinf(upper) else (lower + upper) / 2
        beta = newton if lower < newton < upper else middle
        if not lower < beta < upper or beta > largest:
            break
    return best, lower, upper, step


def _close_bracket(
    d: np.ndarray, weight: np.ndarray, size: float, beta: float, bracket: tuple[float, float], steps: int
) -> tuple[float, float, float, int]:
    """Return β, where the derivative is 0 within its error, and a narrow bracket around it that is certain."""
    lower, upper = bracket
    width = max(EPS * beta, 1e-300)
    while width < beta or upper == math.inf:
        width *= 8
        steps += 2
        if beta - width > lower and (below := _evaluate(d, weight, beta - width, size)).slope < -below.error:
            lower = max(lower, beta - width)
        if beta + width < upper and (above := _evaluate(d, weight, beta + width, size)).slope > above.error:
            upper = min(upper, beta + width)
        if beta - lower <= width and upper - beta <= width:
            break
        if width > beta * 1e6:
            break
    return beta, lower, upper, steps
