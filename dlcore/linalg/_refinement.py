"""Iterative refinement: factors in one precision, residuals in twice the precision of the data.

Residuals are computed in double-word arithmetic, so that no wider dtype is needed.
A number is split into two halves of its digits, so that products of halves are exact.
Sums keep the rounding error of each addition.
The result does not depend on whether the compiler fuses a multiplication with an addition.
Source: Dekker (1971), Numerische Mathematik 18; Ogita, Rump and Oishi (2005), SIAM J. Sci. Comput. 26.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from dlcore._core.types import Array
from dlcore.linalg._scaling import exponent_of, times_power_of_two
from dlcore.linalg.norms import vector_norm
from dlcore.linalg.products import matmul

DoubleWord = tuple[Array, Array]
"""The unevaluated sum high + low, where |low| is at most one unit in the last place of high."""

Correction = Callable[[tuple[DoubleWord, ...]], tuple[Array, ...]]
"""A function of an iterate to an estimate of the error of each part."""

MAX_STEPS = 60
"""Each step at least halves the error, and a double word of float64 holds 106 bits: 60 steps are never needed."""


def check_refine(name: str, refine: DTypeLike | None, dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype of the factors, which must be float32 or that of the data."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"{name}: refine is for real matrices, got {dtype}")
    allowed = {jnp.dtype(jnp.float32), jnp.dtype(dtype)}
    try:
        is_allowed = not isinstance(refine, bool | int | float | None) and jnp.dtype(refine) in allowed
    except TypeError:
        is_allowed = False
    if refine is None or not is_allowed:
        names = " or ".join(sorted(kind.name for kind in allowed))
        raise TypeError(f"{name}: refine: expected the dtype of the factors, {names}, got {refine!r}")
    return jnp.dtype(refine)


@jax.jit
def refined_solution(a: Array, inverse: Array, b: Array) -> Array:
    """Return x with a x = b for one matrix (n, n), from an approximate inverse in any dtype.

    The result is nan if the inverse is too inaccurate.
    """
    exponent = exponent_of(b, 0)
    scaled = times_power_of_two(b, -exponent)

    def solve_column(b: Array) -> Array:
        def correction(x: tuple[DoubleWord, ...]) -> tuple[Array, ...]:
            residual = subtract_product((b,), a, x[0])
            return (matmul(inverse, residual.astype(inverse.dtype)).astype(b.dtype),)

        return _iterate(correction, (b,), jnp.ones((), b.dtype))[0]

    return times_power_of_two(jax.vmap(solve_column, -1, -1)(scaled), exponent)


@jax.jit
def refined_augmented(a: Array, q: Array, inverse: Array, f: Array, g: Array) -> tuple[Array, Array]:
    """Return (r, z) with r + a z = f and aᵀ r = g, for one tall matrix (n, m), from factors a ≈ q·inverse⁻¹.

    z solves least squares if g = 0, and r is the shortest solution of aᵀ r = g if f = 0.
    The result is nan if the factors are too inaccurate.
    Source: Björck (1967), BIT 7; Higham, Accuracy and Stability of Numerical Algorithms, section 20.5.
    """
    exponent = exponent_of(jnp.concatenate([f, g]), 0)
    f, g = times_power_of_two(f, -exponent), times_power_of_two(g, -exponent)
    # An error of size 1 in r counts as an error of size ‖a⁺‖ in z.
    weight = vector_norm(inverse).astype(f.dtype)

    def solve_column(f: Array, g: Array) -> tuple[Array, Array]:
        def correction(state: tuple[DoubleWord, ...]) -> tuple[Array, ...]:
            r, z = state
            residual_f = subtract_product((f, -r[0], -r[1]), a, z).astype(q.dtype)
            residual_g = subtract_product((g,), a.T, r).astype(q.dtype)
            coordinates = matmul(q.T, residual_f) - matmul(inverse.T, residual_g)
            dr = (residual_f - matmul(q, coordinates)).astype(f.dtype)
            return dr, matmul(inverse, coordinates).astype(f.dtype)

        r, z = _iterate(correction, (f, g), weight)
        return r, z

    r, z = jax.vmap(solve_column, -1, -1)(f, g)
    return times_power_of_two(r, exponent), times_power_of_two(z, exponent)


def _iterate(correction: Correction, like: tuple[Array, ...], weight: Array) -> tuple[Array, ...]:
    """Iterate x ← x + correction(x) from 0 while the corrections at least halve.

    The size of a correction is the norm of its last part, plus `weight` times the norm of the part before it.
    The result is nan if the last correction is larger than eps times x.
    """
    eps = float(jnp.finfo(like[0].dtype).eps)

    def sizes(parts: tuple[Array, ...]) -> Array:
        weights = (weight, jnp.ones_like(weight))[-len(parts) :]
        return jnp.stack([factor * vector_norm(part) for factor, part in zip(weights, parts, strict=True)])

    def body(state):
        x, previous_size, _, count = state
        change = correction(x)
        size = sizes(change)
        improved = (count == 0) | (size.sum() <= previous_size.sum() / 2)
        updated = tuple(add_to_double_word(pair, d) for pair, d in zip(x, change, strict=True))
        x = jax.tree.map(lambda new, old: jnp.where(improved, new, old), updated, x)
        # Each part converges by itself: the smaller part may be the one that is returned.
        converged = (size <= eps / 8 * sizes(tuple(high for high, _ in x))).all()
        return x, size, improved & ~converged, count + 1

    zero = tuple((jnp.zeros_like(part), jnp.zeros_like(part)) for part in like)
    start = (zero, sizes(like), jnp.array(True), jnp.array(0, jnp.int32))
    x, size, _, _ = jax.lax.while_loop(lambda state: state[2] & (state[3] < MAX_STEPS), body, start)
    result = tuple(high for high, _ in x)
    accepted = size.sum() <= eps * sizes(result).sum()
    return tuple(jnp.where(accepted, part, jnp.nan) for part in result)


# -- double-word arithmetic ----------------------------------------------------------------------------------


def subtract_product(terms: tuple[Array, ...], a: Array, x: DoubleWord) -> Array:
    """Return Σ terms − a(high + low), as if computed in twice the precision and rounded once.

    Args:
      terms: vectors of shape (n,).
      a: shape (n, m).
      x: (high, low), two vectors of shape (m,).
    """
    high, low = (jnp.broadcast_to(part, a.shape) for part in x)
    a_high, a_low = _split(-a)
    x_high, x_low = _split(high)
    total, error = _two_sum(a_high * x_high, a_high * x_low)
    total, second_error = _two_sum(total, a_low * x_high)
    zero = np.zeros((), a.dtype)
    low_order = error + second_error + (a_low * x_low - a * low)
    sums = jax.lax.reduce((total, low_order), (zero, zero), _add_double_words, (1,))
    for term in terms:
        sums = _add_double_words(sums, (term, jnp.zeros_like(term)))
    return sums[0] + sums[1]


def add_to_double_word(pair: DoubleWord, x: Array) -> DoubleWord:
    """Return high + low + x as a double word."""
    total, error = _add_double_words(pair, (x, jnp.zeros_like(x)))
    return _two_sum(total, error)


def _split(x: Array) -> DoubleWord:
    """Return high and low with x = high + low, each of half the digits (Dekker's split)."""
    dtype = jnp.finfo(x.dtype)
    high = jax.lax.reduce_precision(x, dtype.nexp, (dtype.nmant - 1) // 2)
    return high, x - high


def _two_sum(a: Array, b: Array) -> DoubleWord:
    """Return a + b rounded, and its exact rounding error (Knuth's TwoSum)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _add_double_words(x: DoubleWord, y: DoubleWord) -> DoubleWord:
    """Return the sum of two double words."""
    total, error = _two_sum(x[0], y[0])
    return total, error + (x[1] + y[1])
