"""Small data sets of the tests of protocols, and runs of independent solvers on them."""

from typing import Any, cast

import numpy as np

from dlcore.probing import ProbeTable, Rows

CLASSES = 3


def classification(rows: int = 180, columns: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return x in float32 and class numbers, 3 classes in unequal proportions."""
    rng = np.random.default_rng(seed)
    y = rng.choice(CLASSES, rows, p=[0.5, 0.3, 0.2])
    x = rng.normal(size=(rows, columns)) + 1.2 * rng.normal(size=(CLASSES, columns))[y]
    return x.astype(np.float32), y


X, Y = classification()
TRAIN, VALIDATION, TEST = (X[:90], Y[:90]), (X[90:120], Y[90:120]), (X[120:], Y[120:])


def numbered(part: slice, groups: np.ndarray | None = None) -> Rows:
    """Return some of the rows with their numbers as identifiers."""
    return Rows(X[part], Y[part], np.arange(len(X))[part], None if groups is None else groups[part])


def coef_of(table: ProbeTable, row: int = 0) -> np.ndarray:
    """Return the coefficients of the head of a row."""
    return np.asarray(table.heads[row].coef)


def record_of(table: ProbeTable) -> dict[str, Any]:
    """Return the record of a table."""
    return cast("dict[str, Any]", dict(table.record))
