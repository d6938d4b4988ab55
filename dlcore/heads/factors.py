"""Solving with the curvature of many heads at once.

Of up to `LARGE` columns by the inverse of Cholesky's factor, made of products: LAPACK's threads, which stay awake
after it is done, would take the cores from XLA's. For larger ones, and where every digit counts, it is LAPACK, on
a CPU for one head after another: jaxlib 0.10 hands the parts of a batch to XLA's pool of threads and waits for
them on a thread of that pool, so that two programs with batches in flight can wait for each other for ever.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from dlcore._core.types import Array
from dlcore.linalg import matmul

LARGE = 512
"""Columns up to which a factor is inverted: beyond it the program itself would be large."""
SMALL = 16
"""Columns that are eliminated one by one."""


class Factors(NamedTuple):
    r"""$L$ of $LL^\top$ or its inverse, (K, m + 1, m + 1); nan where a matrix is not positive definite."""

    lower: Any = None
    inverse: Any = None


def factor(curvature: Array, penalty: Array, intercept: Array, products: DTypeLike) -> Factors:
    """Factor curvature + diag(penalty) + lift·I, shape (K, m + 1, m + 1), float64.

    The lift, shape (K,), makes up for rounding, whatever the processor's order of summation.
    A curvature that is summed from products of a dtype may have an eigenvalue as low as -eps·trace/√m.
    Cholesky's method in float64 succeeds where the smallest eigenvalue is above γ·trace, γ = (m + 2)·eps/2.
    The lift has twice that: Higham, Accuracy and Stability of Numerical Algorithms, theorems 10.3 and 10.7.
    """
    size = curvature.shape[-1]
    products_eps, eps = (float(jnp.finfo(dtype).eps) for dtype in (products, jnp.float64))
    is_last = jnp.arange(size) == size - 1
    free = jnp.where(intercept > 0, 0.0, 1.0)  # without an intercept its row is that of I
    diagonal = jnp.where(is_last[None], free, penalty)
    trace = jnp.trace(curvature, axis1=-2, axis2=-1)[:, None]
    lift = trace * (products_eps / size**0.5 + (size + 1) * eps)
    whole = curvature + jnp.eye(size)[None] * (diagonal + lift)[:, None, :]
    if size <= LARGE and jnp.dtype(products) == jnp.float32:
        return Factors(inverse=_inverse_factor(whole))
    return Factors(lower=_each(jnp.linalg.cholesky, whole))


def solve(factors: Factors, right: Array) -> Array:
    """Solve with the factors for one right side of each head, shape (K, m + 1)."""
    if factors.inverse is None:
        return _each(lambda lower, b: jax.scipy.linalg.cho_solve((lower, True), b), factors.lower, right)
    half = matmul(factors.inverse, right[..., None])
    return matmul(factors.inverse.swapaxes(1, 2), half)[..., 0]


def _inverse_factor(matrices: Array) -> Array:
    r"""$L^{-1}$ of $LL^\top$, symmetric positive definite matrices (K, n, n), by halves.

    $$\begin{pmatrix}P & Q^\top\\ Q & R\end{pmatrix}: \quad
    L^{-1} = \begin{pmatrix}M & 0\\ -NWM & N\end{pmatrix}, M = L_P^{-1}, W = QM^\top, N = L_{R - WW^\top}^{-1}$$
    """
    half = matrices.shape[-1] // 2
    if matrices.shape[-1] <= SMALL:
        return _eliminated(matrices)
    first = _inverse_factor(matrices[:, :half, :half])
    below = matmul(matrices[:, half:, :half], first.swapaxes(1, 2))
    last = _inverse_factor(matrices[:, half:, half:] - matmul(below, below.swapaxes(1, 2)))
    above = jnp.pad(first, ((0, 0), (0, 0), (0, matrices.shape[-1] - half)))
    return jnp.concatenate([above, jnp.concatenate([-matmul(matmul(last, below), first), last], axis=2)], axis=1)


def _eliminated(matrices: Array) -> Array:
    """The same by Gauss's elimination, of the identity beside the matrix."""
    size = matrices.shape[-1]
    place = jnp.arange(size)

    def eliminate(k: Array, both: tuple[Array, Array]) -> tuple[Array, Array]:
        left, right = both
        ratio = jnp.where(place[None] > k, left[:, :, k] / left[:, k, k][:, None], 0.0)[:, :, None]
        return left - ratio * left[:, k][:, None, :], right - ratio * right[:, k][:, None, :]

    start = matrices, jnp.broadcast_to(jnp.eye(size), matrices.shape)
    left, right = jax.lax.fori_loop(0, size, eliminate, start)
    return right / jnp.sqrt(jnp.diagonal(left, axis1=1, axis2=2))[:, :, None]


def _each(function: Callable[..., Array], *arrays: Array) -> Array:
    """`function` of each entry of the first axis."""

    def in_turn(*arrays: Array) -> Array:
        return jax.lax.map(lambda entries: function(*entries), arrays)

    return jax.lax.platform_dependent(*arrays, cpu=in_turn, default=jax.vmap(function))
