"""Whether a hyperplane separates the classes, with a proof either way where one is found.

Separable: a witness, heads whose right class alone has the largest logit in every row, by more than what rounds.
Not separable: a place at which the bound by curvature is finite without a penalty, so that a minimum exists, which
separable classes have none of. In between (classes that a hyperplane touches, columns that depend on one another
up to rounding) nothing is claimed. Both are looked for along Newton's way to the minimum without a penalty.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from dlcore.certificate.centre import Centred, far_point, moved_intercept
from dlcore.certificate.curvature import MOST, curvature_bound, place_of
from dlcore.certificate.newton import margins, way_down
from dlcore.certificate.rows import UNIT, Weights, index_slices, lengths, weights_of

SEPARABLE, INSEPARABLE, UNKNOWN = "separable", "not separable", "not known"


class Separation(NamedTuple):
    """A verdict, and for separable classes a witness: (m,) and a number, or (classes, m) and (classes,)."""

    verdict: str
    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None


def separation_of(
    x: Any, y: np.ndarray, s: Weights, classes: int, columns: np.ndarray, *, fit_intercept: bool
) -> Separation:
    """Of classes 0, 1, …; `classes` is 1 for the sigmoid. `columns` are those that no other one is equal to."""
    features = len(columns)
    if classes * (features + 1) > MOST or features == 0:
        return Separation(UNKNOWN)
    table = _Chosen(x, columns)
    point = far_point(table) if fit_intercept else None
    rows = table if point is None else Centred(table, point)
    start = np.zeros(features) if classes == 1 else np.zeros((classes, features))
    bias = np.zeros(start.shape[:-1]) if fit_intercept else None
    for place, near in way_down(place_of(start, bias, 0.0, None), rows, y, s):
        if near and np.isfinite(sum(curvature_bound(place, rows, y, s))):
            return Separation(INSEPARABLE)
        coef, intercept = _witness(place.coef, x.shape[1], columns, point, fit_intercept=fit_intercept)
        if separates(coef, intercept, x, y, s):
            return Separation(SEPARABLE, *((coef[0], intercept[0]) if classes == 1 else (coef, intercept)))
    return Separation(UNKNOWN)


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """Some columns of a table."""

    table: Any
    columns: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.table), len(self.columns)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.table[rows].astype(np.float64)[:, self.columns]


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
    norm, bias = lengths(coef).max(), np.abs(intercept).max()
    for block in index_slices(len(x), x.shape[1] + len(coef)):
        chosen = weights_of(s, slice(None), block).max(0) > 0
        rows, label = rows_of[block][chosen].astype(np.float64), y[block][chosen].astype(np.intp)
        margin = margins(rows @ coef.T + intercept, label)
        off = 2 * (coef.shape[1] + 6) * UNIT * (lengths(rows) * norm + bias)
        if not (margin.min(1, initial=np.inf) > 2 * off).all():
            return False
    return True
