r"""The metric in which softmax heads descend: one eigenbasis of the features for every strength, fold and class.

The curvature of head b's class k is near $c_{bk}C + \lambda_b I$, where C is the covariance of the features and
$c_{bk}$ the mean of $p_k(1 - p_k)$: with C = VdVᵀ every one of them is inverted by a division.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core.jit_cache import cached_jit
from dlcore._core.types import Array
from dlcore.heads.frame import Frame, about
from dlcore.linalg import matmul
from dlcore.objective import BlockedData, sum_over_blocks

FULL = 1024
"""Up to so many columns all eigenvectors are found."""
RANK = 256
"""Of more columns, so many of the leading ones."""


class Metric(NamedTuple):
    """The covariance of the features, VdVᵀ + tail·(I − VVᵀ).

    Attributes:
      basis: shape (m, q), V, float32.
      values: shape (q,), d.
      tail: the mean of the eigenvalues that were not found.
      middle: shape (m,), the mean of x about the centre; 0 without an intercept.
    """

    basis: Array
    values: Array
    tail: Array
    middle: Array


@cached_jit("full", "rank")
def metric_of(data: BlockedData, frame: Frame, *, full: int = FULL, rank: int = RANK) -> Metric:
    """From rows of the given weights; of a table of more than `full` columns by randomised subspace iteration."""
    columns = data.x.shape[1]

    def sums(x: Array, y: Array, s: Array | None) -> tuple[Array, ...]:
        del y
        assert s is not None
        rows = about(x, frame, jnp.float64)
        return s.sum(), matmul(s, rows), matmul(s, (rows**2).sum(1))

    total, middle, square = sum_over_blocks(sums, data)
    middle = frame.intercept * middle / total
    trace = jnp.maximum(square / total - (middle**2).sum(), 0)

    def covariance_times(v: Array | None) -> Array:
        def products(x: Array, y: Array, s: Array | None) -> Array:
            del y
            assert s is not None
            rows = (about(x, frame, jnp.float64) - middle[None]) * jnp.sqrt(s / total)[:, None]
            return matmul(rows.T, rows if v is None else matmul(rows, v))

        return sum_over_blocks(products, data)

    if columns <= full:
        values, basis = jnp.linalg.eigh(covariance_times(None))
        values = jnp.maximum(values, 0)
        return Metric(basis.astype(jnp.float32), values, values.max(), middle)
    start = jax.random.normal(jax.random.key(0), (columns, rank), jnp.float64)
    basis = jnp.linalg.qr(start)[0]
    for _ in range(2):
        basis = jnp.linalg.qr(covariance_times(basis))[0]
    values, turned = jnp.linalg.eigh(matmul(basis.T, covariance_times(basis)))
    values = jnp.maximum(values, 0)
    tail = jnp.maximum(trace - values.sum(), 0) / (columns - rank)
    return Metric(matmul(basis, turned).astype(jnp.float32), values, tail, middle)


def invert(metric: Metric, gradient: Array, spread: Array, l2: Array, intercept: Array) -> Array:
    r"""The metric's inverse times the gradients (b, K, m + 1), in their dtype, with classes summing to 0.

    What λ is multiplied by for a column of a fold is near 1, and left out. A class without spread stays.

    In coordinates in which x is taken about its mean the intercept stands apart:
    $w\cdot x + b = w\cdot(x - \mu) + (b + w\cdot\mu)$.
    """
    dtype = gradient.dtype
    basis, values, middle, tail, one = (
        part.astype(dtype) for part in (metric.basis, metric.values, metric.middle, metric.tail, intercept)
    )
    heads, classes, _ = gradient.shape
    there = spread[..., None] > 0
    scale, penalty = jnp.where(there, spread.astype(dtype)[..., None], 1), l2.astype(dtype)[:, None, None]
    slope = gradient[..., :-1] - gradient[..., -1:] * middle[None, None]
    # At λ = 0 rounding alone bounds the curvature from below, and where features are constant nothing does.
    least = penalty + scale * float(jnp.finfo(jnp.float32).eps) * values.max()
    least = jnp.maximum(least, float(jnp.finfo(dtype).tiny))
    beyond = 1 / (scale * tail + least)
    known = matmul(slope.reshape(heads * classes, -1), basis).reshape(heads, classes, -1)
    known = known * (1 / (scale * values[None, None] + least) - beyond)
    weight = matmul(known.reshape(heads * classes, -1), basis.T).reshape(slope.shape) + slope * beyond
    bias = gradient[..., -1] / scale[..., 0] - (weight * middle[None, None]).sum(-1)
    step = jnp.where(there, jnp.concatenate([weight, one * bias[..., None]], axis=-1), 0)
    return jnp.where(there, step - step.sum(1, keepdims=True) / there.sum(1, keepdims=True, dtype=dtype), 0)
