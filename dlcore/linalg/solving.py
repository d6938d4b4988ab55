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
      That check needs the inverse, and so costs twice what the solution does.

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
    identity = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), (*batch, *a.shape[-2:]))
    columns = jnp.concatenate([jnp.broadcast_to(b, (*batch, *b.shape[-2:])), identity], axis=-1)
    solutions = jnp.linalg.solve(jnp.broadcast_to(a, (*batch, *a.shape[-2:])), columns)
    x, inverse = solutions[..., : b.shape[-1]], jax.lax.stop_gradient(solutions[..., b.shape[-1] :])
    if not a.shape[-1]:
        return x, jnp.ones(batch, a.real.dtype)
    condition = matrix_norm(jax.lax.stop_gradient(a), 1) * matrix_norm(inverse, 1)
    # A zero pivot leaves inf or nan in the inverse of a finite matrix: its reciprocal condition is 0.
    broken = ~jnp.isfinite(condition) & jnp.isfinite(jax.lax.stop_gradient(a)).all((-2, -1))
    return x, jnp.where(broken, 0, 1 / condition)
