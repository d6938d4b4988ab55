"""Separation of the classes by a hyperplane, with coefficients that show the verdict.

The classes are separable if coefficients are found for which the true class has the only largest logit in every
row, by more than rounding.

The classes are not separable if coefficients are found at which the bound by curvature is finite without a
penalty. Then a minimum exists, and separable classes have none.

The classes are quasi-separable if coefficients are found for which the true class has one of the largest logits in
every row, and the only largest logit in some row, up to rounding in float64.

Otherwise the verdict is not known, for instance if columns are linearly dependent. The search for coefficients
follows the path of Newton's method to the minimum without a penalty.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.bounds.curvature import (
    MAX_COEFS,
    MAX_PRODUCTS,
    HeadParams,
    curvature_bound,
    head_params,
)
from dlcore.certificate.bounds.row_losses import margins
from dlcore.certificate.centering import CenteredRows, centered_intercept, find_center
from dlcore.certificate.data_report.column_separation import quasi_separating_column
from dlcore.certificate.data_report.quasi_separation import is_quasi_separating, quasi_separating_direction
from dlcore.certificate.newton import newton_path
from dlcore.certificate.rounding.base import err_margin
from dlcore.certificate.rows import ColumnSubset, RowTable, RowWeights, TrainingData, index_slices

SEPARABLE, QUASI_SEPARABLE = "separable", "quasi-separable"
INSEPARABLE, UNKNOWN = "not separable", "not known"


class Separation(NamedTuple):
    """A verdict on the classes, with coefficients that show it for separable and quasi-separable classes.

    Attributes:
      verdict: "separable", "quasi-separable", "not separable" or "not known".
      coef: shape (m,) or (classes, m), or None.
      intercept: a number or shape (classes,), or None.
    """

    verdict: str
    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None


class _CenteredView(NamedTuple):
    """A view of some columns of a table, centered.

    Attributes:
      rows: the view.
      columns: indices of the columns of x, shape (c,).
      features: the number of columns of x.
      center: shape (c,), or None.
    """

    rows: RowTable
    columns: np.ndarray
    features: int
    center: np.ndarray | None

    def coefficients(self, theta: np.ndarray, *, fit_intercept: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (K, m) and intercepts (K,) for x as given, scaled to a maximum of about 1.

        Args:
          theta: coefficients of the view, shape (K, c), or (K, c + 1) with the intercepts last.
          fit_intercept: whether there are intercepts.
        """
        theta = np.ldexp(theta, -np.frexp(np.abs(theta).max() or 1.0)[1])
        coef = np.zeros((len(theta), self.features))
        coef[:, self.columns] = theta[:, : len(self.columns)]
        intercept = theta[:, -1] if fit_intercept else np.zeros(len(theta))
        if self.center is not None:
            intercept = centered_intercept(theta[:, : len(self.columns)], intercept, -self.center)
        return coef, intercept


def find_separation(data: TrainingData, logits: int, columns: np.ndarray, *, fit_intercept: bool) -> Separation:
    """Return the verdict on the classes of data.

    Args:
      data: rows of classes 0, 1, …, with one set of weights.
      logits: the number of logits of a row: the number of classes, or 1 for the sigmoid.
      columns: indices of columns, no two of which are equal.
      fit_intercept: whether heads have an intercept.
    """
    features = len(columns)
    if logits * (features + 1) > MAX_COEFS or features == 0:
        return _separation_by_column(data, logits, fit_intercept=fit_intercept)
    table = ColumnSubset(data.x, columns)
    center = find_center(table) if fit_intercept else None
    view = _CenteredView(
        table if center is None else CenteredRows(table, center), columns, data.x.shape[1], center
    )
    view_data = data._replace(x=view.rows)
    start = np.zeros(features) if logits == 1 else np.zeros((logits, features))
    params = head_params(start, np.zeros(start.shape[:-1]) if fit_intercept else None, 0.0, None)
    for lower, seems_bounded in newton_path(params, view_data):
        params = lower
        if seems_bounded and np.isfinite(curvature_bound(params, view_data).total):
            return Separation(INSEPARABLE)
        coef, intercept = view.coefficients(params.coef, fit_intercept=fit_intercept)
        if is_separable_by(coef, intercept, data):
            return _separation(SEPARABLE, coef, intercept)
    return _separation_near(params, view, data)


def separation_without_search(
    coef: np.ndarray, intercept: np.ndarray | None, data: TrainingData, witness: Separation | None
) -> Separation | None:
    """Return the verdict that a head or a witness shows in one pass over the rows, or None.

    Args:
      coef: shape (m,) or (classes, m).
      intercept: a number or shape (classes,), or None for a head without an intercept.
      data: rows of classes with one set of weights.
      witness: a separation of a larger set of rows, or None.
    """
    intercept = np.zeros(coef.shape[:-1]) if intercept is None else np.asarray(intercept)
    if is_separable_by(np.atleast_2d(coef), np.atleast_1d(intercept), data):
        return Separation(SEPARABLE, coef, intercept)
    if witness is None or witness.coef is None or witness.coef.shape != coef.shape:
        return None
    witness_coef, witness_intercept = np.atleast_2d(witness.coef), np.atleast_1d(np.asarray(witness.intercept))
    # A direction that touches some rows of the larger set may separate the other rows strictly.
    if is_separable_by(witness_coef, witness_intercept, data):
        return Separation(SEPARABLE, *witness[1:])
    direction = np.column_stack([witness_coef, witness_intercept])
    params = HeadParams(direction, np.zeros(direction.shape[1]), np.zeros(direction.shape[1], bool), True)
    return Separation(QUASI_SEPARABLE, *witness[1:]) if is_quasi_separating(params, direction, data) else None


def separation_of_head(
    coef: np.ndarray, intercept: np.ndarray | None, x: RowTable, y: np.ndarray, weights: RowWeights
) -> Separation:
    """Return the verdict near a head that was fitted without a penalty.

    Args:
      coef: shape (m,) or (classes, m).
      intercept: a number or shape (classes,), or None for a head without an intercept.
      x: rows, shape (n, m).
      y: classes, shape (n,).
      weights: one set of weights.
    """
    data, has_intercept = TrainingData(x, y, weights), intercept is not None
    bias = np.asarray(intercept) if has_intercept else np.zeros(coef.shape[:-1])
    if is_separable_by(np.atleast_2d(coef), np.atleast_1d(bias), data):
        return Separation(SEPARABLE, coef, bias)
    size = coef.size + bias.size
    if size > MAX_COEFS or len(x) * size**2 > MAX_PRODUCTS:
        return _separation_by_column(data, len(np.atleast_2d(coef)), fit_intercept=has_intercept)
    center, rows = find_center(x) if has_intercept else None, x
    if center is not None:
        rows, bias = CenteredRows(x, center), centered_intercept(coef, bias, center)
    params = head_params(coef, bias if has_intercept else None, 0.0, None)
    return _separation_near(params, _CenteredView(rows, np.arange(x.shape[1]), x.shape[1], center), data)


def _separation_near(params: HeadParams, view: _CenteredView, data: TrainingData) -> Separation:
    """Return the verdict near the coefficients of a view: separable, quasi-separable or not known."""
    direction = quasi_separating_direction(params, data._replace(x=view.rows))
    if direction is None:
        return _separation_by_column(data, len(params.coef), fit_intercept=params.has_intercept)
    coef, intercept = view.coefficients(direction, fit_intercept=params.has_intercept)
    verdict = SEPARABLE if is_separable_by(coef, intercept, data) else QUASI_SEPARABLE
    return _separation(verdict, coef, intercept)


def _separation_by_column(data: TrainingData, logits: int, *, fit_intercept: bool) -> Separation:
    """Return the verdict that one column shows: quasi-separable or not known."""
    direction = quasi_separating_column(data, logits, fit_intercept=fit_intercept)
    return Separation(UNKNOWN) if direction is None else _separation(QUASI_SEPARABLE, *direction)


def _separation(verdict: str, coef: np.ndarray, intercept: np.ndarray) -> Separation:
    """Return a verdict with coefficients (K, m) and intercepts (K,), without the first axis if K is 1."""
    return Separation(verdict, *((coef[0], intercept[0]) if len(coef) == 1 else (coef, intercept)))


def is_separable_by(coef: np.ndarray, intercept: np.ndarray, data: TrainingData) -> bool:
    """Return whether the true class has the only largest logit in each row of positive weight, beyond rounding.

    Args:
      coef: shape (K, m). K is 1 for the sigmoid.
      intercept: shape (K,).
      data: rows of classes.
    """
    center = find_center(data.x) if intercept.any() else None
    if center is not None:
        intercept = centered_intercept(coef, intercept, center)
        data = data._replace(x=CenteredRows(data.x, center))
    largest_coef, largest_intercept = np.abs(coef).max(0), np.abs(intercept).max()
    for block in index_slices(len(data.x), data.x.shape[1] + len(coef)):
        rows, label = data.weighted_block(block)
        margin = margins(rows @ coef.T + intercept, label)
        err = err_margin(coef.shape[1], np.abs(rows) @ largest_coef + largest_intercept)
        if not (margin.min(1, initial=np.inf) > 2 * err).all():
            return False
    return True
