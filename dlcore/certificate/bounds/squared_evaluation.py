"""Values and gradients of heads with squared loss: from sums of products, or from the residuals of every row."""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.moments import ColumnMoments, Moments, RowSums
from dlcore.certificate.rounding import squared as rounding
from dlcore.certificate.rounding.base import err_logit, sum_rounding
from dlcore.certificate.rounding.squared import SquaredErrors
from dlcore.certificate.rows import head_slices, row_norms, row_slices


class HeadBatch(NamedTuple):
    """Heads with the same weights of rows.

    Attributes:
      coef: shape (H, m).
      intercept: shape (H,), or None.
      l2: shape (H,).
      target: the index of the target of each head, shape (H,).
    """

    coef: np.ndarray
    intercept: np.ndarray | None
    l2: np.ndarray
    target: np.ndarray

    def select(self, index: slice | np.ndarray) -> "HeadBatch":
        """Return some of the heads."""
        intercept = None if self.intercept is None else self.intercept[index]
        return HeadBatch(self.coef[index], intercept, self.l2[index], self.target[index])


class Evaluation(NamedTuple):
    """Sums over the rows for H heads, divided by Σ s. ρ are the residuals, and x is centered.

    Attributes:
      value: Σ s·ρ², shape (H,).
      mean_residual: Σ s·ρ, 0 without an intercept, shape (H,).
      grad_coef: Σ s·ρ·x, shape (H, m).
      errors: bounds on the errors of these sums.
    """

    value: np.ndarray
    mean_residual: np.ndarray
    grad_coef: np.ndarray
    errors: SquaredErrors


def evaluate_from_moments(moments: Moments, heads: HeadBatch) -> Evaluation:
    r"""Evaluate heads from the moments G and c.

    $\frac1S\sum s\rho^2 = w^\top(Gw - c) - w^\top c + \frac1S\sum sy^2 + \bar\rho^2$.
    """
    coef, intercept, _, target = heads
    features, roots = coef.shape[1], np.sqrt(moments.error_scale)
    grad_coef, cross = coef @ moments.gram, moments.cross[target]
    grad_coef -= cross
    square = np.einsum("ij,ij->i", coef, grad_coef) - np.einsum("ij,ij->i", coef, cross) + moments.variance[target]
    x_mean, y_mean = moments.x_mean, moments.y_mean[target]
    mean = coef @ x_mean - y_mean + (0 if intercept is None else intercept)
    magnitude = np.abs(coef) @ np.abs(x_mean) + np.abs(y_mean) + (0 if intercept is None else np.abs(intercept))
    reach = np.abs(coef) @ roots[:features] + roots[features:][target]
    errors = rounding.errors_from_moments(features, moments.relative_error, magnitude, reach, mean)
    value = np.maximum(square, 0) + mean**2
    if intercept is None:  # moments about 0 in place of the mean
        grad_coef += mean[:, None] * x_mean
        errors = rounding.without_centering(errors, mean, moments.relative_error)
        mean = np.zeros(len(coef))
    return Evaluation(value, mean, grad_coef, errors)


def evaluate_from_rows(sums: RowSums, k: int, moments: ColumnMoments, heads: HeadBatch) -> Evaluation:
    """Evaluate heads from the residuals of every row."""
    x, y, weights = sums.x, sums.y, sums.weights.subset(k)
    coef, intercept, _, target = heads
    count, features = coef.shape
    blocks = row_slices(x, count)
    total = sum(weights.block(block).sum() for block in blocks)
    shift = np.zeros(features) if intercept is None else moments.x_mean
    # About the size of each column minus the shift. In these units the norms of w and x bound Σ|w||x|. Any
    # positive units are valid.
    units = np.sqrt(moments.error_scale[:features] + (moments.x_mean - shift) ** 2)
    units = np.where((units > 0) & np.isfinite(units), units, 1)
    level = coef @ shift + (0 if intercept is None else intercept)
    level_reach = np.abs(coef) @ np.abs(shift) + np.abs(level)
    coef_reach = np.linalg.norm(coef * units, axis=1)
    value, mean, abs_residual, square_error = np.zeros((4, count))
    grad_coef, center = np.zeros((count, features)), np.zeros(features)
    for block in blocks:
        weight = weights.block(block)[0] / total
        rows = x[block].astype(np.float64)
        rows -= shift
        norms = row_norms(rows / units)
        center += weight @ rows
        for h in head_slices(count, len(rows)):
            y_rows = y[block].astype(np.float64)[:, target[h]].T
            residual = coef[h] @ rows.T
            # The two large numbers first: they are nearly equal, so their difference has almost no error.
            residual -= y_rows - level[h, None]
            # a product of m terms, a level of m + 1 terms, two sums, and the rounding of the centered row
            reach = coef_reach[h, None] * norms + level_reach[h, None] + np.abs(y_rows)
            square_error[h] += (weight * err_logit(features, reach, extra=6) ** 2).sum(-1)
            weighted = weight * residual
            value[h] += (weighted * residual).sum(-1)
            mean[h] += weighted.sum(-1)
            grad_coef[h] += weighted @ rows
            np.abs(weighted, out=weighted)
            abs_residual[h] += weighted.sum(-1)
    if intercept is None:
        mean[:] = 0
    else:  # the shift is the mean up to rounding, and the rest of the mean is subtracted here
        grad_coef -= mean[:, None] * center
    errors = rounding.errors_from_rows(
        square_error, None if intercept is None else abs_residual, value, sum_rounding(blocks)
    )
    return Evaluation(value, mean, grad_coef, errors)
