"""References of `dlcore.linalg`: explicit sums in float64."""

import math

import numpy as np
from numpy.typing import ArrayLike


def matmul(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    r"""Return $C_{ij} = \sum_k A_{ik} B_{kj}$, summed as written."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    rows, columns = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    product = (rows[..., :, :, None] * columns[..., None, :, :]).sum(-2)
    product = product[..., 0] if b.ndim == 1 else product
    return product[..., 0, :] if a.ndim == 1 and b.ndim > 1 else product[0] if a.ndim == 1 else product


def vecdot(x: ArrayLike, y: ArrayLike, *, axis: int = -1) -> np.ndarray:
    r"""Return $\sum_i x_i y_i$ along `axis`."""
    return np.asarray((np.asarray(x, np.float64) * np.asarray(y, np.float64)).sum(axis))


def outer(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Return $C_{ij} = x_i y_j$."""
    return np.asarray(x, np.float64)[:, None] * np.asarray(y, np.float64)[None, :]


def matrix_transpose(a: ArrayLike) -> np.ndarray:
    r"""Return $(A^\top)_{ij} = A_{ji}$."""
    a = np.asarray(a, np.float64)
    transposed = np.empty((*a.shape[:-2], a.shape[-1], a.shape[-2]))
    for i, j in np.ndindex(a.shape[-2:]):
        transposed[..., j, i] = a[..., i, j]
    return transposed


def vector_norm(
    x: ArrayLike, ord: float = 2, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> np.ndarray:
    r"""Return $(\sum_i |x_i|^p)^{1/p}$, or the count (0), largest (inf) or smallest (-inf) magnitude.

    It is computed in extended precision, in which no power of a float32 number overflows.
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
    """Return a norm of entries (fro), singular values (nuc, ±2), column sums (±1) or row sums (±inf)."""
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
    """Return the largest singular value."""
    return matrix_norm(a, 2)


def solve(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return $A^{-1} b$; a `LinAlgError` where the reciprocal 1-norm condition is below eps."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.size and (1 / np.linalg.cond(a, 1) < np.finfo(np.float64).eps).any():
        raise np.linalg.LinAlgError("solve: a is singular")
    return np.linalg.solve(a, b[:, None])[..., 0] if b.ndim == 1 else np.linalg.solve(a, b)


def add(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return $A_{ij} + B_{ij}$."""
    return np.asarray(np.asarray(a, np.float64) + np.asarray(b, np.float64))


def multiply(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return $A_{ij} B_{ij}$."""
    return np.asarray(np.asarray(a, np.float64) * np.asarray(b, np.float64))


def identity(n: int) -> np.ndarray:
    """Return 1 on the diagonal and 0 elsewhere."""
    return np.array([[float(i == j) for j in range(n)] for i in range(n)]).reshape(n, n)


def trace(a: ArrayLike, offset: int = 0) -> np.ndarray:
    r"""Return $\sum_i A_{i,i+k}$."""
    a = np.asarray(a, np.float64)
    rows, columns = a.shape[-2:]
    total = np.zeros(a.shape[:-2])
    for i in range(rows):
        if 0 <= i + offset < columns:
            total += a[..., i, i + offset]
    return total


def inv(a: ArrayLike) -> np.ndarray:
    """Return $A^{-1} I$."""
    a = np.asarray(a, np.float64)
    return solve(a, np.broadcast_to(identity(a.shape[-1]), a.shape))


def pinv(a: ArrayLike, rcond: float | None = None) -> np.ndarray:
    r"""Return $\sum_i v_i \sigma_i^{-1} u_i^\top$ over the singular values above `rcond` times the largest."""
    a = np.asarray(a, np.float64)
    if not a.size:
        return np.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]))
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    is_nonzero = s > _cutoff(a, rcond) * s[..., :1]
    reciprocal = np.where(is_nonzero, 1 / np.where(is_nonzero, s, 1), 0)
    return (vt[..., :, :, None] * reciprocal[..., :, None, None] * np.swapaxes(u, -1, -2)[..., :, None, :]).sum(-3)


def lstsq(a: ArrayLike, b: ArrayLike, rcond: float | None = None) -> tuple[np.ndarray, ...]:
    """Return (x, ‖b − Ax‖₂, rank, singular values), the latter two of A with columns (rows) of length 1."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if b.ndim == 1:
        x, norm, rank, s = lstsq(a, b[:, None], rcond)
        return x[..., 0], norm[..., 0], rank, s
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(array, (*batch, *array.shape[-2:])) for array in (a, b))
    lengths = np.sqrt((a**2).sum(-2 if a.shape[-2] >= a.shape[-1] else -1, keepdims=True))
    scaled = a / np.where(lengths > 0, 2.0 ** np.frexp(lengths)[1], 1)
    s = np.linalg.svd(scaled, compute_uv=False) if a.size else np.zeros((*batch, 0))
    rank = (s > _cutoff(a, rcond) * s.max(-1, keepdims=True, initial=0)).sum(-1)
    x = np.zeros((*batch, a.shape[-1], b.shape[-1]))
    for index in np.ndindex(batch) if a.size else ():
        u, values, vt = np.linalg.svd(a[index], full_matrices=False)
        for i in range(rank[index]):
            x[index] += np.outer(vt[i], (u[:, i][:, None] * b[index]).sum(0)) / values[i]
    return x, vector_norm(b - matmul(a, x), axis=-2), rank, s


def matrix_rank(a: ArrayLike, rtol: float | None = None) -> np.ndarray:
    """Return the number of singular values that exceed `rtol` times the largest."""
    a = np.asarray(a, np.float64)
    if not a.size:
        return np.zeros(a.shape[:-2], int)
    s = np.linalg.svd(a, compute_uv=False)
    return (s > _cutoff(a, rtol) * s[..., :1]).sum(-1)


def cond(a: ArrayLike, p: float | str | None = None) -> np.ndarray:
    r"""Return $\sigma_1/\sigma_n$, its reciprocal, or $\|A\|_p \|A^{-1}\|_p$; infinity without an inverse."""
    a = np.asarray(a, np.float64)
    if p in (None, 2, -2):
        s = np.linalg.svd(a, compute_uv=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            number = s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
        return np.where(s[..., -1] == 0, 0 if p == -2 else np.inf, number)
    number = np.full(a.shape[:-2], np.inf)
    for index in np.ndindex(a.shape[:-2]):
        try:
            number[index] = matrix_norm(a[index], p) * matrix_norm(np.linalg.inv(a[index]), p)
        except np.linalg.LinAlgError:
            continue
    return number


def angle(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Return the arc tangent of the part of y across x over the part along x, in extended precision."""
    u, v = (np.asarray(array, np.float64).astype(np.longdouble) for array in (x, y))
    with np.errstate(invalid="ignore"):
        u, v = (array / np.sqrt((array**2).sum(-1, keepdims=True)) for array in (u, v))
    along = (u * v).sum(-1, keepdims=True)
    across = v - along * u
    return np.asarray(np.arctan2(np.sqrt((across**2).sum(-1)), along[..., 0]), np.float64)


def are_orthogonal(x: ArrayLike, y: ArrayLike, *, atol: float) -> np.ndarray:
    r"""Return whether $|x \cdot y| \le t \|x\| \|y\|$."""
    return np.asarray(np.abs(vecdot(x, y)) <= atol * vector_norm(x, axis=-1) * vector_norm(y, axis=-1))


def are_orthonormal(vectors: ArrayLike, *, atol: float) -> np.ndarray:
    r"""Return whether $|v_i \cdot v_j - \delta_{ij}| \le t$ for all rows."""
    v = np.asarray(vectors, np.float64)
    return np.asarray((np.abs(matmul(v, matrix_transpose(v)) - identity(v.shape[-2])) <= atol).all((-2, -1)))


def is_orthogonal(a: ArrayLike, *, atol: float) -> np.ndarray:
    r"""Return whether A is square and $A A^\top = I$ to `atol`."""
    a = np.asarray(a, np.float64)
    return np.asarray(are_orthonormal(a, atol=atol) & (a.shape[-1] == a.shape[-2]))


def is_symmetric(a: ArrayLike, *, rtol: float) -> np.ndarray:
    r"""Return whether A is square and $|A_{ij} - A_{ji}| \le t \max|A|$."""
    a = np.asarray(a, np.float64)
    if a.shape[-1] != a.shape[-2]:
        return np.zeros(a.shape[:-2], bool)
    largest = np.abs(a).max((-2, -1), keepdims=True, initial=0)
    return (np.abs(a - matrix_transpose(a)) <= rtol * largest).all((-2, -1))


def _cutoff(a: np.ndarray, rcond: float | None) -> float:
    return max(a.shape[-2:]) * np.finfo(np.float64).eps if rcond is None else rcond
