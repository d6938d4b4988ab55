r"""Rounding of the duality bound of logistic heads.

The bound holds for every q whose residuals sum to zero. So q may be the repaired sigmoid of the computed logits.
Errors of the logits then enter only KL(q‖p). The computed residuals differ from those of q by a few u. The error
of the sums over rows includes this difference. Errors come from these sums, from the logits, and from residuals
whose sum is not exactly zero. A sum δ in place of zero adds δ·(b − b*), which needs a bound on the optimal
intercept b*.
"""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.certificate.rounding.base import INTERCEPT_REFINEMENTS, UNIT, err_duality, err_logit, sum_rounding

if TYPE_CHECKING:
    from dlcore.certificate.bounds import logistic
    from dlcore.certificate.head_arrays import HeadArrays


def logistic_sums(slices: list[slice], *, soft: bool = False) -> float:
    """Return the relative error of sums over rows of logistic heads.

    A block has rows of both classes, and each class is summed separately. The error includes a division by σ. With
    soft labels the weights s(1 − y) and s·y add 2u to a sum, and to the sum of the weights.
    """
    # The factor 2 leaves at least 64u for the rounding of the terms and for adding the runs of blocks.
    return 2 * max(sum_rounding(slices)) + UNIT + 4 * UNIT * soft


def logistic_rounding(
    heads: "HeadArrays",
    sides: "tuple[logistic.ClassSums, logistic.ClassSums]",
    *,
    shrink: list[np.ndarray],
    gap: np.ndarray,
    grad_norm: np.ndarray,
    coef_norm: np.ndarray,
    err_sums: float,
    needs_second_pass: np.ndarray,
) -> np.ndarray:
    """Bound the rounding of the duality gap of logistic heads, shape (H,).

    Args:
      heads: H heads.
      sides: sums over the rows of class 0 and of class 1.
      shrink: factors of the residuals of class 0 and of class 1, shape (H,) each.
      gap: the computed gap.
      grad_norm: the norm of the repaired gradient.
      coef_norm: ‖σw‖.
      err_sums: the relative error of sums over rows.
      needs_second_pass: whether the divergence is summed by a second pass over the rows, shape (H,). Otherwise it
        is bounded.
    """
    negative, positive = sides
    l2, features = heads.l2, heads.coef.shape[1]
    total = negative.weight + positive.weight
    mean_mass = (negative.mass + positive.mass) / total
    mean_norm = (negative.weighted_norm_sum + positive.weighted_norm_sum) / total
    max_row_norm = np.maximum(negative.max_row_norm, positive.max_row_norm)
    intercept = np.zeros(len(heads.coef)) if heads.intercept is None else abs(heads.intercept)
    err_z = err_logit(features, max_row_norm * coef_norm + intercept, extra=4)
    err_grad = 2 * err_sums * mean_norm + err_sums * l2 * coef_norm
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rounding = err_duality(gap, grad_norm, err_grad, l2, err_sums)
        # KL(q‖p) is a function of the logit. Its second derivative p(1 − p) is at most ¼.
        rounding += err_z**2 / 8
        if heads.intercept is None:
            return rounding
        # Errors ε of the logits change the divergence by their size times the probability mass d·Σs·r that the
        # repair removes. A second pass recomputes the logits, while q belongs to the logits of the first pass.
        # Together that is at most three logit errors. Without a second pass, the factor 1.001 leaves a margin of
        # 0.0005d²·mean_mass, and dε ≤ 0.0005d² + 500ε².
        fraction_removed = 1 - np.minimum(*shrink)  # d = |p − q| / r
        err_pass = err_sums * mean_mass + 3 * err_logit(
            features, mean_norm * coef_norm + mean_mass * intercept, extra=4
        )
        rounding += np.where(needs_second_pass, fraction_removed * err_pass, 500 * mean_mass * err_z**2)
        # Residuals that sum to some δ instead of 0 add δ·(b − b*).
        residual_sum = abs(shrink[0] * negative.mass - shrink[1] * positive.mass) / total + err_sums * mean_mass
        distance = intercept + logistic_intercept_bound(max_row_norm, negative.weight, positive.weight, l2)
        mean_residual = abs(negative.mass - positive.mass) / total + (err_sums + err_z) * mean_mass
        slope = np.exp(-intercept - max_row_norm * coef_norm) / 4
        for _ in range(INTERCEPT_REFINEMENTS):
            total_gap = gap + rounding + residual_sum * distance
            distance = np.fmin(
                distance, logistic_intercept_distance(total_gap, l2, max_row_norm, mean_residual, slope)
            )
        rounding += residual_sum * distance
    return rounding


def logistic_intercept_distance(
    gap: np.ndarray, l2: np.ndarray, max_row_norm: np.ndarray, mean_residual: np.ndarray, slope: np.ndarray
) -> np.ndarray:
    r"""Bound |b* − b| if J − J* ≤ gap. The bound is infinity or nan if there is none.

    As $\|w - w^*\| \le \sqrt{2\,\mathrm{gap}/\lambda}$, no logit differs by more than
    $D = \max_i\|x_i\|\sqrt{2\,\mathrm{gap}/\lambda}$ between w and $w^*$. Let b(w) be the intercept with mean
    residual 0 at w, so $b^* = b(w^*)$. Then $|b^* - b| \le |b(w) - b| + D$. The mean residual at (w, b) is ρ, with
    the slope κ in b. As $\ln p(1-p)$ has a slope of at most 1, the mean residual reaches 0 within a distance of
    $-\ln(1 - |\rho|/\kappa)$.

    Args:
      gap: a bound on J − J*, shape (H,).
      l2: shape (H,).
      max_row_norm: max ‖x‖, shape (H,).
      mean_residual: an upper bound on |ρ|, shape (H,).
      slope: a lower bound on κ, the mean of p(1 − p), shape (H,).
    """
    return max_row_norm * np.sqrt(2 * gap / l2) - np.log1p(-np.minimum(mean_residual / slope, 1))


def logistic_intercept_bound(
    max_row_norm: np.ndarray, weight_0: np.ndarray, weight_1: np.ndarray, l2: np.ndarray
) -> np.ndarray:
    r"""Bound |b*|.

    At the optimum the mean of p is the fraction π of class 1. So some logit is at least, and some logit at most,
    that of π. Hence $|b^*| \le |\mathrm{logit}\,\pi| + \max_i\|x_i\|\,\|w^*\|$. Here
    $\frac\lambda2\|w^*\|^2 \le J_0$, the objective of the best intercept alone, which is the entropy of π.

    Args:
      max_row_norm: max ‖x‖, shape (H,).
      weight_0: total weight of class 0, shape (H,).
      weight_1: total weight of class 1, shape (H,).
      l2: shape (H,).
    """
    fractions = np.stack([weight_1, weight_0]) / (weight_1 + weight_0)
    entropy = -(fractions * np.log(fractions)).sum(0)
    return abs(np.log(weight_1) - np.log(weight_0)) + max_row_norm * np.sqrt(2 * entropy / l2)
