"""Invalid data, with the error and the message of every function that takes data."""

import numpy as np
from helpers import DTYPE

N, M = 12, 3
X = np.random.default_rng(0).normal(size=(N, M)).astype(DTYPE)
Y = (np.arange(N) % 2).astype(DTYPE)


def with_entry(array, value):
    array = array.copy()
    array.flat[5] = value
    return array


class Sparse:
    """A sparse table that cannot be compressed by rows, unlike SciPy's tables."""

    nnz = 3

    def toarray(self):
        return X


DATA = {
    "nan in x": (
        (with_entry(X, np.nan), Y),
        ValueError,
        r"x: expected finite numbers, got nan \(first at index \(1, 2\)\)",
    ),
    "inf in x": ((with_entry(X, np.inf), Y), ValueError, r"x: expected finite numbers, got infinity"),
    "nan in y": (
        (X, with_entry(Y, np.nan)),
        ValueError,
        r"y: expected finite numbers, got nan \(first at index \(5,\)\)",
    ),
    "inf in y": ((X, with_entry(Y, -np.inf)), ValueError, "y: expected finite numbers, got infinity"),
    "rows": ((X, Y[:-1]), ValueError, "one row per example in each of x, y, but x has 12, y has 11"),
    "1-D x": (
        (X[:, 0], Y),
        ValueError,
        r"x: expected 2-D \[n, features\], got 1-D with shape \(12,\).*x\[:, None\]",
    ),
    "3-D x": ((X[None], Y), ValueError, r"x: expected 2-D \[n, features\], got 3-D with shape \(1, 12, 3\)"),
    "scalar x": ((np.float32(1), Y), ValueError, r"x: expected 2-D \[n, features\], got 0-D"),
    "no rows": ((X[:0], Y[:0]), ValueError, r"x: expected at least one row and one column, got shape \(0, 3\)"),
    "no columns": ((X[:, :0], Y), ValueError, r"x: expected at least one row and one column, got shape \(12, 0\)"),
    "one class": ((X, np.ones(N)), ValueError, "y: expected both classes 0 and 1, got only 1"),
    "labels ±1": ((X, 2 * Y - 1), ValueError, "y: expected labels 0 and 1, got the values -1, 1"),
    "labels 0.5": ((X, Y / 2), ValueError, "y: expected labels 0 and 1, got the values 0, 0.5"),
    "many labels": ((X, np.arange(N)), ValueError, "y: expected labels 0 and 1, got the values 0, 1, 2, 3, 4, …"),
    "2-D y": ((X, Y[:, None]), ValueError, r"y: expected 1-D \[n\], got 2-D with shape \(12, 1\)"),
    "scalar y": ((X, 1), ValueError, "y: expected an array with a row per example, got a scalar"),
    "no y": ((X, None), ValueError, "y: expected an array, got None"),
    "negative weight": (
        (X, Y, with_entry(np.ones(N), -1)),
        ValueError,
        "weights: expected numbers of at least 0, got -1",
    ),
    "zero weights": (
        (X, Y, np.zeros(N)),
        ValueError,
        "weights: expected at least one positive number, got only zeros",
    ),
    "nan weight": (
        (X, Y, with_entry(np.ones(N), np.nan)),
        ValueError,
        "weights: expected finite numbers, got nan",
    ),
    "short weights": (
        (X, Y, np.ones(3)),
        ValueError,
        r"weights: expected shape \(12,\), one per row of x, got \(3,\)",
    ),
    "2-D weights": ((X, Y, np.ones((N, 1))), ValueError, r"weights: expected shape \(12,\).*got \(12, 1\)"),
    "a class without weight": (
        (X, Y, 1 - Y),
        ValueError,
        "both classes 0 and 1 in rows of positive weight, got only 0",
    ),
    "objects": (
        (with_entry(X.astype(object), "0.5"), Y),
        TypeError,
        r"x: expected numbers, got '0.5' \(first at index \(1, 2\)\)",
    ),
    "strings": ((np.full((N, M), "a"), Y), TypeError, "x: expected numbers, got dtype <U1"),
    "string labels": ((X, np.full(N, "a")), TypeError, "y: expected numbers, got dtype <U1"),
    "None in x": (([[None, 1.0]] * N, Y), TypeError, r"x: expected numbers, got None \(first at index \(0, 0\)\)"),
    "ragged": (
        ([[1.0], [1.0, 2.0]] * 6, Y),
        ValueError,
        "x: expected a rectangular array of numbers, got .*inhomogeneous",
    ),
    "complex x": ((X + 1j, Y), TypeError, "x: complex numbers are not supported, got dtype complex"),
    "complex y": ((X, Y + 1j), TypeError, "y: complex numbers are not supported"),
    "dates": ((X.astype("datetime64[s]"), Y), TypeError, "x: expected numbers, got dtype datetime64"),
    "masked": ((np.ma.masked_array(X, X > 0), Y), TypeError, "x: masked arrays are not supported"),
    "sparse": ((Sparse(), Y), TypeError, r"x: sparse input is not supported here, pass x.toarray\(\)"),
    "one part": ((X,), TypeError, r"data: expected \(x, y\) or \(x, y, weights\), got 1 of them"),
    "no tuple": (X, TypeError, r"data: expected \(x, y\) or \(x, y, weights\), got ndarray"),
}

CERTIFIED = [case for case in DATA if case not in ("one part", "no tuple", "labels 0.5")]
"""Cases that `certify` refuses too. Numbers between 0 and 1 are soft labels there."""
