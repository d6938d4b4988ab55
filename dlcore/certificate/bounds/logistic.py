r"""The duality gap of logistic heads.

With the probability p of class 1 and any $q \in [0, 1]^n$ whose residuals $s_i(q_i - y_i)$ sum to zero,

$J - J^* \le \frac1S\sum_i s_i\,\mathrm{KL}(q_i\|p_i)
+ \frac{1}{2\lambda}\|\frac1S X^\top(s\circ(q - y)) + \lambda w\|^2$

Let r be the probability of the wrong class. The repair of p multiplies r in the class with the larger Σ s·r by a
factor c ≤ 1, so that both sums are equal. The result is q.

With a scale σ, norms are taken of x/σ and σw. The logits (x/σ)·(σw) equal x·w. The gradient for x/σ is the
gradient for x divided by σ.

A row with a probability y of class 1 is a row of class 0 of weight s(1 − y) and a row of class 1 of weight s·y.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dlcore._core import host_checks
from dlcore.certificate.bounds.base import CertifiedLoss, probabilities
from dlcore.certificate.bounds.row_losses import CLASS_LOSS
from dlcore.certificate.bounds.soft_labels import is_soft
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.result import Bounds, duality_names
from dlcore.certificate.rounding.base import err_logit, improvement_bound
from dlcore.certificate.rounding.logistic import logistic_rounding, logistic_sums
from dlcore.certificate.rows import (
    RowWeights,
    TrainingData,
    add_runs,
    cached_row_slices,
    head_slices,
    map_runs,
    row_norms,
)

FEW_HEADS = 4
"""For at most this many heads, products with the rows of both classes cost less than sorting the rows by class."""
NEGLIGIBLE = 2.0**-10
"""The divergence is replaced by its bound if the bound is negligible.

Negligible means at most `NEGLIGIBLE`·‖g‖²/2λ + `NEGLIGIBLE_VALUE`·min(J, E), where g is the repaired gradient: the
vector inside the norm of the duality bound.
"""
NEGLIGIBLE_VALUE = 1e-10
"""See `NEGLIGIBLE`. The gap may be looser by this fraction of min(J, E)."""
LARGEST = float(np.finfo(np.float64).max)
SMALL_ODDS = 1e-2
"""The divergence is also replaced by its bound if (1 − c)·Σ s·odds is at most this fraction of Σ s·r.

A second pass would then lower the bound by about 1 % only.
"""


class ClassSums(NamedTuple):
    """Sums over the rows of one class for H heads. r is the probability of the wrong class.

    Attributes:
      weight: Σ s, shape (H,).
      loss: Σ s·ℓ, shape (H,).
      mass: Σ s·r, the probability mass in the wrong class, shape (H,).
      grad_coef: Σ s·r·x, shape (H, m).
      weighted_norm_sum: Σ s·r·‖x/σ‖, the measure of the rounding of the gradient, shape (H,).
      max_row_norm: the largest ‖x/σ‖ among the rows of positive weight, shape (H,).
      odds: Σ s·r/(1 − r), shape (H,).
    """

    weight: np.ndarray
    loss: np.ndarray
    mass: np.ndarray
    grad_coef: np.ndarray
    weighted_norm_sum: np.ndarray
    max_row_norm: np.ndarray
    odds: np.ndarray


def logistic_bounds(heads: HeadArrays, data: TrainingData, center: np.ndarray | None = None) -> Bounds:
    """Return J, ‖∇J‖, the bound and its rounding for H heads.

    Args:
      heads: H heads. With a center, the intercepts are those for centered rows.
      data: rows of classes 0 and 1, or of their probabilities, shape (n, 2), centered if there is a center.
      center: shape (m,), or None.
    """
    coef, l2, has_intercept = heads.coef, heads.l2, heads.intercept is not None
    intercept = np.zeros(len(coef)) if heads.intercept is None else heads.intercept
    negative, positive = sides = _class_sums(heads, intercept, data)
    scale = np.ones(coef.shape[1]) if heads.scale is None else heads.scale
    scaled_coef = coef * scale
    total = negative.weight + positive.weight

    # Σ s(p − y) is the mass of class 0 minus that of class 1. The larger mass is multiplied by a factor c.
    lighter = np.minimum(negative.mass, positive.mass)
    if has_intercept:
        shrink = [np.divide(lighter, side.mass, out=np.ones(len(coef)), where=side.mass > 0) for side in sides]
    else:
        shrink = [np.ones(len(coef))] * 2
    repaired = (shrink[0][:, None] * negative.grad_coef - shrink[1][:, None] * positive.grad_coef) / total[:, None]
    grad_norm = np.linalg.norm(repaired / scale + l2[:, None] * scaled_coef, axis=1)
    coef_norm = np.linalg.norm(scaled_coef, axis=1)
    value = (negative.loss + positive.loss) / total + l2 / 2 * coef_norm**2
    null_value = _null_value(negative.weight, positive.weight, has_intercept=has_intercept)

    mean_mass = (negative.mass + positive.mass) / total
    max_row_norm = np.maximum(negative.max_row_norm, positive.max_row_norm)
    err_sums = logistic_sums(cached_row_slices(data.x, len(coef)), soft=is_soft(data))
    err_loss = 2 * mean_mass * err_logit(coef.shape[1], max_row_norm * coef_norm + abs(intercept), extra=4)
    improvement = improvement_bound(value, null_value, l2 / 2 * coef_norm**2, err_sums, err_loss)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        divergence = _divergence_bound(negative, shrink[0]) + _divergence_bound(positive, shrink[1])
        negligible = NEGLIGIBLE * grad_norm**2 / (2 * l2) + NEGLIGIBLE_VALUE * np.minimum(value, improvement)
        odds = sum(np.where(c < 1, (1 - c) * side.odds, 0) for c, side in zip(shrink, sides, strict=True))
        needs_second_pass = (divergence / total > negligible) & (odds > SMALL_ODDS * mean_mass * total)
    if needs_second_pass.any():  # a second pass over the rows computes the divergence itself
        weights = RowWeights(*(part if len(part) == 1 else part[needs_second_pass] for part in data.weights))
        params = coef[needs_second_pass], intercept[needs_second_pass]
        shrunk = np.stack(shrink)[:, needs_second_pass]
        divergence[needs_second_pass] = _divergence(*params, data._replace(weights=weights), shrunk)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gap = divergence / total + grad_norm**2 / (2 * l2)
    rounding = logistic_rounding(
        heads,
        sides,
        shrink=shrink,
        gap=gap,
        grad_norm=grad_norm,
        coef_norm=coef_norm,
        err_sums=err_sums,
        needs_second_pass=needs_second_pass,
    )

    gradient = (negative.grad_coef - positive.grad_coef) / total[:, None] + l2[:, None] * scaled_coef * scale
    grad_intercept = (negative.mass - positive.mass) / total if has_intercept else np.zeros(len(coef))
    gradient += 0 if center is None else grad_intercept[:, None] * center  # the gradient for the rows as given
    lacks_optimal_intercept = np.minimum(negative.weight, positive.weight) == 0
    names = duality_names(l2, lacks_optimal_intercept & has_intercept)
    norm = np.hypot(np.linalg.norm(gradient, axis=1), grad_intercept)
    return Bounds(value, norm, gap, rounding, names, null_value, improvement)


def _class_sums(heads: HeadArrays, intercept: np.ndarray, data: TrainingData) -> tuple[ClassSums, ClassSums]:
    """Return the sums over the rows of class 0, and of class 1."""
    blocks = cached_row_slices(data.x, len(heads.coef))
    runs = map_runs(lambda some: _class_sums_of(some, heads, intercept, data), blocks)
    (weight, loss, mass, weighted_norm_sum, odds), grad_coef = add_runs([run[:2] for run in runs])
    max_row_norm = np.max([run[2] for run in runs], axis=0)
    sums = (weight, loss, mass, grad_coef, weighted_norm_sum, max_row_norm, odds)
    return ClassSums(*(both[0] for both in sums)), ClassSums(*(both[1] for both in sums))


def _class_sums_of(
    blocks: list[slice], heads: HeadArrays, intercept: np.ndarray, data: TrainingData
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sums over some blocks for both classes: numbers, shape (5, 2, H), vectors, and the maximum."""
    coef = heads.coef
    count, features = coef.shape
    sums, max_row_norm = np.zeros((5, 2, count)), np.zeros((2, count))
    weight, loss, mass, weighted_norm_sum, odds = sums
    grad_coef = np.zeros((2, count, features))
    for h, rows, sign, sides in _blocks(count, data, blocks):
        margin = _margin(coef[h], intercept[h], rows, sign)
        norms = row_norms(rows, heads.scale)
        tail = np.abs(margin)
        np.exp(np.negative(tail, out=tail), out=tail)
        losses = np.log1p(tail)
        losses -= np.minimum(margin, 0)
        np.divide(tail, tail + 1, out=tail)
        p_wrong = np.abs(np.subtract(margin < 0, tail, out=tail), out=tail)  # 1 − tail if the margin is negative
        odd = np.exp(np.negative(margin, out=margin), out=margin)
        np.minimum(odd, LARGEST, out=odd)  # finite, so that its product with a weight of 0 is 0
        for label, part, weights in sides:
            r = p_wrong[:, part]
            weight[label, h] += weights.sum(-1)
            loss[label, h] += _weighted_sum(losses[:, part], weights)
            mass[label, h] += _weighted_sum(r, weights)
            weighted_norm_sum[label, h] += _weighted_sum(r, weights * norms[part])
            odds[label, h] += _weighted_sum(odd[:, part], weights)
            scale_residuals = len(r) < features or len(weights) > 1
            grad_coef[label, h] += (r * weights) @ rows[part] if scale_residuals else r @ (rows[part] * weights.T)
            max_row_norm[label, h] = np.maximum(
                max_row_norm[label, h], np.where(weights > 0, norms[part], 0).max(-1)
            )
    return sums, grad_coef, max_row_norm


def _weighted_sum(numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Σ weights·numbers over the rows, shape (H,)."""
    return numbers @ weights[0] if len(weights) == 1 else np.einsum("hn,hn->h", numbers, weights)


def _divergence_bound(side: ClassSums, c: np.ndarray) -> np.ndarray:
    r"""Bound Σ s·KL(q‖p) over the rows of one class from its sums alone.

    The divergence is at most that of χ², $(p - q)^2 / (p(1 - p)) = (1-c)^2\,r / (1 - r)$. With d = 1 − c, the odds
    o = r/(1 − r) and $\varphi(u) = (1+u)\ln(1+u) - u$ the divergence is $r\varphi(-d) + (1-r)\varphi(do)$. Here
    $\varphi(u) \le u^2/2$ for u ≥ 0, and $\varphi(-d) \le d^2/(2(1-d))$. So the divergence is at most
    $\frac{d^2}2(r/(1-d) + ro)$, and $r + ro = o$. For small d that is half of χ², up to a fraction d.
    The factor 1.001 covers the rounding of the logits.
    """
    d = 1 - c
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        half = (side.odds + side.mass * d / c) / 2
        return np.where(c < 1, 1.001 * d**2 * np.fmin(side.odds, half), 0.0)


def _divergence(coef: np.ndarray, intercept: np.ndarray, data: TrainingData, shrink: np.ndarray) -> np.ndarray:
    r"""Return Σ s·KL(q‖p), where the probability r of the wrong class is shrunk to c·r.

    $\mathrm{KL} = cr\ln c + (1 - cr)\ln\frac{1 - cr}{1 - r}$. With the margin t, $r/(1-r) = e^{-t}$, so that the
    last logarithm is $\ln(1 + (1-c)e^{-t})$.

    Args:
      coef: shape (H, m).
      intercept: shape (H,).
      data: rows of classes 0 and 1.
      shrink: c of each class, shape (2, H).
    """
    blocks = cached_row_slices(data.x, len(coef))
    parts = map_runs(lambda some: _divergence_of(some, coef, intercept, data, shrink), blocks)
    return functools.reduce(np.add, parts)


def _divergence_of(
    blocks: list[slice], coef: np.ndarray, intercept: np.ndarray, data: TrainingData, shrink: np.ndarray
) -> np.ndarray:
    """Return the part of the divergence of some blocks."""
    total = np.zeros(len(coef))
    with np.errstate(divide="ignore"):
        log_c = np.where(shrink > 0, np.log(shrink), 0.0)[..., None]  # 0 ln 0 is 0
        log_rest = np.log1p(-shrink)[..., None]
    for h, rows, sign, sides in _blocks(len(coef), data, blocks):
        margins = _margin(coef[h], intercept[h], rows, sign)
        for label, part, weights in sides:
            margin, c = margins[:, part], shrink[label, h, None]
            if (c == 1).all():
                continue
            tail = np.exp(-np.abs(margin))
            shrunk = c * (np.where(margin >= 0, tail, 1.0) / (1 + tail))
            log_ratio = log_rest[label, h] - margin
            log_term = np.maximum(log_ratio, 0) + np.log1p(np.exp(-np.abs(log_ratio)))
            terms = shrunk * log_c[label, h] + (1 - shrunk) * log_term
            total[h] += (weights * np.maximum(terms, 0)).sum(-1)  # only rounding makes a term negative
    return total


class _Side(NamedTuple):
    """The rows of one class in a block, and their weights, shape (1, rows) or (heads, rows)."""

    label: int
    part: slice
    weights: np.ndarray


def _blocks(
    heads: int, data: TrainingData, blocks: list[slice]
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, list[_Side]]]:
    """Yield a group of heads, rows in float64, 1 or −1 for the class of each row, and a `_Side` for each class.

    A class without weight has no `_Side`. For few heads, the rows are not sorted, and a `_Side` has weight 0 for
    rows of the opposite class. For many heads, the rows of class 0 come before the rows of class 1. Rows of
    probabilities occur twice, once in each class.
    """
    x, y, weights = data
    soft = is_soft(data)
    buffer = np.empty(((blocks[0].stop - blocks[0].start) * (1 + soft), x.shape[1]))
    for block in blocks:
        in_class = list(y[block].T) if soft else [y[block] == label for label in (0, 1)]
        if heads <= FEW_HEADS and not soft:
            rows = buffer[: len(in_class[0])]
            rows[...] = x[block]
            sign = np.where(in_class[1], 1.0, -1.0)
            parts = [(slice(None), slice(None))] * 2
        else:
            if weights.is_shared:
                in_class = [mask * (weights.values[0, block] > 0) for mask in in_class]
            rows_0, rows_1 = (np.flatnonzero(mask) for mask in in_class)
            rows = buffer[: len(rows_0) + len(rows_1)]
            rows[...] = x[block][np.concatenate([rows_0, rows_1])]
            sign = np.repeat([-1.0, 1.0], [len(rows_0), len(rows_1)])
            parts = [(slice(0, len(rows_0)), rows_0), (slice(len(rows_0), len(rows)), rows_1)]
        for h in head_slices(heads, max(1, len(rows))):
            weight = weights.block(block, h)
            sides = [
                _Side(label, part, (weight * mask)[:, index])
                for label, (mask, (part, index)) in enumerate(zip(in_class, parts, strict=True))
            ]
            yield h, rows, sign, [side for side in sides if side.weights.any()]


def _margin(coef: np.ndarray, intercept: np.ndarray, rows: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Return the margin, shape (H, n): the logit, with its sign changed for class 0."""
    margin = coef @ rows.T
    margin += intercept[:, None]
    margin *= sign
    return margin


def _null_value(weight_0: np.ndarray, weight_1: np.ndarray, *, has_intercept: bool) -> np.ndarray:
    """Return the entropy of the fractions of the classes, or ln 2 without an intercept."""
    if not has_intercept:
        return np.full(len(weight_0), np.log(2))
    fractions = np.stack([weight_1, weight_0]) / (weight_1 + weight_0)
    return -(fractions * np.log(np.where(fractions > 0, fractions, 1))).sum(0)


def _check_targets(y: np.ndarray, weights: np.ndarray | None) -> None:
    host_checks.check_binary_labels(y, weights, "heads with loss='softmax'")


def _check_labels_and_count_logits(y: np.ndarray, weights: np.ndarray) -> int:
    host_checks.check_binary_labels(y, weights, "loss='softmax'")
    return 1


def _predict(logits: np.ndarray) -> np.ndarray:
    return (logits > 0).astype(np.int64)


def _predict_proba(logits: np.ndarray) -> np.ndarray:
    return probabilities(np.stack([np.zeros_like(logits), logits], axis=-2))


LOGISTIC = CertifiedLoss(
    "logistic",
    logistic_bounds,
    _check_targets,
    _predict,
    _predict_proba,
    check_labels_and_count_logits=_check_labels_and_count_logits,
    row_loss=CLASS_LOSS,
)
"""The cross-entropy of a sigmoid."""
