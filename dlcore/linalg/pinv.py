"""The pseudo-inverse and its derivative."""

import jax
import jax.numpy as jnp

from dlcore._core.array_checks import allow_constant_transfers, as_inexact, check_matrices, check_number
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg._scaling import exponent_of, over_leading_axes, times_power_of_two
from dlcore.linalg.products import matmul


@allow_constant_transfers
def pinv(a: Numeric, rcond: float | Array | None = None) -> Array:
    r"""Return the Moore–Penrose pseudo-inverse of a matrix.

    $A^+ = \sum_{\sigma_i > c\,\sigma_1} v_i \sigma_i^{-1} u_i^\top$, from the singular value decomposition
    $A = \sum_i \sigma_i u_i v_i^\top$

    It is the only matrix with $A A^+ A = A$, $A^+ A A^+ = A^+$, and $A A^+$ and $A^+ A$ symmetric.

    Args:
      a: shape (..., n, m).
      rcond: c, a number: singular values of at most c times the largest count as 0. max(n, m)·eps of the dtype
        that is factored if None.

    Returns:
      Shape (..., m, n), the dtype of `a` (the default one for integers); halves are factored in float32 and cast
      back. The pseudo-inverse of 0 is 0. A matrix with a nan or infinite entry gives nan.
      The derivative, forward and reverse, is that of a change that keeps the rank (Golub and Pereyra).
      $A^+$ is not continuous across a change of rank.

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
    check_matrices("pinv", a)
    working = working_dtype(a.dtype)
    cutoff = rank_cutoff("rcond", rcond, a.shape, working)
    if 0 in a.shape[-2:]:
        return jnp.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    inverse = over_leading_axes(lambda a: _pinv_by_svd(a, cutoff), (a.astype(working),), a.shape[:-2])
    return inverse.astype(a.dtype)


def rank_cutoff(name: str, value: float | Array | None, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Return the relative cutoff of singular values that count as 0, in the real dtype of `dtype`.

    Args:
      name: the argument that the value came in.
      value: the cutoff, at least 0. None is the default, max(n, m)·eps.
      shape: the shape of the matrices, (..., n, m).
      dtype: the dtype that is factored.
    """
    if value is None:
        value = max(shape[-2:]) * float(jnp.finfo(dtype).eps)
    check_number(name, value, minimum=0)
    cutoff = jnp.asarray(value).astype(jnp.finfo(dtype).dtype)
    if cutoff.ndim:
        raise ValueError(f"{name}: expected one number, got shape {cutoff.shape}")
    return cutoff


def pinv_tangent(p: Array, a: Array, da: Array) -> Array:
    """Return the tangent of P = A⁺ in the direction dA, at constant rank.

    dP = −P dA P + P Pᴴ dAᴴ (I − A P) + (I − P A) dAᴴ Pᴴ P.
    """
    n, m = a.shape
    # P is scaled to a largest entry near 1. Half of the power is restored before the products and half after
    # them, so that no product leaves the range of the dtype before the derivative does.
    exponent = exponent_of(p, (0, 1))
    unit = times_power_of_two(p, -exponent)
    scaled, da = times_power_of_two(a, exponent), times_power_of_two(da, exponent)
    left_complement = jnp.eye(n, dtype=a.dtype) - matmul(scaled, unit)
    right_complement = jnp.eye(m, dtype=a.dtype) - matmul(unit, scaled)
    tangent = -matmul(unit, matmul(da, unit))
    tangent += matmul(unit, matmul(adjoint(unit), matmul(adjoint(da), left_complement)))
    tangent += matmul(matmul(matmul(right_complement, adjoint(da)), adjoint(unit)), unit)
    return times_power_of_two(tangent, exponent)


def adjoint(a: Array) -> Array:
    """Return the conjugate transpose of a matrix."""
    return a.conj().T


@jax.custom_jvp
@jax.jit
def _pinv_by_svd(a: Array, cutoff: Array) -> Array:
    """Return A⁺ of one matrix that is not empty."""
    finite = jnp.isfinite(a).all()  # LAPACK may not return from a nan
    exponent = exponent_of(a, (0, 1))
    scaled = times_power_of_two(jnp.where(finite, a, 0), -exponent)
    u, s, vh = jnp.linalg.svd(scaled, full_matrices=False)
    is_nonzero = (s > cutoff * s[0]) & (s > 0)
    reciprocal = jnp.where(is_nonzero, 1 / jnp.where(is_nonzero, s, 1), 0).astype(a.dtype)
    inverse = matmul(adjoint(vh) * reciprocal[None, :], adjoint(u))
    return jnp.where(finite, times_power_of_two(inverse, -exponent), jnp.nan)


@_pinv_by_svd.defjvp
def _pinv_by_svd_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    a, cutoff = primals
    p = _pinv_by_svd(a, cutoff)
    return p, pinv_tangent(p, a, tangents[0])
