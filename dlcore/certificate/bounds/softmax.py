r"""The duality gap of softmax heads.

With the rows $p_i$ of probabilities, one-hot $y_i$ and any rows q of probabilities whose residuals sum to zero in
each class, $\sum_i s_i(q_i - y_i) = 0$,

$J - J^* \le \frac1S\sum_i s_i\,\mathrm{KL}(q_i\|p_i)
+ \frac{1}{2\lambda}\|\frac1S (s\circ(q - y))^\top X + \lambda W\|_F^2$

since the loss of a row of logits z is
$\ell_i(z) = (q_i - y_i)\cdot z + H(q_i) + \mathrm{KL}(q_i\|\mathrm{softmax}\,z)$
with the entropy H. Summed, with G the first term inside the norm,
$J(W, b) = \langle G, W\rangle + \bar H(q) + \overline{\mathrm{KL}} + \frac\lambda2\|W\|^2$: the intercepts meet
the residuals' sums, 0. At the optimum KL is at least 0 and
$\langle G, W^*\rangle + \frac\lambda2\|W^*\|^2 \ge -\|G\|^2/2\lambda$; the difference is the bound.

The repair of p: with the column sums $M_k = \sum_i s_i p_{ik}$ and the weights $N_k$ of the classes, a share
$a_k = (M_k - N_k)/M_k$ of each over-full column is taken away, and what a row loses, $d_i = \sum_k a_k p_{ik}$,
goes to the other columns in the proportion π of what they lack. So $q_i = p_i - a\circ p_i + d_i\pi$ is linear in
p, rows stay probabilities, columns sum to N, and the slope of q comes from that of p without another pass.

With a scale σ the lengths below are those of x/σ and σw, whose products are the same: no logit is computed anew,
and the slope of x/σ is that of x, divided by σ.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.result import Bounds
from dlcore.certificate.rows import (
    UNIT,
    Weights,
    head_slices,
    lengths,
    rounding_over,
    row_slices,
    weights_of,
)

ROUNDS = 3
"""How often the bound on the intercepts' distance takes the gap that it has just lowered."""
SMALL = 1e-3
"""Up to it φ(t) is taken from its series, whose terms do not cancel."""
TINY = 1e-290
"""Below it a probability has too few digits, and its logarithm is taken from the logit."""


class _Sums(NamedTuple):
    """Sums over rows for H heads of K classes; r is the probability given to all classes but the right one.

    Attributes:
      weight: Σ s of the rows of each class, (H, K).
      loss: Σ s·ℓ, (H,).
      mass: Σ s·r, (H,).
      excess: Σ s·(p − y), (H, K).
      slope: Σ s·(p − y)·x, (H, K, m).
      members: Σ s·x over the rows of each class, (H or 1, K, m).
      magnitude: Σ s·r·‖x/σ‖, (H,): what the rounding of the slope is measured by.
      longest: the largest ‖x/σ‖ among the rows of positive weight, (H,).
    """

    weight: np.ndarray
    loss: np.ndarray
    mass: np.ndarray
    excess: np.ndarray
    slope: np.ndarray
    members: np.ndarray
    magnitude: np.ndarray
    longest: np.ndarray


class _Repair(NamedTuple):
    """What makes q of p: the share taken of each column, and the proportion in which it is given, (H, K)."""

    taken: np.ndarray
    given: np.ndarray


def softmax_bounds(
    coef: np.ndarray,
    intercept: np.ndarray | None,
    l2: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    s: Weights,
    scale: np.ndarray | None = None,
    point: np.ndarray | None = None,
) -> Bounds:
    """J, ‖∇J‖, the bound and its rounding term of H heads; `x` and `intercept` are about the point."""
    heads, classes, features = coef.shape
    bias = np.zeros((heads, classes)) if intercept is None else intercept
    sums = _sums(coef, bias, x, y, s, scale)
    total = sums.weight.sum(-1)
    unit_of_weight = np.ones(features) if scale is None else scale
    scaled = coef * unit_of_weight
    weight_norm = np.linalg.norm(scaled.reshape(heads, -1), axis=1)
    slope = sums.slope if point is None else sums.slope + sums.excess[:, :, None] * point  # of rows as they are
    gradient = slope / total[:, None, None] + l2[:, None, None] * scaled * unit_of_weight
    gradient_norm = np.linalg.norm(gradient.reshape(heads, -1), axis=1)
    divergence, moved, repaired = np.zeros(heads), np.zeros(heads), sums.slope
    if intercept is not None:
        gradient_norm = np.hypot(gradient_norm, np.linalg.norm(sums.excess, axis=1) / total)
        repair = _repair(sums)
        divergence = _divergence(coef, bias, x, s, repair, sums) / total
        moved = np.maximum(sums.excess, 0).sum(-1) / total  # the mass that the repair moves
        whole = sums.slope + sums.members  # Σ s·p·x
        lost = np.einsum("hk,hkm->hm", repair.taken, whole)
        repaired = sums.slope - repair.taken[:, :, None] * whole + repair.given[:, :, None] * lost[:, None, :]
    residue = repaired / total[:, None, None] / unit_of_weight + l2[:, None, None] * scaled
    distance = np.linalg.norm(residue.reshape(heads, -1), axis=1)

    # Take as p the exactly normalised exponentials that the computer made, and as q what the stored a and π make
    # of it: any such q is allowed. What rounds is then:
    # 1. residuals, each by (2K + 10)u of itself, sums of K terms being in it, their sums over rows (`unit`), and
    #    twice 2u by the scale, u by a point that rows are about;
    sums_unit, product = rounding_over(row_slices(x, heads, classes))
    unit = sums_unit + (2 * classes + 15) * UNIT
    # 2. the slope, by `product` of Σ s‖q − y‖‖x‖, where ‖p − y‖ ≤ √2 r, and of what the repair adds: it takes
    #    a_k of Σ s p_k x, which is made of two sums of at most (M_k + 2 N_k)·max‖x‖ ≤ 3 M_k·max‖x‖, and gives
    #    as much;
    blur = (product + unit) * (np.sqrt(2) * sums.magnitude / total + 6 * moved * sums.longest)
    blur += unit * l2 * weight_norm
    mass = sums.mass / total
    largest = np.abs(bias).max(-1)
    value = sums.loss / total + l2 / 2 * weight_norm**2
    null_value = _null_value(sums, intercept is not None)
    logit = (features + 8) * UNIT * (sums.longest * np.linalg.norm(scaled, axis=2).max(-1) + largest) + 4 * UNIT
    difference = null_value - value - unit * (1 + value + null_value) - 4 * logit * mass
    improvement = np.maximum(difference, l2 / 2 * weight_norm**2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        duality = divergence + distance**2 / (2 * l2)
        rounding = unit * (duality + 4 * moved) + blur * (2 * distance + blur) / (2 * l2)
        # 3. the logits that KL(q‖p) is taken with: as a function of them its gradient is p − q, Σ|p − q| ≤ 2d, and
        #    its curvature a variance, at most ε² for errors of at most ε;
        rounding += 2 * moved * logit + logit**2 / 2
        if intercept is not None:
            # 4. the sums of the residuals, off by some ε with Σε = 0 instead of 0, which adds ε·(b − b*), at most
            #    ½ Σ|ε| times the spread of b − b*. Σ|ε| ≤ unit·(Σ|p − y| + 4·moved) ≤ 6·unit·mass.
            spread, uneven = (
                np.ptp(bias, axis=-1) + _largest_spread(sums, l2),
                moved + (3 * unit + 2 * logit) * mass,
            )
            reach = np.ptp(bias, axis=-1) + np.sqrt(2) * sums.longest * weight_norm
            steepness = (np.exp(-reach) / classes) ** 2
            for _ in range(ROUNDS):
                gap = duality + rounding + 3 * unit * mass * spread
                spread = np.fmin(spread, _spread_of_distance(gap, l2, sums.longest, uneven, steepness, classes))
            rounding += 3 * unit * mass * spread

    absent = (sums.weight == 0).any(-1)
    bound = [
        "none: the duality bound needs l2 > 0"
        if penalty == 0
        else "none: a class without weight has no finite intercept"
        if one and intercept is not None
        else "duality"
        for penalty, one in zip(l2, absent, strict=True)
    ]
    return Bounds(value, gradient_norm, duality, rounding, bound, null_value, improvement)


def _sums(
    coef: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, s: Weights, scale_of: np.ndarray | None
) -> _Sums:
    heads, classes, features = coef.shape
    loss, mass, magnitude, longest = np.zeros((4, heads))
    weight, excess = np.zeros((2, heads, classes))
    slope, members = np.zeros_like(coef), np.zeros((len(s.numbers), classes, features))
    for block in row_slices(x, heads, classes):
        rows, label = x[block].astype(np.float64), y[block].astype(np.intp)
        length, index = lengths(rows, scale_of), np.arange(len(label))
        for k in np.unique(label):
            chosen = label == k
            own = weights_of(s, slice(None), block)[:, chosen]
            weight[:, k] += own.sum(-1)
            members[:, k] += own @ rows[chosen]
        for h in head_slices(heads, len(rows), classes):
            scale = weights_of(s, h, block)
            powers, shifted = _exponentials(coef[h], bias[h], rows)
            right, own = powers[:, label, index].copy(), shifted[:, label, index]
            powers[:, label, index] = 0
            rest = powers.sum(1)
            whole = rest + right
            # −ln p of the right class, exact in the small where that class leads: its power is then 1
            losses = np.where(own == 0, np.log1p(rest), np.log(whole) - own)
            wrong = scale * (rest / whole)
            powers *= (scale / whole)[:, None, :]
            powers[:, label, index] = -wrong
            loss[h] += (scale * losses).sum(-1)
            mass[h] += wrong.sum(-1)
            excess[h] += powers.sum(-1)
            slope[h] += (powers.reshape(-1, len(rows)) @ rows).reshape(-1, classes, features)
            magnitude[h] += wrong @ length
            longest[h] = np.maximum(longest[h], np.where(scale > 0, length, 0).max(-1))
    return _Sums(weight, loss, mass, excess, slope, members, magnitude, longest)


def _repair(sums: _Sums) -> _Repair:
    over = sums.excess > 0
    full = sums.weight + sums.excess
    taken = np.divide(sums.excess, full, out=np.zeros_like(full), where=over)
    lack = np.maximum(-sums.excess, 0)
    lacking = lack.sum(-1, keepdims=True)
    possible = (lacking > 0) & over.any(-1, keepdims=True)
    given = np.divide(lack, lacking, out=np.zeros_like(lack), where=possible)
    return _Repair(np.where(possible, np.minimum(taken, 1), 0), given)


def _divergence(
    coef: np.ndarray, bias: np.ndarray, x: np.ndarray, s: Weights, repair: _Repair, sums: _Sums
) -> np.ndarray:
    r"""Σ s·KL(q‖p), with $\varphi(t) = (1 + t)\ln(1 + t) - t$ and $q = (1 + t)p$ as Σ s·p·φ(t), all ≥ 0.

    In the columns that lose, t = −a, the same in all rows. In those that gain, t = dπ/p.
    """
    classes = coef.shape[1]
    a = repair.taken
    with np.errstate(divide="ignore", invalid="ignore"):
        loses = np.where(a < 1, (1 - a) * np.log1p(-a) + a, 1.0)
        loses = np.where(a < SMALL, a * a * _half_series(-a), loses)
    total = ((sums.weight + sums.excess) * loses).sum(-1)
    moving = np.flatnonzero(a.any(-1))
    if not len(moving):
        return total
    for block in row_slices(x, len(coef), classes):
        rows = x[block].astype(np.float64)
        for h in head_slices(len(coef), len(rows), classes):
            if not a[h].any():
                continue
            p, shifted = _exponentials(coef[h], bias[h], rows)
            whole = p.sum(1, keepdims=True)
            p /= whole
            gain = np.matmul(a[h, None, :], p) * repair.given[h, :, None]
            gains = _gains(p, gain, shifted, whole)
            total[h] += (weights_of(s, h, block) * gains.sum(1)).sum(-1)
    return total


def _gains(p: np.ndarray, gain: np.ndarray, shifted: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """p·φ(gain/p), or a little more, (H, K, n); p is the exponential of `shifted` over `whole`."""
    large = gain > SMALL * p
    share = np.divide(gain, p, out=np.zeros_like(p), where=(gain > 0) & ~large)
    small = gain * share * _half_series(share)
    if not large.any():
        return small
    rare = (p < TINY) & large
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        logarithm = np.log1p(gain / np.where(p < TINY, 1, p))
    if rare.any():
        head, _, row = np.nonzero(rare)
        logarithm[rare] = np.log(gain[rare]) - shifted[rare] + np.log(whole[head, 0, row])
    return np.where(large, (p + gain) * logarithm - gain, small)


def _half_series(t: np.ndarray) -> np.ndarray:
    """φ(t)/t² for |t| ≤ `SMALL`: ½ − t/6 + t²/12 − t³/20 + t⁴/30; what is left out is below 2e-16 of it."""
    return 1 / 2 - t * (1 / 6 - t * (1 / 12 - t * (1 / 20 - t / 30)))


def _exponentials(coef: np.ndarray, bias: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """e^(z − max z), and the exponents, (H, K, n)."""
    heads, classes, features = coef.shape
    shifted = (coef.reshape(-1, features) @ rows.T).reshape(heads, classes, len(rows))
    shifted += bias[:, :, None]
    shifted -= shifted.max(1, keepdims=True)
    return np.exp(shifted), shifted


def _null_value(sums: _Sums, has_intercept: bool) -> np.ndarray:
    """The entropy of the classes' shares, or ln K without intercepts."""
    if not has_intercept:
        return np.full(len(sums.weight), np.log(sums.weight.shape[1]))
    share = sums.weight / sums.weight.sum(-1, keepdims=True)
    return -(share * np.log(np.where(share > 0, share, 1))).sum(-1)


def _spread_of_distance(
    gap: np.ndarray,
    l2: np.ndarray,
    longest: np.ndarray,
    uneven: np.ndarray,
    steepness: np.ndarray,
    classes: int,
) -> np.ndarray:
    r"""A bound on max u − min u for u = b* − b where J − J* ≤ gap; infinite or nan where there is none.

    $\|W - W^*\| \le \sqrt{2\,\mathrm{gap}/\lambda}$ moves no difference of two logits by more than
    $D = \sqrt2\max_i\|x_i\|$ times that. Take the classes A of the largest u, and let g be what the least of
    these has more than the largest of the others. From (W, b) to (W*, b*) the logit of A against the others
    grows by at least g − D in every row, and the mean probability of A by ρ, what the head gives A too
    little. It grows by at least $\kappa(1 - e^{-(g-D)})$ with κ the mean of p(1 − p) at the head, as $\ln p(1-p)$
    has a slope of at most 1. So $g \le D - \ln(1 - |\rho|/\kappa)$, and u has K − 1 such steps.

    Args:
      gap: shape (H,), a bound on J − J*.
      l2: shape (H,).
      longest: shape (H,), max ‖x‖.
      uneven: shape (H,), no less than any |ρ|.
      steepness: shape (H,), no more than any κ.
      classes: K.
    """
    moved = np.sqrt(2) * longest * np.sqrt(2 * gap / l2)
    return (classes - 1) * (moved - np.log1p(-np.minimum(uneven / steepness, 1)))


def _largest_spread(sums: _Sums, l2: np.ndarray) -> np.ndarray:
    r"""A bound on max b* − min b*.

    At the optimum the mean of p in column k is the share π_k of its class, so in some row it is at least that:
    for any j, $\ln\pi_k \le z_k - z_j \le b_k - b_j + \|x\|\,\|w_k - w_j\|$, where
    $\|w_k - w_j\| \le \sqrt2\|W^*\|$ and $\frac\lambda2\|W^*\|^2 \le J_0$, the objective of the best
    intercepts alone, which is the entropy of π.
    """
    share = sums.weight / sums.weight.sum(-1, keepdims=True)
    entropy = -(share * np.log(share)).sum(-1)
    return sums.longest * np.sqrt(2) * np.sqrt(2 * entropy / l2) - np.log(share).min(-1)
