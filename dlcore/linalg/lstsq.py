"""Least squares: the shortest x of minimal ‖b − A x‖₂."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.typing import DTypeLike

from dlcore._core.array_checks import allow_constant_transfers, as_inexact
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg._refinement import check_refine, refined_augmented
from dlcore.linalg._scaling import column_exponents, exponent_of, over_leading_axes, times_power_of_two
from dlcore.linalg.norms import vector_norm
from dlcore.linalg.pinv import adjoint, pinv_tangent, rank_cutoff
from dlcore.linalg.products import matmul
from dlcore.linalg.solve import check_rows_match, raise_no_convergence


class LeastSquares(NamedTuple):
    """Solution of `lstsq`, with the rank and the singular values of the matrix."""

    solution: Array
    """Shape (m,) or (..., m, k)."""
    residual_norm: Array
    """‖b − a x‖₂, shape () or (..., k); of every system, whatever its shape and rank."""
    rank: Array
    """Shape (...), int32; -1 if the matrix is not finite and its rank therefore unknown."""
    singular_values: Array
    """Shape (..., min(n, m)), descending: the singular values that the rank counts. They are those of the matrix
    with its columns (its rows if it is wide) scaled by powers of two to lengths in [½, 1). The derivative is 0."""


@allow_constant_transfers
def lstsq(
    a: Numeric, b: Numeric, rcond: float | Array | None = None, *, refine: DTypeLike | None = None
) -> LeastSquares:
    r"""Return the least-squares solution of linear equations, the shortest if there are several.

    $x = A^+ b$, the $x$ of least $\|x\|_2$ among those of least $\|b - Ax\|_2$

    Args:
      a: shape (..., n, m).
      b: shape (n,) for one right-hand side, else (..., n, k). Leading axes broadcast.
      rcond: relative cutoff of the singular values; max(n, m)·eps of the dtype that is factored if None.
      refine: the dtype of the factors, float32 or that of the data, to refine the solution; None does not refine.
        Refinement is for real matrices of full rank in that dtype, with a condition number κ < 1/eps of it.

    Returns:
      (solution, residual_norm, rank, singular_values), in the common dtype; halves are factored in float32 and
      cast back. A matrix that is not finite gives nan and the rank -1; nan and infinity in `b` propagate.
      Without rows, columns or entries: zeros, rank 0. Under a trace, a refinement without full rank or without
      convergence gives nan. The solution and the residual norm are differentiable, forward and reverse, at every
      scale of `a` and `b`. Below full rank the derivative is that of a change that keeps the rank, as for `pinv`.

    Raises:
      ValueError: if `a` has fewer than two axes, `b` does not fit it or `rcond` is negative.
      TypeError: if an operand is not an array of numbers, or `refine` is not such a dtype.
      numpy.linalg.LinAlgError: if a refinement fails outside a trace.

    Notes:
      The columns (the rows of a wide matrix) are first scaled by powers of two to one length. Scaling rounds
      nothing and makes the result independent of the units of the columns. Then comes a QR factorisation by
      Householder reflections and the singular value decomposition of R. The rank is the number of singular values
      of the SCALED matrix above `rcond` times the largest. It measures how far each column must move, relative to
      its own length, before the rank falls. At full rank x comes from R itself. Otherwise small singular values
      count as 0, and x has the least length in the original units.

      Refinement computes the residuals of the augmented system $r + Ax = b,\ A^\top r = 0$ in twice the precision
      of the data, by error-free transformations. Its error is a few units of eps·(‖x‖ + κ‖b − Ax‖) in the scaled
      problem of condition κ, mostly of eps·‖x‖. Factorisation alone has the error eps·(κ‖x‖ + κ²‖b − Ax‖).

    Source: Golub and Van Loan, Matrix Computations, sections 5.3 and 5.5; van der Sluis (1969), Numerische
    Mathematik 14, for the scaling; Björck (1967), BIT 7, for the refinement.

    >>> answer = lstsq(jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), jnp.array([1.0, 3.0, 5.0]))
    >>> print(answer.solution.round(4), answer.rank)
    [1. 2.] 2
    """
    a, b = as_inexact("a", a), as_inexact("b", b)
    if a.ndim < 2:
        raise ValueError(f"lstsq: expected a matrix a, (..., n, m), got shape {a.shape}")
    check_rows_match("lstsq", a, b, "(n, m)(m, k) = (n, k)")
    dtype = jnp.result_type(a, b)
    working = working_dtype(dtype)
    columns = (b[:, None] if b.ndim == 1 else b).astype(working)
    matrix = a.astype(working)
    factor_dtype = working if refine is None else check_refine("lstsq", refine, working)
    cutoff = rank_cutoff("rcond", rcond, a.shape, factor_dtype)

    x, rank, values, residual_norm = _solve(matrix, columns, cutoff, refined=refine is not None)
    if refine is not None:
        finite = jnp.isfinite(matrix).all() & jnp.isfinite(columns).all()
        raise_no_convergence("lstsq", finite & jnp.isnan(x).any(), factor_dtype)
    if b.ndim == 1:
        x, residual_norm = x[..., 0], residual_norm[..., 0]
    real = jnp.finfo(dtype).dtype
    return LeastSquares(x.astype(dtype), residual_norm.astype(real), rank, values.astype(real))


@partial(jax.jit, static_argnames="refined")
def _solve(a: Array, b: Array, cutoff: Array, *, refined: bool) -> tuple[Array, Array, Array, Array]:
    """Return solutions (..., m, k), ranks, singular values and norms of residuals (..., k)."""
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])

    def solve_one(a: Array, b: Array) -> tuple[Array, Array, Array]:
        if 0 in a.shape:
            empty = jnp.zeros(0, a.real.dtype)
            return jnp.zeros((a.shape[1], b.shape[1]), a.dtype), jnp.zeros((), jnp.int32), empty
        if refined:
            return _refined_solution(a, b, cutoff)
        x, values = _solution(a, b, cutoff)
        return x, _count_rank(values, cutoff), values

    x, rank, values = over_leading_axes(solve_one, (a, b), batch)
    matrices, columns = (jnp.broadcast_to(part, (*batch, *part.shape[-2:])) for part in (a, b))
    return x, rank, values, vector_norm(columns - matmul(matrices, x), axis=-2)


class _Factors(NamedTuple):
    """Factors of the pseudo-inverse A⁺ = 2^exponent · inverse · Qᴴ of a tall matrix A."""

    q: Array
    inverse: Array
    exponent: Array
    singular_values: Array


def _factorise(a: Array, cutoff: Array) -> _Factors:
    """Return the factors of the pseudo-inverse of a tall matrix."""
    # A = Q R D with D = 2^exponent and R = U S Vᴴ, truncated to its numerical rank.
    exponent = column_exponents(a)
    q, r = jnp.linalg.qr(times_power_of_two(a, -exponent))
    u, s, vh = jnp.linalg.svd(r)
    is_nonzero = (s > cutoff * s[0]) & (s > 0)
    full_rank = is_nonzero.all()
    identity = jnp.eye(len(s), dtype=a.dtype)
    r_inverse = solve_triangular(jnp.where(full_rank, r, identity), identity)
    # Below full rank: the shortest x with SVᴴDx = UᴴQᴴb is W(WᴴW)⁻¹S⁻¹UᴴQᴴb with W = D V. With W = Z T it is
    # Z T⁻ᴴ S⁻¹UᴴQᴴb. Householder reflections keep small rows of W exact if the large ones come first
    # (Cox and Higham 1998, Stability of Householder QR factorization for weighted least squares problems).
    max_exponent = exponent.max()
    order = jnp.argsort(-exponent[0])
    w = times_power_of_two(jnp.where(is_nonzero[None, :], adjoint(vh), 0), (exponent - max_exponent).T)
    z, t = jnp.linalg.qr(w[order])
    z = z[jnp.argsort(order)]
    reciprocal = jnp.where(is_nonzero, 1 / jnp.where(is_nonzero, s, 1), 0).astype(a.dtype)
    both_nonzero = is_nonzero[:, None] & is_nonzero[None, :]
    t = jnp.where(both_nonzero, t, identity)
    truncated = matmul(z, solve_triangular(t, reciprocal[:, None] * adjoint(u), trans="C"))
    inverse = jnp.where(full_rank, r_inverse, truncated)
    return _Factors(q, inverse, jnp.where(full_rank, -exponent, -max_exponent), singular_values=s)


def _shortest_solution(a: Array, b: Array, cutoff: Array) -> tuple[Array, Array]:
    """Return A⁺b and the scaled singular values, for one matrix that is not empty, (n, m) by (n, k)."""
    finite = jnp.isfinite(a).all()  # LAPACK may not return from a nan
    wide = a.shape[0] < a.shape[1]
    finite_a = jnp.where(finite, a, 0)
    factors = _factorise(adjoint(finite_a) if wide else finite_a, cutoff)
    b_exponent = exponent_of(b, 0)
    b = times_power_of_two(b, -b_exponent)
    if wide:
        # A⁺ = Q · inverseᴴ · 2^exponent. Powers relative to the largest do not overflow.
        largest = factors.exponent.max()
        b = times_power_of_two(b, (factors.exponent - largest).T)
        scaled_exponent = exponent_of(b, 0)
        b = times_power_of_two(b, -scaled_exponent)
        x = matmul(factors.q, matmul(adjoint(factors.inverse), b))
        x = times_power_of_two(x, b_exponent + scaled_exponent + largest)
    else:
        y = matmul(factors.inverse, matmul(adjoint(factors.q), b))
        x = times_power_of_two(y, factors.exponent.T + b_exponent)
    return jnp.where(finite, x, jnp.nan), jnp.where(finite, factors.singular_values, jnp.nan)


@jax.custom_jvp
def _scaled_inverse(a: Array, cutoff: Array, powers: Array) -> Array:
    """Return the pseudo-inverse of a·2^powers, which the factors of `a` give without overflow."""
    del powers
    finite = jnp.isfinite(a).all()
    wide = a.shape[0] < a.shape[1]
    finite_a = jnp.where(finite, a, 0)
    factors = _factorise(adjoint(finite_a) if wide else finite_a, cutoff)
    inverse = matmul(factors.inverse, adjoint(factors.q))
    return jnp.where(finite, adjoint(inverse) if wide else inverse, jnp.nan)


@_scaled_inverse.defjvp
def _scaled_inverse_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    a, cutoff, powers = primals
    p = _scaled_inverse(a, cutoff, powers)
    scaled, da = (times_power_of_two(part, powers) for part in (a, tangents[0]))
    return p, pinv_tangent(p, scaled, da)


@jax.custom_jvp
def _solution(a: Array, b: Array, cutoff: Array) -> tuple[Array, Array]:
    return _shortest_solution(a, b, cutoff)


@_solution.defjvp
def _solution_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[tuple, tuple]:
    (a, b, cutoff), (da, db, _) = primals, tangents
    x, values = _solution(a, b, cutoff)
    n, m = a.shape
    full_rank = _count_rank(values, cutoff) == min(n, m)
    # Â = 2^R A 2^L has columns (rows if it is wide) near 1. Below full rank the shortest x depends on the units,
    # and one power scales all columns. x = 2^(L+e) x̂ and 2^R b = 2^e b̂.
    exponent = -column_exponents(adjoint(a) if n < m else a)
    exponent = jnp.where(full_rank, exponent, exponent.min()).T
    x_exponent, b_exponent = (0 * exponent[:1], exponent) if n < m else (exponent, 0 * exponent[:1])
    powers = b_exponent + x_exponent.T
    scaled_a = times_power_of_two(a, powers)
    scaled_b = times_power_of_two(b, b_exponent)
    size = exponent_of(scaled_b, 0)
    scaled_b = times_power_of_two(scaled_b, -size)
    scaled_x = times_power_of_two(times_power_of_two(x, -x_exponent), -size)
    residual = jnp.where(full_rank & (n <= m), 0, scaled_b - matmul(scaled_a, scaled_x))
    # x = P b: the derivative uses that of P, but P b itself is never computed from P. Half of the power that
    # takes dA to dx is applied before the products, half after them.
    p = _scaled_inverse(a, cutoff, powers)
    half = (size.max() - b_exponent.max()) // 2
    da = times_power_of_two(da, powers + half)
    dx = matmul(p, matmul(adjoint(p), matmul(adjoint(da), residual))) - matmul(p, matmul(da, scaled_x))
    unprojected = matmul(adjoint(da), matmul(adjoint(p), scaled_x))
    dx += jnp.where(full_rank & (n >= m), 0, unprojected - matmul(p, matmul(scaled_a, unprojected)))
    dx = times_power_of_two(dx, x_exponent + size - half)
    dx += times_power_of_two(matmul(p, times_power_of_two(db, b_exponent)), x_exponent)
    return (x, values), (dx, jnp.zeros_like(values))


def _count_rank(values: Array, cutoff: Array) -> Array:
    """Return the number of singular values above the cutoff; -1 if they are nan."""
    rank = ((values > cutoff * values[0]) & (values > 0)).sum(dtype=jnp.int32)
    return jnp.where(jnp.isnan(values[0]), -1, rank)


# -- refinement ----------------------------------------------------------------------------------------------


class _AugmentedFactors(NamedTuple):
    """Factors of a·2^(−a_exponent) ≈ q·inverse⁻¹, and the scaling of the solution x = 2^(−x_exponent) z."""

    q: Array
    inverse: Array
    a_exponent: Array
    x_exponent: Array


def _refined_solution(a: Array, b: Array, cutoff: Array) -> tuple[Array, Array, Array]:
    """Return the solution, rank and singular values of one matrix, from factors in the dtype of `cutoff`."""
    wide = a.shape[0] < a.shape[1]
    tall = a.T if wide else a
    exponent = column_exponents(tall)
    scaled = times_power_of_two(jax.lax.stop_gradient(tall), -exponent)
    finite = jnp.isfinite(scaled).all()
    q, r = jnp.linalg.qr(jnp.where(finite, scaled, 0).astype(cutoff.dtype))
    values = jnp.where(finite, jnp.linalg.svd(r, compute_uv=False), jnp.nan)
    rank = _count_rank(values, cutoff)
    identity = jnp.eye(len(r), dtype=r.dtype)
    full_rank = rank == len(r)
    inverse = jnp.where(full_rank, solve_triangular(jnp.where(full_rank, r, identity), identity), jnp.nan)

    # The shortest solution of a wide system is r in the augmented system of Aᵀ with the right-hand side (0, b).
    n, m = tall.shape
    f, g = (jnp.zeros((n, b.shape[1]), b.dtype), b) if wide else (b, jnp.zeros((m, b.shape[1]), b.dtype))
    # This scaling keeps r and z in range together: A'(A'ᵀA')⁻¹ of a wide A is as large as its solution.
    x_exponent = exponent if wide else jnp.zeros_like(exponent)
    r, x = _solve_augmented(tall, f, g, _AugmentedFactors(q, inverse, exponent, x_exponent))
    return r if wide else x, rank, values.astype(a.dtype)


@jax.custom_jvp
def _solve_augmented(a: Array, f: Array, g: Array, factors: _AugmentedFactors) -> tuple[Array, Array]:
    """Return (r, z) with r + a 2^(−x_exponent) z = f and aᵀ r = g, for one tall matrix."""
    return _solve_augmented_scaled(a, f, g, jnp.zeros((1, f.shape[1]), jnp.int32), factors)


@_solve_augmented.defjvp
def _solve_augmented_jvp(
    primals: tuple[Array, Array, Array, _AugmentedFactors], tangents: tuple[Array, ...]
) -> tuple[tuple, tuple]:
    (a, f, g, factors), (da, df, dg, _) = primals, tangents
    r, z = _solve_augmented(a, f, g, factors)
    # dr + a dx = df − da x, aᵀ dr = dg − daᵀ r with x = 2^(−x_exponent) z. The products are formed with x and r
    # near 1; their powers of two are applied when the solutions are scaled.
    x_exponent = factors.x_exponent.T
    r_size, x_size = exponent_of(r, 0), _largest_exponent(z, -x_exponent)
    x_size = jnp.where(x_size < ZERO_EXPONENT // 2, 0, x_size)
    da_x = matmul(da, times_power_of_two(z, -x_exponent - x_size))
    da_r = matmul(da.T, times_power_of_two(r, -r_size))
    rhs_f = jnp.concatenate([-da_x, jnp.zeros_like(f), df], 1)
    rhs_g = jnp.concatenate([jnp.zeros_like(g), -da_r, dg], 1)
    exponent = jnp.concatenate([x_size, r_size, jnp.zeros_like(x_size)], 1)
    solutions = _solve_augmented_scaled(a, rhs_f, rhs_g, exponent, factors)
    dr, dz = (solution.reshape(len(solution), 3, f.shape[1]).sum(1) for solution in solutions)
    return (r, z), (dr, dz)


def _solve_augmented_scaled(
    a: Array, f: Array, g: Array, exponent: Array, factors: _AugmentedFactors
) -> tuple[Array, Array]:
    """Return 2^exponent times the (r, z) of `_solve_augmented`, as a linear function of (f, g)."""
    q, inverse, a_exponent, x_exponent = factors
    scaled = times_power_of_two(jax.lax.stop_gradient(a), -a_exponent)
    z_exponent, x_exponent, a_exponent = (a_exponent - x_exponent).T, x_exponent.T, a_exponent.T

    def operator(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        r, x = times_power_of_two(pair[0], -exponent), times_power_of_two(pair[1], -exponent - x_exponent)
        return r + matmul(a, x), matmul(a.T, r)

    def solve(g_exponent: Array, z_exponent: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        # aᵀ r = g is solved as 2^(−a_exponent) aᵀ r = 2^(−a_exponent) g, and the transposed equations as
        # 2^(−x_exponent) aᵀ r = g.
        f, g = pair
        size = jnp.maximum(_largest_exponent(f, jnp.zeros_like(exponent)), _largest_exponent(g, -g_exponent))
        size = jnp.where(size < ZERO_EXPONENT // 2, 0, size)
        r, z = refined_augmented(
            scaled, q, inverse, times_power_of_two(f, -size), times_power_of_two(g, -g_exponent - size)
        )
        return times_power_of_two(r, exponent + size), times_power_of_two(z, exponent + size - z_exponent)

    return jax.lax.custom_linear_solve(
        operator,
        (f, g),
        lambda _, pair: solve(a_exponent, z_exponent, pair),
        lambda _, pair: solve(z_exponent, a_exponent, pair),
    )


ZERO_EXPONENT = -(2**20)
"""The exponent of the number 0, below that of any other number."""


def _largest_exponent(x: Array, power: Array) -> Array:
    """Return the largest exponent in each column of x·2^power, shape (1, k), without forming the product."""
    x = jax.lax.stop_gradient(x)
    exponents = jnp.where(jnp.isfinite(x) & (x != 0), jnp.frexp(x)[1] + power, ZERO_EXPONENT)
    return exponents.max(0, keepdims=True)
