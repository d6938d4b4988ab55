"""Families of matrices with known trouble, in float64, and right answers to any number of digits."""

import mpmath
import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike


def with_spectrum(spectrum, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Return a random matrix with these singular values, the rest 0."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    k = len(spectrum)
    return (left[:, :k] * np.asarray(spectrum)) @ right[:k]


def kahan(n: int, angle: float = 1.2) -> np.ndarray:
    """Return Kahan's triangle: every leading block looks regular, the whole is nearly singular."""
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.diag(sine ** np.arange(n)) @ (np.eye(n) - cosine * np.triu(np.ones((n, n)), 1))


def vandermonde(n: int, m: int) -> np.ndarray:
    """Return the powers of n points in [0.1, 2]."""
    return np.vander(np.linspace(0.1, 2, n), m, increasing=True)


SQUARE = {
    "one": np.array([[3.0]]),
    "random": np.random.default_rng(1).normal(size=(20, 20)),
    "hilbert": scipy.linalg.hilbert(5),
    "kahan": kahan(12),
    "vandermonde": vandermonde(5, 5),
    "spectrum": with_spectrum(np.geomspace(1, 1e-4, 20), 20, 20),
    "rotation": scipy.linalg.block_diag([[0.6, -0.8], [0.8, 0.6]], 1),
}

TALL = {
    "random": np.random.default_rng(2).normal(size=(20, 6)),
    "vandermonde": vandermonde(20, 6),
    "spectrum": with_spectrum(np.geomspace(1, 1e-3, 6), 20, 6),
    "graded": np.random.default_rng(3).normal(size=(20, 6)) * 10.0 ** np.arange(0, -30, -5),
    "column": np.arange(1.0, 21.0)[:, None],
}


def exact_solution(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Solve a x = b for b of shape (n,) and full rank: least squares if tall, shortest if wide."""
    with mpmath.workdps(120):
        matrix, right = (mpmath.matrix(np.asarray(part, float).tolist()) for part in (a, b))
        n, m = np.shape(a)
        if n > m:
            x = mpmath.lu_solve(matrix.T * matrix, matrix.T * right)
        elif n < m:
            x = matrix.T * mpmath.lu_solve(matrix * matrix.T, right)
        else:
            x = mpmath.lu_solve(matrix, right)
        return np.array([float(entry) for entry in x])


def exact_inverse(a: ArrayLike) -> np.ndarray:
    """Return the inverse, column by column."""
    with mpmath.workdps(120):
        return np.array((mpmath.matrix(np.asarray(a, float).tolist()) ** -1).tolist(), float)


def column_scales(a: np.ndarray) -> np.ndarray:
    """Return the norms of the columns, of the rows if the matrix is wide, 1 instead of 0."""
    lengths = np.linalg.norm(a, axis=0 if a.shape[0] >= a.shape[1] else 1)
    return np.where(lengths > 0, lengths, 1)


def central_difference(f, x: np.ndarray, direction: np.ndarray, h: float) -> np.ndarray:
    """Return a central difference of fourth order, with f in float64."""

    def difference(h):
        return (np.asarray(f(x + h * direction)) - np.asarray(f(x - h * direction))) / (2 * h)

    return (4 * difference(h) - difference(2 * h)) / 3
