"""Least squares: the solution that is left where equations contradict each other or leave some freedom."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.typing import DTypeLike

from dlcore._core.array_checks import as_inexact, check_number, with_constants
from dlcore._core.types import Array, Numeric, working_dtype
from dlcore.linalg._refinement import check_refine, refined_augmented
from dlcore.linalg._scaling import column_exponents, exponent_of, over_leading_axes, times_power_of_two
from dlcore.linalg.norms import vector_norm
from dlcore.linalg.pinv import adjoint, change_of_pseudo_inverse, rank_cutoff
from dlcore.linalg.products import matmul
from dlcore.linalg.solve import check_rows_fit, report_no_convergence


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
      and reverse, at every scale of `a` and `b`: at less than full rank in the sense of `pinv`, for a change that
      keeps the rank.

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
    cutoff = rank_cutoff(a.shape, factors, rcond)

    x, rank, values, residual_norm = _solved(matrix, columns, cutoff, refined=refine is not None)
    if refine is not None:
        finite = jnp.isfinite(matrix).all() & jnp.isfinite(columns).all()
        report_no_convergence("lstsq", finite & jnp.isnan(x).any(), factors)
    if b.ndim == 1:
        x, residual_norm = x[..., 0], residual_norm[..., 0]
    real = jnp.finfo(dtype).dtype
    return LeastSquares(x.astype(dtype), residual_norm.astype(real), rank, values.astype(real))


@partial(jax.jit, static_argnames="refined")
def _solved(a: Array, b: Array, cutoff: Array, *, refined: bool) -> tuple[Array, Array, Array, Array]:
    """Return solutions (..., m, k), ranks, singular values and norms of residuals (..., k)."""
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])

    def one(a: Array, b: Array) -> tuple[Array, Array, Array]:
        if 0 in a.shape:
            empty = jnp.zeros(0, a.real.dtype)
            return jnp.zeros((a.shape[1], b.shape[1]), a.dtype), jnp.zeros((), jnp.int32), empty
        if refined:
            return _refined(a, b, cutoff)
        x, values = _solution(a, b, cutoff)
        return x, _rank(values, cutoff), values

    x, rank, values = over_leading_axes(one, (a, b), batch)
    full, columns = (jnp.broadcast_to(part, (*batch, *part.shape[-2:])) for part in (a, b))
    return x, rank, values, vector_norm(columns - matmul(full, x), axis=-2)


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


@jax.custom_jvp
def _scaled_inverse(a: Array, cutoff: Array, powers: Array) -> Array:
    """Return the pseudo-inverse of a·2^powers, to which the factors of `a` lead without overflow."""
    del powers
    finite = jnp.isfinite(a).all()
    wide = a.shape[0] < a.shape[1]
    safe = jnp.where(finite, a, 0)
    factors = _factorise(adjoint(safe) if wide else safe, cutoff)
    inverse = matmul(factors.inverse, adjoint(factors.q))
    return jnp.where(finite, adjoint(inverse) if wide else inverse, jnp.nan)


@_scaled_inverse.defjvp
def _scaled_inverse_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    a, cutoff, powers = primals
    p = _scaled_inverse(a, cutoff, powers)
    scaled, da = (times_power_of_two(part, powers) for part in (a, tangents[0]))
    return p, change_of_pseudo_inverse(p, scaled, da)


@jax.custom_jvp
def _solution(a: Array, b: Array, cutoff: Array) -> tuple[Array, Array]:
    return _shortest(a, b, cutoff)


@_solution.defjvp
def _solution_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[tuple, tuple]:
    (a, b, cutoff), (da, db, _) = primals, tangents
    x, values = _solution(a, b, cutoff)
    n, m = a.shape
    full = _rank(values, cutoff) == min(n, m)
    # Â = 2^R A 2^L has columns (rows if it is wide) near 1; below full rank, where the shortest x is that of the
    # original units, one power serves all. x = 2^(L+e) x̂ and 2^R b = 2^e b̂.
    exponent = -column_exponents(adjoint(a) if n < m else a)
    exponent = jnp.where(full, exponent, exponent.min()).T
    of_x, of_b = (0 * exponent[:1], exponent) if n < m else (exponent, 0 * exponent[:1])
    powers = of_b + of_x.T
    scaled_a = times_power_of_two(a, powers)
    scaled_b = times_power_of_two(b, of_b)
    size = exponent_of(scaled_b, 0)
    scaled_b = times_power_of_two(scaled_b, -size)
    scaled_x = times_power_of_two(times_power_of_two(x, -of_x), -size)
    residual = jnp.where(full & (n <= m), 0, scaled_b - matmul(scaled_a, scaled_x))
    # x = P b with the derivative of P, and P b nowhere computed by P. Half of the power that takes dA to dx is
    # applied before the products, half after them.
    p = _scaled_inverse(a, cutoff, powers)
    half = (size.max() - of_b.max()) // 2
    da = times_power_of_two(da, powers + half)
    change = matmul(p, matmul(adjoint(p), matmul(adjoint(da), residual))) - matmul(p, matmul(da, scaled_x))
    freedom = matmul(adjoint(da), matmul(adjoint(p), scaled_x))
    change += jnp.where(full & (n >= m), 0, freedom - matmul(p, matmul(scaled_a, freedom)))
    change = times_power_of_two(change, of_x + size - half)
    change += times_power_of_two(matmul(p, times_power_of_two(db, of_b)), of_x)
    return (x, values), (change, jnp.zeros_like(values))


def _rank(values: Array, cutoff: Array) -> Array:
    """How many singular values count; -1 where they are nan."""
    rank = ((values > cutoff * values[0]) & (values > 0)).sum(dtype=jnp.int32)
    return jnp.where(jnp.isnan(values[0]), -1, rank)


def _refined(a: Array, b: Array, cutoff: Array) -> tuple[Array, Array, Array]:
    """Solution, rank and singular values of one matrix, from factors in the dtype of `cutoff`."""
    wide = a.shape[0] < a.shape[1]
    tall = a.T if wide else a
    exponent = column_exponents(tall)
    constant = times_power_of_two(jax.lax.stop_gradient(tall), -exponent)
    finite = jnp.isfinite(constant).all()
    q, r = jnp.linalg.qr(jnp.where(finite, constant, 0).astype(cutoff.dtype))
    values = jnp.where(finite, jnp.linalg.svd(r, compute_uv=False), jnp.nan)
    rank = _rank(values, cutoff)
    identity = jnp.eye(len(r), dtype=r.dtype)
    regular = rank == len(r)
    inverse = jnp.where(regular, solve_triangular(jnp.where(regular, r, identity), identity), jnp.nan)

    # The shortest solution of a wide system is the r of Aᵀ's augmented system with the right-hand side (0, b).
    n, m = tall.shape
    f, g = (jnp.zeros((n, b.shape[1]), b.dtype), b) if wide else (b, jnp.zeros((m, b.shape[1]), b.dtype))
    # Neither part leaves the range where the other does not: A'(A'ᵀA')⁻¹ of a wide A is as large as its solution.
    inside = exponent if wide else jnp.zeros_like(exponent)
    r, x = _augmented(tall, f, g, q, inverse, exponent, inside)
    return r if wide else x, rank, values.astype(a.dtype)


@jax.custom_jvp
def _augmented(
    a: Array, f: Array, g: Array, q: Array, inverse: Array, of_a: Array, inside: Array
) -> tuple[Array, Array]:
    """Return (r, z) with r + a 2^(−inside) z = f and aᵀ r = g, for one tall matrix, by factors of a 2^(−of_a)."""
    return _solve_augmented(a, f, g, jnp.zeros((1, f.shape[1]), jnp.int32), q, inverse, of_a, inside)


@_augmented.defjvp
def _augmented_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[tuple, tuple]:
    (a, f, g, *factors), (da, df, dg, *_) = primals, tangents
    r, z = _augmented(a, f, g, *factors)
    # dr + a dx = df − da x, aᵀ dr = dg − daᵀ r with x = 2^(−inside) z: x and r are taken without their powers of
    # two, which come back as the solutions are scaled.
    inside = factors[-1].T
    of_r, of_x = exponent_of(r, 0), _largest_exponent(z, -inside)
    of_x = jnp.where(of_x < OF_ZERO // 2, 0, of_x)
    first = matmul(da, times_power_of_two(z, -inside - of_x))
    second = matmul(da.T, times_power_of_two(r, -of_r))
    right_f = jnp.concatenate([-first, jnp.zeros_like(f), df], 1)
    right_g = jnp.concatenate([jnp.zeros_like(g), -second, dg], 1)
    exponent = jnp.concatenate([of_x, of_r, jnp.zeros_like(of_x)], 1)
    changes = _solve_augmented(a, right_f, right_g, exponent, *factors)
    dr, dz = (change.reshape(len(change), 3, f.shape[1]).sum(1) for change in changes)
    return (r, z), (dr, dz)


def _solve_augmented(
    a: Array, f: Array, g: Array, exponent: Array, q: Array, inverse: Array, of_a: Array, inside: Array
) -> tuple[Array, Array]:
    """Return 2^exponent times the (r, z) of `_augmented`, as a linear function of (f, g)."""
    scaled = times_power_of_two(jax.lax.stop_gradient(a), -of_a)
    outside, inside, of_a = (of_a - inside).T, inside.T, of_a.T

    def product(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        r, x = times_power_of_two(pair[0], -exponent), times_power_of_two(pair[1], -exponent - inside)
        return r + matmul(a, x), matmul(a.T, r)

    def solve(of_g: Array, of_z: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        # aᵀ r = g is 2^(−of_a) aᵀ r = 2^(−of_a) g; the transposed equations are 2^(−inside) aᵀ r = g.
        f, g = pair
        size = jnp.maximum(_largest_exponent(f, jnp.zeros_like(exponent)), _largest_exponent(g, -of_g))
        size = jnp.where(size < OF_ZERO // 2, 0, size)
        r, z = refined_augmented(
            scaled, q, inverse, times_power_of_two(f, -size), times_power_of_two(g, -of_g - size)
        )
        return times_power_of_two(r, exponent + size), times_power_of_two(z, exponent + size - of_z)

    return jax.lax.custom_linear_solve(
        product,
        (f, g),
        lambda _, pair: solve(of_a, outside, pair),
        lambda _, pair: solve(outside, of_a, pair),
    )


OF_ZERO = -(2**20)
"""The exponent that 0 counts as having, below that of any number."""


def _largest_exponent(x: Array, more: Array) -> Array:
    """Return the exponent of the largest entry of each column of x·2^more, shape (1, k), without forming it."""
    x = jax.lax.stop_gradient(x)
    exponents = jnp.where(jnp.isfinite(x) & (x != 0), jnp.frexp(x)[1] + more, OF_ZERO)
    return exponents.max(0, keepdims=True)
