"""Whether a hyperplane separates the classes, with a proof either way where one is found.

Separable: a witness, heads whose right class alone has the largest logit in every row, by more than what rounds.
Not separable: a place at which the bound by curvature is finite without a penalty, so that a minimum exists, which
separable classes have none of. Quasi-separable: a witness whose right class has one of the largest logits in every
row, and the largest alone in some, as float64 sees it. Else nothing is claimed, as of columns that depend on one
another. All are looked for along Newton's way to the minimum without a penalty.
"""

from typing import Any, NamedTuple

import numpy as np

from dlcore.certificate.bounds.centering import Centred, far_point, moved_intercept
from dlcore.certificate.bounds.curvature import AUTOMATIC, MOST, Place, curvature_bound, place_of
from dlcore.certificate.bounds.newton import margins, way_down
from dlcore.certificate.chosen_columns import ChosenColumns
from dlcore.certificate.data_report.quasi_separation import is_touching, touching_direction
from dlcore.certificate.data_report.touching_columns import touching_column
from dlcore.certificate.rows import UNIT, Weights, index_slices, weights_of

SEPARABLE, QUASI_SEPARABLE = "separable", "quasi-separable"
INSEPARABLE, UNKNOWN = "not separable", "not known"


class Separation(NamedTuple):
    """A verdict, and of (quasi-)separable classes a witness: (m,) and a number, or (classes, m) and (classes,)."""

    verdict: str
    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None


def separation_of(
    x: Any, y: np.ndarray, s: Weights, classes: int, columns: np.ndarray, *, fit_intercept: bool
) -> Separation:
    """Of classes 0, 1, …; `classes` is 1 for the sigmoid. `columns` are those that no other one is equal to."""
    features = len(columns)
    if classes * (features + 1) > MOST or features == 0:
        return _touching_by_column(x, y, s, classes, fit_intercept=fit_intercept)
    table = ChosenColumns(x, columns)
    point = far_point(table) if fit_intercept else None
    rows = table if point is None else Centred(table, point)
    start = np.zeros(features) if classes == 1 else np.zeros((classes, features))
    bias = np.zeros(start.shape[:-1]) if fit_intercept else None
    place = place_of(start, bias, 0.0, None)
    for lower, near in way_down(place, rows, y, s):
        place = lower
        if near and np.isfinite(sum(curvature_bound(place, rows, y, s))):
            return Separation(INSEPARABLE)
        coef, intercept = _witness(place.coef, x.shape[1], columns, point, fit_intercept=fit_intercept)
        if separates(coef, intercept, x, y, s):
            return Separation(SEPARABLE, *((coef[0], intercept[0]) if classes == 1 else (coef, intercept)))
    return _touching(place, rows, x, y, s, columns, point)


def known_separation(
    coef: np.ndarray, intercept: Any, x: Any, y: np.ndarray, s: Weights, witness: Separation | None
) -> Separation | None:
    """Return the verdict if the head itself or a witness of other rows shows it, by one look at the rows each."""
    bias = np.zeros(coef.shape[:-1]) if intercept is None else np.asarray(intercept)
    if separates(np.atleast_2d(coef), np.atleast_1d(bias), x, y, s):
        return Separation(SEPARABLE, coef, bias)
    if witness is None or witness.coef is None or witness.coef.shape != coef.shape:
        return None
    direction = np.column_stack([np.atleast_2d(witness.coef), np.atleast_1d(np.asarray(witness.intercept))])
    place = Place(direction, np.zeros(direction.shape[1]), np.zeros(direction.shape[1], bool), True)
    return Separation(QUASI_SEPARABLE, *witness[1:]) if is_touching(place, direction, x, y, s) else None


def separation_of_head(coef: np.ndarray, intercept: Any, x: Any, y: np.ndarray, s: Weights) -> Separation:
    """Return the verdict next to a head that was fitted without a penalty.

    Args:
      coef: shape (m,) or (classes, m).
      intercept: a number or shape (classes,); None for a head without one.
      x: rows, shape (n, m).
      y: classes, shape (n,).
      s: weights of the rows, one set.
    """
    bias = np.zeros(coef.shape[:-1]) if intercept is None else np.asarray(intercept)
    if separates(np.atleast_2d(coef), np.atleast_1d(bias), x, y, s):
        return Separation(SEPARABLE, coef, bias)
    size = coef.size + bias.size
    if size > MOST or len(x) * size**2 > AUTOMATIC:
        return _touching_by_column(x, y, s, len(np.atleast_2d(coef)), fit_intercept=intercept is not None)
    point, rows = None if intercept is None else far_point(x), x
    if point is not None:
        rows, bias = Centred(x, point), moved_intercept(coef, bias, point)
    place = place_of(coef, None if intercept is None else bias, 0.0, None)
    return _touching(place, rows, x, y, s, np.arange(x.shape[1]), point)


def _touching(
    place: Place, rows: Any, x: Any, y: np.ndarray, s: Weights, columns: np.ndarray, point: np.ndarray | None
) -> Separation:
    """Return the verdict next to a place of some columns, about a point: (quasi-)separable or not known."""
    direction = touching_direction(place, rows, y, s)
    if direction is None:
        return _touching_by_column(x, y, s, len(place.coef), fit_intercept=place.intercept)
    coef, intercept = _witness(direction, x.shape[1], columns, point, fit_intercept=place.intercept)
    verdict = SEPARABLE if separates(coef, intercept, x, y, s) else QUASI_SEPARABLE
    return Separation(verdict, *((coef[0], intercept[0]) if len(coef) == 1 else (coef, intercept)))


def _touching_by_column(x: Any, y: np.ndarray, s: Weights, classes: int, *, fit_intercept: bool) -> Separation:
    """Return the verdict that one column alone allows: quasi-separable or not known."""
    direction = touching_column(x, y, s, classes, fit_intercept=fit_intercept)
    if direction is None:
        return Separation(UNKNOWN)
    coef, intercept = direction
    return Separation(QUASI_SEPARABLE, *((coef[0], intercept[0]) if classes == 1 else (coef, intercept)))


def _witness(
    theta: np.ndarray, features: int, columns: np.ndarray, point: np.ndarray | None, *, fit_intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of all columns of the rows as they are, scaled to a largest one of about 1."""
    exponent = -np.frexp(np.abs(theta).max() or 1.0)[1]
    theta = np.ldexp(theta, exponent)
    coef = np.zeros((len(theta), features))
    coef[:, columns] = theta[:, : len(columns)]
    intercept = theta[:, -1] if fit_intercept else np.zeros(len(theta))
    return coef, intercept if point is None else moved_intercept(theta[:, : len(columns)], intercept, -point)


def separates(coef: np.ndarray, intercept: np.ndarray, x: Any, y: np.ndarray, s: Weights) -> bool:
    """Whether each row of positive weight has its class's logit largest, rounding included; (K, m), (K,)."""
    point = far_point(x) if intercept.any() else None
    rows_of = x
    if point is not None:
        rows_of, intercept = Centred(x, point), moved_intercept(coef, intercept, point)
    size, bias = np.abs(coef).max(0), np.abs(intercept).max()
    for block in index_slices(len(x), x.shape[1] + len(coef)):
        chosen = weights_of(s, slice(None), block).max(0) > 0
        rows, label = rows_of[block][chosen].astype(np.float64), y[block][chosen].astype(np.intp)
        margin = margins(rows @ coef.T + intercept, label)
        off = 2 * (coef.shape[1] + 6) * UNIT * (np.abs(rows) @ size + bias)
        if not (margin.min(1, initial=np.inf) > 2 * off).all():
            return False
    return True
