"""Logits of heads on rows, in float64: by NumPy on the host, by compiled programs on an accelerator."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.blas_threads import one_blas_thread
from dlcore._core.tables.sparse import SparseRows
from dlcore._core.threads import map_on_threads, runs_of
from dlcore._core.types import Array
from dlcore.certificate.rows import HostTable, take_rows
from dlcore.devices import to_device
from dlcore.heads.quick_jit import quick_jit
from dlcore.linalg import matmul
from dlcore.objective.borrowed import BorrowedRows

PARTS, ROWS_AT_LEAST = 16, 256
"""The number of rows per call is at most a `PARTS`-th of the table, but `ROWS_AT_LEAST` or more.

It is the same for all folds, so that the folds share a program.
"""
ROWS_BYTES = 2**27
"""Bytes of the rows in float64 that are read at a time on a device."""
BLOCK_BYTES = 2**20
"""Bytes of the rows in float64 that are read at a time on the host, where they stay in the cache."""
LEAST_PRODUCTS = 2**20
"""The fewest multiplications of a thread. Fewer take less time than starting it."""


def logits_of(x: Array | BorrowedRows | HostTable, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the logits of heads on some rows, shape (H, len(index)), float64.

    Args:
      x: shape (n, m), on the host or on the device. They are read in their dtype, some at a time.
      theta: shape (H, m + 1), the intercept last. An intercept of −∞ marks an absent class.
      index: the numbers of the rows, ascending.
    """
    absent = np.isneginf(theta[:, -1])
    theta = np.where(absent[:, None], 0, theta)  # `jax.debug_infs` refuses −∞
    if isinstance(x, np.ndarray | SparseRows):
        logits = _logits_on_host(x, theta, index)
    else:
        logits = _logits_on_device(x, theta, index)
    logits[absent] = -np.inf
    return logits


def _logits_on_host(x: HostTable, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
    found = np.empty((len(theta), len(index)))
    size = max(1, BLOCK_BYTES // (8 * x.shape[1]))
    blocks = [slice(start, start + size) for start in range(0, len(index), size)]

    def multiply(some: Sequence[slice]) -> None:
        for block in some:
            rows = take_rows(x, index[block]).astype(np.float64)
            found[:, block] = (rows @ theta[:, :-1].T).T + theta[:, -1:]

    with np.errstate(all="ignore"), one_blas_thread() as is_limited:
        most = found.size * x.shape[1] // LEAST_PRODUCTS if is_limited else 1
        map_on_threads(multiply, runs_of(blocks, most))
    return found


def _logits_on_device(x: Array | BorrowedRows, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
    size = min(len(x), max(ROWS_AT_LEAST, len(x) // PARTS), max(1, ROWS_BYTES // (8 * x.shape[1])))
    found = []
    for start in range(0, len(index), size):
        part = index[start : start + size].astype(np.int32)
        full = np.concatenate([part, np.repeat(part[:1], size - len(part))])
        found.append(np.asarray(_logits(*to_device((x, theta, full))))[:, : len(part)])
    return np.concatenate(found, axis=1)


@quick_jit()
def _logits(x: Array | BorrowedRows, theta: Array, index: Array) -> Array:
    return matmul(theta[:, :-1], x[index].astype(jnp.float64).T) + theta[:, -1:]


def logits_by_block(x: jax.Array | HostTable, theta: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield slices of x, and the logits of `theta`, shape (H, m + 1), on the rows of each slice, shape (H, rows).

    The last slice overlaps the one before. A JAX array is read in place, other rows are sent block by block,
    dense. It requires JAX's x64 mode.
    """
    rows, on_device = len(x), jax.device_put(theta)
    most = max(1, ROWS_BYTES // (8 * sum(theta.shape)))
    size = -(-rows // -(-rows // most))
    for start in range(0, rows, size):
        first = min(start, rows - size)
        part = slice(first, first + size)
        block = _cut(x, jax.device_put(np.int64(first)), size=size) if isinstance(x, jax.Array) else x[part]
        yield part, np.asarray(logits_of_block(to_device(block), on_device))


@quick_jit("size")
def _cut(x: Array, start: Array, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, size)


@quick_jit()
def logits_of_block(x: Array, theta: Array) -> Array:
    """Return the logits of heads on rows, shape (H, rows), float64."""
    return matmul(theta[:, :-1], x.astype(jnp.float64).T) + theta[:, -1:]
