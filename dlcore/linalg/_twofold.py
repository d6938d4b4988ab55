"""Residuals in twice the precision of their dtype, without a wider dtype.

A number is split into two of half its digits, so that products of halves are exact, and a sum keeps what each
addition rounds off. Nothing here depends on whether the compiler fuses a multiplication with an addition: where
it matters the product is exact.
Source: Dekker (1971), Numerische Mathematik 18; Ogita, Rump and Oishi (2005), SIAM J. Sci. Comput. 26.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array

Pair = tuple[Array, Array]
"""high + low, low at most the size of the last place of high."""


def subtract_product(terms: tuple[Array, ...], a: Array, x: Pair) -> Array:
    """Σ terms − a(high + low), as if in twice the precision and rounded once.

    Args:
      terms: vectors of shape (n,).
      a: shape (n, m).
      x: two vectors of shape (m,).
    """
    high, low = (jnp.broadcast_to(part, a.shape) for part in x)
    a_high, a_low = _halves(-a)
    x_high, x_low = _halves(high)
    total, rest = _two_sum(a_high * x_high, a_high * x_low)
    total, more = _two_sum(total, a_low * x_high)
    zero = np.zeros((), a.dtype)
    sums = jax.lax.reduce((total, rest + more + (a_low * x_low - a * low)), (zero, zero), _plus, (1,))
    for term in terms:
        sums = _plus(sums, (term, jnp.zeros_like(term)))
    return sums[0] + sums[1]


def add_to_pair(pair: Pair, x: Array) -> Pair:
    """high + low + x as such a pair again."""
    total, rest = _plus(pair, (x, jnp.zeros_like(x)))
    return _two_sum(total, rest)


def _halves(x: Array) -> Pair:
    """x = high + low, each of half the digits."""
    dtype = jnp.finfo(x.dtype)
    high = jax.lax.reduce_precision(x, dtype.nexp, (dtype.nmant - 1) // 2)
    return high, x - high


def _two_sum(a: Array, b: Array) -> Pair:
    """a + b rounded, and what was rounded off, exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _plus(x: Pair, y: Pair) -> Pair:
    """Sum of two unevaluated sums."""
    total, rest = _two_sum(x[0], y[0])
    return total, rest + (x[1] + y[1])
