"""Cholesky factors of the curvature of many heads, and solving with them."""

import jax
import jax.numpy as jnp

from dlcore._types import Array


def factor(curvature: Array, penalty: Array, intercept: Array) -> Array:
    """Of curvature + diag(penalty), shape (K, m + 1, m + 1), in the dtype of the curvature."""
    size, dtype = curvature.shape[-1], curvature.dtype
    is_last = jnp.arange(size) == size - 1
    free = jnp.where(intercept > 0, 0.0, 1.0).astype(dtype)  # without an intercept its row is that of I
    diagonal = jnp.where(is_last[None], free, penalty.astype(dtype))
    # Rounding may leave the smallest eigenvalue below 0 by this much.
    mean = jnp.trace(curvature, axis1=-2, axis2=-1)[:, None] * jnp.asarray(4 * jnp.finfo(dtype).eps, dtype)
    return jnp.linalg.cholesky(curvature + jnp.eye(size, dtype=dtype)[None] * (diagonal + mean)[:, None, :])


def solve(factors: Array, right: Array) -> Array:
    """For one right side each, (K, m + 1), in its own dtype."""
    solved = jax.scipy.linalg.cho_solve((factors, True), right.astype(factors.dtype)[..., None])[..., 0]
    return solved.astype(right.dtype)
