"""Cholesky factors of the curvature of many heads, and solving with them.

On a CPU one head after another: jaxlib 0.10 hands the parts of a batch to XLA's pool of threads and waits for them
on a thread of that pool, so that two programs with batches in flight can wait for each other for ever.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from dlcore._types import Array


def factor(curvature: Array, penalty: Array, intercept: Array, products: DTypeLike) -> Array:
    """Of curvature + diag(penalty), shape (K, m + 1, m + 1), float64.

    Rounding of the products that the curvature is summed from, in a dtype of theirs, may leave its smallest
    eigenvalue below 0 by about eps·t/√m, where t is its trace: so much is added.
    """
    size, eps = curvature.shape[-1], float(jnp.finfo(products).eps)
    is_last = jnp.arange(size) == size - 1
    free = jnp.where(intercept > 0, 0.0, 1.0)  # without an intercept its row is that of I
    diagonal = jnp.where(is_last[None], free, penalty)
    lift = jnp.trace(curvature, axis1=-2, axis2=-1)[:, None] * (eps / size**0.5)
    return _each(jnp.linalg.cholesky, curvature + jnp.eye(size)[None] * (diagonal + lift)[:, None, :])


def solve(factors: Array, right: Array) -> Array:
    """For one right side each, (K, m + 1)."""
    return _each(lambda factor, right: jax.scipy.linalg.cho_solve((factor, True), right), factors, right)


def _each(function: Callable[..., Array], *arrays: Array) -> Array:
    """`function` of each entry of the first axis."""

    def in_turn(*arrays: Array) -> Array:
        return jax.lax.map(lambda entries: function(*entries), arrays)

    return jax.lax.platform_dependent(*arrays, cpu=in_turn, default=jax.vmap(function))
