"""Linear equations and inverses, and what is said when they have no single answer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.scipy.linalg import lu_factor, lu_solve
from jax.typing import DTypeLike

from dlcore._core.array_checks import as_inexact, is_traced, with_constants
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg._refinement import check_refine, refined_solution
from dlcore.linalg._scaling import exponent_of, over_leading_axes, times_power_of_two
from dlcore.linalg.norms import matrix_norm
from dlcore.linalg.products import matmul


@with_constants
def solve(a: Numeric, b: Numeric, *, refine: DTypeLike | None = None) -> Array:
    r"""Solution of a square system of linear equations.

    $x = A^{-1} b$, by LU factorisation with partial pivoting.

    Args:
      a: shape (..., n, n).
      b: shape (n,) for one right-hand side, else (..., n, k). Leading axes broadcast.
      refine: the dtype of the factors, float32 or that of the data, if the solution is to be refined: then
        residuals are computed in twice the precision of the data (by error-free transformations, no wider dtype
        is needed), and the error is a few units of eps·max|x|, whatever the condition number, as long as the
        factors are good enough for the corrections to shrink, condition < 1/eps of the factors. So float32
        factors give float64 answers. Real matrices only.

    Returns:
      The shape of `b` with the leading axes broadcast, the common dtype; halves are factored in float32 and
      cast back. nan everywhere where `a` is not finite; nan and infinity in `b` propagate. `a` is singular if its
      reciprocal condition number $1/(\|A\|_1 \|A^{-1}\|_1)$ is below the machine epsilon of the factors: then nan
      under a trace, never a plausible number; nan too where a refinement does not converge.
      A matrix that is only badly scaled, such as diag(1e10, 1e-10), counts as singular too: scale its rows.
      The check needs the inverse, and makes the call about three times as long as an unchecked one.

    Raises:
      ValueError: if `a` is not square or `b` does not fit it.
      TypeError: if an operand is not an array of numbers, or `refine` is not such a dtype.
      numpy.linalg.LinAlgError: if `a` is singular, or a refinement does not converge, and no trace is under way.

    Source: array API standard, `linalg.solve`; Golub and Van Loan, Matrix Computations, sections 3.4 and 2.6;
    Higham, Accuracy and Stability of Numerical Algorithms, chapter 12, for the refinement.

    >>> print(solve(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([2.0, 2.0])))
    [1.  0.5]
    """
    a, b = as_inexact("a", a), as_inexact("b", b)
    _check_square("solve", a)
    check_rows_fit("solve", a, b, "(n, n)(n, k) = (n, k)")
    dtype = jnp.result_type(a, b)
    working = working_dtype(dtype)
    columns = (b[:, None] if b.ndim == 1 else b).astype(working)
    if refine is None:
        x = _checked_solution("solve", a.astype(working), columns)
    else:
        x = _refined_solution(a.astype(working), columns, check_refine("solve", refine, working))
    return (x[..., 0] if b.ndim == 1 else x).astype(dtype)


@with_constants
def inv(a: Numeric) -> Array:
    r"""Inverse of a square matrix: the map that undoes it.

    $A^{-1} A = A A^{-1} = I$

    To solve a system use `solve`, which rounds less than a product with the inverse does.

    Args:
      a: shape (..., n, n).

    Returns:
      The shape and dtype of `a` (the default dtype for integers); halves are factored in float32 and cast back.
      nan everywhere where `a` is not finite; where it is singular, as `solve` has it, nan under a trace.

    Raises:
      ValueError: if `a` is not square.
      TypeError: if `a` is not an array of numbers.
      numpy.linalg.LinAlgError: if `a` is singular and no trace is under way.

    Source: array API standard, `linalg.inv`; Golub and Van Loan, Matrix Computations, section 3.4.

    >>> print(inv(jnp.array([[2.0, 0.0], [0.0, 4.0]])))
    [[0.5  0.  ]
     [0.   0.25]]
    """
    a = as_inexact("a", a)
    _check_square("inv", a)
    matrix = a.astype(working_dtype(a.dtype))
    return _checked_solution("inv", matrix, None).astype(a.dtype)


def check_rows_fit(name: str, a: Array, b: Array, rule: str) -> None:
    """`b` is (n,) or (..., n, k) with the n rows of `a`."""
    if b.ndim == 0 or b.shape[max(b.ndim - 2, 0)] != a.shape[-2]:
        raise ValueError(
            f"{name}: the rows of b must be as many as the rows of a, {rule}; got shapes {a.shape} and {b.shape}"
        )


@jax.jit
def inverse_and_condition(a: Array) -> tuple[Array, Array]:
    """A⁻¹ as it comes, and 1/(‖A‖₁‖A⁻¹‖₁): 0 where a pivot of a finite matrix is 0, nan where A is not finite."""
    inverse = over_leading_axes(_solution, (a, _identity_like(a)), a.shape[:-2])
    return inverse, _reciprocal_condition(a, inverse)


@jax.jit
def _solution_and_condition(a: Array, b: Array) -> tuple[Array, Array]:
    batch = _batch(a, b)
    a = jnp.broadcast_to(a, (*batch, *a.shape[-2:]))
    both = jnp.concatenate([jnp.broadcast_to(b, (*batch, *b.shape[-2:])), _identity_like(a)], axis=-1)
    solutions = over_leading_axes(_solution, (a, both), batch)
    return solutions[..., : b.shape[-1]], _reciprocal_condition(a, solutions[..., b.shape[-1] :])


def _checked_solution(name: str, a: Array, b: Array | None) -> Array:
    """A⁻¹b, or A⁻¹ where no b is given; singular matrices are reported."""
    if not a.shape[-1]:
        return a if b is None else jnp.broadcast_to(b, (*_batch(a, b), *b.shape[-2:]))
    if b is None:
        x, reciprocal_condition = inverse_and_condition(a)
    else:
        x, reciprocal_condition = _solution_and_condition(a, b)
    nothing = _report_singular(name, reciprocal_condition, a.dtype) | jnp.isnan(reciprocal_condition)
    return jnp.where(nothing[..., None, None], jnp.nan, x)


def _solution_by(solve: Callable[..., Array]) -> Callable[..., Array]:
    """Return a function of (A, B, constants of `solve`) to X = A⁻¹ B, differentiable over the range of the dtype.

    solve(A, B, e, *constants) is 2^e A⁻¹ B, differentiable, of A (n, n), B (n, k) and exponents e (1, k).
    dX = A⁻¹(dB − dA X): dA X may be beyond the range where dX is not. So X is taken without its power of two,
    which comes back as the solution is scaled.
    """

    @jax.custom_jvp
    def solution(a: Array, b: Array, *constants: Array) -> Array:
        return solve(a, b, jnp.zeros((1, b.shape[1]), jnp.int32), *constants)

    def rule(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
        (a, b, *constants), (da, db, *_) = primals, tangents
        x = solution(a, b, *constants)
        change = jnp.zeros_like(x)
        if not isinstance(da, SymbolicZero):
            exponent = exponent_of(x, 0)
            change -= solve(a, matmul(da, times_power_of_two(x, -exponent)), exponent, *constants)
        if not isinstance(db, SymbolicZero):
            change += solve(a, db, jnp.zeros((1, b.shape[1]), jnp.int32), *constants)
        return x, change

    solution.defjvp(rule, symbolic_zeros=True)
    return solution


def _linear_solve(a: Array, b: Array, exponent: Array, of_a: Array, solve: Callable[..., Array]) -> Array:
    """Return 2^exponent A⁻¹ b as a linear function of b, from solve(b, transposed) with A·2^(−of_a)."""

    def scaled(transposed: bool) -> Callable[[Any, Array], Array]:
        def solution(_, b: Array) -> Array:
            of_b = exponent_of(b, 0)
            return times_power_of_two(solve(times_power_of_two(b, -of_b), transposed), exponent + of_b - of_a)

        return solution

    return jax.lax.custom_linear_solve(
        lambda x: matmul(a, times_power_of_two(x, -exponent)), b, scaled(False), scaled(True)
    )


def _solve_by_lu(a: Array, b: Array, exponent: Array) -> Array:
    constant = jax.lax.stop_gradient(a)
    of_a = exponent_of(constant, (0, 1))
    factors = lu_factor(times_power_of_two(constant, -of_a))
    return _linear_solve(a, b, exponent, of_a, lambda b, transposed: lu_solve(factors, b, trans=int(transposed)))


def _solve_by_refinement(a: Array, b: Array, exponent: Array, inverse: Array, of_a: Array) -> Array:
    constant = times_power_of_two(jax.lax.stop_gradient(a), -of_a)

    def solve(b: Array, transposed: bool) -> Array:
        if transposed:
            return refined_solution(constant.T, inverse.T, b)
        return refined_solution(constant, inverse, b)

    return _linear_solve(a, b, exponent, of_a, solve)


_solution = _solution_by(_solve_by_lu)
_refined = _solution_by(_solve_by_refinement)


def _refined_solution(a: Array, b: Array, factors: jnp.dtype) -> Array:
    """A⁻¹b from an inverse in `factors`; its derivatives are refined too."""
    batch = _batch(a, b)
    if not a.shape[-1] or not b.shape[-1]:
        return jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
    exponent = exponent_of(a, (-2, -1))
    scaled = jax.lax.stop_gradient(times_power_of_two(a, -exponent)).astype(factors)
    inverse, reciprocal_condition = inverse_and_condition(scaled)
    nothing = _report_singular("solve", reciprocal_condition, factors) | jnp.isnan(reciprocal_condition)
    inverse = jnp.where(nothing[..., None, None], jnp.nan, inverse)
    x = _refined_over(a, b, inverse, exponent)
    finite = jnp.isfinite(a).all() & jnp.isfinite(b).all()
    report_no_convergence("solve", finite & jnp.isnan(x).any(), factors)
    return x


@jax.jit
def _refined_over(a: Array, b: Array, inverse: Array, exponent: Array) -> Array:
    return over_leading_axes(_refined, (a, b, inverse, exponent), _batch(a, b))


def report_no_convergence(name: str, failed: Array, factors: jnp.dtype) -> None:
    """An error where the refinement of finite data ended in nan; nothing under a trace."""
    if not is_traced(failed) and bool(failed):
        raise np.linalg.LinAlgError(
            f"{name}: the refinement does not converge: a is too ill-conditioned for factors in {factors.name}"
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
    # With its largest entry near 1 no norm of A overflows, nor of A⁻¹.
    exponent = exponent_of(a, (-2, -1))
    condition = matrix_norm(times_power_of_two(a, -exponent), 1)
    condition *= matrix_norm(times_power_of_two(inverse, exponent), 1)
    # A zero pivot leaves inf or nan in the inverse of a finite matrix: its reciprocal condition is 0. Of a
    # matrix that is not finite nothing is said.
    finite = jnp.isfinite(a).all((-2, -1))
    return jnp.where(finite, jnp.where(jnp.isfinite(condition), 1 / condition, 0), jnp.nan)


def _report_singular(name: str, reciprocal_condition: Array, dtype: jnp.dtype) -> Array:
    """Which matrices are singular: an error if one is and that is known, else for the caller to make nan of."""
    epsilon = float(jnp.finfo(dtype).eps)
    singular = reciprocal_condition < epsilon  # False where nan: a nan in, nan out
    if not is_traced(singular) and bool(jnp.any(singular)):
        smallest = float(np.nanmin(np.asarray(reciprocal_condition)))
        raise np.linalg.LinAlgError(
            f"{name}: a is singular: its reciprocal condition number {smallest:.1e} is below "
            f"{epsilon:.1e}, the epsilon of {dtype.name}"
        )
    return singular
