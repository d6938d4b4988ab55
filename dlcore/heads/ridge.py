r"""Ridge: one factorisation for every strength and target.

With the rows' weights s, their sum S and x, y about their weighted means (where there is an intercept), the
optimum of $\frac1S\sum_i s_i(w^\top x_i + b - y_i)^2 + \frac\lambda2\|w\|^2$ solves $(H + \lambda I)w = c$ with
$H = \frac2S X^\top sX$ and $c = \frac2S X^\top sy$. The eigenvectors of H make every λ a division. Where rows are
fewer than columns, those of the kernel $ZZ^\top = UDU^\top$, $Z = \sqrt{2s/S}\,X$, which has the same eigenvalues
but for zeros, take their place: $w = Z^\top U(D + \lambda)^{-1}U^\top\sqrt{2s/S}\,y$. Columns that are to be
standardised are divided by their deviations here, and so are the weights then.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._programs import kept_programs
from dlcore._types import Array
from dlcore.heads.inputs import Inputs
from dlcore.heads.logits import logits_of_block
from dlcore.heads.row_products import Products, Streamed, gram_of
from dlcore.heads.scales import deviation
from dlcore.linalg import matmul, outer, vecdot

HEADS = 1024
"""So many heads at a time, and at least `STRENGTHS` strengths: more of them run the same programs again."""
STRENGTHS = 8
DIGITS = 1e-10
"""A score is taken from sums of products where that puts it off by less."""


class Spectrum(NamedTuple):
    """What is shared by all strengths: w(λ) = basis · (values + λ)⁻¹ · projected.

    Attributes:
      values: shape (k,), the eigenvalues of H.
      basis: shape (m, k).
      projected: shape (k, targets).
      middle: shape (m,), the mean that was taken from x.
      level: shape (targets,), the mean that was taken from y.
      scale: shape (m,), what the columns were divided by; `basis` is of weights of the columns as they are.
      rows: shape (n, n), U; None where rows are as many as columns. With an intercept its last column is √(s/S),
        of which the intercept takes all.
    """

    values: Array
    basis: Array
    projected: Array
    middle: Array
    level: Array
    scale: Array
    rows: Array | None


Parts = list[tuple[Array, Array]]
"""Weights and intercepts of some strengths each, as `heads_of` makes them."""


class Fitted(NamedTuple):
    """The heads of a fit: (L, targets, m), (L, targets), (L, targets) where it is scored, (m,) if standardised."""

    coef: np.ndarray
    intercept: np.ndarray
    scores: np.ndarray | None
    scale: np.ndarray | None


def fit_ridge(
    inputs: Inputs, streamed: Streamed, fit: int, score: Callable[[Spectrum, Parts], np.ndarray] | None
) -> Fitted:
    """One fit, 0 the one on all rows, and what `score` says of it."""
    spectrum = spectrum_of(inputs, streamed, fit)
    parts = [heads_of(spectrum, l2) for l2 in strengths(inputs.l2[fit], streamed)]
    scores = score(spectrum, parts) if score else None
    coef, intercept = (
        np.concatenate([np.asarray(part) for part in pieces])[: inputs.l2.shape[1]]
        for pieces in zip(*parts, strict=True)
    )
    scale = np.asarray(spectrum.scale) if inputs.standardize else None
    return Fitted(coef, intercept, scores, scale)


def strengths(l2: np.ndarray, streamed: Streamed, most: int = HEADS) -> list[Array]:
    """λ in pieces of one length, which the shape of y says; the last is filled up."""
    size = max(STRENGTHS, min(HEADS, HEADS // streamed.y.shape[1]) // STRENGTHS)
    size = min(size, most)
    pieces = [l2[start : start + size] for start in range(0, len(l2), size)]
    return [streamed.put(np.concatenate([p, np.repeat(p[:1], size - len(p))])) for p in pieces]


def spectrum_of(inputs: Inputs, streamed: Streamed, fit: int) -> Spectrum:
    """Of H, or of the kernel where that is smaller."""
    if len(inputs.x) >= inputs.x.shape[1]:
        return _of_products(streamed.trained(fit), streamed.centred, streamed.standard)
    weight = streamed.put(np.where(inputs.train[fit], inputs.weight, 0))
    x, y = streamed.whole()
    return _of_kernel(x, y, weight, streamed.centred, streamed.standard)


@kept_programs()
def _of_products(sums: Products, centred: Array, standard: Array) -> Spectrum:
    """Without an intercept X and y are about 0: what their means add is positive."""
    added, gram = (1 - centred) * sums.total * sums.middle, gram_of(sums)
    scale = jnp.where(standard > 0, deviation(jnp.diagonal(gram) / sums.total, sums.middle), 1.0)
    gram = (gram + outer(added, sums.middle)) / scale[:, None] / scale[None]
    cross = (sums.cross + outer(added, sums.level)) / scale[:, None]
    values, vectors = jnp.linalg.eigh(2 / sums.total * gram)
    projected = matmul(vectors.T, 2 / sums.total * cross)
    basis, middle, level = vectors / scale[:, None], centred * sums.middle, centred * sums.level
    return Spectrum(values, basis, projected, middle, level, scale, None)


@kept_programs()
def _of_kernel(x: Array, y: Array, weight: Array, centred: Array, standard: Array) -> Spectrum:
    rows, aims, total = x.astype(jnp.float64), y.astype(jnp.float64), weight.sum()
    mean, level = matmul(weight, rows) / total, centred * matmul(weight, aims) / total
    variance, middle = matmul(weight, (rows - mean[None]) ** 2) / total, centred * mean
    scale = jnp.where(standard > 0, deviation(variance, mean), 1.0)
    root = jnp.sqrt(2 * weight / total)[:, None]
    z, t = root * (rows - middle[None]) / scale[None], root * (aims - level[None])
    kernel, own = matmul(z, z.T), jnp.sqrt(weight / total)
    # With an intercept √(s/S) is in the null space: lifted above the other eigenvalues it stands alone, last.
    size = jnp.sqrt((kernel * kernel).sum())
    above = centred * jnp.where(size > 0, 2 * size, 1.0)
    values, vectors = jnp.linalg.eigh(kernel + above * outer(own, own))
    values, basis = values.at[-1].multiply(1 - centred), matmul(z.T, vectors) / scale[:, None]
    return Spectrum(values, basis, matmul(vectors.T, t), middle, level, scale, vectors)


def inverse_of(spectrum: Spectrum, l2: Array) -> Array:
    """(values + λ)⁻¹, shape (l2, k); 0 where both are but rounding, which makes w the shortest solution."""
    values = jnp.maximum(spectrum.values, 0)
    cutoff = len(values) * jnp.finfo(values.dtype).eps * values.max()
    dropped = (values[None] <= cutoff) & (l2[:, None] <= cutoff)
    return jnp.where(dropped, 0.0, 1 / jnp.where(dropped, 1.0, values[None] + l2[:, None]))


@kept_programs()
def heads_of(spectrum: Spectrum, l2: Array) -> tuple[Array, Array]:
    """Weights (l2, targets, m) and intercepts (l2, targets). At λ = 0 the shortest solution."""
    scaled = inverse_of(spectrum, l2)[:, None, :] * spectrum.projected.T[None]
    weight = matmul(scaled.reshape(-1, scaled.shape[-1]), spectrum.basis.T).reshape(*scaled.shape[:2], -1)
    return weight, spectrum.level[None] - matmul(weight, spectrum.middle)


def r2_scores(inputs: Inputs, streamed: Streamed, fit: int, parts: Parts) -> np.ndarray:
    """1 − (squared error)/(variance) of the rows held out: shape (L, targets)."""
    sums = streamed.tested(fit)
    scores = []
    for coef, intercept in parts:
        error, height, digits = (np.asarray(a) for a in _errors(sums, coef, intercept))
        if not (digits <= DIGITS).all():
            error = _errors_of_rows(inputs, streamed, fit, coef, intercept)
        scores.append(r2(error, height))
    return np.concatenate(scores)[: inputs.l2.shape[1]]


def r2(error: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Where the target is constant 1 for no error and else 0, as scikit-learn has it."""
    constant = np.where(error == 0, 1.0, 0.0)
    return np.where(height > 0, 1 - error / np.where(height > 0, height, 1), constant)


@kept_programs()
def _errors(sums: Products, coef: Array, intercept: Array) -> tuple[Array, Array, Array]:
    """Σ s(ŷ − y)², Σ s(y − ȳ)², and what the first may be off by, in parts of the second."""
    flat, gram = coef.reshape(-1, coef.shape[-1]), gram_of(sums)
    mean = intercept + matmul(coef, sums.middle) - sums.level[None]
    curved = vecdot(flat, matmul(flat, gram)).reshape(mean.shape)
    linear = vecdot(coef, jnp.broadcast_to(sums.cross.T[None], coef.shape))
    error = sums.total * mean**2 + curved - 2 * linear + sums.height[None]
    largest = (
        jnp.sqrt(jnp.trace(gram) * vecdot(flat, flat)).reshape(mean.shape) + jnp.sqrt(sums.height)[None]
    ) ** 2
    tiny = 64 * jnp.finfo(jnp.float64).eps
    # A target that is constant has a height of nothing but rounding.
    certain = sums.height > sums.total * (tiny * sums.level) ** 2
    height = jnp.where(certain, sums.height, 0.0)
    return error, height, tiny * largest / height[None]


def _errors_of_rows(inputs: Inputs, streamed: Streamed, fit: int, coef: Array, intercept: Array) -> np.ndarray:
    """Σ s(ŷ − y)² from the predictions of every row."""
    error = streamed.put(np.zeros(intercept.shape))
    for x, y, weight, _ in streamed.blocks(np.flatnonzero(inputs.test[fit] & (inputs.weight > 0))):
        error = _add_errors(jax.block_until_ready(error), x, y, weight, coef, intercept)
    return np.asarray(error)


@kept_programs(donate_argnums=0)
def _add_errors(error: Array, x: Array, y: Array, weight: Array, coef: Array, intercept: Array) -> Array:
    predicted = matmul(coef, x.astype(jnp.float64).T) + intercept[..., None]
    return error + (weight[None, None] * (predicted - y.astype(jnp.float64).T[None]) ** 2).sum(-1)


def predictions(streamed: Streamed, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Shape (K, len(index)): what `theta`, (K, m + 1), says of the rows of these numbers, ascending."""
    found, there = np.empty((len(theta), len(index))), streamed.put(theta)
    for x, _, _, rows in streamed.blocks(index):
        found[:, np.searchsorted(index, rows)] = np.asarray(logits_of_block(x, there))
    return found
