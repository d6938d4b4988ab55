"""Products of matrices and vectors, each with a stated precision.

Every product of the library goes through this file.
Halves (bfloat16, float16) are multiplied as they are and accumulated in float32.
"""

import jax.numpy as jnp

from dlcore._core.array_checks import allow_constant_transfers, as_array, broadcast_shape, check_matrices
from dlcore._core.host_checks import check_rank
from dlcore._core.types import HIGHEST, Array, Numeric, working_dtype


@allow_constant_transfers
def matmul(a: Numeric, b: Numeric, *, precision: str = HIGHEST) -> Array:
    r"""Return the matrix product.

    $C_{ij} = \sum_k A_{ik} B_{kj}$

    Args:
      a: shape (..., n, m), or (m,) for a row.
      b: shape (..., m, p), or (m,) for a column. Leading axes broadcast.
      precision: the precision of the products, a `jax.lax.Precision` or its name.

    Returns:
      Shape (..., n, p), without the axis that a vector lacks; the common dtype, summed in float32 for halves.
      An empty inner axis gives zeros. nan and infinity propagate.

    Raises:
      ValueError: if the inner axes differ or an operand is a scalar.
      TypeError: if an operand is not an array of numbers.

    Source: array API standard, `linalg.matmul`.

    >>> print(matmul(jnp.array([[1, 2], [3, 4], [5, 6]]), jnp.array([[1, 3, 5, 7], [2, 4, 6, 8]])))
    [[ 5 11 17 23]
     [11 25 39 53]
     [17 39 61 83]]
    """
    a, b = as_array("a", a), as_array("b", b)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: expected vectors or matrices, got shapes {a.shape} and {b.shape}")
    if a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ValueError(
            "matmul: the columns of a must be as many as the rows of b, (n, m)(m, p) = (n, p); "
            f"got shapes {a.shape} and {b.shape}"
        )
    dtype = jnp.result_type(a, b)
    product = jnp.matmul(a, b, precision=precision, preferred_element_type=working_dtype(dtype))
    return product.astype(dtype)


@allow_constant_transfers
def vecdot(x: Numeric, y: Numeric, *, axis: int = -1, precision: str = HIGHEST) -> Array:
    r"""Return the inner product of vectors.

    $x \cdot y = \sum_i \bar{x}_i y_i$

    Args:
      x: shape (..., m); conjugated if complex.
      y: shape (..., m). The other axes broadcast.
      axis: the axis of the m entries, a negative number.
      precision: the precision of the products.

    Returns:
      The shape without `axis`; the common dtype, summed in float32 for halves; 0 if m is 0.

    Raises:
      ValueError: if the lengths differ, the other axes do not broadcast, an operand is a scalar or `axis` is not
        negative.
      TypeError: if an operand is not an array of numbers.

    Source: array API standard, `linalg.vecdot`.

    >>> print(vecdot(jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0])))
    11.0
    """
    x, y = as_array("x", x), as_array("y", y)
    if axis >= 0:
        raise ValueError(f"vecdot: expected a negative axis, counted from the last, got {axis}")
    if min(x.ndim, y.ndim) < -axis or x.shape[axis] != y.shape[axis]:
        raise ValueError(f"vecdot: expected vectors of one length, got shapes {x.shape} and {y.shape}")
    broadcast_shape("vecdot", x.shape, y.shape)
    dtype = jnp.result_type(x, y)
    product = jnp.vecdot(x, y, axis=axis, precision=precision, preferred_element_type=working_dtype(dtype))
    return product.astype(dtype)


@allow_constant_transfers
def outer(x: Numeric, y: Numeric) -> Array:
    r"""Return the outer product of two vectors.

    $C_{ij} = x_i y_j$

    Args:
      x: shape (n,).
      y: shape (m,).

    Returns:
      Shape (n, m), the common dtype. Each entry is one multiplication, so that no precision is stated.

    Raises:
      ValueError: if an operand is not 1-D.
      TypeError: if an operand is not an array of numbers.

    Source: array API standard, `linalg.outer`.

    >>> print(outer(jnp.array([1, 2]), jnp.array([3, 4, 5])))
    [[ 3  4  5]
     [ 6  8 10]]
    """
    x, y = as_array("x", x), as_array("y", y)
    check_rank("x", x, 1, "(n,)")
    check_rank("y", y, 1, "(m,)")
    return x[:, None] * y[None, :]


@allow_constant_transfers
def matrix_transpose(a: Numeric) -> Array:
    r"""Return the transpose of a matrix, or of each matrix of a stack.

    $(A^\top)_{ij} = A_{ji}$

    Args:
      a: shape (..., n, m).

    Returns:
      Shape (..., m, n), the dtype of `a`.

    Raises:
      ValueError: if `a` has fewer than two axes.
      TypeError: if `a` is not an array of numbers.

    Source: array API standard, `linalg.matrix_transpose`.

    >>> print(matrix_transpose(jnp.array([[1, 2], [3, 4], [5, 6]])))
    [[1 3 5]
     [2 4 6]]
    """
    a = as_array("a", a)
    check_matrices("matrix_transpose", a)
    return jnp.swapaxes(a, -1, -2)
