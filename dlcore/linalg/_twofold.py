"""Residuals in twice the precision of their dtype, without a wider dtype.

A product of two numbers is split into four that are exact, and their sum keeps what each addition rounds off.
Nothing here depends on whether the compiler fuses a multiplication with an addition: every product is exact.
Source: Dekker (1971), Numerische Mathematik 18; Ogita, Rump and Oishi (2005), SIAM J. Sci. Comput. 26.
"""

import jax
import jax.numpy as jnp

from dlcore._types import Array


def subtract_product(terms: tuple[Array, ...], a: Array, high: Array, low: Array) -> Array:
    """Σ terms − a(high + low), as if in twice the precision and rounded once.

    Args:
      terms: vectors of shape (n,).
      a: shape (n, m).
      high: shape (m,).
      low: shape (m,), of the size of the last place of `high`.
    """
    a_high, a_low = _halves(a)
    rows = jnp.broadcast_to(high, a.shape)
    x_high, x_low = _halves(rows)
    products = [a_high * x_high, a_high * x_low, a_low * x_high, a_low * x_low]
    products.append(a * jnp.broadcast_to(low, a.shape))
    return _sum([term[:, None] for term in terms] + [-product for product in products])


def add_to_pair(high: Array, low: Array, x: Array) -> tuple[Array, Array]:
    """high + low + x as such a pair again."""
    total, rest = _two_sum(high, x)
    return _two_sum(total, rest + low)


def _halves(x: Array) -> tuple[Array, Array]:
    """x = high + low, each of half the digits, so that products of two of them are exact."""
    dtype = jnp.finfo(x.dtype)
    high = jax.lax.reduce_precision(x, dtype.nexp, (dtype.nmant - 1) // 2)
    return high, x - high


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b rounded, and what was rounded off, exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _sum(terms: list[Array]) -> Array:
    """Sum along the last axis of all terms, halving it until one entry is left."""
    total = jnp.concatenate(terms, axis=-1)
    rest = jnp.zeros_like(total)
    while total.shape[-1] > 1:
        half = total.shape[-1] // 2
        pairs, rounded = _two_sum(total[..., :half], total[..., half : 2 * half])
        errors = rest[..., :half] + rest[..., half : 2 * half] + rounded
        total = jnp.concatenate([pairs, total[..., 2 * half :]], axis=-1)
        rest = jnp.concatenate([errors, rest[..., 2 * half :]], axis=-1)
    return (total + rest)[..., 0]
