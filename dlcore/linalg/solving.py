"""Linear equations, and what is said when they have no single answer."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._guards import as_inexact, is_traced
from dlcore._precision import working_dtype
from dlcore._types import Array, Numeric
from dlcore.linalg.norms import matrix_norm


def solve(a: Numeric, b: Numeric) -> Array:
    r"""Solution of a square system of linear equations.

    $x = A^{-1} b$, by LU factorisation with partial pivoting.

    Args:
      a: shape (..., n, n).
      b: shape (n,) for one right-hand side, else (..., n, k). Leading axes broadcast.

    Returns:
      The shape of `b` with the leading axes broadcast, the common dtype; halves are factored in float32 and
      cast back. nan and infinity propagate. `a` is singular if its reciprocal condition number
      $1/(\|A\|_1 \|A^{-1}\|_1)$ is below the machine epsilon: then nan under a trace, never a plausible number.
      A matrix that is only badly scaled, such as diag(1e10, 1e-10), counts as singular too: scale its rows.
      The check needs the inverse, and makes the call about three times as long as an unchecked one.

    Raises:
      ValueError: if `a` is not square or `b` does not fit it.
      TypeError: if an operand is not an array of numbers.
      numpy.linalg.LinAlgError: if `a` is singular and no trace is under way.

    Source: array API standard, `linalg.solve`; Golub and Van Loan, Matrix Computations, sections 3.4 and 2.6.

    >>> print(solve(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([2.0, 2.0])))
    [1.  0.5]
    """
    a, b = as_inexact("a", a), as_inexact("b", b)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"solve: expected a square matrix a, (..., n, n), got shape {a.shape}")
    if b.ndim == 0 or b.shape[max(b.ndim - 2, 0)] != a.shape[-1]:
        raise ValueError(
            "solve: the rows of b must be as many as the rows of a, (n, n)(n, k) = (n, k); "
            f"got shapes {a.shape} and {b.shape}"
        )
    dtype = jnp.result_type(a, b)
    working = working_dtype(dtype)
    columns = b[:, None] if b.ndim == 1 else b
    x, reciprocal_condition = _solve_and_condition(a.astype(working), columns.astype(working))
    if a.shape[-1]:
        epsilon = float(jnp.finfo(working).eps)
        singular = reciprocal_condition < epsilon  # False where nan: a nan in, nan out
        if not is_traced(singular) and bool(jnp.any(singular)):
            smallest = float(np.nanmin(np.asarray(reciprocal_condition)))
            raise np.linalg.LinAlgError(
                f"solve: a is singular: its reciprocal condition number {smallest:.1e} is below "
                f"{epsilon:.1e}, the epsilon of {working.name}"
            )
        x = jnp.where(singular[..., None, None], jnp.nan, x)
    return (x[..., 0] if b.ndim == 1 else x).astype(dtype)


def _solve_and_condition(a: Array, b: Array) -> tuple[Array, Array]:
    """Solution, and 1/(‖A‖₁‖A⁻¹‖₁) from the same factors."""
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (jnp.broadcast_to(array, (*batch, *array.shape[-2:])) for array in (a, b))
    if not a.shape[-1]:
        return b, jnp.ones(batch, a.real.dtype)
    # A is scaled by a power of two so that its largest entry is near 1: no norm or inverse overflows.
    constant = jax.lax.stop_gradient(a)
    largest = jnp.abs(constant).max((-2, -1), keepdims=True)
    exponent = jnp.where(jnp.isfinite(largest), jnp.frexp(largest)[1], 0)
    a, b, constant = (_times_power_of_two(array, -exponent) for array in (a, b, constant))
    identity = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    solutions = jnp.linalg.solve(a, jnp.concatenate([b, identity], axis=-1))
    x, inverse = solutions[..., : b.shape[-1]], jax.lax.stop_gradient(solutions[..., b.shape[-1] :])
    condition = matrix_norm(constant, 1) * matrix_norm(inverse, 1)
    # A zero pivot leaves inf or nan in the inverse of a finite matrix: its reciprocal condition is 0. Of a
    # matrix that is not finite nothing is said.
    finite = jnp.isfinite(constant).all((-2, -1))
    return x, jnp.where(finite, jnp.where(jnp.isfinite(condition), 1 / condition, 0), jnp.nan)


def _times_power_of_two(x: Array, exponent: Array) -> Array:
    """x·2^exponent, in two halves: the whole power may be no normal number."""
    half = exponent // 2
    one = jnp.ones(exponent.shape, x.real.dtype)
    return x * jnp.ldexp(one, half) * jnp.ldexp(one, exponent - half)
