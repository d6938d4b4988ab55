r"""Ridge: one factorisation for every strength and target.

With the rows' weights s, their sum S and x, y about their weighted means (where there is an intercept), the
optimum of $\frac1S\sum_i s_i(w^\top x_i + b - y_i)^2 + \frac\lambda2\|w\|^2$ solves $(H + \lambda I)w = c$ with
$H = \frac2S X^\top sX$ and $c = \frac2S X^\top sy$. The eigenvectors of H make every λ a division. Where rows are
fewer than columns, those of the kernel $ZZ^\top = UDU^\top$, $Z = \sqrt{2s/S}\,X$, which has the same eigenvalues
but for zeros, take their place: $w = Z^\top U(D + \lambda)^{-1}U^\top\sqrt{2s/S}\,y$.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._types import Array
from dlcore.heads.inputs import Inputs, Rows
from dlcore.linalg import matmul
from dlcore.objective import BlockedData, sum_over_blocks

STRENGTHS = 8
"""So many at a time: more of them run the same program again."""
BLOCK_BYTES = 2**20
"""Size of a block of rows in float64 on a CPU: long enough for products at full speed."""


class Spectrum(NamedTuple):
    """What is shared by all strengths: w(λ) = basis · (values + λ)⁻¹ · projected.

    Attributes:
      values: shape (k,), the eigenvalues of H.
      basis: shape (m, k).
      projected: shape (k, targets).
      middle: shape (m,), the mean that was taken from x.
      level: shape (targets,), the mean that was taken from y.
    """

    values: Array
    basis: Array
    projected: Array
    middle: Array
    level: Array


def fit_ridge(inputs: Inputs, rows: Rows, *, fit_intercept: bool) -> np.ndarray:
    """Weights and, last, the intercept: shape (fits, L, targets, m + 1)."""
    fits, strengths = len(inputs.train), len(inputs.l2)
    targets = 1 if inputs.y.ndim == 1 else inputs.y.shape[1]
    y = rows.y.reshape(len(inputs.y), targets)
    theta = np.zeros((fits, strengths, targets, inputs.x.shape[1] + 1))
    centred = jax.device_put(np.float64(fit_intercept))
    block = rows_at_once(rows.x)
    for fit in range(fits):
        spectrum = factorise(
            BlockedData(rows.x, y, rows.weight, block), rows.train, jax.device_put(np.uint32(fit)), centred
        )
        for start in range(0, strengths, STRENGTHS):
            part = inputs.l2[start : start + STRENGTHS]
            l2 = np.concatenate([part, np.repeat(part[:1], STRENGTHS - len(part))])
            theta[fit, start : start + STRENGTHS] = np.asarray(heads_of(spectrum, l2))[: len(part)]
    return theta


def rows_at_once(x: Array) -> int:
    """Rows per block, from the shape of X alone."""
    size = BLOCK_BYTES if next(iter(x.devices())).platform == "cpu" else 2**30
    return max(1, min(len(x), max(size // (8 * x.shape[1]), x.shape[1] // 8)))


@jax.jit
def factorise(data: BlockedData, train: Array, bit: Array, centred: Array) -> Spectrum:
    """The eigenvectors of H, or of the kernel where that is smaller, in float64."""
    assert data.weights is not None
    weights = jnp.where(((train >> bit) & jnp.uint32(1)).astype(bool), data.weights, 0.0)
    total = weights.sum()
    data = BlockedData(data.x, data.y, weights, data.block)

    def sums(x: Array, y: Array, s: Array | None) -> tuple[Array, Array]:
        assert s is not None
        return matmul(s, x.astype(jnp.float64)), matmul(s, y)

    middle, level = jax.tree.map(lambda summed: centred * summed / total, sum_over_blocks(sums, data))

    def scaled(x: Array, y: Array, s: Array | None) -> tuple[Array, Array]:
        """√(2s/S) times x and y about their means."""
        assert s is not None
        root = jnp.sqrt(2 * s / total)[:, None]
        return root * (x.astype(jnp.float64) - middle[None]), root * (y - level[None])

    rows, columns = data.x.shape
    if rows < columns:
        z, t = scaled(data.x, data.y, data.weights)
        values, vectors = jnp.linalg.eigh(matmul(z, z.T))
        return Spectrum(values, matmul(z.T, vectors), matmul(vectors.T, t), middle, level)

    def products(x: Array, y: Array, s: Array | None) -> tuple[Array, Array]:
        z, t = scaled(x, y, s)
        return matmul(z.T, z), matmul(z.T, t)

    gram, cross = sum_over_blocks(products, data)
    values, vectors = jnp.linalg.eigh(gram)
    return Spectrum(values, vectors, matmul(vectors.T, cross), middle, level)


@jax.jit
def heads_of(spectrum: Spectrum, l2: Array) -> Array:
    """Weights and intercepts of some strengths: shape (l2, targets, m + 1). At λ = 0 the shortest solution."""
    values = jnp.maximum(spectrum.values, 0)
    cutoff = len(values) * jnp.finfo(values.dtype).eps * values.max()
    divisor = values[None] + l2[:, None]
    dropped = (values[None] <= cutoff) & (l2[:, None] <= cutoff)
    inverse = jnp.where(dropped, 0.0, 1 / jnp.where(dropped, 1.0, divisor))
    weight = matmul(spectrum.basis[None], inverse[:, :, None] * spectrum.projected[None]).swapaxes(1, 2)
    intercept = spectrum.level[None] - matmul(weight, spectrum.middle)
    return jnp.concatenate([weight, intercept[..., None]], axis=-1)


@jax.jit
def squared_errors(data: BlockedData, test: Array, bit: Array, theta: Array) -> tuple[Array, Array]:
    """On the rows that a fold holds out: Σ s(ŷ − y)², shape (l2, targets), and Σ s(y − ȳ)², shape (targets,)."""
    assert data.weights is not None
    weights = jnp.where(((test >> bit) & jnp.uint32(1)).astype(bool), data.weights, 0.0)
    data = BlockedData(data.x, data.y, weights, data.block)
    level = matmul(weights, data.y) / weights.sum()

    def errors(x: Array, y: Array, s: Array | None) -> tuple[Array, Array]:
        assert s is not None
        predicted = matmul(theta[..., :-1], x.astype(jnp.float64).T) + theta[..., -1:]
        return (s[None, None] * (predicted - y.T[None]) ** 2).sum(-1), matmul(s, (y - level[None]) ** 2)

    return sum_over_blocks(errors, data)


def r2_scores(inputs: Inputs, rows: Rows, theta: np.ndarray) -> np.ndarray:
    """1 − (squared error)/(variance) of the rows held out: shape (folds, L, targets)."""
    scores = np.zeros((len(theta) - 1, *theta.shape[1:3]))
    data = BlockedData(rows.x, rows.y.reshape(len(inputs.y), -1), rows.weight, rows_at_once(rows.x))
    for fold in range(len(scores)):
        for start in range(0, theta.shape[1], STRENGTHS):
            part = theta[fold + 1, start : start + STRENGTHS]
            part = np.concatenate([part, np.repeat(part[:1], STRENGTHS - len(part), axis=0)])
            error, spread = (np.asarray(a) for a in squared_errors(data, rows.test, np.uint32(fold + 1), part))
            constant = np.where(error == 0, 1.0, 0.0)  # as scikit-learn has it
            r2 = np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), constant)
            scores[fold, start : start + STRENGTHS] = r2[: len(scores[fold, start : start + STRENGTHS])]
    return scores
