"""Values and gradients of heads with squared loss: from sums of products, or from the residuals of every row."""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.moments import ColumnMoments, Moments, RowSums
from dlcore.certificate.rounding import squared as squared_errors
from dlcore.certificate.rounding.base import err_logit, sum_rounding
from dlcore.certificate.rounding.squared import SquaredErrors
from dlcore.certificate.rows import (
    BLOCK_BYTES,
    CACHE_BYTES,
    head_slices,
    read_rows,
    row_norms,
    slices_of,
    take_rows,
)

POINT_ROWS = 256
"""Minimum size of the sample whose mean is subtracted from the rows.

The sample has fewer than twice as many rows. If there are fewer rows, the sample has all of them.
"""
MAX_BLOCKS = 64
"""Target for the number of blocks, because the error of a sum grows with it."""
SQUARE_FLOOR = 1e-140
"""Number that is added to the squared norm of a row in column units.

It covers squares that underflow, and it is far below the rounding of usual norms.
"""


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
      mean_square: Σ s·ρ², shape (H,).
      mean_residual: Σ s·ρ, 0 without an intercept, shape (H,).
      grad_coef: Σ s·ρ·x, shape (H, m).
      errors: bounds on the errors of these sums.
    """

    mean_square: np.ndarray
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
    errors = squared_errors.errors_from_moments(features, moments.relative_error, magnitude, reach, mean)
    value = np.maximum(square, 0) + mean**2
    if intercept is None:  # moments about 0 in place of the mean
        grad_coef += mean[:, None] * x_mean
        errors = squared_errors.without_centering(errors, mean, moments.relative_error)
        mean = np.zeros(len(coef))
    return Evaluation(value, mean, grad_coef, errors)


def evaluate_from_rows(sums: RowSums, k: int, heads: HeadBatch) -> tuple[ColumnMoments, Evaluation]:
    """Evaluate heads from the residuals of every row, and compute the moments of the columns in the same pass.

    With an intercept the rows are taken about the mean of a few of them, else about 0. Any point is valid.
    """
    weights = sums.weights.subset(k)
    index = np.flatnonzero(weights.values[0])
    coef, intercept, _, target = heads
    count, features = coef.shape
    columns = features + sums.y.shape[1]
    few = index[:: max(1, len(index) // POINT_ROWS)]
    x_few, y_few = (take_rows(table, few).astype(np.float64) for table in (sums.x, sums.y))
    x_point, y_point = (
        table.mean(0) if intercept is not None else np.zeros(table.shape[1]) for table in (x_few, y_few)
    )
    units = _column_units(x_few, x_point)
    level = coef @ x_point + (0 if intercept is None else intercept)
    level_reach = np.abs(coef) @ np.abs(x_point) + np.abs(level)
    coef_reach = np.linalg.norm(coef * units, axis=1)
    blocks = _blocks(len(index), columns, count)
    total = sum(weights.block(index[block]).sum() for block in blocks)
    value, mean, abs_residual, square_error = np.zeros((4, count))
    grad_coef, first, squares = np.zeros((count, features)), np.zeros(columns), np.zeros(columns)
    shape = blocks[0].stop, features
    buffers = np.empty(shape), np.empty((shape[0], sums.y.shape[1])), np.empty(shape)
    for block in blocks:
        weight = weights.block(index[block])[0] / total
        rows, y_rows = (
            read_rows(table, index[block], buffer)
            for table, buffer in zip((sums.x, sums.y), buffers[:2], strict=True)
        )
        y_block = y_rows.T[target]
        if intercept is not None:
            rows -= x_point
            y_rows -= y_point
        first[:features] += weight @ rows
        first[features:] += weight @ y_rows
        row_squares = np.square(rows, out=buffers[2][: len(rows)])
        squares[:features] += weight @ row_squares
        squares[features:] += weight @ np.square(y_rows)
        norms = _norms_in_units(rows, row_squares, units)
        for h in head_slices(count, len(rows)):
            residual = coef[h] @ rows.T
            # The two large numbers first: they are nearly equal, so their difference has almost no error.
            residual -= y_block[h] - level[h, None]
            # `extra` counts the roundings besides the m products: the level, additions, and subtracting the point.
            reach = coef_reach[h, None] * norms + level_reach[h, None] + np.abs(y_block[h])
            square_error[h] += (weight * err_logit(features, reach, extra=6) ** 2).sum(-1)
            weighted = weight * residual
            value[h] += (weighted * residual).sum(-1)
            mean[h] += weighted.sum(-1)
            grad_coef[h] += weighted @ rows
            np.abs(weighted, out=weighted)
            abs_residual[h] += weighted.sum(-1)
    if intercept is None:
        mean[:] = 0
    else:
        grad_coef -= mean[:, None] * first[:features]
    summed = sum_rounding(blocks)
    variance = np.maximum(squares - first**2, 0)[features:]
    point = np.concatenate([x_point, y_point])
    moments = ColumnMoments(variance, point + first, squares, squared_errors.err_moments(summed), summed)
    errors = squared_errors.errors_from_rows(
        square_error, None if intercept is None else abs_residual, value, summed
    )
    return moments, Evaluation(value, mean, grad_coef, errors)


def _column_units(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return about the size of each column minus the point, shape (m,).

    In these units the norms of w and x bound Σ|w||x|. Any positive units are valid.
    """
    with np.errstate(over="ignore"):
        units = np.sqrt(np.square(rows - point).mean(0))
    return np.where((units > 0) & np.isfinite(units), units, 1)


def _norms_in_units(rows: np.ndarray, squares: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return upper bounds on the norms of rows divided by units, shape (n,).

    If the squares of the units are in range, the norms come from `squares`. `SQUARE_FLOOR` covers squares that
    underflow.
    """
    if units.min() < np.sqrt(SQUARE_FLOOR) or units.max() > 1 / np.sqrt(SQUARE_FLOOR):
        return row_norms(rows / units)
    return np.sqrt(squares @ units**-2 + SQUARE_FLOOR)


def _blocks(rows: int, columns: int, heads: int) -> list[slice]:
    """Return blocks of rows for the cache.

    The blocks are longer, up to `BLOCK_BYTES`, if there would be more than `MAX_BLOCKS`.
    """
    columns = max(columns, min(heads, 512))
    step = max(CACHE_BYTES // (4 * columns), -(-rows // MAX_BLOCKS))
    return slices_of(rows, max(1, min(step, BLOCK_BYTES // (8 * columns))))
