"""Linear equations and inverses, with detection of singular matrices."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.scipy.linalg import lu_factor, lu_solve
from jax.typing import DTypeLike

from dlcore._core.array_checks import allow_constant_transfers, as_inexact, is_traced
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg._refinement import check_refine, refined_solution
from dlcore.linalg._scaling import exponent_of, over_leading_axes, times_power_of_two
from dlcore.linalg.norms import matrix_norm
from dlcore.linalg.products import matmul


@allow_constant_transfers
def solve(a: Numeric, b: Numeric, *, refine: DTypeLike | None = None) -> Array:
    r"""Return the solution of a square system of linear equations.

    $x = A^{-1} b$, by LU factorisation with partial pivoting.

    Args:
      a: shape (..., n, n).
      b: shape (n,) for one right-hand side, else (..., n, k). Leading axes broadcast.
      refine: the dtype of the factors, float32 or that of the data, to refine the solution; None does not refine.
        Real matrices only.

    Returns:
      The shape of `b` with the leading axes broadcast, the common dtype; halves are factored in float32 and
      cast back. All nan if `a` is not finite; nan and infinity in `b` propagate. Under a trace the result is nan
      if `a` is singular or a refinement does not converge.

    Raises:
      ValueError: if `a` is not square or `b` does not fit it.
      TypeError: if an operand is not an array of numbers, or `refine` is not such a dtype.
      numpy.linalg.LinAlgError: outside a trace, if `a` is singular or a refinement does not converge.

    Notes:
      `a` is singular if its reciprocal condition number $1/(\|A\|_1 \|A^{-1}\|_1)$ is below the machine epsilon of
      the factors. A matrix that is only badly scaled, such as diag(1e10, 1e-10), counts as singular too: scale its
      rows. The check needs the inverse, and makes the call about three times as long as without it.

      Refinement computes residuals in twice the precision of the data, by error-free transformations. The error is
      a few units of eps·max|x|, whatever the condition number, if that is below 1/eps of the factors. So float32
      factors give float64 solutions.

    Source: array API standard, `linalg.solve`; Golub and Van Loan, Matrix Computations, sections 3.4 and 2.6;
    Higham, Accuracy and Stability of Numerical Algorithms, chapter 12, for the refinement.

    >>> print(solve(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([2.0, 2.0])))
    [1.  0.5]
    """
    a, b = as_inexact("a", a), as_inexact("b", b)
    _check_square("solve", a)
    check_rows_match("solve", a, b, "(n, n)(n, k) = (n, k)")
    dtype = jnp.result_type(a, b)
    working = working_dtype(dtype)
    columns = (b[:, None] if b.ndim == 1 else b).astype(working)
    if refine is None:
        x = _solve_checked("solve", a.astype(working), columns)
    else:
        x = _solve_refined(a.astype(working), columns, check_refine("solve", refine, working))
    return (x[..., 0] if b.ndim == 1 else x).astype(dtype)


@allow_constant_transfers
def inv(a: Numeric) -> Array:
    r"""Return the inverse of a square matrix.

    $A^{-1} A = A A^{-1} = I$

    To solve a system use `solve`, which rounds less than a product with the inverse.

    Args:
      a: shape (..., n, n).

    Returns:
      The shape and dtype of `a` (the default dtype for integers); halves are factored in float32 and cast back.
      All nan if `a` is not finite. Under a trace the result is nan if `a` is singular, as defined for `solve`.

    Raises:
      ValueError: if `a` is not square.
      TypeError: if `a` is not an array of numbers.
      numpy.linalg.LinAlgError: outside a trace, if `a` is singular.

    Source: array API standard, `linalg.inv`; Golub and Van Loan, Matrix Computations, section 3.4.

    >>> print(inv(jnp.array([[2.0, 0.0], [0.0, 4.0]])))
    [[0.5  0.  ]
     [0.   0.25]]
    """
    a = as_inexact("a", a)
    _check_square("inv", a)
    matrix = a.astype(working_dtype(a.dtype))
    return _solve_checked("inv", matrix, None).astype(a.dtype)


def check_rows_match(name: str, a: Array, b: Array, rule: str) -> None:
    """Raise unless `b` has shape (n,) or (..., n, k) for the n rows of `a`."""
    if b.ndim == 0 or b.shape[max(b.ndim - 2, 0)] != a.shape[-2]:
        raise ValueError(
            f"{name}: the rows of b must be as many as the rows of a, {rule}; got shapes {a.shape} and {b.shape}"
        )


@jax.jit
def inverse_and_condition(a: Array) -> tuple[Array, Array]:
    """Return A⁻¹ unchecked and 1/(‖A‖₁‖A⁻¹‖₁), which is 0 at a zero pivot and nan if A is not finite."""
    inverse = over_leading_axes(_solution, (a, _identity_like(a)), a.shape[:-2])
    return inverse, _reciprocal_condition(a, inverse)


@jax.jit
def _solution_and_condition(a: Array, b: Array) -> tuple[Array, Array]:
    batch = _batch(a, b)
    a = jnp.broadcast_to(a, (*batch, *a.shape[-2:]))
    rhs = jnp.concatenate([jnp.broadcast_to(b, (*batch, *b.shape[-2:])), _identity_like(a)], axis=-1)
    solutions = over_leading_axes(_solution, (a, rhs), batch)
    return solutions[..., : b.shape[-1]], _reciprocal_condition(a, solutions[..., b.shape[-1] :])


def _solve_checked(name: str, a: Array, b: Array | None) -> Array:
    """Return A⁻¹b, or A⁻¹ without a b. Raise if a matrix is singular."""
    if not a.shape[-1]:
        return a if b is None else jnp.broadcast_to(b, (*_batch(a, b), *b.shape[-2:]))
    if b is None:
        x, reciprocal_condition = inverse_and_condition(a)
    else:
        x, reciprocal_condition = _solution_and_condition(a, b)
    invalid = _check_singular(name, reciprocal_condition, a.dtype) | jnp.isnan(reciprocal_condition)
    return jnp.where(invalid[..., None, None], jnp.nan, x)


def _with_derivative(solve: Callable[..., Array]) -> Callable[..., Array]:
    """Return a function of (A, B, constants of `solve`) to X = A⁻¹ B, differentiable over the range of the dtype.

    solve(A, B, e, *constants) is 2^e A⁻¹ B for A (n, n), B (n, k) and exponents e (1, k), and is differentiable.
    The derivative is dX = A⁻¹(dB − dA X), where dA X may leave the range of the dtype when dX does not.
    So X is scaled to size 1, and its power of two is applied when the solution is scaled.
    """

    @jax.custom_jvp
    def solution(a: Array, b: Array, *constants: Array) -> Array:
        return solve(a, b, jnp.zeros((1, b.shape[1]), jnp.int32), *constants)

    def jvp(primals: tuple[Array, ...], tangents: tuple[Array | SymbolicZero, ...]) -> tuple[Array, Array]:
        (a, b, *constants), (da, db, *_) = primals, tangents
        x = solution(a, b, *constants)
        dx = jnp.zeros_like(x)
        if not isinstance(da, SymbolicZero):
            exponent = exponent_of(x, 0)
            dx -= solve(a, matmul(da, times_power_of_two(x, -exponent)), exponent, *constants)
        if not isinstance(db, SymbolicZero):
            dx += solve(a, db, jnp.zeros((1, b.shape[1]), jnp.int32), *constants)
        return x, dx

    solution.defjvp(jvp, symbolic_zeros=True)
    return solution


def _linear_solve(a: Array, b: Array, exponent: Array, a_exponent: Array, solve: Callable[..., Array]) -> Array:
    """Return 2^exponent A⁻¹ b as a linear function of b, from solve(b, transposed) with A·2^(−a_exponent)."""

    def scaled_solve(transposed: bool) -> Callable[[object, Array], Array]:
        def solution(_: object, b: Array) -> Array:
            b_exponent = exponent_of(b, 0)
            x = solve(times_power_of_two(b, -b_exponent), transposed)
            return times_power_of_two(x, exponent + b_exponent - a_exponent)

        return solution

    return jax.lax.custom_linear_solve(
        lambda x: matmul(a, times_power_of_two(x, -exponent)), b, scaled_solve(False), scaled_solve(True)
    )


def _solve_by_lu(a: Array, b: Array, exponent: Array) -> Array:
    constant = jax.lax.stop_gradient(a)
    a_exponent = exponent_of(constant, (0, 1))
    factors = lu_factor(times_power_of_two(constant, -a_exponent))
    return _linear_solve(
        a, b, exponent, a_exponent, lambda b, transposed: lu_solve(factors, b, trans=int(transposed))
    )


def _solve_by_refinement(a: Array, b: Array, exponent: Array, inverse: Array, a_exponent: Array) -> Array:
    constant = times_power_of_two(jax.lax.stop_gradient(a), -a_exponent)

    def solve(b: Array, transposed: bool) -> Array:
        if transposed:
            return refined_solution(constant.T, inverse.T, b)
        return refined_solution(constant, inverse, b)

    return _linear_solve(a, b, exponent, a_exponent, solve)


_solution = _with_derivative(_solve_by_lu)
_refined_solution = _with_derivative(_solve_by_refinement)


def _solve_refined(a: Array, b: Array, factor_dtype: jnp.dtype) -> Array:
    """Return A⁻¹b from an inverse in `factor_dtype`. Derivatives are refined too."""
    batch = _batch(a, b)
    if not a.shape[-1] or not b.shape[-1]:
        return jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
    exponent = exponent_of(a, (-2, -1))
    scaled = jax.lax.stop_gradient(times_power_of_two(a, -exponent)).astype(factor_dtype)
    inverse, reciprocal_condition = inverse_and_condition(scaled)
    invalid = _check_singular("solve", reciprocal_condition, factor_dtype) | jnp.isnan(reciprocal_condition)
    inverse = jnp.where(invalid[..., None, None], jnp.nan, inverse)
    x = _refined_solutions(a, b, inverse, exponent)
    finite = jnp.isfinite(a).all() & jnp.isfinite(b).all()
    raise_no_convergence("solve", finite & jnp.isnan(x).any(), factor_dtype)
    return x


@jax.jit
def _refined_solutions(a: Array, b: Array, inverse: Array, exponent: Array) -> Array:
    return over_leading_axes(_refined_solution, (a, b, inverse, exponent), _batch(a, b))


def raise_no_convergence(name: str, failed: Array, factor_dtype: jnp.dtype) -> None:
    """Raise if the refinement of finite data ended in nan. Under a trace do nothing."""
    if not is_traced(failed) and bool(failed):
        raise np.linalg.LinAlgError(
            f"{name}: the refinement does not converge: "
            f"a is too ill-conditioned for factors in {factor_dtype.name}"
        )


def _check_square(name: str, a: Array) -> None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"{name}: expected a square matrix a, (..., n, n), got shape {a.shape}")


def _batch(a: Array, b: Array) -> tuple[int, ...]:
    return jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])


def _identity_like(a: Array) -> Array:
    return jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)


def _reciprocal_condition(a: Array, inverse: Array) -> Array:
    a, inverse = jax.lax.stop_gradient(a), jax.lax.stop_gradient(inverse)
    # With the largest entry of A near 1 no norm of A or A⁻¹ overflows.
    exponent = exponent_of(a, (-2, -1))
    condition = matrix_norm(times_power_of_two(a, -exponent), 1)
    condition *= matrix_norm(times_power_of_two(inverse, exponent), 1)
    # A zero pivot leaves inf or nan in the inverse of a finite matrix, and its reciprocal condition is 0. The
    # reciprocal condition of a matrix that is not finite is unknown, nan.
    finite = jnp.isfinite(a).all((-2, -1))
    return jnp.where(finite, jnp.where(jnp.isfinite(condition), 1 / condition, 0), jnp.nan)


def _check_singular(name: str, reciprocal_condition: Array, dtype: jnp.dtype) -> Array:
    """Return which matrices are singular. Outside a trace raise if a matrix is singular."""
    epsilon = float(jnp.finfo(dtype).eps)
    singular = reciprocal_condition < epsilon  # False for nan, which propagates
    if not is_traced(singular) and bool(jnp.any(singular)):
        smallest = float(np.nanmin(np.asarray(reciprocal_condition)))
        raise np.linalg.LinAlgError(
            f"{name}: a is singular: its reciprocal condition number {smallest:.1e} is below "
            f"{epsilon:.1e}, the epsilon of {dtype.name}"
        )
    return singular
