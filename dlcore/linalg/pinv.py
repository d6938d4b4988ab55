"""The pseudo-inverse, and the derivative that every pseudo-inverse has."""

import jax
import jax.numpy as jnp

from dlcore._core.array_checks import as_inexact, check_number, with_constants
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg._scaling import exponent_of, over_leading_axes, times_power_of_two
from dlcore.linalg.products import matmul


@with_constants
def pinv(a: Numeric, rcond: float | Array | None = None) -> Array:
    r"""Moore–Penrose pseudo-inverse: what is left of an inverse where there is none.

    $A^+ = \sum_{\sigma_i > c\,\sigma_1} v_i \sigma_i^{-1} u_i^\top$, from the singular value decomposition
    $A = \sum_i \sigma_i u_i v_i^\top$

    It is the one matrix with $A A^+ A = A$, $A^+ A A^+ = A^+$, and $A A^+$ and $A^+ A$ symmetric.

    Args:
      a: shape (..., n, m).
      rcond: c, a number: singular values of at most c times the largest count as 0. max(n, m)·eps of the dtype
        that is factored where left out.

    Returns:
      Shape (..., m, n), the dtype of `a` (the default one for integers); halves are factored in float32 and cast
      back. The pseudo-inverse of 0 is 0. All nan where a matrix has an entry that is nan or infinite.
      The derivative, forward and reverse, is that of a change that keeps the rank (Golub and Pereyra); across a
      change of rank $A^+$ is not continuous.

    Raises:
      ValueError: if `a` has fewer than two axes or `rcond` is negative.
      TypeError: if `a` is not an array of numbers.

    Source: array API standard, `linalg.pinv`; Penrose (1955), Proc. Cambridge Philos. Soc. 51; Golub and Pereyra
    (1973), SIAM J. Numer. Anal. 10, theorem 4.3, for the derivative.

    >>> print(pinv(jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])))
    [[1.  0.  0. ]
     [0.  0.  0.5]]
    """
    a = as_inexact("a", a)
    if a.ndim < 2:
        raise ValueError(f"pinv: expected shape (..., n, m), got {a.shape}")
    if rcond is not None:
        check_number("rcond", rcond, least=0)
    working = working_dtype(a.dtype)
    if 0 in a.shape[-2:]:
        return jnp.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    cutoff = rank_cutoff(a.shape, working, rcond)
    inverse = over_leading_axes(lambda a: _by_singular_values(a, cutoff), (a.astype(working),), a.shape[:-2])
    return inverse.astype(a.dtype)


def rank_cutoff(shape: tuple[int, ...], dtype: jnp.dtype, rcond: float | Array | None) -> Array:
    """The share of the largest singular value up to which one counts as 0, in the real dtype of `dtype`."""
    default = max(shape[-2:]) * float(jnp.finfo(dtype).eps)
    cutoff = jnp.asarray(default if rcond is None else rcond).astype(jnp.finfo(dtype).dtype)
    if cutoff.ndim:
        raise ValueError(f"rcond: expected one number, got shape {cutoff.shape}")
    return cutoff


def change_of_pseudo_inverse(p: Array, a: Array, da: Array) -> Array:
    """Return the change of P = A⁺ that dA makes at constant rank.

    dP = −P dA P + P Pᴴ dAᴴ (I − A P) + (I − P A) dAᴴ Pᴴ P.
    """
    n, m = a.shape
    # P is taken with its largest entry near 1. Half of the power comes back before the products and half after
    # them: none leaves the range of the dtype before the derivative does.
    exponent = exponent_of(p, (0, 1))
    unit = times_power_of_two(p, -exponent)
    scaled, da = times_power_of_two(a, exponent), times_power_of_two(da, exponent)
    left = jnp.eye(n, dtype=a.dtype) - matmul(scaled, unit)
    right = jnp.eye(m, dtype=a.dtype) - matmul(unit, scaled)
    change = -matmul(unit, matmul(da, unit))
    change += matmul(unit, matmul(adjoint(unit), matmul(adjoint(da), left)))
    change += matmul(matmul(matmul(right, adjoint(da)), adjoint(unit)), unit)
    return times_power_of_two(change, exponent)


def adjoint(a: Array) -> Array:
    """The conjugate transpose of a matrix."""
    return a.conj().T


@jax.custom_jvp
@jax.jit
def _by_singular_values(a: Array, cutoff: Array) -> Array:
    """A⁺ of one matrix that is not empty."""
    finite = jnp.isfinite(a).all()  # LAPACK may never return from a nan
    exponent = exponent_of(a, (0, 1))
    scaled = times_power_of_two(jnp.where(finite, a, 0), -exponent)
    u, s, vh = jnp.linalg.svd(scaled, full_matrices=False)
    kept = (s > cutoff * s[0]) & (s > 0)
    reciprocal = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0).astype(a.dtype)
    inverse = matmul(adjoint(vh) * reciprocal[None, :], adjoint(u))
    return jnp.where(finite, times_power_of_two(inverse, -exponent), jnp.nan)


@_by_singular_values.defjvp
def _by_singular_values_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    a, cutoff = primals
    p = _by_singular_values(a, cutoff)
    return p, change_of_pseudo_inverse(p, a, tangents[0])
