r"""The bound by curvature without a penalty for linearly dependent columns, whose minimum is not unique.

A set C of independent columns is chosen. If the other columns are combinations of C up to rounding, a head
$\theta_C$ on the columns C alone has the logits of a head θ. The problem on C has the same minimum as the problem
on all columns:

$J(\theta) - J^* = (J(\theta) - J(\theta_C)) + (J(\theta_C) - J_C^*)$

The first difference comes from two sums over the rows and their errors, the second from the curvature of C.
Float64 cannot show a difference below rounding between a column and its combination. So the name of the bound
states the rank that it assumes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dlcore.certificate.bounds.curvature import GapBound, HeadParams, curvature_bound
from dlcore.certificate.newton import value_and_error
from dlcore.certificate.rows import ColumnSubset, TrainingData, index_slices, weighted_rows

DEPENDENT_TOL = 1e-10
"""Limit on the residual sum of squares of a column, as a fraction of its sum of squares.

Within the limit, the column is tried as a combination of other columns.
"""
EXPLAINED_TOL = 1e-14
"""A column is a combination if no row differs by more than this fraction of the magnitudes that are added."""


class Combination(NamedTuple):
    """Columns as combinations of independent columns.

    Attributes:
      independent: indices of columns of x, ascending, shape (r,).
      dependent: the other indices, shape (d,).
      factors: shape (r + 1, d). The last row belongs to the intercept. It is 0 for heads without an
        intercept.
    """

    independent: np.ndarray
    dependent: np.ndarray
    factors: np.ndarray


def find_combination(data: TrainingData, *, has_intercept: bool) -> Combination | None:
    """Return the dependent columns of the rows of positive weight, or None if no dependence is verified.

    Args:
      data: rows. A row of weight 0 in all sets is ignored.
      has_intercept: whether a constant is among the independent columns.
    """
    features = data.x.shape[1]

    def tables() -> Iterator[np.ndarray]:
        for block in index_slices(len(data.x), features):
            rows, _, _ = weighted_rows(data.x, data.weights, block)
            yield np.column_stack([rows, np.full(len(rows), float(has_intercept))])

    with np.errstate(all="ignore"):
        sizes = np.max([np.abs(rows).max(0, initial=0) for rows in tables()], axis=0)
        unit = np.where(sizes > 0, sizes, 1)
        gram = np.zeros((features + 1, features + 1))
        for rows in tables():
            gram += (rows / unit).T @ (rows / unit)
        independent = _pivots(gram, first=features if has_intercept else None)
        dependent = np.setdiff1d(np.arange(features), independent)
        if not len(dependent) or not np.isfinite(gram).all():
            return None
        inverse = np.linalg.pinv(gram[np.ix_(independent, independent)])
        factors = inverse @ gram[np.ix_(independent, dependent)]
        residual = np.zeros_like(factors)
        for rows in tables():
            basis = rows[:, independent] / unit[independent]
            residual += basis.T @ (rows[:, dependent] / unit[dependent] - basis @ factors)
        factors += inverse @ residual
        # A factor that is only rounding would dominate a row of tiny numbers.
        factors[np.abs(factors) <= EXPLAINED_TOL * np.abs(factors).max(0)] = 0
        for rows in tables():
            basis, targets = rows[:, independent] / unit[independent], rows[:, dependent] / unit[dependent]
            magnitude = np.abs(basis) @ np.abs(factors) + np.abs(targets)
            if not (np.abs(targets - basis @ factors) <= EXPLAINED_TOL * magnitude).all():
                return None
    full = np.zeros((features + 1, len(dependent)))
    full[independent] = factors / unit[independent][:, None] * unit[dependent]
    columns = np.sort(independent[independent < features])
    return Combination(columns, dependent, full[np.append(columns, features)])


def _pivots(gram: np.ndarray, first: int | None) -> np.ndarray:
    """Return the independent columns of a Gram matrix by a Cholesky factorization with pivots.

    `first` is the index of the first pivot, or None for the largest diagonal entry.
    """
    scale = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), np.inf))
    gram = gram / scale[:, None] / scale
    diagonal, factor, pivots = np.diag(gram).copy(), np.zeros_like(gram), []
    for k in range(len(gram)):
        j = first if k == 0 and first is not None else int(diagonal.argmax())
        if not diagonal[j] > DEPENDENT_TOL:
            break
        column = (gram[:, j] - factor[:, :k] @ factor[j, :k]) / np.sqrt(diagonal[j])
        factor[:, k] = column
        diagonal = diagonal - column**2
        diagonal[j] = 0
        pivots.append(j)
    return np.array(pivots, int)


def dependent_bound(params: HeadParams, combination: Combination, data: TrainingData) -> GapBound:
    """Return the bound on J − J* of a head without a penalty, or infinity if it does not hold."""
    independent, dependent, factors = combination
    transferred = params.coef[:, dependent] @ factors.T
    coef = params.coef[:, independent] + transferred[:, :-1]
    if params.has_intercept:
        coef = np.column_stack([coef, params.coef[:, -1] + transferred[:, -1]])
    columns = np.append(independent, data.x.shape[1]) if params.has_intercept else independent
    reduced = params._replace(
        coef=coef, penalty=params.penalty[columns], is_shift_invariant=params.is_shift_invariant[columns]
    )
    reduced_data = data._replace(x=ColumnSubset(data.x, independent))
    bound = curvature_bound(reduced, reduced_data)
    value, err = value_and_error(params, data)
    reduced_value, reduced_err = value_and_error(reduced, reduced_data)
    return GapBound(max(value - reduced_value, 0.0) + bound.gap, bound.rounding + err + reduced_err)
