r"""The duality gap of logistic heads.

With the probability p of class 1 and any $q \in [0, 1]^n$ whose residuals $s_i(q_i - y_i)$ sum to zero,

$J - J^* \le \frac1S\sum_i s_i\,\mathrm{KL}(q_i\|p_i)
+ \frac{1}{2\lambda}\|\frac1S X^\top(s\circ(q - y)) + \lambda w\|^2$

Here q is p with the residuals of the heavier class shrunk until both classes weigh the same. With a scale σ the
lengths below are those of x/σ and σw, whose products are the same: no logit is computed anew, and the slope of x/σ
is that of x, divided by σ.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dlcore.certificate.result import Bounds
from dlcore.certificate.rows import (
    UNIT,
    Weights,
    head_slices,
    lengths,
    rounding_over,
    weights_of,
)

CACHE_BYTES = 2**20
"""Twice the size of what a block of rows is multiplied to, in float64, and half that of the rows: found by
measurement between the overhead of small blocks and what the caches hold."""
FEW = 4
"""So many heads cost less to multiply by the rows of both classes than these cost to be put in order."""
NEGLIGIBLE = 2.0**-10
"""Where a bound on the divergence is below this share of the other part of the gap, it stands for it."""
FINEST = 1e-10
"""And where it is below this share of J: so much looser may the gap be than it need be."""
LARGEST = float(np.finfo(np.float64).max)
SMALL = 1e-2
"""Where a class loses this share of its odds at most, the sums say what a second pass would."""
ROUNDS = 3
"""How often the bound on the intercept's distance takes the gap that it has just lowered."""


class _Sums(NamedTuple):
    """Sums over the rows of one class, for H heads; r is the probability given to the other class.

    Attributes:
      weight: Σ s, (H,).
      loss: Σ s·ℓ, (H,).
      mass: Σ s·r, (H,).
      slope: Σ s·r·x, (H, m).
      magnitude: Σ s·r·‖x/σ‖, (H,): what the rounding of the slope is measured by.
      longest: the largest ‖x/σ‖ among the rows of positive weight, (H,).
      odds: Σ s·r/(1 - r), (H,).
    """

    weight: np.ndarray
    loss: np.ndarray
    mass: np.ndarray
    slope: np.ndarray
    magnitude: np.ndarray
    longest: np.ndarray
    odds: np.ndarray


def logistic_bounds(
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
    bias = np.zeros(len(coef)) if intercept is None else intercept
    negative, positive = sides = _sums(coef, bias, x, y, s, scale)
    unit_of_weight = np.ones(coef.shape[1]) if scale is None else scale
    scaled = coef * unit_of_weight
    total = negative.weight + positive.weight

    # Σ s(p - y) is the mass of class 0 minus that of class 1; shrink the heavier one by c.
    lighter = np.minimum(negative.mass, positive.mass)
    if intercept is None:
        shrink = [np.ones(len(coef))] * 2
    else:
        shrink = [np.divide(lighter, side.mass, out=np.ones(len(coef)), where=side.mass > 0) for side in sides]
    repaired = (shrink[0][:, None] * negative.slope - shrink[1][:, None] * positive.slope) / total[:, None]
    distance = np.linalg.norm(repaired / unit_of_weight + l2[:, None] * scaled, axis=1)
    weight_norm = np.linalg.norm(scaled, axis=1)
    value = (negative.loss + positive.loss) / total + l2 / 2 * weight_norm**2
    mass = (negative.mass + positive.mass) / total
    longest = np.maximum(negative.longest, positive.longest)
    logit = (coef.shape[1] + 4) * UNIT  # a logit is off by this of ‖x‖‖w‖ + |b|, about a point too
    null_value = _null_value(negative.weight, positive.weight, intercept is not None)
    sums, unit = rounding_over(_slices(x, len(coef)))
    unit = 2 * max(sums, unit) + UNIT  # a block holds rows of both classes, and each is summed for itself
    far = logit * (longest * weight_norm + abs(bias))
    difference = null_value - value - unit * (1 + value + null_value) - 2 * mass * far
    improvement = np.maximum(difference, l2 / 2 * weight_norm**2)
    taken = 1 - np.minimum(*shrink)  # the share of a probability that the repair took, |p - q| / r
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        divergence = _most(negative, shrink[0]) + _most(positive, shrink[1])
        finest = NEGLIGIBLE * distance**2 / (2 * l2) + FINEST * np.minimum(value, improvement)
        odds = sum(np.where(c < 1, (1 - c) * side.odds, 0) for c, side in zip(shrink, sides, strict=True))
        matters = (divergence / total > finest) & (odds > SMALL * mass * total)
    if matters.any():  # then the divergence itself, by a second pass over the rows
        some = Weights(*(part if len(part) == 1 else part[matters] for part in s))
        place = coef[matters], bias[matters], x, y, some
        divergence[matters] = _divergence(*place, np.stack(shrink)[:, matters])

    # Any q whose residuals sum to zero gives a bound, so the q of the computer may be taken as it is. What
    # rounds: the sums over rows (by `unit`, which has room for a division by σ), the logits in the divergence, and
    # that sum to zero.
    magnitude = (negative.magnitude + positive.magnitude) / total
    blur = 2 * unit * magnitude + unit * l2 * weight_norm
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        duality = divergence / total + distance**2 / (2 * l2)
        rounding = unit * duality + blur * (2 * distance + blur) / (2 * l2)
        rounding += far**2 / 8
        if intercept is not None:
            # The logits move a divergence by their error times the mass taken. The thousandth over, from sums, has
            # room for it but where that mass is small beside the error.
            of_pass = unit * mass + logit * (magnitude * weight_norm + mass * abs(bias))
            rounding += np.where(matters, taken * of_pass, 500 * mass * far**2)
            # Residuals that sum to some δ instead of 0 add δ·(b − b*).
            residual = abs(shrink[0] * negative.mass - shrink[1] * positive.mass) / total + unit * mass
            away = abs(bias) + _largest_intercept(longest, negative.weight, positive.weight, l2)
            uneven = abs(negative.mass - positive.mass) / total + (unit + far) * mass
            steepness = np.exp(-abs(bias) - longest * weight_norm) / 4
            for _ in range(ROUNDS):
                gap = duality + rounding + residual * away
                away = np.fmin(away, _distance_of_intercept(gap, l2, longest, uneven, steepness))
            rounding += residual * away

    gradient = (negative.slope - positive.slope) / total[:, None] + l2[:, None] * scaled * unit_of_weight
    slope_of_bias = (negative.mass - positive.mass) / total if intercept is not None else np.zeros(len(coef))
    gradient += 0 if point is None else slope_of_bias[:, None] * point  # that of the rows as they are
    absent = np.minimum(negative.weight, positive.weight) == 0
    bound = [
        "none: the duality bound needs l2 > 0"
        if penalty == 0
        else "none: a class without weight has no finite intercept"
        if one and intercept is not None
        else "duality"
        for penalty, one in zip(l2, absent, strict=True)
    ]
    norm = np.hypot(np.linalg.norm(gradient, axis=1), slope_of_bias)
    return Bounds(value, norm, duality, rounding, bound, null_value, improvement)


def _sums(
    coef: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, s: Weights, scale_of: np.ndarray | None
) -> list[_Sums]:
    """The sums over the rows of class 0, and of class 1."""
    heads, features = coef.shape
    weight, loss, mass, magnitude, longest, odds = np.zeros((6, 2, heads))
    slope = np.zeros((2, heads, features))
    for h, rows, sign, sides in _blocks(heads, x, y, s):
        margin = _margin(coef[h], bias[h], rows, sign)
        length = lengths(rows, scale_of)
        tail = np.abs(margin)
        np.exp(np.negative(tail, out=tail), out=tail)
        losses = np.log1p(tail)
        losses -= np.minimum(margin, 0)
        np.divide(tail, tail + 1, out=tail)
        wrong = np.abs(np.subtract(margin < 0, tail, out=tail), out=tail)  # 1 - tail where the margin is negative
        odd = np.exp(np.negative(margin, out=margin), out=margin)
        np.minimum(odd, LARGEST, out=odd)  # times a weight of 0 it is 0
        for label, part, scale in sides:
            r = wrong[:, part]
            weight[label, h] += scale.sum(-1)
            loss[label, h] += _summed(losses[:, part], scale)
            mass[label, h] += _summed(r, scale)
            magnitude[label, h] += _summed(r, scale * length[part])
            odds[label, h] += _summed(odd[:, part], scale)
            few = len(r) < features or len(scale) > 1
            slope[label, h] += (r * scale) @ rows[part] if few else r @ (rows[part] * scale.T)
            longest[label, h] = np.maximum(longest[label, h], np.where(scale > 0, length[part], 0).max(-1))
    sums = _Sums(weight, loss, mass, slope, magnitude, longest, odds)
    return [_Sums(*(both[label] for both in sums)) for label in (0, 1)]


def _summed(numbers: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Σ scale·numbers over the rows, (H,)."""
    return numbers @ scale[0] if len(scale) == 1 else np.einsum("hn,hn->h", numbers, scale)


def _most(side: _Sums, c: np.ndarray) -> np.ndarray:
    r"""No less than Σ s·KL(q‖p) over the rows of one class, from its sums alone.

    The divergence is at most that of χ², $(p - q)^2 / (p(1 - p)) = (1-c)^2\,r / (1 - r)$. With d = 1 − c, the odds
    o = r/(1 − r) and $\varphi(u) = (1+u)\ln(1+u) - u$ it is $r\varphi(-d) + (1-r)\varphi(do)$, where
    $\varphi(u) \le u^2/2$ above 0 and $\varphi(-d) \le d^2/(2(1-d))$: at most
    $\frac{d^2}2(r/(1-d) + ro)$, and $r + ro = o$. For small d that is half of χ², and all of it but for a share d.
    A thousandth more covers the rounding of the logits.
    """
    d = 1 - c
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        half = (side.odds + side.mass * d / c) / 2
        return np.where(c < 1, 1.001 * d**2 * np.fmin(side.odds, half), 0.0)


def _divergence(
    coef: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, s: Weights, shrink: np.ndarray
) -> np.ndarray:
    r"""Σ s·KL(q‖p), where the probability r of the other class is shrunk to c·r, c in (2, H) is its class's.

    $\mathrm{KL} = cr\ln c + (1 - cr)\ln\frac{1 - cr}{1 - r}$, and with the margin t, $r/(1-r) = e^{-t}$, so that
    the last logarithm is $\ln(1 + (1-c)e^{-t})$.
    """
    total = np.zeros(len(coef))
    with np.errstate(divide="ignore"):
        log_c = np.where(shrink > 0, np.log(shrink), 0.0)[..., None]  # 0 ln 0 is 0
        log_rest = np.log1p(-shrink)[..., None]
    for h, rows, sign, sides in _blocks(len(coef), x, y, s):
        margins = _margin(coef[h], bias[h], rows, sign)
        for label, part, scale in sides:
            margin, c = margins[:, part], shrink[label, h, None]
            if (c == 1).all():
                continue
            tail = np.exp(-np.abs(margin))
            kept = c * (np.where(margin >= 0, tail, 1.0) / (1 + tail))
            ratio = log_rest[label, h] - margin
            terms = kept * log_c[label, h] + (1 - kept) * (np.maximum(ratio, 0) + np.log1p(np.exp(-np.abs(ratio))))
            total[h] += (scale * np.maximum(terms, 0)).sum(-1)  # by rounding alone below 0
    return total


class _Side(NamedTuple):
    """The rows of one class in a block, and their weights, (1, rows) or (heads, rows)."""

    label: int
    part: slice
    scale: np.ndarray


def _blocks(
    heads: int, x: np.ndarray, y: np.ndarray, s: Weights
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, list[_Side]]]:
    """Groups of heads, rows in float64, 1 or -1 for the class of each, and the two classes: a block at a time.

    A few heads meet all rows with weights that are 0 in the other class; more meet the rows of one class after
    those of the other.
    """
    slices = _slices(x, heads)
    room = np.empty((slices[0].stop, x.shape[1]))
    for block in slices:
        of_class = [y[block] == label for label in (0, 1)]
        if heads <= FEW:
            rows = room[: len(of_class[0])]
            rows[...] = x[block]
            sign = np.where(of_class[1], 1.0, -1.0)
            places = [(slice(None), slice(None))] * 2
        else:
            if len(s.numbers) == 1:
                of_class = [mine & (s.numbers[0, block] > 0) for mine in of_class]
            zeros, ones = (np.flatnonzero(mine) for mine in of_class)
            rows = room[: len(zeros) + len(ones)]
            rows[...] = x[block][np.concatenate([zeros, ones])]
            sign = np.repeat([-1.0, 1.0], [len(zeros), len(ones)])
            places = [(slice(0, len(zeros)), zeros), (slice(len(zeros), len(rows)), ones)]
        for h in head_slices(heads, max(1, len(rows))):
            scale = weights_of(s, h, block)
            sides = [
                _Side(label, part, (scale * mine)[:, index])
                for label, (mine, (part, index)) in enumerate(zip(of_class, places, strict=True))
            ]
            yield h, rows, sign, [side for side in sides if side.scale.any()]


def _slices(x: np.ndarray, heads: int) -> list[slice]:
    """Blocks of rows, smaller than those of `row_slices`: what a block makes of them stays in the cache."""
    step = max(1, min(CACHE_BYTES // (16 * min(heads, 512)), 2 * CACHE_BYTES // (8 * x.shape[1])))
    return [slice(start, min(start + step, len(x))) for start in range(0, len(x), step)]


def _margin(coef: np.ndarray, bias: np.ndarray, rows: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """(H, n): the logit, with the sign that makes it positive where the example is right."""
    margin = coef @ rows.T
    margin += bias[:, None]
    margin *= sign
    return margin


def _null_value(zeros: np.ndarray, ones: np.ndarray, has_intercept: bool) -> np.ndarray:
    """The entropy of the classes' shares, or ln 2 without an intercept."""
    if not has_intercept:
        return np.full(len(zeros), np.log(2))
    shares = np.stack([ones, zeros]) / (ones + zeros)
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(0)


def _distance_of_intercept(
    gap: np.ndarray, l2: np.ndarray, longest: np.ndarray, uneven: np.ndarray, steepness: np.ndarray
) -> np.ndarray:
    r"""A bound on |b* − b| where J − J* ≤ gap; infinite or nan where there is none.

    $\|w - w^*\| \le \sqrt{2\,\mathrm{gap}/\lambda}$ moves no logit by more than $D = \max_i\|x_i\|$ times that.
    So at $w^*$ the mean residual is 0 no further from b than D and the distance at which that of the head itself
    is. That one is ρ at b, with the slope κ, and as $\ln p(1-p)$ has a slope of at most 1, it has lost |ρ| after
    $-\ln(1 - |\rho|/\kappa)$.

    Args:
      gap: shape (H,), a bound on J − J*.
      l2: shape (H,).
      longest: shape (H,), max ‖x‖.
      uneven: shape (H,), no less than |ρ|.
      steepness: shape (H,), no more than κ, the mean of p(1 − p).
    """
    return longest * np.sqrt(2 * gap / l2) - np.log1p(-np.minimum(uneven / steepness, 1))


def _largest_intercept(longest: np.ndarray, zeros: np.ndarray, ones: np.ndarray, l2: np.ndarray) -> np.ndarray:
    r"""A bound on |b*|.

    At the optimum the mean of p is the share π of class 1: some logit is at least and some at most that of π,
    $|b^*| \le |\mathrm{logit}\,\pi| + \max_i\|x_i\|\,\|w^*\|$, and $\frac\lambda2\|w^*\|^2 \le J_0$, the objective
    of the best intercept alone, which is the entropy of π.
    """
    shares = np.stack([ones, zeros]) / (ones + zeros)
    entropy = -(shares * np.log(shares)).sum(0)
    return abs(np.log(ones) - np.log(zeros)) + longest * np.sqrt(2 * entropy / l2)
