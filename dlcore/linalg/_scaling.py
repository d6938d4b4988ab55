"""Scaling by powers of two, which rounds nothing and keeps factorisations inside the range of the dtype."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from dlcore._core.types import Array
from dlcore.linalg.norms import vector_norm

Result = TypeVar("Result")


def times_power_of_two(x: Array, exponent: Array) -> Array:
    """Return x·2^exponent, multiplied in four steps because the whole power may be no normal number."""
    one = jnp.ones(exponent.shape, x.real.dtype)
    quarter = exponent // 4
    for step in (quarter, quarter, quarter, exponent - 3 * quarter):
        x = x * jnp.ldexp(one, step).astype(x.dtype)
    return x


def exponent_of(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Return e with max|x| in [2^(e−1), 2^e) along `axis`, which stays with length 1; 0 for zeros, inf and nan."""
    largest = jnp.abs(jax.lax.stop_gradient(x)).max(axis, keepdims=True, initial=0)
    return jnp.where(jnp.isfinite(largest), jnp.frexp(largest)[1], 0)


def column_exponents(a: Array) -> Array:
    """Return e, shape (1, m), with ‖a_j‖₂ in [2^(e−1), 2^e) for each column of a matrix (n, m)."""
    exponent = exponent_of(a, 0)
    norms = vector_norm(times_power_of_two(jax.lax.stop_gradient(a), -exponent), axis=0, keepdims=True)
    return exponent + jnp.where(jnp.isfinite(norms), jnp.frexp(norms)[1], 0)


def over_leading_axes(f: Callable[..., Result], matrices: tuple[Array, ...], batch: tuple[int, ...]) -> Result:
    """Return f of one matrix each, at every index of the shape `batch` that the leading axes broadcast to."""
    for _ in batch:
        f = jax.vmap(f)
    return f(*(jnp.broadcast_to(matrix, (*batch, *matrix.shape[-2:])) for matrix in matrices))
