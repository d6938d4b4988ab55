r"""Rounding of the duality bound of softmax heads. `logistic` says how errors enter the bound."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.certificate.rounding.base import INTERCEPT_REFINEMENTS, UNIT, err_duality, err_logit

if TYPE_CHECKING:
    from dlcore.certificate.bounds import softmax
    from dlcore.certificate.head_arrays import HeadArrays


def softmax_logit(heads: "HeadArrays", scaled_coef: np.ndarray, max_row_norm: np.ndarray) -> np.ndarray:
    """Bound the error of the logits of softmax heads, that of the exponential included, shape (H,)."""
    intercept = 0.0 if heads.intercept is None else np.abs(heads.intercept).max(-1)
    magnitude = max_row_norm * np.linalg.norm(scaled_coef, axis=2).max(-1) + intercept
    return err_logit(heads.coef.shape[2], magnitude) + 4 * UNIT


def softmax_sums(sums: float, classes: int, *, soft: bool = False) -> float:
    """Return the relative error of sums over rows of residuals of softmax heads.

    Each residual has a relative error of (2K + 10)u, sums of K terms included. The sums over rows add `sums`, the
    scale adds 2u twice, and centering adds u. With soft labels a residual is relative to the sum of the magnitudes
    of those of the K labels. The sums of probabilities of labels and of K residuals then add (4K + 12)u.
    """
    return sums + (2 * classes + 15) * UNIT + soft * (4 * classes + 12) * UNIT


def softmax_rounding(
    heads: "HeadArrays",
    sums: "softmax.SoftmaxSums",
    *,
    moved: np.ndarray,
    gap: np.ndarray,
    grad_norm: np.ndarray,
    coef_norm: np.ndarray,
    err_z: np.ndarray,
    err_sums: float,
    err_products: float,
) -> np.ndarray:
    """Bound the rounding of the duality gap of softmax heads, shape (H,).

    Here p are the computed exponentials after exact normalization. q is p after the repair by the stored a and π,
    and any such q is valid. The errors are numbered below.

    Args:
      heads: H heads.
      sums: sums over the rows.
      moved: the probability mass that the repair moves, shape (H,).
      gap: the computed gap.
      grad_norm: the norm of the repaired gradient.
      coef_norm: ‖σW‖.
      err_z: the error of the logits.
      err_sums: error 1, the relative error of sums of residuals, see `softmax_sums`.
      err_products: the relative error of matrix products over rows.
    """
    l2, classes, total = heads.l2, heads.coef.shape[1], sums.weight.sum(-1)
    mean_mass, max_row_norm = sums.mass / total, sums.max_row_norm
    # 2. The error of the gradient is `err_products` of Σ s‖q − y‖‖x‖, with ‖p − y‖ ≤ √2 r, and of the repair. The
    #    repair removes the fraction a_k of Σ s·p_k·x and adds as much to other classes. Σ s·p_k·x is the sum of
    #    two terms. Together these are at most (M_k + 2N_k)·max‖x‖. If a_k > 0 then M_k > N_k, so that is at most
    #    3M_k·max‖x‖.
    err_grad = (err_products + err_sums) * (np.sqrt(2) * sums.weighted_norm_sum / total + 6 * moved * max_row_norm)
    err_grad += err_sums * l2 * coef_norm
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rounding = err_duality(gap + 4 * moved, grad_norm, err_grad, l2, err_sums)
        # 3. KL(q‖p) is a function of the logits. Its gradient is p − q with Σ|p − q| ≤ 2d. Its curvature is a
        #    variance, at most ε² for errors of at most ε.
        rounding += 2 * moved * err_z + err_z**2 / 2
        if heads.intercept is None:
            return rounding
        # 4. The residuals of class k sum to δ_k instead of 0, with Σδ = 0. This adds δ·(b − b*), at most ½ Σ|δ|
        #    times the spread of b − b*. Σ|δ| ≤ err_sums·(Σ|p − y| + 4·moved) ≤ 6·err_sums·mean_mass.
        spread = np.ptp(heads.intercept, axis=-1) + softmax_intercept_bound(sums, l2)
        mean_residual = moved + (3 * err_sums + 2 * err_z) * mean_mass
        reach = np.ptp(heads.intercept, axis=-1) + np.sqrt(2) * max_row_norm * coef_norm
        slope = (np.exp(-reach) / classes) ** 2
        for _ in range(INTERCEPT_REFINEMENTS):
            total_gap = gap + rounding + 3 * err_sums * mean_mass * spread
            shrunk = softmax_intercept_distance(total_gap, l2, max_row_norm, mean_residual, slope, classes)
            spread = np.fmin(spread, shrunk)
        rounding += 3 * err_sums * mean_mass * spread
    return rounding


def softmax_intercept_distance(
    gap: np.ndarray,
    l2: np.ndarray,
    max_row_norm: np.ndarray,
    mean_residual: np.ndarray,
    slope: np.ndarray,
    classes: int,
) -> np.ndarray:
    r"""Bound max u − min u for u = b* − b if J − J* ≤ gap. The bound is infinity or nan if there is none.

    As $\|W - W^*\| \le \sqrt{2\,\mathrm{gap}/\lambda}$, no difference of two logits changes by more than
    $D = \sqrt2\max_i\|x_i\|\sqrt{2\,\mathrm{gap}/\lambda}$ from W to W*. Sort the classes by u. For any
    j < K, let A be the j classes with the largest u, and g the step from A to the next class. From (W, b) to (W*,
    b*) the logit of A against the other classes grows by at least g − D in every row. The mean probability of A
    grows by ρ, its deficit at the head. It grows by at least $\kappa(1 - e^{-(g-D)})$ with κ the mean of p(1 − p)
    at the head, because $\ln p(1-p)$ has a slope of at most 1. So $g \le D - \ln(1 - |\rho|/\kappa)$. The
    spread of u is the sum of K − 1 steps, each at most this bound.

    Args:
      gap: a bound on J − J*, shape (H,).
      l2: shape (H,).
      max_row_norm: max ‖x‖, shape (H,).
      mean_residual: an upper bound on every |ρ|, shape (H,).
      slope: a lower bound on every κ, shape (H,).
      classes: K.
    """
    logit_change = np.sqrt(2) * max_row_norm * np.sqrt(2 * gap / l2)
    return (classes - 1) * (logit_change - np.log1p(-np.minimum(mean_residual / slope, 1)))


def softmax_intercept_bound(sums: "softmax.SoftmaxSums", l2: np.ndarray) -> np.ndarray:
    r"""Bound max b* − min b*.

    At the optimum the mean of p in column k is the fraction π_k of its class. So in some row p is at least π_k,
    and for any j $\ln\pi_k \le z_k - z_j \le b_k - b_j + \|x\|\,\|w_k - w_j\|$. Here
    $\|w_k - w_j\| \le \sqrt2\|W^*\|$ and $\frac\lambda2\|W^*\|^2 \le J_0$, the objective of the best
    intercepts alone, which is the entropy of π.
    """
    fraction = sums.weight / sums.weight.sum(-1, keepdims=True)
    entropy = -(fraction * np.log(fraction)).sum(-1)
    return sums.max_row_norm * np.sqrt(2) * np.sqrt(2 * entropy / l2) - np.log(fraction).min(-1)
