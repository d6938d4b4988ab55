"""Rank and condition number of a matrix."""

import jax.numpy as jnp

from dlcore._core.array_checks import allow_constant_transfers, as_inexact, check_matrices
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg._scaling import exponent_of, times_power_of_two
from dlcore.linalg.norms import matrix_norm
from dlcore.linalg.pinv import rank_cutoff
from dlcore.linalg.singular_values import LARGEST, SMALLEST, extreme_singular_values, singular_values
from dlcore.linalg.solve import inverse_and_condition


@allow_constant_transfers
def matrix_rank(a: Numeric, rtol: float | Array | None = None) -> Array:
    r"""Return the numerical rank of a matrix: the number of singular values that rounding cannot explain.

    $\#\{i : \sigma_i > c\,\sigma_1\}$

    Args:
      a: shape (..., n, m).
      rtol: c, a number; max(n, m)·eps of the dtype that is factored if None.

    Returns:
      Shape (...), int32; 0 for a matrix of zeros or of no entries. The rank is -1, for unknown, if an entry is nan
      or infinite. Halves are factored in float32.

    Raises:
      ValueError: if `a` has fewer than two axes or `rtol` is negative.
      TypeError: if `a` is not an array of numbers.

    Source: array API standard, `linalg.matrix_rank`; Golub and Van Loan, Matrix Computations, section 5.4.1.

    >>> print(matrix_rank(jnp.array([[1.0, 2.0], [2.0, 4.0]])))
    1
    """
    a = as_inexact("a", a)
    check_matrices("matrix_rank", a)
    working = working_dtype(a.dtype)
    cutoff = rank_cutoff("rtol", rtol, a.shape, working)
    if 0 in a.shape[-2:]:
        return jnp.zeros(a.shape[:-2], jnp.int32)
    s = singular_values(_scaled(a.astype(working)))
    rank = (s > cutoff * s[..., :1]).sum(-1, dtype=jnp.int32)
    return jnp.where(jnp.isnan(s[..., 0]), -1, rank)


@allow_constant_transfers
def cond(a: Numeric, p: float | str | None = None) -> Array:
    r"""Return the condition number of a matrix, the largest factor by which it amplifies a relative error.

    $\kappa_2(A) = \sigma_1 / \sigma_n$, else $\kappa_p(A) = \|A\|_p \|A^{-1}\|_p$

    Args:
      a: shape (..., n, m) for p None, 2 and -2, else (..., n, n).
      p: None or 2; -2 for the reciprocal $\sigma_n/\sigma_1$; 1, -1, inf, -inf, "fro", "nuc": a norm of
        `matrix_norm`.

    Returns:
      Shape (...), the real dtype of `a` (the default one for integers); halves are factored in float32 and cast
      back. At least 1 unless p is negative. Infinity (0 for p = -2) if the matrix is singular to the last bit.
      Beyond 1/eps only the order of magnitude is meaningful. nan if an entry is nan or infinite.
      For p None, 2 and -2 derivatives of every order are right where the largest and the smallest singular value
      are simple and above 0.

    Raises:
      ValueError: if `a` has fewer than two axes or no entries, if it is not square where an inverse is needed, or
        if `p` is none of the above.
      TypeError: if `a` is not an array of numbers.

    Source: numpy.linalg.cond; Golub and Van Loan, Matrix Computations, section 2.6.2.

    >>> print(cond(jnp.array([[4.0, 0.0], [0.0, 0.5]])), cond(jnp.zeros((2, 2))))
    8.0 inf
    """
    a = as_inexact("a", a)
    if a.ndim < 2 or 0 in a.shape[-2:]:
        raise ValueError(f"cond: expected a matrix with entries, (..., n, m), got shape {a.shape}")
    matrix = a.astype(working_dtype(a.dtype))
    if p in (None, 2, -2):
        ends = extreme_singular_values(_scaled(matrix), (LARGEST, SMALLEST))
        largest, smallest = ends[..., 0], ends[..., 1]
        number = largest / smallest if p != -2 else smallest / largest
        singular = smallest == 0  # the matrix 0, whose quotient is 0/0, counts as singular
        number = jnp.where(singular, 0 if p == -2 else jnp.inf, number)
        return number.astype(a.real.dtype)
    if a.shape[-1] != a.shape[-2]:
        raise ValueError(f"cond: p = {p} needs a square matrix, (..., n, n), got shape {a.shape}")
    scaled = _scaled(matrix)
    inverse, reciprocal_condition = inverse_and_condition(scaled)
    number = matrix_norm(scaled, p) * matrix_norm(jnp.where(jnp.isfinite(inverse), inverse, 0), p)
    number = jnp.where(reciprocal_condition == 0, jnp.inf, number)
    return jnp.where(jnp.isnan(reciprocal_condition), jnp.nan, number).astype(a.real.dtype)


def _scaled(a: Array) -> Array:
    """Return a·2^e with the largest entry near 1."""
    return times_power_of_two(a, -exponent_of(a, (-2, -1)))
