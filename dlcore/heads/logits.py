"""What heads say of some rows."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._types import Array
from dlcore.linalg import matmul

PARTS, ROWS_AT_LEAST = 16, 256
"""Rows are read a part of the table at a time, always as many, so that all folds share a program."""
ROWS_BYTES = 2**27
"""Size of the rows in float64 that are read at a time."""


def logits_of(x: Array, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Shape (K, len(index)), float64: `theta`, (K, m + 1), on the rows of those numbers."""
    size = min(len(x), max(ROWS_AT_LEAST, len(x) // PARTS), max(1, ROWS_BYTES // (8 * x.shape[1])))
    found = []
    for start in range(0, len(index), size):
        part = index[start : start + size].astype(np.int32)
        full = np.concatenate([part, np.repeat(part[:1], size - len(part))])
        found.append(np.asarray(_logits(x, theta, full))[:, : len(part)])
    return np.concatenate(found, axis=1)


@jax.jit
def _logits(x: Array, theta: Array, index: Array) -> Array:
    return matmul(theta[:, :-1], x[index].astype(jnp.float64).T) + theta[:, -1:]
