"""Scaling by powers of two, which rounds nothing: what keeps factorisations away from the ends of the range."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore._core.types import Array
from dlcore.linalg.norms import vector_norm


def times_power_of_two(x: Array, exponent: Array) -> Array:
    """x·2^exponent, in quarters: the whole power may be no normal number, nor its half."""
    one = jnp.ones(exponent.shape, x.real.dtype)
    quarter = exponent // 4
    for part in (quarter, quarter, quarter, exponent - 3 * quarter):
        x = x * jnp.ldexp(one, part).astype(x.dtype)
    return x


def exponent_of(x: Array, axis: int | tuple[int, ...]) -> Array:
    """The e with max|x| in [2^(e−1), 2^e), along `axis`, which stays with length 1; 0 of zeros, inf and nan."""
    largest = jnp.abs(jax.lax.stop_gradient(x)).max(axis, keepdims=True, initial=0)
    return jnp.where(jnp.isfinite(largest), jnp.frexp(largest)[1], 0)


def column_exponents(a: Array) -> Array:
    """The e, shape (1, m), with ‖a_j‖₂ in [2^(e−1), 2^e) for the columns of a matrix (n, m)."""
    exponent = exponent_of(a, 0)
    norms = vector_norm(times_power_of_two(jax.lax.stop_gradient(a), -exponent), axis=0, keepdims=True)
    return exponent + jnp.where(jnp.isfinite(norms), jnp.frexp(norms)[1], 0)


def over_leading_axes(f: Callable[..., Any], matrices: tuple[Array, ...], batch: tuple[int, ...]) -> Any:
    """f of one matrix each, at every index of `batch`, to which the leading axes are broadcast."""
    for _ in batch:
        f = jax.vmap(f)
    return f(*(jnp.broadcast_to(matrix, (*batch, *matrix.shape[-2:])) for matrix in matrices))
