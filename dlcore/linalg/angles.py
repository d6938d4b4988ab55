"""Angles, and tests of orthogonality and symmetry to rounding.

The default tolerance of every test is 4·n·eps of the dtype.
n is the number of terms in a sum, or the number of rows for symmetry.
Rounding in a product or a factorisation of that size stays below the tolerance, and a mistake does not.
"""

import jax
import jax.numpy as jnp

from dlcore._core.array_checks import (
    allow_constant_transfers,
    as_inexact,
    broadcast_shape,
    check_matrices,
    check_number,
)
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg._scaling import exponent_of, times_power_of_two
from dlcore.linalg.norms import vector_norm
from dlcore.linalg.products import matmul, vecdot


@allow_constant_transfers
def angle(x: Numeric, y: Numeric) -> Array:
    r"""Return the angle between two vectors, in radians.

    $2\operatorname{atan2}(\|u - v\|_2, \|u + v\|_2)$ with $u = x/\|x\|_2$, $v = y/\|y\|_2$, which is
    $\arccos(u \cdot v)$ without the loss of half the digits near 0 and π

    Args:
      x: shape (..., m), real.
      y: shape (..., m). Leading axes broadcast.

    Returns:
      Shape (...), in [0, π], the common dtype; halves are computed in float32. nan for a vector that is zero, has
      no entries, or has a nan or infinite entry. The gradient is finite. If the vectors are parallel to the last
      bit, where the angle has a kink, it is 0.

    Raises:
      ValueError: if the lengths differ or an operand is a scalar.
      TypeError: if an operand is not an array of real numbers.

    Source: Kahan (2006), How futile are mindless assessments of roundoff, section 12.

    >>> print(angle(jnp.array([1.0, 0.0]), jnp.array([0.0, 3.0])).round(4))
    1.5708
    """
    x, y, dtype = _broadcast_vectors("angle", x, y)
    if not x.shape[-1]:
        return jnp.full(x.shape[:-1], jnp.nan, dtype)
    return _angle(x, y).astype(dtype)


@allow_constant_transfers
def are_orthogonal(x: Numeric, y: Numeric, *, atol: float | Array | None = None) -> Array:
    r"""Return whether two vectors are orthogonal, to a tolerance.

    $|x \cdot y| \le t\,\|x\|_2 \|y\|_2$

    Args:
      x: shape (..., m), real.
      y: shape (..., m). Leading axes broadcast.
      atol: t, the largest cosine; 4·m·eps of the dtype if None.

    Returns:
      Shape (...), boolean. The zero vector is orthogonal to every finite vector. The result is false if an entry
      is nan or infinite.

    Raises:
      ValueError: if the lengths differ, an operand is a scalar or `atol` is negative.
      TypeError: if an operand is not an array of real numbers.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 2.6.

    >>> print(are_orthogonal(jnp.array([1.0, 2.0]), jnp.array([-2.0, 1.0])))
    True
    """
    x, y, dtype = _broadcast_vectors("are_orthogonal", x, y)
    tolerance = _tolerance("atol", atol, x.shape[-1], dtype)
    zero = (x == 0).all(-1) & jnp.isfinite(y).all(-1) | (y == 0).all(-1) & jnp.isfinite(x).all(-1)
    return zero | (jnp.abs(vecdot(_normalise(x), _normalise(y))) <= tolerance)


@allow_constant_transfers
def are_orthonormal(vectors: Numeric, *, atol: float | Array | None = None) -> Array:
    r"""Return whether vectors have length 1 and are orthogonal to each other, to a tolerance.

    $|v_i \cdot v_j - \delta_{ij}| \le t$

    Args:
      vectors: shape (..., k, m), real: k vectors, each a row.
      atol: t; 4·m·eps of the dtype if None.

    Returns:
      Shape (...), boolean; true for no vectors, false if an entry is nan or infinite.

    Raises:
      ValueError: if `vectors` has fewer than two axes or `atol` is negative.
      TypeError: if `vectors` is not an array of real numbers.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 2.6.

    >>> print(are_orthonormal(jnp.array([[0.6, 0.8], [-0.8, 0.6]])), are_orthonormal(jnp.array([[1.0, 1.0]])))
    True False
    """
    vectors = _as_real("vectors", vectors)
    check_matrices("are_orthonormal", vectors, "(..., k, m)")
    tolerance = _tolerance("atol", atol, vectors.shape[-1], vectors.dtype)
    v = vectors.astype(working_dtype(vectors.dtype))
    identity = jnp.eye(v.shape[-2], dtype=v.dtype)
    error = jnp.abs(matmul(v, jnp.swapaxes(v, -1, -2)) - jnp.broadcast_to(identity, (*v.shape[:-1], v.shape[-2])))
    return (error <= tolerance).all((-2, -1))


@allow_constant_transfers
def is_orthogonal(a: Numeric, *, atol: float | Array | None = None) -> Array:
    r"""Return whether the transpose of a matrix is its inverse, to a tolerance.

    $|(A A^\top - I)_{ij}| \le t$ and $A$ square; then $A^\top A = I$ too

    Args:
      a: shape (..., n, m), real.
      atol: t; 4·n·eps of the dtype if None.

    Returns:
      Shape (...), boolean; false for a matrix that is not square or has a nan or infinite entry.

    Raises:
      ValueError: if `a` has fewer than two axes or `atol` is negative.
      TypeError: if `a` is not an array of real numbers.

    Source: Golub and Van Loan, Matrix Computations, section 2.1.

    >>> print(is_orthogonal(jnp.array([[0.6, -0.8], [0.8, 0.6]])))
    True
    """
    a = _as_real("a", a)
    check_matrices("is_orthogonal", a)
    return are_orthonormal(a, atol=atol) & (a.shape[-1] == a.shape[-2])


@allow_constant_transfers
def is_symmetric(a: Numeric, *, rtol: float | Array | None = None) -> Array:
    r"""Return whether a matrix equals its transpose, to a tolerance.

    $|A_{ij} - A_{ji}| \le t \max|A|$

    Args:
      a: shape (..., n, m).
      rtol: t; 4·n·eps of the dtype if None, 0 for equality.

    Returns:
      Shape (...), boolean; false for a matrix that is not square or has a nan entry. An infinite entry must equal
      the entry across the diagonal. The maximum is taken over the finite entries.

    Raises:
      ValueError: if `a` has fewer than two axes or `rtol` is negative.
      TypeError: if `a` is not an array of numbers.

    Source: Golub and Van Loan, Matrix Computations, section 1.1.

    >>> print(is_symmetric(jnp.array([[1.0, 3.0], [3.0, 2.0]])), is_symmetric(jnp.array([[1.0, 3.0], [4.0, 2.0]])))
    True False
    """
    a = as_inexact("a", a)
    check_matrices("is_symmetric", a)
    tolerance = _tolerance("rtol", rtol, a.shape[-1], a.dtype)
    if a.shape[-1] != a.shape[-2]:
        return jnp.zeros(a.shape[:-2], bool)
    matrix = a.astype(working_dtype(a.dtype))
    transposed = jnp.swapaxes(matrix, -1, -2)
    scale = jnp.where(jnp.isfinite(matrix), jnp.abs(matrix), 0).max((-2, -1), keepdims=True, initial=0)
    return ((matrix == transposed) | (jnp.abs(matrix - transposed) <= tolerance * scale)).all((-2, -1))


def _as_real(name: str, x: Numeric) -> Array:
    array = as_inexact(name, x)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    return array


def _broadcast_vectors(name: str, x: Numeric, y: Numeric) -> tuple[Array, Array, jnp.dtype]:
    """Return both vectors in the working dtype with the leading axes broadcast, and the common dtype."""
    x, y = _as_real("x", x), _as_real("y", y)
    if min(x.ndim, y.ndim) < 1 or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"{name}: expected vectors of one length, got shapes {x.shape} and {y.shape}")
    dtype = jnp.result_type(x, y)
    shape = (*broadcast_shape(name, x.shape[:-1], y.shape[:-1]), x.shape[-1])
    x, y = (jnp.broadcast_to(array, shape).astype(working_dtype(dtype)) for array in (x, y))
    return x, y, dtype


@jax.jit
def _angle(x: Array, y: Array) -> Array:
    u, v = _normalise(x), _normalise(y)
    return 2 * jnp.arctan2(vector_norm(u - v, axis=-1), vector_norm(u + v, axis=-1))


@jax.jit
def _normalise(x: Array) -> Array:
    """Return x/‖x‖₂, scaled by a power of two that keeps the norm in range."""
    x = times_power_of_two(x, -exponent_of(x, -1))
    return x / vector_norm(x, axis=-1, keepdims=True)


def _tolerance(name: str, value: float | Array | None, terms: int, dtype: jnp.dtype) -> Array:
    """Return `value`, or 4·n·eps of the dtype, in the working dtype."""
    real = jnp.finfo(working_dtype(dtype)).dtype
    if value is None:
        return jnp.asarray(4 * terms * float(jnp.finfo(dtype).eps), real)
    check_number(name, value, minimum=0)
    return jnp.asarray(value).astype(real)
