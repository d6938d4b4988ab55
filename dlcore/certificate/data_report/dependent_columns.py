r"""The bound by curvature without a penalty where columns depend on one another, and a minimum is not unique.

Independent columns C are chosen. If the others are combinations of C, as float64 sees it, then the logits of a
head are those of a head of C alone, and both have the same minimum:

$J(\theta) - J^* = (J(\theta) - J(\theta_C)) + (J(\theta_C) - J_C^*)$

The first difference comes from two sums over the rows and their errors, the second from the curvature of C. That
no column differs from its combination by less than rounding cannot be seen: the name of the bound states the rank.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dlcore.certificate.bounds.curvature import Place, curvature_bound
from dlcore.certificate.bounds.newton import loss_of
from dlcore.certificate.chosen_columns import ChosenColumns
from dlcore.certificate.rows import Weights, index_slices, weights_of

DEPENDENT = 1e-10
"""A column whose square is explained up to this part is tried as a combination of others."""
EXPLAINED = 1e-14
"""It is one where no row differs by more than this part of the numbers that are added."""


class Combination(NamedTuple):
    """Columns as combinations of others.

    Attributes:
      independent: indices of columns of x, ascending, shape (r,).
      dependent: the others, shape (d,).
      factors: shape (r + 1, d); the last row belongs to the intercept, 0 without one.
    """

    independent: np.ndarray
    dependent: np.ndarray
    factors: np.ndarray


def combination_of(x: Any, s: Weights, *, intercept: bool) -> Combination | None:
    """Return the dependent columns of the rows of positive weight, or None where there are none to be proven.

    Args:
      x: rows, shape (n, m).
      s: weights of the rows; rows of weight 0 in all sets do not count.
      intercept: whether a constant is among the independent columns.
    """
    features = x.shape[1]
    blocks = [(block, weights_of(s, slice(None), block).max(0) > 0) for block in index_slices(len(x), features)]

    def tables() -> Iterator[np.ndarray]:
        for block, chosen in blocks:
            rows = x[block][chosen].astype(np.float64)
            yield np.column_stack([rows, np.full(len(rows), float(intercept))])

    with np.errstate(all="ignore"):
        sizes = np.max([np.abs(rows).max(0, initial=0) for rows in tables()], axis=0)
        unit = np.where(sizes > 0, sizes, 1)
        gram = np.zeros((features + 1, features + 1))
        for rows in tables():
            gram += (rows / unit).T @ (rows / unit)
        independent = _pivots(gram, first=features if intercept else None)
        dependent = np.setdiff1d(np.arange(features), independent)
        if not len(dependent) or not np.isfinite(gram).all():
            return None
        solver = np.linalg.pinv(gram[np.ix_(independent, independent)])
        factors = solver @ gram[np.ix_(independent, dependent)]
        residual = np.zeros_like(factors)
        for rows in tables():
            kept = rows[:, independent] / unit[independent]
            residual += kept.T @ (rows[:, dependent] / unit[dependent] - kept @ factors)
        factors += solver @ residual
        # What rounds in a factor that is 0 would be all of a row whose own numbers are next to nothing.
        factors[np.abs(factors) <= EXPLAINED * np.abs(factors).max(0)] = 0
        for rows in tables():
            kept, others = rows[:, independent] / unit[independent], rows[:, dependent] / unit[dependent]
            added = np.abs(kept) @ np.abs(factors) + np.abs(others)
            if not (np.abs(others - kept @ factors) <= EXPLAINED * added).all():
                return None
    full = np.zeros((features + 1, len(dependent)))
    full[independent] = factors / unit[independent][:, None] * unit[dependent]
    columns = np.sort(independent[independent < features])
    return Combination(columns, dependent, full[np.append(columns, features)])


def _pivots(gram: np.ndarray, first: int | None) -> np.ndarray:
    """Return the independent columns of a Gram matrix by a Cholesky factorisation with pivots."""
    scale = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), np.inf))
    gram = gram / scale[:, None] / scale
    left, factor, found = np.diag(gram).copy(), np.zeros_like(gram), []
    for k in range(len(gram)):
        j = first if k == 0 and first is not None else int(left.argmax())
        if not left[j] > DEPENDENT:
            break
        column = (gram[:, j] - factor[:, :k] @ factor[j, :k]) / np.sqrt(left[j])
        factor[:, k] = column
        left = left - column**2
        left[j] = 0
        found.append(j)
    return np.array(found, int)


def dependent_bound(
    place: Place, combination: Combination, x: Any, y: np.ndarray, s: Weights
) -> tuple[float, float]:
    """Return the bound without what rounds, and that; infinite where it does not hold.

    Args:
      place: a head without a penalty.
      combination: the dependent columns.
      x: rows, shape (n, m).
      y: classes, shape (n,).
      s: weights of the rows, one set.
    """
    independent, dependent, factors = combination
    moved = place.coef[:, dependent] @ factors.T
    coef = place.coef[:, independent] + moved[:, :-1]
    if place.intercept:
        coef = np.column_stack([coef, place.coef[:, -1] + moved[:, -1]])
    kept = np.append(independent, x.shape[1]) if place.intercept else independent
    reduced = Place(coef, place.penalty[kept], place.free[kept], place.intercept)
    table = ChosenColumns(x, independent)
    nearly, more = curvature_bound(reduced, table, y, s)
    value, error = loss_of(place, x, y, s)
    lower, wrong = loss_of(reduced, table, y, s)
    return max(value - lower, 0.0) + nearly, more + error + wrong
