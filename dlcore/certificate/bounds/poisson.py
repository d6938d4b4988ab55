r"""The duality gap of heads for counts: Poisson regression with the rates $\mu = e^z$, $z = x\cdot w + b$.

The loss of a row is half its deviance, $\ell(z) = \mu - yz - y + y\ln y$ with $0\ln 0 = 0$, at least 0. For any
$q \ge 0$ it is $\ell(z) = (q - y)z + q - q\ln q - y + y\ln y + \mathrm{D}(q, \mu)$. Here D is the divergence
$\mathrm{D}(q, \mu) = q\ln(q/\mu) - q + \mu \ge 0$. If the residuals $s_i(q_i - y_i)$ sum to zero, the intercept
drops out of the sum over the rows, and

$J - J^* \le \frac1S\sum_i s_i\,\mathrm{D}(q_i, \mu_i)
+ \frac{1}{2\lambda}\|\frac1S X^\top(s\circ(q - y)) + \lambda w\|^2$

Here $q = c\mu$ with $c = \sum sy / \sum s\mu$, and $q = \mu$ without an intercept. With $t = c - 1$ and
$\varphi(t) = (1 + t)\ln(1 + t) - t$ the first term is $\varphi(t)\,\frac1S\sum s\mu$. The intercept b + ln c
would lower J by exactly this amount. The gradient for q is $c\,\sum s(\mu - y)x + t\,\sum syx$, so a single pass
over the rows suffices.

With a scale σ, norms are taken of x/σ and σw. The logits (x/σ)·(σw) equal x·w. The gradient for x/σ is the
gradient for x divided by σ.

Source: Boyd and Vandenberghe, Convex Optimization, section 5.5.1 (the gap); McCullagh and Nelder, Generalized
Linear Models, section 2.3 (the deviance).
"""

from typing import NamedTuple

import numpy as np

from dlcore._core import host_checks
from dlcore.certificate.bounds.base import CertifiedLoss
from dlcore.certificate.bounds.row_losses import RowLoss, RowTerms
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.result import Bounds, duality_names
from dlcore.certificate.rounding.poisson import (
    err_deviance,
    err_deviance_of_mean,
    err_deviance_of_row,
    poisson_logit,
    poisson_rounding,
    poisson_sums,
)
from dlcore.certificate.rows import TrainingData, cached_row_slices, head_slices, read_rows, row_norms

NEAR = 2.0**-5
"""Up to this |d|, $e^d - 1 - d$ and φ are computed from their series, whose terms do not cancel."""
MIDDLE = (-1.0, 2.0)
"""The range of d in which the deviance is computed from $e^d - 1 - d$. Outside of it $e^z$ is used."""
NO_COUNTS = "targets of 0 alone have no finite intercept"


class PoissonStatistics(NamedTuple):
    """Sums over the rows for H heads, or for one set of weights that all heads share. μ are the rates.

    Attributes:
      weight: Σ s, shape (H or 1,).
      target: Σ s·y, shape (H or 1,).
      target_coef: Σ s·y·x, shape (H or 1, m).
      target_norm_sum: Σ s·y·‖x/σ‖, shape (H or 1,).
      max_row_norm: the largest ‖x/σ‖ among the rows of positive weight, shape (H or 1,).
      loss: Σ s·ℓ, shape (H,).
      rate: Σ s·μ, shape (H,).
      rate_norm_sum: Σ s·μ·‖x/σ‖, shape (H,).
      residual: Σ s(μ − y), shape (H,).
      abs_residual: Σ s|μ − y|, shape (H,).
      grad_coef: Σ s(μ − y)x, shape (H, m).
      weighted_norm_sum: Σ s|μ − y|‖x/σ‖, the measure of the rounding of the gradient, shape (H,).
      log_target: the largest |ln y| among positive targets.
    """

    weight: np.ndarray
    target: np.ndarray
    target_coef: np.ndarray
    target_norm_sum: np.ndarray
    max_row_norm: np.ndarray
    loss: np.ndarray
    rate: np.ndarray
    rate_norm_sum: np.ndarray
    residual: np.ndarray
    abs_residual: np.ndarray
    grad_coef: np.ndarray
    weighted_norm_sum: np.ndarray
    log_target: float

    def means(self) -> "PoissonStatistics":
        """Return the means over the rows: sums divided by Σ s. Σ s itself and the maxima are unchanged."""
        unchanged = ("weight", "max_row_norm", "log_target")
        sums = {name: part for name, part in self._asdict().items() if name not in unchanged}
        return self._replace(**{name: (part.T / self.weight).T for name, part in sums.items()})


def poisson_bounds(heads: HeadArrays, data: TrainingData, center: np.ndarray | None = None) -> Bounds:
    """Return J, ‖∇J‖, the bound and its rounding for H heads.

    Args:
      heads: H heads. With a center, the intercepts are those for centered rows.
      data: rows of counts, centered if there is a center.
      center: shape (m,), or None.
    """
    coef, l2, has_intercept = heads.coef, heads.l2, heads.intercept is not None
    intercept = np.zeros(len(coef)) if heads.intercept is None else heads.intercept
    scale = np.ones(coef.shape[1]) if heads.scale is None else heads.scale
    scaled_coef = coef * scale
    coef_norm = np.linalg.norm(scaled_coef, axis=1)
    penalty = l2 / 2 * coef_norm**2
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        means = _poisson_sums(heads, intercept, data).means()
        t = np.maximum(-means.residual / means.rate, -1) if has_intercept else np.zeros(len(coef))
        divergence = means.rate * _phi(t)
        repaired = (1 + t)[:, None] * means.grad_coef + t[:, None] * means.target_coef
        grad_norm = np.linalg.norm(repaired / scale + l2[:, None] * scaled_coef, axis=1)
        gap = divergence + grad_norm**2 / (2 * l2)
        value = means.loss + penalty
        err_sums = poisson_sums(cached_row_slices(data.x, len(coef)), coef.shape[1])
        null_value, err_null = _null_value(means, data, err_sums, has_intercept=has_intercept)
        err_z = poisson_logit(coef.shape[1], means.max_row_norm * coef_norm + abs(intercept))
        rounding = poisson_rounding(
            heads,
            means,
            t=t,
            gap=gap,
            grad_norm=grad_norm,
            coef_norm=coef_norm,
            null_value=null_value + err_null,
            err_z=err_z,
            err_sums=err_sums,
        )
        err_value = err_deviance(means, value, coef_norm, intercept, coef.shape[1], err_z=err_z, err_sums=err_sums)
        gradient = means.grad_coef + l2[:, None] * scaled_coef * scale
        grad_intercept = means.residual if has_intercept else np.zeros(len(coef))
        gradient += 0 if center is None else grad_intercept[:, None] * center  # the gradient for the rows as given
        norm = np.hypot(np.linalg.norm(gradient, axis=1), grad_intercept)
        improvement = np.maximum(null_value - value - err_null - err_value, penalty)
    lacks_optimal_intercept = np.broadcast_to((means.target == 0) & has_intercept, len(coef))
    null_value = np.broadcast_to(null_value, len(coef))
    names = duality_names(l2, lacks_optimal_intercept, NO_COUNTS)
    return Bounds(value, norm, gap, rounding, names, null_value, improvement)


def _poisson_sums(heads: HeadArrays, intercept: np.ndarray, data: TrainingData) -> PoissonStatistics:
    """Return the sums over all rows."""
    coef, (x, y, weights) = heads.coef, data
    count, features = coef.shape
    loss, rate, rate_norm_sum, residual, abs_residual, weighted_norm_sum = np.zeros((6, count))
    weight, target, target_norm_sum, max_row_norm = np.zeros((4, len(weights.values)))
    grad_coef, target_coef = np.zeros((count, features)), np.zeros((len(weights.values), features))
    log_target = 0.0
    blocks = cached_row_slices(x, count)
    buffer = np.empty((blocks[0].stop, features))
    for block in blocks:
        rows, counts = read_rows(x, block, buffer), y[block].astype(np.float64)
        block_weights = weights.block(block)
        log_counts = _log(counts)
        norms = row_norms(rows, heads.scale)
        log_target = max(log_target, float(np.abs(log_counts[block_weights.max(0) > 0]).max(initial=0)))
        weighted = block_weights * counts
        weight += block_weights.sum(-1)
        target += weighted.sum(-1)
        target_coef += weighted @ rows
        target_norm_sum += weighted @ norms
        max_row_norm = np.maximum(max_row_norm, np.where(block_weights > 0, norms, 0).max(-1))
        for h in head_slices(count, len(rows)):
            s = weights.block(block, h)
            z = coef[h] @ rows.T
            z += intercept[h, None]
            if not (s > 0).all():
                z = np.where(s > 0, z, 0)  # so that the rate of a row of weight 0 is finite
            rates = np.exp(z)
            losses = half_deviance(z, rates, counts, log_counts)
            loss[h] += (s * losses).sum(-1)
            rates_weighted = s * rates
            rate[h] += rates_weighted.sum(-1)
            rate_norm_sum[h] += rates_weighted @ norms
            differences = s * np.subtract(rates, counts, out=rates)
            residual[h] += differences.sum(-1)
            grad_coef[h] += differences @ rows
            np.abs(differences, out=differences)
            abs_residual[h] += differences.sum(-1)
            weighted_norm_sum[h] += differences @ norms
    return PoissonStatistics(
        weight, target, target_coef, target_norm_sum, max_row_norm, loss, rate, rate_norm_sum, residual,
        abs_residual, grad_coef, weighted_norm_sum, log_target,
    )  # fmt: skip


def half_deviance(z: np.ndarray, rates: np.ndarray, y: np.ndarray, log_y: np.ndarray) -> np.ndarray:
    r"""Return $\mu - yz - y + y\ln y$ in the shape of z, accurate even if it is far smaller than its terms.

    With $d = z - \ln y$ the half deviance is $y(e^d - 1 - d)$.

    Args:
      z: shape (..., n).
      rates: the exponential of z.
      y: counts, shape (n,).
      log_y: ln y, or 0 if y = 0, shape (n,).
    """
    d = z - log_y
    result = rates - y * (1 + d)
    is_middle = (d > MIDDLE[0]) & (d < MIDDLE[1])
    middle = d[is_middle]
    excess = np.expm1(middle) - middle
    is_near = np.abs(middle) <= NEAR
    near = middle[is_near]
    excess[is_near] = near**2 * _exp_series(near)
    result[is_middle] = np.broadcast_to(y, d.shape)[is_middle] * excess
    return np.where(y == 0, rates, result)


def _exp_series(d: np.ndarray) -> np.ndarray:
    """Return (e^d − 1 − d)/d² for |d| ≤ `NEAR`. The series is truncated with a relative error below 1e-18."""
    series = np.full_like(d, 1 / 3628800)
    for factorial in (362880, 40320, 5040, 720, 120, 24, 6, 2):
        series = series * d + 1 / factorial
    return series


def _phi(t: np.ndarray) -> np.ndarray:
    """Return φ(t) = (1 + t)·ln(1 + t) − t for t ≥ −1."""
    plain = np.where(t > -1, (1 + t) * np.log1p(t) - t, 1.0)
    near = np.where(np.abs(t) <= NEAR, t, 0)
    series = np.full_like(near, 1 / 132)
    for k in range(11, 1, -1):  # φ(t) = Σ (−t)^k / (k(k − 1)), k ≥ 2
        series = 1 / (k * (k - 1)) - near * series
    return np.where(np.abs(t) <= NEAR, near**2 * series, plain)


def _log(numbers: np.ndarray) -> np.ndarray:
    """Return the logarithm of each number, or 0 if the number is 0."""
    return np.log(np.where(numbers > 0, numbers, 1))


def _null_value(
    means: PoissonStatistics, data: TrainingData, err_sums: float, *, has_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return J₀ and a bound on its error, shape (H or 1,) each.

    J₀ is the objective of one rate for all rows: the mean of y, or 1 without an intercept.

    Args:
      means: means over the rows.
      data: rows of counts.
      err_sums: the relative error of sums over the rows.
      has_intercept: whether heads have an intercept.
    """
    rate = means.target if has_intercept else np.ones_like(means.target)
    log_rate = _log(rate)
    value, distance = np.zeros((2, len(rate)))
    for block in cached_row_slices(data.x, len(rate)):
        counts = data.y[block].astype(np.float64)
        s = data.weights.block(block)
        shape = (len(rate), len(counts))
        z, rates = (np.broadcast_to(part[:, None], shape) for part in (log_rate, rate))
        value += (s * half_deviance(z, rates, counts, _log(counts))).sum(-1)
        distance += (s * np.abs(counts - rate[:, None])).sum(-1)
    value, distance = value / means.weight, distance / means.weight
    value = np.where(rate > 0, value, 0.0)  # all targets are 0
    return value, err_deviance_of_mean(value, distance, np.abs(log_rate), means.log_target, err_sums)


def _row_losses(logits: np.ndarray, y: np.ndarray, err: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses of rows, and a bound on their errors."""
    z, counts = logits[:, 0], y.astype(np.float64)
    rates, log_counts = np.exp(z), _log(counts)
    losses = half_deviance(z, rates, counts, log_counts)
    return losses, err_deviance_of_row(losses, rates, counts, log_counts, err)


def _row_terms(coef: np.ndarray, rows: np.ndarray, y: np.ndarray, w: np.ndarray) -> RowTerms:
    """Return the derivatives of rows: the Hessian of a row is μ·ξξᵀ, its gradient (μ − y)ξ."""
    xi = rows @ w[:, 0].T
    rates = np.exp(rows @ coef[0])
    residual = rates - y.astype(np.float64)
    factors, slope = np.sqrt(rates)[:, None] * xi, residual[:, None] * xi
    return RowTerms(factors[:, None], slope, xi[:, None], row_norms(xi), rates, np.abs(residual))


def _check_targets(y: np.ndarray, weights: np.ndarray | None) -> None:
    del weights
    host_checks.check_rank("y", y, 1, "[n]")
    if (y < 0).any():
        raise ValueError(f"y: expected counts or rates of at least 0, got {float(y.min()):g}")


def _check_targets_of_heads(y: np.ndarray, weights: np.ndarray, heads: HeadArrays) -> None:
    """Check that some row of positive weight has a positive target, if the heads have an intercept."""
    if heads.intercept is not None and not (y[weights.max(0) > 0] > 0).any():
        raise ValueError(
            "y: expected at least one positive target in rows of positive weight, got only zeros: no intercept is "
            "optimal"
        )


def _predict(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(logits)


POISSON = CertifiedLoss(
    "poisson",
    poisson_bounds,
    _check_targets,
    _predict,
    check_targets_of_heads=_check_targets_of_heads,
    row_loss=RowLoss(_row_terms, _row_losses),
)
"""Half the deviance of counts with the rates e^z."""
