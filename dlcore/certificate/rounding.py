r"""Bounds on the rounding errors of a certificate.

A certificate is computed in float64. It is an upper bound all the same, because it adds a bound on what rounds.

Let u be the unit roundoff. A product of n factors 1 + δ, |δ| ≤ u, differs from 1 by at most γₙ = nu/(1 − nu). The
code writes n·u, where n is a few larger than the number of roundings, which covers the difference. Underflow is
not counted. `err_x` is a bound on |x̂ − x|, where x̂ is the computed number and x the exact one. Exponentials and
logarithms of NumPy are taken to be right to a few u, and products of matrices to be sums of float64 products.

**Centering** (`dlcore.certificate.centering`) adds two roundings: x − c and b + c·w are each off by u of
themselves. That is u more for each term of a logit, and of a gradient x − c alone counts. `err_logit` and the
bounds of the gradients include it.

**Duality.** The bound holds for every q whose residuals sum to zero. So q may be the repaired sigmoid of the
computed logits, and their errors count in KL(q‖p) alone. The few u by which the computed residuals differ from it
are counted with the sums over rows. Errors come from these sums, from the logits, and from residuals whose sum is
not exactly zero. A sum δ in place of zero adds δ·(b − b*), which needs a bound on b*.

**Counts.** The same holds with q = (1 + t)μ of the computed rates μ and the computed t. Let ε be the error of a
logit and of its exponential. It moves the divergence by $\sum s\mu(e^\varepsilon - 1 - (1 + t)\varepsilon)$.
That is at most $|t|\sum s\mu|\varepsilon| + \frac12e^{|\varepsilon|}\sum s\mu\varepsilon^2$. Where d = z − ln y is
off by η, the loss $y(e^d - 1 - d)$ is off by η|μ − y| to first order. What rounds besides is at most 300u of the
loss. For |d| ≥ 2⁻⁵ the terms of $e^d - 1 - d$ are at most 128 times the result, and at most 3 times the result
below −1 and above 2.

**Squared loss.** The gap is $\bar\rho^2 + \frac12 h^\top(A + \lambda I)^+h$, the squared distance between
predictions and the part of the penalty. An error δ of the residuals ρ moves √gap by at most √(Σsδ²/S). An error ε
of h moves it by at most ε/√(2μ), where μ is the smallest eigenvalue.

**Curvature.** In the coordinates of W (`dlcore.certificate.bounds.curvature`) A is about I, and errors are
measured there. Let p be the probabilities of a row, r that of all classes but the right one, and ξ the transformed
row less that of the right class.

1. ξ as a product is off by $e_i = (KD + 4)u\sum_a\|W_{\cdot a}\||x_{ia}|$. A difference of two is off by twice
   that and u of itself.
2. Probabilities are off by factors $e^{\pm2\varepsilon}$. Here ε is the error of a difference of two logits
   and of its exponential. As $\mathrm{diag}(p) - pp^\top = \frac12\sum_{kl}p_kp_l(e_k - e_l)(e_k - e_l)^\top$, the
   true Hessian is at least $e^{-4\varepsilon}$ times the Hessian of the computed p.
3. A is $B^\top B$ of the stacked terms. Errors E of B move $\sqrt\mu$ by at most $\|E\|_F$. The part of a row is
   at most $\sqrt{s\,r}$ times the error of its ξ and the rounding of its few operations, because a variance is no
   more than the mean square from the right class. The product is off by `err_sums` times the trace of A, its
   eigenvalues by 10·K·D·u of the largest (LAPACK).
4. g is off by at most $\sum s\,r\,$(2ε + `err_sums`)$\max\|\xi\|$, the errors of ξ, and those of λw.

Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, chapters 2 to 4; LAPACK Users' Guide,
section 4.7.1 (eigenvalues).
"""

import dataclasses
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from dlcore.certificate.bounds import logistic, poisson, softmax
    from dlcore.certificate.head_arrays import HeadArrays

UNIT = float(np.finfo(np.float64).eps) / 2
"""The unit roundoff u of float64: the result of an operation is off by at most u of itself."""

PAIRWISE = 64
"""A sum of n < 2⁴⁰ terms by `numpy.sum`, pairwise over runs of 128, is off by at most this many u·Σ|terms|."""

INTERCEPT_REFINEMENTS = 3
"""How often the bound on |b* − b| is computed anew from the gap that it has just lowered."""

SCALED_GRAM = 4 * UNIT
"""Relative error of a Gram matrix divided by scales: two divisions, and 2u more for the squares."""

Number = TypeVar("Number", float, np.ndarray)


# -- sums, logits, eigenvalues -------------------------------------------------------------------------------


class SumRounding(NamedTuple):
    """Errors of a sum over all rows, relative to the sum of magnitudes.

    Attributes:
      sums: of sums by `numpy.sum` along contiguous memory within a block, then block by block.
      products: of matrix products within a block, whose terms are added in any order, then block by block.
    """

    sums: float
    products: float


def sum_rounding(slices: list[slice]) -> SumRounding:
    """Return the errors of sums over these blocks, the longest first."""
    longest = slices[0].stop - slices[0].start
    return SumRounding((PAIRWISE + len(slices)) * UNIT, (longest + len(slices)) * UNIT)


def err_logit(features: int, magnitude: Number, extra: int = 8) -> Number:
    """Bound the error of a logit x·w + b.

    Args:
      features: the number m of terms.
      magnitude: no less than Σ|xⱼwⱼ| + |b|, such as ‖x‖‖w‖ + |b|.
      extra: the roundings beyond the products: the intercept, centering, and operations on the logit itself.
    """
    return (features + extra) * UNIT * magnitude


def err_margin(features: int, magnitude: np.ndarray) -> np.ndarray:
    """Bound the error of the difference of two logits of magnitude at most `magnitude`."""
    return 2 * err_logit(features, magnitude, extra=6)


def err_eigenvalue(size: int, largest: float) -> float:
    """Bound the error of the eigenvalues of a symmetric matrix: a few u of its norm, size·10u with room."""
    return 10 * size * UNIT * largest


# -- cross-entropies by duality ------------------------------------------------------------------------------


def err_value(value: float, err_logits: float, terms: int) -> float:
    """Bound the error of J, a mean of losses and a penalty: the error of a logit counts twice at most.

    Args:
      value: J.
      err_logits: the mean error of the logits.
      terms: the number of roundings of a sum over rows and of a loss.
    """
    return 2 * err_logits + 2 * terms * UNIT * value


def improvement_bound(
    value: np.ndarray, null_value: np.ndarray, penalty: np.ndarray, err_sums: float, err_loss: np.ndarray
) -> np.ndarray:
    """Return E = max(J₀ − J, (λ/2)‖σw‖²), where the difference is less what it may be off by.

    Args:
      value: J.
      null_value: J₀.
      penalty: (λ/2)‖σw‖².
      err_sums: the relative error of sums over rows.
      err_loss: what errors of the logits move J by.
    """
    return np.maximum(null_value - value - err_sums * (1 + value + null_value) - err_loss, penalty)


def _err_duality(
    terms: np.ndarray, grad_norm: np.ndarray, err_grad: np.ndarray, l2: np.ndarray, err_sums: float
) -> np.ndarray:
    """Bound the error of KL + ‖g‖²/2λ: sums are off by `err_sums`, and an error ε of g adds ε(2‖g‖ + ε)/2λ."""
    return err_sums * terms + err_grad * (2 * grad_norm + err_grad) / (2 * l2)


def logistic_sums(slices: list[slice]) -> float:
    """Return the relative error of sums over rows of logistic heads.

    A block holds rows of both classes, and each class is summed by itself. There is room for a division by σ.
    """
    return 2 * max(sum_rounding(slices)) + UNIT


def logistic_rounding(
    heads: "HeadArrays",
    sides: "tuple[logistic.ClassSums, logistic.ClassSums]",
    *,
    shrink: list[np.ndarray],
    gap: np.ndarray,
    grad_norm: np.ndarray,
    coef_norm: np.ndarray,
    err_sums: float,
    is_exact: np.ndarray,
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
      is_exact: whether the divergence is a second sum over the rows, not a bound.
    """
    negative, positive = sides
    l2, features = heads.l2, heads.coef.shape[1]
    total = negative.weight + positive.weight
    mass, magnitude = (negative.mass + positive.mass) / total, (negative.magnitude + positive.magnitude) / total
    longest = np.maximum(negative.longest, positive.longest)
    intercept = np.zeros(len(heads.coef)) if heads.intercept is None else abs(heads.intercept)
    err_z = err_logit(features, longest * coef_norm + intercept, extra=4)
    err_grad = 2 * err_sums * magnitude + err_sums * l2 * coef_norm
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rounding = _err_duality(gap, grad_norm, err_grad, l2, err_sums)
        rounding += err_z**2 / 8
        if heads.intercept is None:
            return rounding
        # Errors of the logits move the divergence by their size times the probability mass d·Σs·r that the repair
        # took. A second pass has logits of its own: q belongs to those of the first, and both may be off, three
        # errors in all. In the bound from sums the factor 1.001 leaves 0.0005d²·mass, and dε ≤ 0.0005d² + 500ε².
        fraction_taken = 1 - np.minimum(*shrink)  # |p − q| / r
        err_pass = err_sums * mass + 3 * err_logit(features, magnitude * coef_norm + mass * intercept, extra=4)
        rounding += np.where(is_exact, fraction_taken * err_pass, 500 * mass * err_z**2)
        # Residuals that sum to some δ instead of 0 add δ·(b − b*).
        residual_sum = abs(shrink[0] * negative.mass - shrink[1] * positive.mass) / total + err_sums * mass
        distance = intercept + logistic_intercept_bound(longest, negative.weight, positive.weight, l2)
        mean_residual = abs(negative.mass - positive.mass) / total + (err_sums + err_z) * mass
        slope = np.exp(-intercept - longest * coef_norm) / 4
        for _ in range(INTERCEPT_REFINEMENTS):
            total_gap = gap + rounding + residual_sum * distance
            distance = np.fmin(distance, logistic_intercept_distance(total_gap, l2, longest, mean_residual, slope))
        rounding += residual_sum * distance
    return rounding


def logistic_intercept_distance(
    gap: np.ndarray, l2: np.ndarray, longest: np.ndarray, mean_residual: np.ndarray, slope: np.ndarray
) -> np.ndarray:
    r"""Bound |b* − b| where J − J* ≤ gap; infinite or nan where there is no bound.

    $\|w - w^*\| \le \sqrt{2\,\mathrm{gap}/\lambda}$ moves no logit by more than $D = \max_i\|x_i\|$ times that.
    So at $w^*$ the intercept with mean residual 0 is no further from b than D plus the same distance at w. The
    mean residual at (w, b) is ρ, with the slope κ in b. As $\ln p(1-p)$ has a slope of at most 1, the mean
    residual has lost |ρ| after a distance of $-\ln(1 - |\rho|/\kappa)$.

    Args:
      gap: a bound on J − J*, shape (H,).
      l2: shape (H,).
      longest: max ‖x‖, shape (H,).
      mean_residual: no less than |ρ|, shape (H,).
      slope: no more than κ, the mean of p(1 − p), shape (H,).
    """
    return longest * np.sqrt(2 * gap / l2) - np.log1p(-np.minimum(mean_residual / slope, 1))


def logistic_intercept_bound(
    longest: np.ndarray, zeros: np.ndarray, ones: np.ndarray, l2: np.ndarray
) -> np.ndarray:
    r"""Bound |b*|.

    At the optimum the mean of p is the fraction π of class 1. So some logit is at least, and some at most, that of
    π: $|b^*| \le |\mathrm{logit}\,\pi| + \max_i\|x_i\|\,\|w^*\|$. Here $\frac\lambda2\|w^*\|^2 \le J_0$, the
    objective of the best intercept alone, which is the entropy of π.

    Args:
      longest: max ‖x‖, shape (H,).
      zeros: total weight of class 0, shape (H,).
      ones: total weight of class 1, shape (H,).
      l2: shape (H,).
    """
    fractions = np.stack([ones, zeros]) / (ones + zeros)
    entropy = -(fractions * np.log(fractions)).sum(0)
    return abs(np.log(ones) - np.log(zeros)) + longest * np.sqrt(2 * entropy / l2)


def softmax_logit(heads: "HeadArrays", scaled_coef: np.ndarray, longest: np.ndarray) -> np.ndarray:
    """Bound the error of the logits of softmax heads, that of the exponential included, shape (H,)."""
    intercept = 0.0 if heads.intercept is None else np.abs(heads.intercept).max(-1)
    magnitude = longest * np.linalg.norm(scaled_coef, axis=2).max(-1) + intercept
    return err_logit(heads.coef.shape[2], magnitude) + 4 * UNIT


def softmax_sums(sums: float, classes: int) -> float:
    """Return the relative error of sums over rows of residuals of softmax heads.

    Each residual is off by (2K + 10)u of itself, sums of K terms included. Their sums over rows add `sums`, the
    scale twice 2u, and centering u.
    """
    return sums + (2 * classes + 15) * UNIT


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

    p stands for the exactly normalised exponentials that the computer made. q stands for what the stored a and π
    make of p: any such q is valid. What rounds is numbered below.

    Args:
      heads: H heads.
      sums: sums over the rows.
      moved: the probability mass that the repair moves, shape (H,).
      gap: the computed gap.
      grad_norm: the norm of the repaired gradient.
      coef_norm: ‖σW‖.
      err_z: the error of the logits.
      err_sums: 1. the relative error of sums of residuals, see `softmax_sums`.
      err_products: the relative error of matrix products over rows.
    """
    l2, classes, total = heads.l2, heads.coef.shape[1], sums.weight.sum(-1)
    mass, longest = sums.mass / total, sums.longest
    # 2. The gradient is off by `err_products` of Σ s‖q − y‖‖x‖, where ‖p − y‖ ≤ √2 r, and of what the repair adds.
    #    The repair takes a_k of Σ s·p_k·x, which is made of two sums of at most (M_k + 2 N_k)·max‖x‖ ≤ 3
    #    M_k·max‖x‖, and gives as much.
    err_grad = (err_products + err_sums) * (np.sqrt(2) * sums.magnitude / total + 6 * moved * longest)
    err_grad += err_sums * l2 * coef_norm
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rounding = _err_duality(gap + 4 * moved, grad_norm, err_grad, l2, err_sums)
        # 3. KL(q‖p) is a function of the logits. Its gradient is p − q with Σ|p − q| ≤ 2d. Its curvature is a
        #    variance, at most ε² for errors of at most ε.
        rounding += 2 * moved * err_z + err_z**2 / 2
        if heads.intercept is None:
            return rounding
        # 4. The sums of the residuals are some ε with Σε = 0 instead of 0. This adds ε·(b − b*), at most ½ Σ|ε|
        #    times the spread of b − b*. Σ|ε| ≤ err_sums·(Σ|p − y| + 4·moved) ≤ 6·err_sums·mass.
        spread = np.ptp(heads.intercept, axis=-1) + softmax_intercept_bound(sums, l2)
        mean_residual = moved + (3 * err_sums + 2 * err_z) * mass
        reach = np.ptp(heads.intercept, axis=-1) + np.sqrt(2) * longest * coef_norm
        slope = (np.exp(-reach) / classes) ** 2
        for _ in range(INTERCEPT_REFINEMENTS):
            total_gap = gap + rounding + 3 * err_sums * mass * spread
            shrunk = softmax_intercept_distance(total_gap, l2, longest, mean_residual, slope, classes)
            spread = np.fmin(spread, shrunk)
        rounding += 3 * err_sums * mass * spread
    return rounding


def softmax_intercept_distance(
    gap: np.ndarray,
    l2: np.ndarray,
    longest: np.ndarray,
    mean_residual: np.ndarray,
    slope: np.ndarray,
    classes: int,
) -> np.ndarray:
    r"""Bound max u − min u for u = b* − b where J − J* ≤ gap; infinite or nan where there is no bound.

    $\|W - W^*\| \le \sqrt{2\,\mathrm{gap}/\lambda}$ moves no difference of two logits by more than
    $D = \sqrt2\max_i\|x_i\|$ times that. Take the classes A of the largest u. Let g be the excess of the smallest
    u of A over the largest u of the other classes. From (W, b) to (W*, b*) the logit of A against the other
    classes grows by at least g − D in every row. The mean probability of A grows by ρ, what the head gives A too
    little. It grows by at least $\kappa(1 - e^{-(g-D)})$ with κ the mean of p(1 − p) at the head, as $\ln p(1-p)$
    has a slope of at most 1. So $g \le D - \ln(1 - |\rho|/\kappa)$, and u has K − 1 such steps.

    Args:
      gap: a bound on J − J*, shape (H,).
      l2: shape (H,).
      longest: max ‖x‖, shape (H,).
      mean_residual: no less than any |ρ|, shape (H,).
      slope: no more than any κ, shape (H,).
      classes: K.
    """
    moved = np.sqrt(2) * longest * np.sqrt(2 * gap / l2)
    return (classes - 1) * (moved - np.log1p(-np.minimum(mean_residual / slope, 1)))


def softmax_intercept_bound(sums: "softmax.SoftmaxSums", l2: np.ndarray) -> np.ndarray:
    r"""Bound max b* − min b*.

    At the optimum the mean of p in column k is the fraction π_k of its class. So in some row p is at least π_k,
    and for any j $\ln\pi_k \le z_k - z_j \le b_k - b_j + \|x\|\,\|w_k - w_j\|$. Here
    $\|w_k - w_j\| \le \sqrt2\|W^*\|$ and $\frac\lambda2\|W^*\|^2 \le J_0$, the objective of the best
    intercepts alone, which is the entropy of π.
    """
    fraction = sums.weight / sums.weight.sum(-1, keepdims=True)
    entropy = -(fraction * np.log(fraction)).sum(-1)
    return sums.longest * np.sqrt(2) * np.sqrt(2 * entropy / l2) - np.log(fraction).min(-1)


# -- counts by duality ---------------------------------------------------------------------------------------


def poisson_sums(slices: list[slice], features: int) -> float:
    """Return the relative error of means over the rows: of a sum, of its terms and norms, and of Σ s."""
    return 2 * (max(sum_rounding(slices)) + (features + 20) * UNIT)


def poisson_logit(features: int, magnitude: np.ndarray) -> np.ndarray:
    """Bound the error of a logit, that of the exponential included."""
    return err_logit(features, magnitude) + 4 * UNIT


def poisson_rounding(
    heads: "HeadArrays",
    means: "poisson.PoissonSums",
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

    What rounds is numbered below.

    Args:
      heads: H heads.
      means: means over the rows.
      t: the repair q = (1 + t)μ, 0 without an intercept, shape (H,).
      gap: the computed gap.
      grad_norm: the norm of the repaired gradient.
      coef_norm: ‖σw‖.
      null_value: no less than J₀, shape (H or 1,).
      err_z: the error of the logits, see `poisson_logit`.
      err_sums: 1. the relative error of means over the rows, see `poisson_sums`.
    """
    l2, features, longest = heads.l2, heads.coef.shape[1], means.longest
    # 2. The gradient is made of two sums over the rows.
    err_grad = 2 * err_sums * ((1 + t) * means.magnitude + np.abs(t) * means.target_magnitude)
    err_grad += err_sums * l2 * coef_norm
    rounding = _err_duality(gap, grad_norm, err_grad, l2, err_sums)
    intercept = np.zeros(len(l2)) if heads.intercept is None else np.abs(heads.intercept)
    # 3. Errors of the logits move the divergence.
    reach = means.rate_magnitude * coef_norm + means.rate * intercept
    err_rate = err_logit(features, reach) + 4 * UNIT * means.rate
    rounding += (np.abs(t) + np.exp(err_z) * err_z / 2) * err_rate
    if heads.intercept is None:
        return rounding
    # 4. For |t| > 2⁻⁵ φ is computed from two terms; one is 0 at t = −1.
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
        distance = np.fmin(distance, poisson_intercept_distance(total_gap, l2, longest, shift))
    return rounding + residual_sum * distance


def poisson_intercept_distance(
    gap: np.ndarray, l2: np.ndarray, longest: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    r"""Bound |b* − b| where J − J* ≤ gap.

    The mean rate at the optimum is the mean target $\bar y$. So
    $b^* = \ln\bar y - \ln\mathrm{mean}(e^{x\cdot w^*})$. With the mean rate $\bar\mu$ at the head,
    $b = \ln\bar\mu - \ln\mathrm{mean}(e^{x\cdot w})$. The logarithms of the two means differ by at most
    $\max\|x\|\,\|w - w^*\|$, where $\|w - w^*\| \le \sqrt{2\,\mathrm{gap}/\lambda}$.

    Args:
      gap: a bound on J − J*, shape (H,).
      l2: shape (H,).
      longest: max ‖x‖, shape (H or 1,).
      shift: no less than $|\ln\bar y - \ln\bar\mu|$, shape (H,).
    """
    return shift + longest * np.sqrt(2 * gap / l2)


def poisson_intercept_bound(means: "poisson.PoissonSums", null_value: np.ndarray, l2: np.ndarray) -> np.ndarray:
    r"""Bound |b*|, see `poisson_intercept_distance`: w* is at most √(2J₀/λ) from w = 0, as J ≥ 0."""
    return np.abs(np.log(means.target)) + 1e-9 + means.longest * np.sqrt(2 * null_value / l2)


def err_deviance(
    means: "poisson.PoissonSums",
    value: np.ndarray,
    coef_norm: np.ndarray,
    intercept: np.ndarray,
    features: int,
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
    first = err_logit(features, means.magnitude * coef_norm + means.abs_residual * size)
    second = err_logit(features, means.rate_magnitude * coef_norm + means.rate * size) + 4 * UNIT * means.rate
    logarithm = UNIT * (2 * means.log_target + 8)
    relative = err_sums + 3 * logarithm + 300 * UNIT
    return first + means.abs_residual * logarithm + np.exp(err_z) * err_z * second + relative * value


def err_deviance_of_row(
    losses: np.ndarray, rates: np.ndarray, y: np.ndarray, log_y: np.ndarray, err_logits: np.ndarray
) -> np.ndarray:
    """Bound half the error of the losses of rows, shape (n,).

    Args:
      losses: shape (n,).
      rates: shape (n,).
      y: counts, shape (n,).
      log_y: ln y, 0 where y is 0, shape (n,).
      err_logits: the errors of the logits, shape (n,).
    """
    err = err_logits + 4 * UNIT
    logarithm = UNIT * (2 * np.abs(log_y) + 8)
    error = np.abs(rates - y) * (err + logarithm) + rates * np.exp(err) * err**2
    return (error + (3 * logarithm + 300 * UNIT) * losses) / 2


def err_deviance_of_mean(
    value: np.ndarray, distance: np.ndarray, log_rate: np.ndarray, log_target: float, err_sums: float
) -> np.ndarray:
    """Bound the error of J₀. The error of the mean rate itself counts in the second order.

    Args:
      value: J₀.
      distance: the mean of |y − ȳ|, shape of `value`.
      log_rate: |ln ȳ|, shape of `value`.
      log_target: the largest |ln y|.
      err_sums: the relative error of means over the rows.
    """
    logarithm = UNIT * (2 * (log_target + log_rate) + 8)
    return distance * (logarithm + err_sums) + (err_sums + 3 * logarithm + 300 * UNIT) * value


# -- cross-entropies by curvature ----------------------------------------------------------------------------


def err_transformed(size: int, reach: np.ndarray, largest: np.ndarray) -> np.ndarray:
    r"""Bound the error of ξ less that of the right class, step 1 above, shape (n,).

    Args:
      size: the number of coefficients, KD.
      reach: $\sum_a\|W_{\cdot a}\||x_{ia}|$, the largest over classes, shape (n,).
      largest: max ‖ξ‖, shape (n,).
    """
    return 2 * ((size + 4) * UNIT * reach) + 4 * UNIT * largest


def err_row_logits(terms: int, magnitude: np.ndarray) -> np.ndarray:
    """Bound the error ε of the differences of logits, step 2 above, shape (n,)."""
    return 2 * (err_logit(terms, magnitude) + 6 * UNIT)


def abs_class_sum(coef: np.ndarray) -> np.ndarray:
    """Bound |Σ_k θ_k| from above, the error of the sum over the K classes included, shape (D,)."""
    return np.abs(coef.sum(0)) + len(coef) * UNIT * np.abs(coef).sum(0)


def largest_distance(squares: np.ndarray, terms: int, largest: np.ndarray | None) -> np.ndarray:
    """Bound the distances whose squares are given, shape (n,).

    Args:
      squares: computed squares of distances, shape (n,).
      terms: the number of terms of each square.
      largest: the largest norm, shape (n,), where squares are ‖a‖² + ‖b‖² − 2a·b, else None.
    """
    if largest is not None:
        squares = squares + 8 * (terms + 4) * UNIT * largest**2
    return np.sqrt(squares) * (1 + (terms + 4) * UNIT)


@dataclasses.dataclass
class CurvatureErrors:
    """Errors of A and g in the coordinates of W, added up over blocks of rows: steps 2 to 4 above.

    Attributes:
      classes: K, 1 for the sigmoid.
      size: the number of coefficients, KD.
      err_sums: the relative error of sums over rows.
      err_factor: no less than ‖E‖² of the errors E of B.
      err_grad: the error of ‖g‖.
      err_logit: ε, the largest error of a logit.
    """

    classes: int
    size: int
    err_sums: float
    err_factor: float = 0.0
    err_grad: float = 0.0
    err_logit: float = 0.0

    @classmethod
    def of_blocks(cls, blocks: list[slice], classes: int, size: int) -> "CurvatureErrors":
        """Return no errors yet, for sums over these blocks of rows."""
        longest = (blocks[0].stop - blocks[0].start) * (classes + 1)
        return cls(classes, size, (longest + len(blocks) + size + 2 * classes + 40) * UNIT)

    def add_rows(
        self,
        mass: np.ndarray,
        largest: np.ndarray,
        err_xi: np.ndarray,
        err_logits: np.ndarray,
        residual: np.ndarray | None = None,
    ) -> None:
        """Add the errors of a block.

        Args:
          mass: s·r of each row, for counts s·μ, shape (n,).
          largest: max ‖ξ‖, shape (n,).
          err_xi: the error of ξ, shape (n,).
          err_logits: ε, shape (n,).
          residual: s·|μ − y| of counts, shape (n,); None where it is `mass`.
        """
        self.err_factor += float(mass @ (2 * err_xi + (2 * self.classes + 20) * UNIT * largest) ** 2)
        if residual is None:
            self.err_grad += float(mass @ ((2 * err_logits + self.err_sums) * largest + err_xi))
        else:
            self.err_grad += float(mass @ (2 * err_logits * largest))
            self.err_grad += float(residual @ (self.err_sums * largest + err_xi))
        self.err_logit = max(self.err_logit, float(err_logits.max()))

    def add_penalty(self, gauge: float, trace: float, reach: float, grad_norm: float) -> None:
        """Add the errors of the penalty.

        Args:
          gauge: Σ_a (scale_a Σ_k‖W_{·ka}‖)² of the columns a whose sums over classes are held. The terms of a
            sum may be far larger than the sum.
          trace: the trace of the penalty in the coordinates of W.
          reach: the sum of ‖W_{·a}‖·λσ²(|w| + |mean of w over the classes|).
          grad_norm: ‖g‖.
        """
        self.err_factor += float((2 * (self.classes + 4) * UNIT) ** 2 * gauge + (4 * UNIT) ** 2 * trace)
        self.err_grad += (self.size + 4) * UNIT * reach + self.err_sums * grad_norm

    def smallest_eigenvalue(self, a: np.ndarray, values: np.ndarray) -> float:
        """Return a lower bound on the smallest eigenvalue of the exact A, or 0.

        Args:
          a: the computed A.
          values: its computed eigenvalues, ascending.
        """
        smallest = values[0] - self.err_sums * np.trace(a) - err_eigenvalue(self.size, values[-1])
        root = np.sqrt(max(smallest, 0)) - np.sqrt(self.err_factor)
        return float(max(root, 0) ** 2 * (1 - 4 * self.err_logit - 10 * UNIT))


# -- squared loss --------------------------------------------------------------------------------------------


class SquaredErrors(NamedTuple):
    """Errors of heads with squared loss, divided by Σ s.

    Attributes:
      err_grad: no component of 2Σ s·ρ·x is off by more than this times √(2·`squares`) of `Moments`, shape (H,).
      err_residual: no less than what errors of ρ and of its mean move √gap by, shape (H,).
      err_value: the error of Σ s·ρ², shape (H,).
    """

    err_grad: np.ndarray
    err_residual: np.ndarray
    err_value: np.ndarray


def err_moments(rounding: SumRounding) -> float:
    """Return the relative error of sums of squares and products.

    The first half is the error of the sums and of the factors of their terms. The second half is more than what
    merging and centering round.
    """
    return 2 * (rounding.products + 3 * rounding.sums)


def errors_from_moments(
    features: int, relative: float, magnitude: np.ndarray, reach: np.ndarray, mean_residual: np.ndarray
) -> SquaredErrors:
    """Bound the errors of heads that are evaluated from sums of products.

    Numbers of G and c are off by `relative` of √squares √squares. Products with them round as sums of m terms.

    Args:
      features: m.
      relative: the relative error of the moments.
      magnitude: |w|·|mean of x| + |mean of y| + |b|, shape (H,).
      reach: |w|·√squares of x + √squares of y, shape (H,).
      mean_residual: shape (H,).
    """
    relative_product = relative + (features + 6) * UNIT
    err_mean = (features + 6) * UNIT * magnitude + relative * reach
    err_squares = relative_product * reach**2 + err_mean * (2 * np.abs(mean_residual) + err_mean)
    return SquaredErrors(np.sqrt(2) * relative_product * reach, err_mean, err_squares)


def without_centering(errors: SquaredErrors, mean_residual: np.ndarray, relative: float) -> SquaredErrors:
    """Return the errors without centering: the gradient has the mean residual times the mean of x as well.

    Args:
      errors: the errors with centering.
      mean_residual: ρ̄, shape (H,).
      relative: the relative error of the moments, which the mean of x has too.
    """
    err_grad = errors.err_grad + np.sqrt(2) * (errors.err_residual + (relative + UNIT) * np.abs(mean_residual))
    return SquaredErrors(err_grad, np.zeros(len(mean_residual)), errors.err_value)


def errors_from_rows(
    mean_square: np.ndarray, abs_residual: np.ndarray | None, value: np.ndarray, rounding: SumRounding
) -> SquaredErrors:
    """Bound the errors of heads that are evaluated from the residuals of every row.

    Σ s|ρ||x| ≤ √Σsρ² √Σsx². It counts twice because h = 2Σsρx, and twice more for ρ̄ times the mean of x.

    Args:
      mean_square: Σ s·`err_logit`² of the residuals, shape (H,).
      abs_residual: Σ s·|ρ| where the mean of ρ is taken out, shape (H,), else None.
      value: Σ s·ρ², shape (H,).
      rounding: the errors of sums over the rows.
    """
    err_residual = np.sqrt(mean_square)
    if abs_residual is not None:
        err_residual += rounding.sums * abs_residual
    err_grad = 4 * (rounding.products + 3 * rounding.sums) * np.sqrt(value)
    err_squares = rounding.products * value + err_residual * (2 * np.sqrt(value) + err_residual)
    return SquaredErrors(err_grad, err_residual, err_squares)


def err_gram(relative: float, trace: float, values: np.ndarray) -> float:
    """Bound the error of a Gram matrix and of its eigendecomposition, as a norm.

    Sums of magnitudes |x_j||x_k| make a matrix of norm at most their trace. `eigh` is off by a few u‖A‖, its
    eigenvectors by a few u from orthogonal (LAPACK).
    """
    return relative * trace + err_eigenvalue(len(values), float(np.abs(values).max()))


def err_penalised_grad(
    err_grad: np.ndarray, trace_root: float, l2: np.ndarray, coef_norm: np.ndarray, grad_norm: np.ndarray
) -> np.ndarray:
    """Bound the error of h = 2Σ s·ρ·x + λw: the errors of its terms, the additions and the scaling."""
    return err_grad * trace_root + 6 * UNIT * (l2 * coef_norm + grad_norm)


def err_rotated(err_h: np.ndarray, features: int, h_norm: np.ndarray) -> np.ndarray:
    """Bound the error of h in the basis of the eigenvectors: the product rounds too."""
    return err_h + 10 * features * UNIT * h_norm


def certain_eigenvalues(values: np.ndarray, penalty: float, err: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Return which eigenvalues are certain, and lower bounds on the eigenvalues of A + λI, infinite elsewhere.

    Let η be the error of A. Where λ > 4η, every eigenvalue of A + λI is at least Λ + λ − η. Otherwise the
    eigenvectors are split into C, with Λ above 4(η + η²/λ), and U. In U the curvature is at least λ. In C it is at
    least Λ + λ − η − η²/λ, whatever U does (the Schur complement of U).

    Args:
      values: computed eigenvalues Λ of A.
      penalty: λ.
      err: η.
    """
    schur = err * (err / penalty) if 0 < penalty <= 4 * err else 0.0
    certain = values > 4 * (err + schur) if penalty <= 4 * err else np.full(len(values), True)
    return certain, np.where(certain, values + penalty - err - schur, np.inf)


def err_root_gap(
    err_values: np.ndarray,
    norms: tuple[np.ndarray, np.ndarray],
    err_h: np.ndarray,
    penalty: float,
    smallest: float,
    *,
    full_rank: bool,
) -> np.ndarray:
    r"""Bound what errors of A and h move √gap by, shape (H,).

    $\|u + v\| \le \|u\| + \|v\|$ in the norm of $(A + λI)^{-1}$. At λ = 0, U is taken as the null space of A.

    Args:
      err_values: what errors of the eigenvalues in C move √gap by, shape (H,).
      norms: the norms of h in U and in C, shape (H,) each.
      err_h: the error of h, shape (H,).
      penalty: λ.
      smallest: the lower bound on the eigenvalues in C, infinite where C is empty.
      full_rank: whether U is empty.
    """
    if penalty == 0:
        return err_values + (err_h / np.sqrt(2 * smallest) if np.isfinite(smallest) else 0)
    in_u, _ = norms
    smallest = max(penalty, smallest) if full_rank else penalty
    return err_values + err_h / np.sqrt(2 * smallest) + in_u / np.sqrt(2 * penalty)


def is_rank_refuted(
    norms: tuple[np.ndarray, np.ndarray], err_h: np.ndarray, err: float, smallest: float
) -> np.ndarray:
    r"""Return whether h refutes at λ = 0 that U is the null space, shape (H,).

    If A has the rank |C|, then its range is a graph over C, and $h^\top A^+h = h_C^\top A_{CC}^{-1}h_C$ for the
    true h, which is in that range. Float64 cannot see that A has no higher rank. But in U the true h must vanish
    except for rounding.

    Args:
      norms: the norms of h in U and in C, shape (H,) each.
      err_h: the error of h, shape (H,).
      err: η, the error of A.
      smallest: the lower bound on the eigenvalues in C, infinite where C is empty.
    """
    in_u, in_c = norms
    return in_u > 2 * err_h + err / smallest * in_c


def squared_rounding(
    errors: SquaredErrors, err_root: np.ndarray, gap_root: np.ndarray, rounding: SumRounding
) -> np.ndarray:
    """Bound the rounding of the gap: (√gap + ε)² − gap, where ε adds up what moves the root.

    Args:
      errors: the errors of the heads.
      err_root: what errors of h and A move the root by, shape (H,).
      gap_root: √gap, shape (H,).
      rounding: the errors of sums over the rows.
    """
    error = errors.err_residual + err_root + rounding.sums * gap_root
    with np.errstate(over="ignore", invalid="ignore"):
        return error * (2 * gap_root + error)
