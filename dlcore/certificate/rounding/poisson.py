r"""Rounding of the duality bound of Poisson heads.

Errors enter as in `logistic`, with q = (1 + t)μ of the computed rates μ and the computed t. Let ε be the error of
a logit and of its exponential. It changes the divergence by $\sum s\mu(e^\varepsilon - 1 - (1 + t)\varepsilon)$.
That is at most $|t|\sum s\mu|\varepsilon| + \frac12e^{|\varepsilon|}\sum s\mu\varepsilon^2$. An error η of d = z −
ln y changes the loss $y(e^d - 1 - d)$ by η|μ − y| to first order. All other roundings are at most 300u of the
loss. The terms of $e^d - 1 - d$ are at most 128 times the result for |d| ≥ 2⁻⁵. They are at most 3 times the
result for d < −1 and d > 2.
"""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.certificate.rounding.base import INTERCEPT_REFINEMENTS, UNIT, err_duality, err_logit, sum_rounding

if TYPE_CHECKING:
    from dlcore.certificate.bounds import poisson
    from dlcore.certificate.head_arrays import HeadArrays


def poisson_sums(slices: list[slice], features: int) -> float:
    """Return the relative error of means over the rows.

    It covers the sum, the terms, the norms of rows, and the division by Σ s.
    """
    return 2 * (max(sum_rounding(slices)) + (features + 20) * UNIT)


def poisson_logit(features: int, magnitude: np.ndarray) -> np.ndarray:
    """Bound the error of a logit, that of the exponential included."""
    return err_logit(features, magnitude) + 4 * UNIT


def poisson_rounding(
    heads: "HeadArrays",
    means: "poisson.PoissonStatistics",
    *,
    t: np.ndarray,
    gap: np.ndarray,
    grad_norm: np.ndarray,
    coef_norm: np.ndarray,
    null_value: np.ndarray,
    err_z: np.ndarray,
    err_sums: float,
) -> np.ndarray:
    r"""Bound the rounding of the duality gap of heads for counts, shape (H,).

    The errors are numbered below.

    Args:
      heads: H heads.
      means: means over the rows.
      t: the repair q = (1 + t)μ, 0 without an intercept, shape (H,).
      gap: the computed gap.
      grad_norm: the norm of the repaired gradient.
      coef_norm: ‖σw‖.
      null_value: an upper bound on J₀, shape (H or 1,).
      err_z: the error of the logits, see `poisson_logit`.
      err_sums: error 1, the relative error of means over the rows, see `poisson_sums`.
    """
    l2, features, max_row_norm = heads.l2, heads.coef.shape[1], means.max_row_norm
    # 2. The gradient consists of two sums over the rows.
    err_grad = 2 * err_sums * ((1 + t) * means.weighted_norm_sum + np.abs(t) * means.target_norm_sum)
    err_grad += err_sums * l2 * coef_norm
    rounding = err_duality(gap, grad_norm, err_grad, l2, err_sums)
    intercept = np.zeros(len(l2)) if heads.intercept is None else np.abs(heads.intercept)
    # 3. Errors of the logits change the divergence.
    reach = means.rate_norm_sum * coef_norm + means.rate * intercept
    err_rate = err_logit(features, reach) + 4 * UNIT * means.rate
    rounding += (np.abs(t) + np.exp(err_z) * err_z / 2) * err_rate
    if heads.intercept is None:
        return rounding
    # 4. For |t| > 2⁻⁵ φ is computed from two terms. The first is 0 at t = −1.
    log_c = np.where(t > -1, np.log1p(t), 0)
    rounding += 8 * UNIT * means.rate * ((1 + t) * np.abs(log_c) + np.abs(t))
    # 5. Residuals that sum to some δ instead of 0 add δ·(b − b*).
    residual_sum = np.abs(means.residual + t * means.rate) + 2 * err_sums * (
        means.abs_residual + np.abs(t) * means.rate
    )
    distance = poisson_intercept_bound(means, null_value, l2) + intercept
    shift = (
        np.abs(np.log(means.target) - np.log(means.rate))
        + 2 * err_sums
        + err_z
        + 4 * UNIT * (np.abs(np.log(means.target)) + np.abs(np.log(means.rate)))
    )
    for _ in range(INTERCEPT_REFINEMENTS):
        total_gap = gap + rounding + residual_sum * distance
        distance = np.fmin(distance, poisson_intercept_distance(total_gap, l2, max_row_norm, shift))
    return rounding + residual_sum * distance


def poisson_intercept_distance(
    gap: np.ndarray, l2: np.ndarray, max_row_norm: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    r"""Bound |b* − b| if J − J* ≤ gap.

    The mean rate at the optimum is the mean target $\bar y$. So
    $b^* = \ln\bar y - \ln\mathrm{mean}(e^{x\cdot w^*})$. With the mean rate $\bar\mu$ at the head,
    $b = \ln\bar\mu - \ln\mathrm{mean}(e^{x\cdot w})$. The logarithms of the two means differ by at most
    $\max\|x\|\,\|w - w^*\|$, where $\|w - w^*\| \le \sqrt{2\,\mathrm{gap}/\lambda}$.

    Args:
      gap: a bound on J − J*, shape (H,).
      l2: shape (H,).
      max_row_norm: max ‖x‖, shape (H or 1,).
      shift: an upper bound on $|\ln\bar y - \ln\bar\mu|$, shape (H,).
    """
    return shift + max_row_norm * np.sqrt(2 * gap / l2)


def poisson_intercept_bound(
    means: "poisson.PoissonStatistics", null_value: np.ndarray, l2: np.ndarray
) -> np.ndarray:
    r"""Bound |b*|, see `poisson_intercept_distance`: w* is at most √(2J₀/λ) from w = 0, as J ≥ 0."""
    # 1e-9 exceeds the rounding of the mean target and of its logarithm.
    return np.abs(np.log(means.target)) + 1e-9 + means.max_row_norm * np.sqrt(2 * null_value / l2)


def err_deviance(
    means: "poisson.PoissonStatistics",
    value: np.ndarray,
    coef_norm: np.ndarray,
    intercept: np.ndarray,
    features: int,
    *,
    err_z: np.ndarray,
    err_sums: float,
) -> np.ndarray:
    """Bound the error of J, shape (H,).

    Args:
      means: means over the rows.
      value: J.
      coef_norm: ‖σw‖, shape (H,).
      intercept: shape (H,).
      features: m.
      err_z: the error of the logits, see `poisson_logit`.
      err_sums: the relative error of means over the rows.
    """
    size = np.abs(intercept)
    first = err_logit(features, means.weighted_norm_sum * coef_norm + means.abs_residual * size)
    second = err_logit(features, means.rate_norm_sum * coef_norm + means.rate * size) + 4 * UNIT * means.rate
    logarithm = UNIT * (2 * means.log_target + 8)
    relative = err_sums + 3 * logarithm + 300 * UNIT
    return first + means.abs_residual * logarithm + np.exp(err_z) * err_z * second + relative * value


def err_deviance_of_row(
    losses: np.ndarray, rates: np.ndarray, y: np.ndarray, log_y: np.ndarray, err_logits: np.ndarray
) -> np.ndarray:
    """Bound the error of the losses of rows, shape (n,).

    Args:
      losses: shape (n,).
      rates: shape (n,).
      y: counts, shape (n,).
      log_y: ln y, or 0 if y = 0, shape (n,).
      err_logits: the errors of the logits, shape (n,).
    """
    err = err_logits + 4 * UNIT
    logarithm = UNIT * (2 * np.abs(log_y) + 8)
    error = np.abs(rates - y) * (err + logarithm) + rates * np.exp(err) * err**2
    return error + (3 * logarithm + 300 * UNIT) * losses


def err_deviance_of_mean(
    value: np.ndarray, distance: np.ndarray, log_rate: np.ndarray, log_target: float, err_sums: float
) -> np.ndarray:
    """Bound the error of J₀. An error of the mean rate itself enters only in second order.

    Args:
      value: J₀.
      distance: the mean of |y − ȳ|, shape of `value`.
      log_rate: |ln ȳ|, shape of `value`.
      log_target: the largest |ln y|.
      err_sums: the relative error of means over the rows.
    """
    logarithm = UNIT * (2 * (log_target + log_rate) + 8)
    return distance * (logarithm + err_sums) + (err_sums + 3 * logarithm + 300 * UNIT) * value
