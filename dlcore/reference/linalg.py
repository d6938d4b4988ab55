"""Twins of `dlcore.linalg`: explicit sums in float64."""

import math

import numpy as np
from numpy.typing import ArrayLike


def matmul(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    r"""$C_{ij} = \sum_k A_{ik} B_{kj}$, summed as written."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    rows, columns = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    product = (rows[..., :, :, None] * columns[..., None, :, :]).sum(-2)
    product = product[..., 0] if b.ndim == 1 else product
    return product[..., 0, :] if a.ndim == 1 and b.ndim > 1 else product[0] if a.ndim == 1 else product


def vecdot(x: ArrayLike, y: ArrayLike, *, axis: int = -1) -> np.ndarray:
    r"""$\sum_i x_i y_i$ along `axis`."""
    return np.asarray((np.asarray(x, np.float64) * np.asarray(y, np.float64)).sum(axis))


def outer(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """$C_{ij} = x_i y_j$."""
    return np.asarray(x, np.float64)[:, None] * np.asarray(y, np.float64)[None, :]


def matrix_transpose(a: ArrayLike) -> np.ndarray:
    r"""$(A^\top)_{ij} = A_{ji}$."""
    a = np.asarray(a, np.float64)
    transposed = np.empty((*a.shape[:-2], a.shape[-1], a.shape[-2]))
    for i, j in np.ndindex(a.shape[-2:]):
        transposed[..., j, i] = a[..., i, j]
    return transposed


def vector_norm(
    x: ArrayLike, ord: float = 2, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> np.ndarray:
    r"""$(\sum_i |x_i|^p)^{1/p}$; the largest or smallest magnitude at inf and -inf; the count at 0.

    In extended precision, whose exponent no power of a float32 number leaves.
    """
    magnitude = np.abs(np.asarray(x, np.float64)).astype(np.longdouble)
    if ord == 0:
        norm = (magnitude != 0).sum(axis, keepdims=keepdims)
    elif ord == math.inf:
        norm = magnitude.max(axis, keepdims=keepdims)
    elif ord == -math.inf:
        norm = magnitude.min(axis, keepdims=keepdims)
    else:
        with np.errstate(divide="ignore"):  # a zero entry to a negative power: the norm is 0
            norm = (magnitude**ord).sum(axis, keepdims=keepdims) ** (np.longdouble(1) / ord)
    return np.asarray(norm, np.float64)


def matrix_norm(a: ArrayLike, ord: float | str = "fro", *, keepdims: bool = False) -> np.ndarray:
    """Entries (fro), singular values (nuc, ±2), column sums (±1) or row sums (±inf) of magnitudes."""
    a = np.asarray(a, np.float64)
    if ord == "fro":
        return vector_norm(a, axis=(-2, -1), keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        values = np.linalg.svd(a, compute_uv=False)
        norm = values.sum(-1) if ord == "nuc" else values.max(-1) if ord == 2 else values.min(-1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = np.abs(a).sum(-2 if abs(float(ord)) == 1 else -1)
        norm = sums.max(-1) if float(ord) > 0 else sums.min(-1)
    else:
        raise ValueError(f"matrix_norm: expected ord 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    return np.asarray(norm)[..., None, None] if keepdims else np.asarray(norm)


def spectral_norm(a: ArrayLike) -> np.ndarray:
    """The largest singular value."""
    return matrix_norm(a, 2)


def solve(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """$A^{-1} b$; a `LinAlgError` where the reciprocal 1-norm condition is below eps."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.size and (1 / np.linalg.cond(a, 1) < np.finfo(np.float64).eps).any():
        raise np.linalg.LinAlgError("solve: a is singular")
    return np.linalg.solve(a, b[:, None])[..., 0] if b.ndim == 1 else np.linalg.solve(a, b)
