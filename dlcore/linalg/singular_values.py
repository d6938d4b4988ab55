"""Singular values whose derivatives, of every order, are right wherever they exist.

JAX differentiates all singular vectors, which needs all singular values to be distinct.
The derivative of an extreme singular value needs only that value to be simple, and the derivative of their sum
needs no such condition.
The derivative of singular vectors solves a linear equation, which is differentiated in turn.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from dlcore._core.types import Array, working_dtype
from dlcore.linalg.products import matmul

LARGEST, SMALLEST = 0, -1
"""Indices of the extreme singular values in descending order."""


@jax.jit
def singular_values(a: Array) -> Array:
    """Return the singular values (..., min(n, m)) in descending order; halves are factored in float32."""
    return _map_finite(lambda a: jnp.linalg.svd(a, compute_uv=False), "(r)", a)


@partial(jax.jit, static_argnums=1)
def extreme_singular_values(a: Array, indices: tuple[int, ...]) -> Array:
    """Return the largest or smallest singular values, shape (..., len(indices)), of matrices with entries.

    The derivative of equal values is the mean of their derivatives. The derivative of a value of 0 is 0.
    """
    return _map_finite(lambda a: _extremes(a, indices), "(k)", a)


@jax.jit
def nuclear_norm(a: Array) -> Array:
    """Return the sum of the singular values, shape (...); values of 0 add nothing to the derivative."""
    wide = a.shape[-2] < a.shape[-1]
    return _map_finite(lambda a: _nuclear(a.conj().T if wide else a), "()", a)


def _map_finite(function: Callable[[Array], Array], shape: str, a: Array) -> Array:
    """Return a function of each matrix, nan if it is not finite: LAPACK may not return from a nan."""

    def map_one(a: Array) -> Array:
        finite = jnp.isfinite(a).all()
        return jnp.where(finite, function(jnp.where(finite, a, 0)), jnp.nan)

    values = jnp.vectorize(map_one, signature=f"(n,m)->{shape}")(a.astype(working_dtype(a.dtype)))
    return values.astype(a.real.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _extremes(a: Array, indices: tuple[int, ...]) -> Array:
    return jnp.linalg.svd(a, compute_uv=False)[jnp.array(indices)]


@_extremes.defjvp
def _extremes_jvp(indices: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    s, _, _, ds_da = _triplets(primals[0], indices)
    return s, _real_product(ds_da, tangents[0][None])


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _triplets(a: Array, indices: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
    """Return σ (k,), u (k, n), v (k, m) and the derivative u vᴴ of σ (k, n, m) at each index."""
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    index = jnp.array(indices)
    equal = (s[None, :] == s[index, None]).astype(s.dtype)
    weight = jnp.where(s[index, None] == 0, 0, equal / equal.sum(1, keepdims=True))
    ds_da = jax.vmap(lambda weight: matmul(u * weight[None, :], vh))(weight.astype(u.dtype))
    return s[index], u.T[index], vh.conj()[index], ds_da


@_triplets.defjvp
def _triplets_jvp(
    indices: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    (a,), (da,) = primals, tangents
    triplets = _triplets(a, indices)
    left, values, right = jnp.linalg.svd(jax.lax.stop_gradient(a), full_matrices=False)
    index = jnp.array(indices) % len(values)

    def tangent(index: Array, s: Array, u: Array, v: Array, ds_da: Array) -> tuple[Array, ...]:
        ds = _real_product(ds_da, da)
        ds_complex = ds.astype(u.dtype)
        rhs = (matmul(da, v) - ds_complex * u, matmul(da.conj().T, u) - ds_complex * v)
        du, dv = _solve_for_vectors(a, (s, u, v), (left, values, right), index, rhs)
        return ds, du, dv, du[:, None] * v.conj()[None, :] + u[:, None] * dv.conj()[None, :]

    return triplets, jax.vmap(tangent)(index, *triplets)


def _solve_for_vectors(
    a: Array, triplet: tuple[Array, ...], factors: tuple[Array, ...], index: Array, rhs: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Solve σp − A q + σu c = g, σq − Aᴴp + σv c = h with c = uᴴp + vᴴq, for (p, q).

    (u, v) is an eigenvector of [[0, A], [Aᴴ, 0]] for σ, and c keeps the equations regular where σ is simple.
    """
    s, u, v = triplet
    left, values, right = factors
    is_triplet = jnp.arange(len(values)) == index
    s, values = s.astype(u.dtype), values.astype(u.dtype)  # complex throughout if the matrix is complex
    value = values[index]

    def operator(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        p, q = pair
        c = s * (jnp.vdot(u, p, precision="highest") + jnp.vdot(v, q, precision="highest"))
        return s * p - matmul(a, q) + u * c, s * q - matmul(a.conj().T, p) + v * c

    def solve(_, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        g, h = pair
        g_coords, h_coords = matmul(left.conj().T, g), matmul(right, h)
        # Each pair of singular vectors s is a 2×2 problem, [[σ, −s], [−s, σ]]; for σ itself it is 2σ.
        ratio, gap = value / (value + values), value - values
        p = jnp.where(is_triplet, g_coords / (2 * value), (ratio * g_coords + (1 - ratio) * h_coords) / gap)
        q = jnp.where(is_triplet, h_coords / (2 * value), ((1 - ratio) * g_coords + ratio * h_coords) / gap)
        return _from_basis(left, p, g, g_coords, value), _from_basis(right.conj().T, q, h, h_coords, value)

    def transpose_solve(_, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        p, q = solve(_, (pair[0].conj(), pair[1].conj()))
        return p.conj(), q.conj()

    return jax.lax.custom_linear_solve(operator, rhs, solve, transpose_solve)


def _from_basis(basis: Array, solution_coords: Array, rhs: Array, rhs_coords: Array, value: Array) -> Array:
    """Return the solution from its coordinates, plus the part of `rhs` outside the basis over `value`."""
    inside = matmul(basis, solution_coords)
    square = basis.shape[0] == basis.shape[1]
    return inside if square else inside + (rhs - matmul(basis, rhs_coords)) / value


@jax.custom_jvp
def _nuclear(a: Array) -> Array:
    return jnp.linalg.svd(a, compute_uv=False).sum()


@_nuclear.defjvp
def _nuclear_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _nuclear(*primals), _real_product(_polar(*primals), *tangents)


@jax.custom_jvp
def _polar(a: Array) -> Array:
    """Return the polar factor Q = U Vᴴ of a tall A = Q P, P = V S Vᴴ, without vectors of zero singular values."""
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    return matmul(u * (s > 0).astype(u.dtype)[None, :], vh)


@_polar.defjvp
def _polar_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # dA = dQ P + Q dP gives dQ = Q W + (I − Q Qᴴ) dA P⁻¹ with W P + P W = Qᴴ dA − dAᴴ Q.
    (a,), (da,) = primals, tangents
    q = _polar(a)
    p = matmul(q.conj().T, a)
    p = (p + p.conj().T) / 2
    _, s, vh = jnp.linalg.svd(jax.lax.stop_gradient(a), full_matrices=False)
    s, v = s.astype(q.dtype), vh.conj().T
    inside = matmul(q.conj().T, da)

    def solve_sylvester(rhs: Array) -> Array:
        return matmul(v, matmul(matmul(matmul(vh, rhs), v) / (s[:, None] + s[None, :]), vh))

    w = _solve_linear(lambda w: matmul(w, p) + matmul(p, w), solve_sylvester, inside - inside.conj().T)
    dq = matmul(q, w)
    if a.shape[0] > a.shape[1]:
        outside = da - matmul(q, inside)

        def divide_by_p(rhs: Array) -> Array:
            return matmul(matmul(rhs, v) / s[None, :], vh)

        dq += _solve_linear(lambda x: matmul(x, p), divide_by_p, outside)
    return q, dq


def _solve_linear(operator: Callable[[Array], Array], solve: Callable[[Array], Array], rhs: Array) -> Array:
    """Solve operator(x) = rhs for an operator whose transpose is its complex conjugate."""
    return jax.lax.custom_linear_solve(operator, rhs, lambda _, b: solve(b), lambda _, b: solve(b.conj()).conj())


def _real_product(x: Array, y: Array) -> Array:
    """Return Re tr(xᴴ y)."""
    return (x.conj() * y).real.sum((-2, -1))
