"""Least squares: the solution that is left where equations contradict each other or leave some freedom."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.typing import DTypeLike

from dlcore._guards import as_inexact, check_number, with_constants
from dlcore._precision import working_dtype
from dlcore._types import Array, Numeric
from dlcore.linalg._refining import check_refine, refined_augmented
from dlcore.linalg._scaling import column_exponents, exponent_of, over_leading_axes, times_power_of_two
from dlcore.linalg.norms import vector_norm
from dlcore.linalg.products import matmul
from dlcore.linalg.pseudo_inverse import adjoint, rank_cutoff, with_derivative
from dlcore.linalg.solving import check_rows_fit, report_no_convergence


class LeastSquares(NamedTuple):
    """What `lstsq` returns."""

    solution: Array
    """Shape (m,) or (..., m, k)."""
    residual_norm: Array
    """‖b − a x‖₂, shape () or (..., k); of every system, whatever its shape and rank."""
    rank: Array
    """Shape (...), int32; -1 of a matrix that is not finite, of which no rank is known."""
    singular_values: Array
    """Shape (..., min(n, m)), descending: those that the rank counts, of the matrix with its columns (its rows
    if it is wide) scaled by powers of two to lengths in [½, 1). Their derivative is 0."""


@with_constants
def lstsq(
    a: Numeric, b: Numeric, rcond: float | Array | None = None, *, refine: DTypeLike | None = None
) -> LeastSquares:
    r"""Least-squares solution of linear equations, the shortest if there are several.

    $x = A^+ b$, the $x$ of least $\|x\|_2$ among those of least $\|b - Ax\|_2$

    The columns (of a wide matrix the rows) are first scaled by powers of two to one length, which rounds nothing
    and takes the units of the columns out of the problem. Then comes a QR factorisation by Householder
    reflections and the singular value decomposition of R. The rank is the number of singular values of the
    SCALED matrix above `rcond` times the largest: how far, relative to its own length, each column must move
    before the rank falls. At full rank x comes from R itself; else small singular values are taken as 0 and x is
    brought to its least length in the original units.

    Args:
      a: shape (..., n, m).
      b: shape (n,) for one right-hand side, else (..., n, k). Leading axes broadcast.
      rcond: max(n, m)·eps of the dtype that is factored where left out.
      refine: the dtype of the factors, float32 or that of the data, if the solution is to be refined: residuals
        of the augmented system $r + Ax = b,\ A^\top r = 0$ in twice the precision of the data (by error-free
        transformations). Its error, in the scaled problem of condition κ, is a few units of
        eps·(‖x‖ + κ‖b − Ax‖), mostly of eps·‖x‖, where factorisation alone leaves eps·(κ‖x‖ + κ²‖b − Ax‖).
        Needs full rank in the dtype of the factors, κ < 1/eps of it. Real matrices only.

    Returns:
      (solution, residual_norm, rank, singular_values), in the common dtype; halves are factored in float32 and
      cast back. A matrix that is not finite gives nan and the rank -1; nan and infinity in `b` propagate.
      Without rows, columns or entries: zeros, rank 0. A refinement that cannot be, for lack of rank or because it
      does not converge, gives nan under a trace. The solution and the residual norm are differentiable, forward
      and reverse: at less than full rank in the sense of `pinv`, for a change that keeps the rank.

    Raises:
      ValueError: if `a` has fewer than two axes, `b` does not fit it or `rcond` is negative.
      TypeError: if an operand is not an array of numbers, or `refine` is not such a dtype.
      numpy.linalg.LinAlgError: if a refinement cannot be and no trace is under way.

    Source: Golub and Van Loan, Matrix Computations, sections 5.3 and 5.5; van der Sluis (1969), Numerische
    Mathematik 14, for the scaling; Björck (1967), BIT 7, for the refinement.

    >>> answer = lstsq(jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), jnp.array([1.0, 3.0, 5.0]))
    >>> print(answer.solution.round(4), answer.rank)
    [1. 2.] 2
    """
    a, b = as_inexact("a", a), as_inexact("b", b)
    if a.ndim < 2:
        raise ValueError(f"lstsq: expected a matrix a, (..., n, m), got shape {a.shape}")
    check_rows_fit("lstsq", a, b, "(n, m)(m, k) = (n, k)")
    if rcond is not None:
        check_number("rcond", rcond, least=0)
    dtype = jnp.result_type(a, b)
    working = working_dtype(dtype)
    columns = (b[:, None] if b.ndim == 1 else b).astype(working)
    matrix = a.astype(working)
    factors = working if refine is None else check_refine("lstsq", refine, working)
    batch = jnp.broadcast_shapes(matrix.shape[:-2], columns.shape[:-2])
    cutoff = rank_cutoff(a.shape, factors, rcond)

    def one(a: Array, b: Array) -> tuple[Array, Array, Array]:
        if 0 in a.shape:
            empty = jnp.zeros(0, a.real.dtype)
            return jnp.zeros((a.shape[1], b.shape[1]), a.dtype), jnp.zeros((), jnp.int32), empty
        if refine is None:
            x, values = _solution(a, b, cutoff)
            return x, _rank(values, cutoff), values
        return _refined(a, b, cutoff)

    x, rank, values = over_leading_axes(one, (matrix, columns), batch)
    if refine is not None:
        finite = jnp.isfinite(matrix).all() & jnp.isfinite(columns).all()
        report_no_convergence("lstsq", finite & jnp.isnan(x).any(), factors)
    full = jnp.broadcast_to(matrix, (*batch, *matrix.shape[-2:]))
    residual_norm = vector_norm(
        jnp.broadcast_to(columns, (*batch, *columns.shape[-2:])) - matmul(full, x), axis=-2
    )
    if b.ndim == 1:
        x, residual_norm = x[..., 0], residual_norm[..., 0]
    real = jnp.finfo(dtype).dtype
    return LeastSquares(x.astype(dtype), residual_norm.astype(real), rank, values.astype(real))


class _Factors(NamedTuple):
    """A⁺ = 2^exponent · inverse · Qᴴ of a tall matrix A."""

    q: Array
    inverse: Array
    exponent: Array
    singular_values: Array


def _factorise(a: Array, cutoff: Array) -> _Factors:
    # A = Q R D with D = 2^exponent, and R = U S Vᴴ, of which r terms are kept.
    exponent = column_exponents(a)
    q, r = jnp.linalg.qr(times_power_of_two(a, -exponent))
    u, s, vh = jnp.linalg.svd(r)
    kept = (s > cutoff * s[0]) & (s > 0)
    full = kept.all()
    identity = jnp.eye(len(s), dtype=a.dtype)
    whole = solve_triangular(jnp.where(full, r, identity), identity)
    # Less than full rank: the shortest x with SVᴴDx = UᴴQᴴb is W(WᴴW)⁻¹S⁻¹UᴴQᴴb with W = D V, r columns, that is
    # Z T⁻ᴴ S⁻¹UᴴQᴴb with W = Z T. Householder reflections keep small rows of W exact if the large ones come first
    # (Cox and Higham 1998, Stability of Householder QR factorization for weighted least squares problems).
    highest = exponent.max()
    order = jnp.argsort(-exponent[0])
    w = times_power_of_two(jnp.where(kept[None, :], adjoint(vh), 0), (exponent - highest).T)
    z, t = jnp.linalg.qr(w[order])
    z = z[jnp.argsort(order)]
    reciprocal = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0).astype(a.dtype)
    both = kept[:, None] & kept[None, :]
    rest = solve_triangular(jnp.where(both, t, identity), reciprocal[:, None] * adjoint(u), trans="C")
    return _Factors(
        q, jnp.where(full, whole, matmul(z, rest)), jnp.where(full, -exponent, -highest), singular_values=s
    )


@jax.jit
def _shortest(a: Array, b: Array, cutoff: Array) -> tuple[Array, Array]:
    """A⁺b and the scaled singular values, for one matrix that is not empty, (n, m) by (n, k)."""
    finite = jnp.isfinite(a).all()  # LAPACK may never return from a nan
    wide = a.shape[0] < a.shape[1]
    safe = jnp.where(finite, a, 0)
    factors = _factorise(adjoint(safe) if wide else safe, cutoff)
    scale = exponent_of(b, 0)
    b = times_power_of_two(b, -scale)
    if wide:
        # A⁺ = Q · inverseᴴ · 2^exponent: the powers are taken relative to the largest, so that none overflows.
        largest = factors.exponent.max()
        b = times_power_of_two(b, (factors.exponent - largest).T)
        more = exponent_of(b, 0)
        b = times_power_of_two(b, -more)
        x = times_power_of_two(matmul(factors.q, matmul(adjoint(factors.inverse), b)), scale + more + largest)
    else:
        y = matmul(factors.inverse, matmul(adjoint(factors.q), b))
        x = times_power_of_two(y, factors.exponent.T + scale)
    return jnp.where(finite, x, jnp.nan), jnp.where(finite, factors.singular_values, jnp.nan)


@with_derivative
def _pseudo_inverse(a: Array, cutoff: Array) -> Array:
    """A⁺ with the rank of `lstsq`."""
    return _shortest(a, jnp.eye(a.shape[0], dtype=a.dtype), cutoff)[0]


@jax.custom_jvp
def _solution(a: Array, b: Array, cutoff: Array) -> tuple[Array, Array]:
    return _shortest(a, b, cutoff)


@_solution.defjvp
def _solution_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[tuple, tuple]:
    (a, b, cutoff), (da, db, _) = primals, tangents
    (x, values), p = _solution(a, b, cutoff), _pseudo_inverse(a, cutoff)
    # x = P b with the derivative of P, and P b nowhere computed by P.
    residual = b - matmul(a, x)
    change = matmul(p, db - matmul(da, x)) + matmul(p, matmul(adjoint(p), matmul(adjoint(da), residual)))
    freedom = matmul(adjoint(da), matmul(adjoint(p), x))
    return (x, values), (change + freedom - matmul(p, matmul(a, freedom)), jnp.zeros_like(values))


def _rank(values: Array, cutoff: Array) -> Array:
    """How many singular values count; -1 where they are nan."""
    rank = ((values > cutoff * values[0]) & (values > 0)).sum(dtype=jnp.int32)
    return jnp.where(jnp.isnan(values[0]), -1, rank)


def _refined(a: Array, b: Array, cutoff: Array) -> tuple[Array, Array, Array]:
    """Solution, rank and singular values of one matrix, from factors in the dtype of `cutoff`."""
    wide = a.shape[0] < a.shape[1]
    tall = a.T if wide else a
    exponent = column_exponents(tall)
    tall = times_power_of_two(tall, -exponent)
    constant = jax.lax.stop_gradient(tall)
    finite = jnp.isfinite(constant).all()
    q, r = jnp.linalg.qr(jnp.where(finite, constant, 0).astype(cutoff.dtype))
    values = jnp.where(finite, jnp.linalg.svd(r, compute_uv=False), jnp.nan)
    rank = _rank(values, cutoff)
    identity = jnp.eye(len(r), dtype=r.dtype)
    regular = rank == len(r)
    inverse = jnp.where(regular, solve_triangular(jnp.where(regular, r, identity), identity), jnp.nan)

    def augmented(_, right):
        return refined_augmented(constant, q, inverse, *right)

    # The shortest solution of a wide system is the r of Aᵀ's augmented system with the right-hand side (0, b).
    columns = (0, times_power_of_two(b, -exponent.T)) if wide else (b, 0)
    shapes = ((tall.shape[0], b.shape[1]), (tall.shape[1], b.shape[1]))
    right = tuple(
        jnp.broadcast_to(part, shape).astype(a.dtype) for part, shape in zip(columns, shapes, strict=True)
    )
    r, z = jax.lax.custom_linear_solve(
        lambda pair: (pair[0] + matmul(tall, pair[1]), matmul(tall.T, pair[0])), right, augmented, symmetric=True
    )
    x = r if wide else times_power_of_two(z, -exponent.T)
    return x, rank, values.astype(a.dtype)
