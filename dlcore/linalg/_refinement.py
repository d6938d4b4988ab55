"""Iterative refinement: factors of one precision, residuals in twice the precision of the data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from dlcore._core.types import Array
from dlcore.linalg._scaling import exponent_of, times_power_of_two
from dlcore.linalg._twofold import Pair, add_to_pair, subtract_product
from dlcore.linalg.norms import vector_norm
from dlcore.linalg.products import matmul

Correction = Callable[[tuple[Pair, ...]], tuple[Array, ...]]
"""An estimate of what each part of an iterate lacks."""

MOST_STEPS = 60
"""Each step halves the error at least, and a pair of float64 holds 106 bits; fewer than 60 are ever needed."""


def check_refine(name: str, refine: DTypeLike | None, dtype: jnp.dtype) -> jnp.dtype:
    """The dtype of the factors, float32 or that of the data."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"{name}: refine is for real matrices, got {dtype}")
    allowed = {jnp.dtype(jnp.float32), jnp.dtype(dtype)}
    try:
        known = not isinstance(refine, bool | int | float | None) and jnp.dtype(refine) in allowed
    except TypeError:
        known = False
    if refine is None or not known:
        names = " or ".join(sorted(kind.name for kind in allowed))
        raise TypeError(f"{name}: refine: expected the dtype of the factors, {names}, got {refine!r}")
    return jnp.dtype(refine)


@jax.jit
def refined_solution(a: Array, inverse: Array, b: Array) -> Array:
    """x with a x = b for one matrix (n, n), from an approximate inverse in any dtype; nan if it is too coarse."""
    exponent = exponent_of(b, 0)
    scaled = times_power_of_two(b, -exponent)

    def solve_one(b: Array) -> Array:
        def correction(x: tuple[Pair, ...]) -> tuple[Array, ...]:
            residual = subtract_product((b,), a, x[0])
            return (matmul(inverse, residual.astype(inverse.dtype)).astype(b.dtype),)

        return _iterate(correction, (b,), jnp.ones((), b.dtype))[0]

    return times_power_of_two(jax.vmap(solve_one, -1, -1)(scaled), exponent)


@jax.jit
def refined_augmented(a: Array, q: Array, inverse: Array, f: Array, g: Array) -> tuple[Array, Array]:
    """(r, z) with r + a z = f and aᵀ r = g, for one tall matrix (n, m), from coarse factors a ≈ q·inverse⁻¹.

    z solves least squares if g = 0, r is the shortest solution of aᵀ r = g if f = 0. nan if the factors are too
    coarse. Source: Björck (1967), BIT 7; Higham, Accuracy and Stability of Numerical Algorithms, section 20.5.
    """
    exponent = exponent_of(jnp.concatenate([f, g]), 0)
    f, g = times_power_of_two(f, -exponent), times_power_of_two(g, -exponent)
    # An error in r of size 1 is worth one in z of size ‖a⁺‖.
    weight = vector_norm(inverse).astype(f.dtype)

    def solve_one(f: Array, g: Array) -> tuple[Array, Array]:
        def correction(state: tuple[Pair, ...]) -> tuple[Array, ...]:
            r, z = state
            first = subtract_product((f, -r[0], -r[1]), a, z).astype(q.dtype)
            second = subtract_product((g,), a.T, r).astype(q.dtype)
            along = matmul(q.T, first) - matmul(inverse.T, second)
            return (first - matmul(q, along)).astype(f.dtype), matmul(inverse, along).astype(f.dtype)

        r, z = _iterate(correction, (f, g), weight)
        return r, z

    r, z = jax.vmap(solve_one, -1, -1)(f, g)
    return times_power_of_two(r, exponent), times_power_of_two(z, exponent)


def _iterate(correction: Correction, like: tuple[Array, ...], weight: Array) -> tuple[Array, ...]:
    """x ← x + correction(x) from 0, as long as the corrections at least halve; nan if they end too large.

    A correction estimates the error of the iterate before it. Its size is that of its last part, plus `weight`
    times that of the part before, if there is one; accepted is what ends with a size of at most eps times that
    of x.
    """
    eps = float(jnp.finfo(like[0].dtype).eps)

    def sizes(parts: tuple[Array, ...]) -> Array:
        weights = (weight, jnp.ones_like(weight))[-len(parts) :]
        return jnp.stack([factor * vector_norm(part) for factor, part in zip(weights, parts, strict=True)])

    def step(state):
        x, last, _, count = state
        change = correction(x)
        size = sizes(change)
        better = (count == 0) | (size.sum() <= last.sum() / 2)
        changed = tuple(add_to_pair(pair, d) for pair, d in zip(x, change, strict=True))
        x = jax.tree.map(lambda new, old: jnp.where(better, new, old), changed, x)
        # Each part on its own: the smaller may be the one that is asked for.
        enough = (size <= eps / 8 * sizes(tuple(high for high, _ in x))).all()
        return x, size, better & ~enough, count + 1

    zero = tuple((jnp.zeros_like(part), jnp.zeros_like(part)) for part in like)
    start = (zero, sizes(like), jnp.array(True), jnp.array(0, jnp.int32))
    x, last, _, _ = jax.lax.while_loop(lambda state: state[2] & (state[3] < MOST_STEPS), step, start)
    result = tuple(high for high, _ in x)
    accepted = last.sum() <= eps * sizes(result).sum()
    return tuple(jnp.where(accepted, part, jnp.nan) for part in result)
