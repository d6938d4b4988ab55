"""Products of arrays of JAX or of NumPy, each with all digits of its dtype."""

from types import ModuleType

import numpy as np

from dlcore._core.types import AnyArray
from dlcore.linalg import matmul, vecdot

FEW = 4
"""Vectors up to which a product with a matrix is several products with a vector.

A product of matrices copies the large one before it begins. For two vectors that takes more than twice as long.
"""


def product(a: AnyArray, b: AnyArray, xp: ModuleType) -> AnyArray:
    """Return the matrix product by the module of the arrays, `jax.numpy` or `numpy`."""
    return np.matmul(a, b) if xp is np else matmul(a, b)


def inner(a: AnyArray, b: AnyArray, xp: ModuleType) -> AnyArray:
    """Return the inner products along the last axis by the module of the arrays."""
    return np.vecdot(a, b) if xp is np else vecdot(a, b)


def times_rows(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the products of a few vectors with many rows by NumPy, shape (k, n).

    Args:
      vectors: shape (k, m).
      rows: shape (n, m).
    """
    if len(vectors) <= FEW:
        return np.stack([np.matmul(rows, vector) for vector in vectors])
    return np.ascontiguousarray(np.matmul(rows, vectors.T).T)  # BLAS takes 1.6 times as long for the other order


def sum_of_rows(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a few weighted sums of many rows by NumPy, shape (k, m).

    Args:
      weights: shape (k, n).
      rows: shape (n, m).
    """
    if len(weights) <= FEW:
        return np.stack([np.matmul(weight, rows) for weight in weights])
    return np.matmul(weights, rows)
