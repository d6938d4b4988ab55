"""Elementwise sum and product, identity matrix and trace."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import DTypeLike

from dlcore._core.array_checks import allow_constant_transfers, as_array, broadcast_shape, check_matrices
from dlcore._core.host_checks import check_count
from dlcore._core.types import Array, Numeric


@allow_constant_transfers
def add(a: Numeric, b: Numeric) -> Array:
    r"""Return the elementwise sum of two arrays.

    $C_{ij} = A_{ij} + B_{ij}$

    Args:
      a: any shape, () for a number.
      b: a shape that broadcasts with that of `a`: counted from the last, each axis has the same length in both
        arrays, or the length 1 or no length in one array.

    Returns:
      The broadcast shape, the common dtype (booleans: or). nan and infinity propagate, and inf − inf is nan.
      The result is empty if an operand is.

    Raises:
      ValueError: if the shapes do not broadcast.
      TypeError: if an operand is not an array of numbers.

    Source: array API standard, `add` and its broadcasting rules.

    >>> print(add(jnp.array([[1, 2], [3, 4]]), jnp.array([10, 20])))
    [[11 22]
     [13 24]]
    """
    return _elementwise("add", jnp.add, a, b)


@allow_constant_transfers
def multiply(a: Numeric, b: Numeric) -> Array:
    r"""Return the elementwise (Hadamard) product of two arrays, not the matrix product.

    $C_{ij} = A_{ij} B_{ij}$

    Args:
      a: any shape, () for a number.
      b: a shape that broadcasts with that of `a`, as in `add`.

    Returns:
      The broadcast shape, the common dtype (booleans: and). nan and infinity propagate, and 0·inf is nan.
      The result is empty if an operand is.

    Raises:
      ValueError: if the shapes do not broadcast.
      TypeError: if an operand is not an array of numbers.

    Source: array API standard, `multiply` and its broadcasting rules.

    >>> print(multiply(jnp.array([[1, 2], [3, 4]]), jnp.array([[1, 2], [3, 4]])))
    [[ 1  4]
     [ 9 16]]
    """
    return _elementwise("multiply", jnp.multiply, a, b)


@allow_constant_transfers
def identity(n: int, dtype: DTypeLike | None = None) -> Array:
    r"""Return the identity matrix.

    $I_{ij} = 1$ where $i = j$, else 0

    Args:
      n: the number of rows and of columns, at least 0.
      dtype: the dtype of the entries; the default floating-point dtype if None.

    Returns:
      Shape (n, n).

    Raises:
      ValueError: if `n` is negative.
      TypeError: if `n` is not an integer.

    Source: array API standard, `eye`; Golub and Van Loan, Matrix Computations, section 1.1.

    >>> print(identity(2, jnp.int32))
    [[1 0]
     [0 1]]
    """
    return jnp.eye(check_count("n", n, minimum=0), dtype=dtype)


@allow_constant_transfers
def trace(a: Numeric, offset: int = 0) -> Array:
    r"""Return the sum along a diagonal of a matrix, or of each matrix of a stack.

    $\operatorname{tr} A = \sum_i A_{i,\,i+k}$

    Args:
      a: shape (..., n, m).
      offset: k, the diagonal: 0 for the main diagonal, positive above it, negative below it.

    Returns:
      Shape (...), the dtype of `a` (integers and booleans as in a sum), summed in float32 for halves; 0 if the
      diagonal has no entries. nan and infinity propagate.

    Raises:
      ValueError: if `a` has fewer than two axes.
      TypeError: if `a` is not an array of numbers or `offset` not an integer.

    Source: array API standard, `linalg.trace`.

    >>> print(trace(jnp.array([[1, 2], [3, 4]])), trace(jnp.array([[1, 2], [3, 4]]), 1))
    5 2
    """
    a = as_array("a", a)
    check_matrices("trace", a)
    offset = check_count("offset", offset, minimum=-(2**31 - 2))
    return jnp.diagonal(a, offset, -2, -1).sum(-1)  # jnp.sum adds halves in float32


def _elementwise(name: str, operation: Callable[[Array, Array], Array], a: Numeric, b: Numeric) -> Array:
    a, b = as_array("a", a), as_array("b", b)
    shape = broadcast_shape(name, a.shape, b.shape)
    return operation(jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape))
