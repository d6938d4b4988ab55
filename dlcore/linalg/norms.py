"""Norms whose values and gradients are right for zero, huge and tiny entries."""

import math
import operator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import allow_constant_transfers, as_inexact, check_matrices
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg.singular_values import LARGEST, SMALLEST, extreme_singular_values, nuclear_norm

Axis = int | tuple[int, ...] | None
"""An axis, several axes, or all axes."""


@allow_constant_transfers
def vector_norm(x: Numeric, ord: float = 2, *, axis: Axis = None, keepdims: bool = False) -> Array:
    r"""Return the p-norm of vectors.

    $\|x\|_p = \left(\sum_i |x_i|^p\right)^{1/p}$, $\|x\|_\infty = \max_i |x_i|$

    Args:
      x: shape (..., m) or any other.
      ord: p, a Python number. The result is a norm for p ≥ 1 and inf. For 0 < p < 1 the formula violates the
        triangle inequality. 0 counts the entries that are not zero, and -inf gives the smallest magnitude.
      axis: the axis or axes that hold a vector; None takes the whole array as one vector.
      keepdims: whether these axes stay, with length 1.

    Returns:
      The shape without `axis`, the real dtype of `x` (the default one for integers), summed in float32 for
      halves. 0 for a vector of no entries (an error for ±inf), infinity if an entry is infinite, nan if an entry
      is nan. No intermediate result overflows or underflows if the norm and the entries are normal numbers.
      XLA may flush other numbers to 0.

    Notes:
      The gradient at the zero vector is 0, a subgradient. For p = 2 it is x/‖x‖ elsewhere, and nan at infinite
      entries. For p < 2 the second derivative at an entry of 0 is infinite, for p < 1 the first too: such an entry
      is a constant to all derivatives. For p = 2 the second derivative of a smooth function of the norm is right
      at 0 too, 2I for ‖x‖². That of the norm itself is a large number there.

    Raises:
      TypeError: if `x` is not an array of numbers.

    Source: array API standard, `linalg.vector_norm`; Golub and Van Loan, Matrix Computations, section 2.2.

    >>> x = jnp.array([3.0, 4.0])
    >>> print(vector_norm(x, 1), vector_norm(x), vector_norm(x, jnp.inf))
    7.0 5.0 4.0
    """
    x = as_inexact("x", x)
    if isinstance(ord, str | bool) or not isinstance(ord, int | float | np.number):
        raise TypeError(f"vector_norm: expected ord to be a number, got {ord!r}")
    if isinstance(axis, tuple | list):  # a static argument must be hashable
        axis = tuple(map(operator.index, axis))
    elif axis is not None:
        axis = operator.index(axis)
    return _norm(x, ord=ord, axis=axis, keepdims=bool(keepdims))


@allow_constant_transfers
def matrix_norm(a: Numeric, ord: float | str = "fro", *, keepdims: bool = False) -> Array:
    r"""Return a norm of matrices.

    $\|A\|_F = \sqrt{\sum_{ij} A_{ij}^2}$, $\|A\|_2 = \sigma_{\max}(A)$,
    $\|A\|_1 = \max_j \sum_i |A_{ij}|$, $\|A\|_\infty = \max_i \sum_j |A_{ij}|$

    Args:
      a: shape (..., n, m).
      ord: "fro" (Frobenius), "nuc" (the sum of the singular values), 2 or -2 (the largest or smallest singular
        value), 1 or -1 (the largest or smallest column sum of magnitudes), inf or -inf (those of row sums).
      keepdims: whether the two axes stay, with length 1.

    Returns:
      Shape (...), the real dtype of `a` (the default one for integers); halves are factored in float32 and
      cast back. 0 for a matrix of no entries under "fro", "nuc" and 2. nan propagates. Infinity propagates under
      "fro", ±1 and ±inf, and gives nan under norms that need singular values.
      The gradient at the zero matrix is 0, a subgradient. Equal extreme singular values have the mean of their
      gradients, and zero singular values add nothing. Derivatives of every order are right where the norm is
      smooth: for 2 and -2 where that singular value is simple and above 0, for "nuc" at full rank.

    Raises:
      ValueError: if `a` has fewer than two axes or `ord` is none of these.
      TypeError: if `a` is not an array of numbers.

    Source: array API standard, `linalg.matrix_norm`; Golub and Van Loan, section 2.3.

    >>> a = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> print(matrix_norm(a, 1), matrix_norm(a, jnp.inf), matrix_norm(jnp.array([[3.0, 0.0], [0.0, 4.0]])))
    6.0 7.0 5.0
    """
    a = as_inexact("a", a)
    check_matrices("matrix_norm", a)
    if ord == "fro":
        return vector_norm(a, 2, axis=(-2, -1), keepdims=keepdims)
    if ord == "nuc":
        norm = nuclear_norm(a)
    elif ord in (2, -2):
        if 0 in a.shape[-2:]:
            if ord == -2:
                raise ValueError(f"matrix_norm: ord -2 needs entries, got shape {a.shape}")
            norm = jnp.zeros(a.shape[:-2], a.real.dtype)
        else:
            norm = extreme_singular_values(a, (LARGEST if ord == 2 else SMALLEST,))[..., 0]
    elif ord in (1, -1, math.inf, -math.inf):
        sums = _magnitude(a).sum(-2 if abs(ord) == 1 else -1)
        norm = sums.max(-1) if ord > 0 else sums.min(-1)
    else:
        raise ValueError(f"matrix_norm: expected ord 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    return norm[..., None, None] if keepdims else norm


@allow_constant_transfers
def spectral_norm(a: Numeric) -> Array:
    r"""Return the spectral norm of matrices, the largest factor by which $a$ stretches a vector.

    $\|A\|_2 = \max_{x \ne 0} \|Ax\|_2 / \|x\|_2 = \sigma_{\max}(A)$

    Args:
      a: shape (..., n, m).

    Returns:
      Shape (...), the real dtype of `a`; from a singular value decomposition, to a few units of eps·‖A‖ if
      the entries are normal numbers.
      Derivatives of every order are right if the largest singular value is simple, whatever the other values are.
      At the zero matrix the gradient is 0.

    Raises:
      ValueError: if `a` has fewer than two axes.
      TypeError: if `a` is not an array of numbers.

    Source: Golub and Van Loan, Matrix Computations, section 2.3.

    >>> print(spectral_norm(jnp.array([[0.0, 2.0], [0.0, 0.0]])))
    2.0
    """
    return matrix_norm(a, 2)


@partial(jax.jit, static_argnames=("ord", "axis", "keepdims"))
def _norm(x: Array, *, ord: float, axis: Axis, keepdims: bool) -> Array:
    dtype = x.real.dtype
    working = working_dtype(dtype)
    if ord == 0:
        return jnp.sum(x != 0, axis, dtype=working, keepdims=keepdims).astype(dtype)
    if ord in (math.inf, -math.inf):
        extreme = jnp.max if ord > 0 else jnp.min
        return extreme(_magnitude(x).astype(working), axis, keepdims=keepdims).astype(dtype)
    # ‖x‖ = c ‖x/c‖ for any c > 0. Let c be the entry that dominates the sum: the largest, or for p < 0 the
    # smallest that is not 0. Then no power overflows and the sum is at least 1. Because of the identity c may be
    # a constant to the derivative. It is replaced by 1 if it is 0 or infinite.
    size = jnp.abs(jax.lax.stop_gradient(x)).astype(working)
    zero = size == 0
    largest = size.max(axis, keepdims=True, initial=0)
    max_finite = jnp.finfo(working).max  # no infinity, which jax.debug_infs would report
    smallest = jnp.where(zero, max_finite, size).min(axis, keepdims=True, initial=max_finite)
    dominant = largest if ord > 0 else jnp.where(largest > 0, smallest, 0)
    usable = (dominant > 0) & jnp.isfinite(dominant)
    scale = jnp.where(usable, dominant, 1)
    # XLA divides by multiplying with 1/c, which is flushed to 0 for c beyond a quarter of the largest number.
    # Both sides are first multiplied by the same power of two, which rounds nothing.
    towards_one = jnp.where(scale > 1, 0.25, 4.0).astype(scale.dtype)
    if ord == 2:
        # A square needs no magnitude. An array of magnitudes for both the maximum and the sum would be stored.
        entries = x if jnp.iscomplexobj(x) else x.astype(working)
        infinitesimal = max(math.sqrt(float(jnp.finfo(working).tiny)), float(jnp.finfo(dtype).tiny))
        divisor, towards_one = (part.astype(entries.dtype) for part in (scale * towards_one, towards_one))
        root = _euclidean_norm(entries * towards_one / divisor, axis, infinitesimal)
    else:
        # An entry of 0 is a constant to the derivative, which may be infinite there.
        ratio = jnp.where(zero, 1, _magnitude(x).astype(working) * towards_one / (scale * towards_one))
        total = jnp.sum(jnp.where(zero, 0, _power(ratio, ord)), axis, keepdims=True)
        # The root has an infinite derivative at 0. It is taken of 1 there, and the result is replaced by 0.
        empty = total == 0
        root = jnp.where(empty, 0, _power(jnp.where(empty, 1, total), 1 / ord))
        if ord < 0:
            root = jnp.where(zero.any(axis, keepdims=True), 0, root)
    norm = (scale * root).astype(dtype)
    if keepdims:
        return norm
    return jnp.squeeze(norm, axis if axis is not None else tuple(range(x.ndim)))


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _euclidean_norm(x: Array, axis: Axis, infinitesimal: float) -> Array:
    """Return ‖x‖₂ of entries near 1, with the axes kept; the derivative at 0 is 0."""
    del infinitesimal
    square = jnp.square(x.real) + jnp.square(x.imag) if jnp.iscomplexobj(x) else jnp.square(x)
    return jnp.sqrt(jnp.sum(square, axis, keepdims=True))


@_euclidean_norm.defjvp
def _euclidean_norm_jvp(
    axis: Axis, infinitesimal: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    norm = _differentiated_norm(*primals, axis, infinitesimal)
    return norm, _norm_tangent(*primals, *tangents, jnp.where(norm == 0, 1, norm), axis)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _differentiated_norm(x: Array, axis: Axis, infinitesimal: float) -> Array:
    """Return ‖x‖₂ inside a derivative: its own derivative is the second derivative of the norm."""
    return _euclidean_norm(x, axis, infinitesimal)


@_differentiated_norm.defjvp
def _differentiated_norm_jvp(
    axis: Axis, infinitesimal: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    # At a norm of exactly 0 no finite rule gives ‖x‖² the second derivative 2I: f'(‖x‖) x/‖x‖ would be 0·0/0.
    # The rule is evaluated an infinitesimal away, where x/‖x‖ is 0.
    norm = _differentiated_norm(*primals, axis, infinitesimal)
    norm = jnp.where(norm == 0, jnp.asarray(infinitesimal, norm.dtype), norm)
    return norm, _norm_tangent(*primals, *tangents, norm, axis)


def _norm_tangent(x: Array, dx: Array, norm: Array, axis: Axis) -> Array:
    return jnp.sum((x.conj() / norm.astype(x.dtype) * dx).real, axis, keepdims=True)


def _magnitude(x: Array) -> Array:
    """Return |x| with the derivative 0 at 0, where that of `jnp.abs` is 1."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.abs(jnp.where(zero, 1, x)))


def _power(base: Array, exponent: float) -> Array:
    """Return base**exponent for base ≥ 0, by an exact operation if one exists."""
    if exponent == 1:
        return base
    if exponent == 2:
        return jnp.square(base)
    if exponent == 0.5:
        return jnp.sqrt(base)
    return jnp.power(base, exponent)
