"""Singular values whose derivatives, of every order, are right wherever they exist.

JAX differentiates all singular vectors, which needs all singular values to be distinct. An extreme singular value
needs only its own to be, and their sum needs none to be.
A derivative of vectors solves a linear equation, which is differentiated in turn.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from dlcore._core.types import Array, working_dtype
from dlcore.linalg.products import matmul

LARGEST, SMALLEST = 0, -1
"""The ends of the descending order."""


@jax.jit
def singular_values(a: Array) -> Array:
    """Return the singular values (..., min(n, m)) in descending order; halves are factored in float32."""
    return _of_finite(lambda a: jnp.linalg.svd(a, compute_uv=False), "(r)", a)


def extreme_singular_values(a: Array, *ends: int) -> Array:
    """Return the largest or smallest singular values, as `ends` has it, (..., ends), of matrices with entries.

    The derivative of equal ones is the mean of theirs, and that of a singular value of 0 is 0.
    """
    return _extremes_of_each(a, ends)


@partial(jax.jit, static_argnums=1)
def _extremes_of_each(a: Array, ends: tuple[int, ...]) -> Array:
    return _of_finite(lambda a: _extremes(a, ends), "(k)", a)


@jax.jit
def nuclear_norm(a: Array) -> Array:
    """Return the sum of the singular values, shape (...); those that are 0 give nothing to the derivative."""
    wide = a.shape[-2] < a.shape[-1]
    return _of_finite(lambda a: _nuclear(a.conj().T if wide else a), "()", a)


def _of_finite(function: Callable[[Array], Array], shape: str, a: Array) -> Array:
    # Of a matrix that is not finite they are nan, and LAPACK, which may never return, is not asked.
    def of_one(a: Array) -> Array:
        finite = jnp.isfinite(a).all()
        return jnp.where(finite, function(jnp.where(finite, a, 0)), jnp.nan)

    values = jnp.vectorize(of_one, signature=f"(n,m)->{shape}")(a.astype(working_dtype(a.dtype)))
    return values.astype(a.real.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _extremes(a: Array, ends: tuple[int, ...]) -> Array:
    return jnp.linalg.svd(a, compute_uv=False)[jnp.array(ends)]


@_extremes.defjvp
def _extremes_jvp(ends: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    s, _, _, slope = _triplets(primals[0], ends)
    return s, _real_product(slope, tangents[0][None])


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _triplets(a: Array, ends: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
    """Return σ (k,), u (k, n), v (k, m) and the derivative of σ, u vᴴ (k, n, m), of each end."""
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    chosen = jnp.array(ends)
    equal = (s[None, :] == s[chosen, None]).astype(s.dtype)
    weight = jnp.where(s[chosen, None] == 0, 0, equal / equal.sum(1, keepdims=True))
    slope = jax.vmap(lambda weight: matmul(u * weight[None, :], vh))(weight.astype(u.dtype))
    return s[chosen], u.T[chosen], vh.conj()[chosen], slope


@_triplets.defjvp
def _triplets_jvp(
    ends: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    (a,), (da,) = primals, tangents
    triplets = _triplets(a, ends)
    left, values, rights = jnp.linalg.svd(jax.lax.stop_gradient(a), full_matrices=False)
    index = jnp.array(ends) % len(values)

    def change(index: Array, s: Array, u: Array, v: Array, slope: Array) -> tuple[Array, ...]:
        ds = _real_product(slope, da)
        along = ds.astype(u.dtype)
        right = (matmul(da, v) - along * u, matmul(da.conj().T, u) - along * v)
        du, dv = _solve_for_vectors(a, (s, u, v), (left, values, rights), index, right)
        return ds, du, dv, du[:, None] * v.conj()[None, :] + u[:, None] * dv.conj()[None, :]

    return triplets, jax.vmap(change)(index, *triplets)


def _solve_for_vectors(
    a: Array, triplet: tuple[Array, ...], factors: tuple[Array, ...], index: Array, right: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Solve σp − A q + σu c = g, σq − Aᴴp + σv c = h with c = uᴴp + vᴴq, for (p, q).

    (u, v) is an eigenvector of [[0, A], [Aᴴ, 0]] for σ, and c keeps the equations regular where σ is simple.
    """
    s, u, v = triplet
    left, values, rights = factors
    own = jnp.arange(len(values)) == index
    s, values = s.astype(u.dtype), values.astype(u.dtype)  # the dtype of a complex matrix is complex throughout
    value = values[index]

    def product(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        p, q = pair
        c = s * (jnp.vdot(u, p, precision="highest") + jnp.vdot(v, q, precision="highest"))
        return s * p - matmul(a, q) + u * c, s * q - matmul(a.conj().T, p) + v * c

    def solve(_, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        g, h = pair
        along_g, along_h = matmul(left.conj().T, g), matmul(rights, h)
        # Each pair of singular vectors is a problem of its own: [[σ, −s], [−s, σ]], and 2σ for the own pair.
        share, gap = value / (value + values), value - values
        p = jnp.where(own, along_g / (2 * value), (share * along_g + (1 - share) * along_h) / gap)
        q = jnp.where(own, along_h / (2 * value), ((1 - share) * along_g + share * along_h) / gap)
        return _back(left, p, g, along_g, value), _back(rights.conj().T, q, h, along_h, value)

    def transposed(_, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        p, q = solve(_, (pair[0].conj(), pair[1].conj()))
        return p.conj(), q.conj()

    return jax.lax.custom_linear_solve(product, right, solve, transposed)


def _back(basis: Array, coordinates: Array, vector: Array, along: Array, value: Array) -> Array:
    """Return the vector of these coordinates, and what the basis does not span of `vector`, divided."""
    inside = matmul(basis, coordinates)
    square = basis.shape[0] == basis.shape[1]
    return inside if square else inside + (vector - matmul(basis, along)) / value


@jax.custom_jvp
def _nuclear(a: Array) -> Array:
    return jnp.linalg.svd(a, compute_uv=False).sum()


@_nuclear.defjvp
def _nuclear_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _nuclear(*primals), _real_product(_polar(*primals), *tangents)


@jax.custom_jvp
def _polar(a: Array) -> Array:
    """Return Q = U Vᴴ of a tall A = Q P, P = V S Vᴴ, without the vectors of singular values that are 0."""
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    return matmul(u * (s > 0).astype(u.dtype)[None, :], vh)


@_polar.defjvp
def _polar_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # From dA = dQ P + Q dP: dQ = Q W + (I − Q Qᴴ) dA P⁻¹ with W P + P W = Qᴴ dA − dAᴴ Q.
    (a,), (da,) = primals, tangents
    q = _polar(a)
    p = matmul(q.conj().T, a)
    p = (p + p.conj().T) / 2
    _, s, vh = jnp.linalg.svd(jax.lax.stop_gradient(a), full_matrices=False)
    s, v = s.astype(q.dtype), vh.conj().T
    inside = matmul(q.conj().T, da)

    def lyapunov(right: Array) -> Array:
        return matmul(v, matmul(matmul(matmul(vh, right), v) / (s[:, None] + s[None, :]), vh))

    turned = _solve_linear(lambda w: matmul(w, p) + matmul(p, w), lyapunov, inside - inside.conj().T)
    dq = matmul(q, turned)
    if a.shape[0] > a.shape[1]:
        outside = da - matmul(q, inside)

        def divide(right: Array) -> Array:
            return matmul(matmul(right, v) / s[None, :], vh)

        dq += _solve_linear(lambda x: matmul(x, p), divide, outside)
    return q, dq


def _solve_linear(product: Callable[[Array], Array], solve: Callable[[Array], Array], right: Array) -> Array:
    """Solve product(x) = right, whose transposed operator is the conjugate one."""
    return jax.lax.custom_linear_solve(product, right, lambda _, b: solve(b), lambda _, b: solve(b.conj()).conj())


def _real_product(slope: Array, da: Array) -> Array:
    """Return Re tr(slopeᴴ dA)."""
    return (slope.conj() * da).real.sum((-2, -1))
