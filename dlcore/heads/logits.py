"""What heads say of some rows."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._types import Array
from dlcore.linalg import matmul

SIZES = 32
"""The number of rows is rounded up to a multiple of a part this small of it, so that folds share a program."""
ROWS_BYTES = 2**27
"""Size of the rows in float64 that are read at a time."""


def logits_of(x: Array, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Shape (K, len(index)), float64: `theta`, (K, m + 1), on the rows of those numbers."""
    most = max(1, ROWS_BYTES // (8 * x.shape[1]))
    parts = -(-len(index) // most)
    size = -(-len(index) // parts)
    size = min(len(x), -(-size // max(1, len(x) // SIZES)) * max(1, len(x) // SIZES))
    found = []
    for start in range(0, len(index), size):
        part = index[start : start + size].astype(np.int32)
        full = np.concatenate([part, np.repeat(part[:1], size - len(part))])
        found.append(np.asarray(_logits(x, theta, full))[:, : len(part)])
    return np.concatenate(found, axis=1)


@jax.jit
def _logits(x: Array, theta: Array, index: Array) -> Array:
    return matmul(theta[:, :-1], x[index].astype(jnp.float64).T) + theta[:, -1:]
