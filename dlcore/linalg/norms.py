"""Norms whose value and gradient are right at zero, at huge and at tiny entries."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import as_inexact, with_constants
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg.singular_values import (
    LARGEST,
    SMALLEST,
    extreme_singular_values,
    nuclear_norm,
)


@with_constants
def vector_norm(
    x: Numeric, ord: float = 2, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> Array:
    r"""Norm of vectors.

    $\|x\|_p = \left(\sum_i |x_i|^p\right)^{1/p}$, $\|x\|_\infty = \max_i |x_i|$

    Args:
      x: shape (..., m) or any other.
      ord: p, a Python number. A norm for p ≥ 1 and inf; for 0 < p < 1 the same formula, which violates the
        triangle inequality; 0 counts the entries that are not zero, -inf is the smallest magnitude.
      axis: the axis or axes that hold a vector; None takes the whole array as one vector.
      keepdims: whether those axes stay, with length 1.

    Returns:
      The shape without `axis`, the real dtype of `x` (the default one for integers), summed in float32 for
      halves. 0 for a vector of no entries (an error for the maximum and the minimum of none), infinity where
      an entry is infinite, nan where one is nan. No intermediate overflows or underflows where the result and
      the entries are normal numbers (XLA may flush others to 0). The gradient at the zero vector is 0, a
      subgradient; for p = 2 it is x/‖x‖ elsewhere, and nan at infinite entries. An entry of 0 is a constant to
      all derivatives for p < 2, where its second derivative is infinite, and for p < 1 its first. For p = 2 the
      second derivative of a smooth function of the norm is right at 0 too, 2I for ‖x‖²; that of the norm itself
      is a large number there.

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
    return _norm(x, ord=ord, axis=axis, keepdims=keepdims)


@with_constants
def matrix_norm(a: Numeric, ord: float | str = "fro", *, keepdims: bool = False) -> Array:
    r"""Norm of matrices.

    $\|A\|_F = \sqrt{\sum_{ij} A_{ij}^2}$, $\|A\|_2 = \sigma_{\max}(A)$,
    $\|A\|_1 = \max_j \sum_i |A_{ij}|$, $\|A\|_\infty = \max_i \sum_j |A_{ij}|$

    Args:
      a: shape (..., n, m).
      ord: "fro" (Frobenius), "nuc" (the sum of the singular values), 2 or -2 (the largest or smallest singular
        value), 1 or -1 (the largest or smallest column sum of magnitudes), inf or -inf (the same of rows).
      keepdims: whether the two axes stay, with length 1.

    Returns:
      Shape (...), the real dtype of `a` (the default one for integers); halves are factored in float32 and
      cast back. 0 for a matrix of no entries under "fro", "nuc" and 2. nan propagates; infinity does under
      "fro", ±1 and ±inf, and gives nan where singular values are needed.
      The gradient at the zero matrix is 0, a subgradient. Equal extreme singular values have the mean of their
      gradients, and those that are 0 give nothing. Derivatives of every order are right where the norm is smooth:
      for 2 and -2 where that singular value is simple and above 0, for "nuc" at full rank.

    Raises:
      ValueError: if `a` has fewer than two axes or `ord` is another.
      TypeError: if `a` is not an array of numbers.

    Source: array API standard, `linalg.matrix_norm`; Golub and Van Loan, section 2.3.

    >>> a = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> print(matrix_norm(a, 1), matrix_norm(a, jnp.inf), matrix_norm(jnp.array([[3.0, 0.0], [0.0, 4.0]])))
    6.0 7.0 5.0
    """
    a = as_inexact("a", a)
    if a.ndim < 2:
        raise ValueError(f"matrix_norm: expected shape (..., n, m), got {a.shape}")
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
            norm = extreme_singular_values(a, LARGEST if ord == 2 else SMALLEST)[..., 0]
    elif ord in (1, -1, math.inf, -math.inf):
        sums = _magnitude(a).sum(-2 if abs(ord) == 1 else -1)
        norm = sums.max(-1) if ord > 0 else sums.min(-1)
    else:
        raise ValueError(f"matrix_norm: expected ord 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    return norm[..., None, None] if keepdims else norm


@with_constants
def spectral_norm(a: Numeric) -> Array:
    r"""Spectral norm of matrices: by how much $a$ stretches a vector at most.

    $\|A\|_2 = \max_{x \ne 0} \|Ax\|_2 / \|x\|_2 = \sigma_{\max}(A)$

    Args:
      a: shape (..., n, m).

    Returns:
      Shape (...), the real dtype of `a`; from a singular value decomposition, to a few units of eps·‖A‖ where
      the entries are normal numbers.
      Differentiable as `matrix_norm` is: to every order where the largest singular value is simple, whatever the
      others are; at the zero matrix the gradient is 0.

    Raises:
      ValueError: if `a` has fewer than two axes.
      TypeError: if `a` is not an array of numbers.

    Source: Golub and Van Loan, Matrix Computations, section 2.3.

    >>> print(spectral_norm(jnp.array([[0.0, 2.0], [0.0, 0.0]])))
    2.0
    """
    return matrix_norm(a, 2)


@partial(jax.jit, static_argnames=("ord", "axis", "keepdims"))
def _norm(x: Array, *, ord: float, axis: int | tuple[int, ...] | None, keepdims: bool) -> Array:
    dtype = x.real.dtype
    working = working_dtype(dtype)
    if ord == 0:
        return jnp.sum(x != 0, axis, dtype=working, keepdims=keepdims).astype(dtype)
    if ord in (math.inf, -math.inf):
        extreme = jnp.max if ord > 0 else jnp.min
        return extreme(_magnitude(x).astype(working), axis, keepdims=keepdims).astype(dtype)
    # ‖x‖ = c ‖x/c‖ for any c > 0. With c the entry that dominates the sum (the largest, for p < 0 the
    # smallest that is not 0), no power overflows and the sum is at least 1. c is a constant to the derivative,
    # which the identity makes right; where c is 0 or infinite it is replaced by 1.
    size = jnp.abs(jax.lax.stop_gradient(x)).astype(working)
    zero = size == 0
    largest = size.max(axis, keepdims=True, initial=0)
    most = jnp.finfo(working).max  # no infinity, which jax.debug_infs would report
    smallest = jnp.where(zero, most, size).min(axis, keepdims=True, initial=most)
    dominant = largest if ord > 0 else jnp.where(largest > 0, smallest, 0)
    usable = (dominant > 0) & jnp.isfinite(dominant)
    scale = jnp.where(usable, dominant, 1)
    # XLA divides by multiplying with 1/c, which is flushed to 0 for c beyond a quarter of the largest number:
    # both sides are first brought towards 1, exactly.
    towards_one = jnp.where(scale > 1, 0.25, 4.0).astype(scale.dtype)
    if ord == 2:
        # A square needs no magnitude: kept for the maximum and the sum alike, it would be written to memory.
        entries = x if jnp.iscomplexobj(x) else x.astype(working)
        infinitesimal = max(math.sqrt(float(jnp.finfo(working).tiny)), float(jnp.finfo(dtype).tiny))
        divisor, towards_one = (part.astype(entries.dtype) for part in (scale * towards_one, towards_one))
        root = _length(entries * towards_one / divisor, axis, infinitesimal)
    else:
        # An entry of 0 is a constant to the derivative, also where that is infinite.
        ratio = jnp.where(zero, 1, _magnitude(x).astype(working) * towards_one / (scale * towards_one))
        total = jnp.sum(jnp.where(zero, 0, _power(ratio, ord)), axis, keepdims=True)
        # The root has an infinite slope at 0: it is taken of 1 there and the result is put right afterwards.
        empty = total == 0
        root = jnp.where(empty, 0, _power(jnp.where(empty, 1, total), 1 / ord))
        if ord < 0:
            root = jnp.where(zero.any(axis, keepdims=True), 0, root)
    norm = (scale * root).astype(dtype)
    if keepdims:
        return norm
    return jnp.squeeze(norm, axis if axis is not None else tuple(range(x.ndim)))


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _length(x: Array, axis: Any, infinitesimal: float) -> Array:
    """Return ‖x‖₂ of entries near 1, the axes kept; the derivative at 0 is 0."""
    del infinitesimal
    square = jnp.square(x.real) + jnp.square(x.imag) if jnp.iscomplexobj(x) else jnp.square(x)
    return jnp.sqrt(jnp.sum(square, axis, keepdims=True))


@_length.defjvp
def _length_jvp(
    axis: Any, infinitesimal: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    length = _length_to_second_order(*primals, axis, infinitesimal)
    return length, _change_of_length(*primals, *tangents, jnp.where(length == 0, 1, length), axis)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _length_to_second_order(x: Array, axis: Any, infinitesimal: float) -> Array:
    return _length(x, axis, infinitesimal)


@_length_to_second_order.defjvp
def _length_to_second_order_jvp(
    axis: Any, infinitesimal: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    # Only a derivative of the derivative comes here. With the length exactly 0 no finite rule could give ‖x‖² the
    # second derivative 2I: f'(‖x‖) x/‖x‖ would be 0·0/0. It is taken an infinitesimal away, where x/‖x‖ is 0.
    length = _length_to_second_order(*primals, axis, infinitesimal)
    length = jnp.where(length == 0, jnp.asarray(infinitesimal, length.dtype), length)
    return length, _change_of_length(*primals, *tangents, length, axis)


def _change_of_length(x: Array, dx: Array, length: Array, axis: Any) -> Array:
    return jnp.sum((x.conj() / length.astype(x.dtype) * dx).real, axis, keepdims=True)


def _magnitude(x: Array) -> Array:
    """|x|, with the derivative 0 at 0, where that of `jnp.abs` is 1."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.abs(jnp.where(zero, 1, x)))


def _power(base: Array, exponent: float) -> Array:
    """base**exponent for base ≥ 0, by the exact operations where there are any."""
    if exponent == 1:
        return base
    if exponent == 2:
        return jnp.square(base)
    if exponent == 0.5:
        return jnp.sqrt(base)
    return jnp.power(base, exponent)
