"""Products of arrays of JAX or of NumPy, each with all digits of its dtype."""

from types import ModuleType

import numpy as np

from dlcore._core.types import AnyArray
from dlcore.linalg import matmul, vecdot


def product(a: AnyArray, b: AnyArray, xp: ModuleType) -> AnyArray:
    """Return the matrix product by the module of the arrays, `jax.numpy` or `numpy`."""
    return np.matmul(a, b) if xp is np else matmul(a, b)


def inner(a: AnyArray, b: AnyArray, xp: ModuleType) -> AnyArray:
    """Return the inner products along the last axis by the module of the arrays."""
    return np.vecdot(a, b) if xp is np else vecdot(a, b)
