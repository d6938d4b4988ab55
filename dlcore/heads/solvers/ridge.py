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

from dlcore._core.types import Array
from dlcore.heads.data.column_scales import CONSTANT, deviation
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.quick_jit import quick_jit
from dlcore.heads.scoring.logits import logits_of_block
from dlcore.heads.solvers import ridge_few
from dlcore.heads.solvers.gram import GramAccumulator, Products, gram_of
from dlcore.linalg import matmul, outer, vecdot, vector_norm
from dlcore.metrics.regression import fraction_explained

HEADS = 1024
"""So many heads at a time, and at least `STRENGTHS` strengths: more of them run the same programs again."""
STRENGTHS = 8
EQUILIBRATED = 2.0
"""The mode in which columns are divided by powers of two; 1 divides them by their deviations, 0 leaves them."""
FAR_APART = 1e3
"""Columns are of far scales where their lengths differ by more: squares then lose six digits of the least."""
HARMLESS = 1e-6
"""The largest part by which a shorter solution may change predictions."""
DIGITS = 1e-10
"""A score is taken from sums of products where that puts it off by less."""


class Spectrum(NamedTuple):
    """Spectrum that all strengths share: w(λ) = basis · (values + λ)⁻¹ · projected.

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
    inputs: TrainingData,
    accumulator: GramAccumulator,
    fit: int,
    score: Callable[[Spectrum, np.ndarray, Parts], np.ndarray] | None,
) -> Fitted:
    """Fit all strengths on the rows of one fit and score them.

    Args:
      inputs: the checked arguments.
      accumulator: rows on the device.
      fit: the number of the fit, 0 for that on all rows.
      score: from a spectrum, strengths (L,) and their heads to scores (L, targets); None for heads without scores.
    """
    l2 = inputs.l2[fit]
    shape = len(l2), accumulator.y.shape[1]
    coef, intercept = np.empty((*shape, inputs.x.shape[1])), np.empty(shape)
    if not score and accumulator.device.platform == "cpu" and ridge_few.suits(inputs):
        found = ridge_few.fit_few(inputs, fit_intercept=accumulator.fit_intercept)
        if found:
            return Fitted(found.coef, found.intercept, None, None)
    scores, scale = np.empty(shape) if score else None, None
    free = (l2 == 0) & (not inputs.standardize)
    for chosen, equilibrate in ((~free, False), (free, True)):
        if not chosen.any():
            continue
        spectrum = spectrum_of(inputs, accumulator, fit, equilibrate=equilibrate)
        parts = [heads_of(spectrum, part) for part in strengths(l2[chosen], accumulator)]
        if equilibrate and spectrum.rows is None:
            weights = [shortest_of(spectrum, weight) for weight, _ in parts]
            parts = [(weight, intercept_of(spectrum, weight)) for weight in weights]
        coef[chosen], intercept[chosen] = (
            np.concatenate([np.asarray(part) for part in pieces])[: chosen.sum()]
            for pieces in zip(*parts, strict=True)
        )
        if score and scores is not None:
            scores[chosen] = score(spectrum, l2[chosen], parts)
        scale = np.asarray(spectrum.scale) if inputs.standardize else None
    return Fitted(coef, intercept, scores, scale)


def strengths(l2: np.ndarray, accumulator: GramAccumulator, most: int = HEADS) -> list[Array]:
    """λ in pieces of one length, which the shape of y says; the last is filled up."""
    size = max(STRENGTHS, min(HEADS, HEADS // accumulator.y.shape[1]) // STRENGTHS)
    size = min(size, most)
    pieces = [l2[start : start + size] for start in range(0, len(l2), size)]
    return [accumulator.put(np.concatenate([p, np.repeat(p[:1], size - len(p))])) for p in pieces]


def spectrum_of(inputs: TrainingData, accumulator: GramAccumulator, fit: int, *, equilibrate: bool) -> Spectrum:
    """Return the spectrum of H, or of the kernel where that is smaller.

    Args:
      inputs: the checked arguments.
      accumulator: rows on the device.
      fit: the number of the fit.
      equilibrate: whether columns are divided by powers of two near their lengths. No penalty may depend on them.
    """
    if len(inputs.x) >= inputs.x.shape[1]:
        standard = accumulator.put(np.float64(EQUILIBRATED)) if equilibrate else accumulator.standard
        return _of_products(accumulator.train_gram(fit), accumulator.centred, standard)
    weight = accumulator.put(np.where(inputs.train[fit], inputs.weight, 0))
    x, y = accumulator.whole()
    return spectrum_of_kernel(x, y, weight, accumulator.centred, accumulator.standard)


@quick_jit()
def _of_products(sums: Products, centred: Array, standard: Array) -> Spectrum:
    """Without an intercept X and y are about 0: what their means add is positive."""
    added, gram = (1 - centred) * sums.total * sums.middle, gram_of(sums)
    scale = jnp.where(standard > 0, deviation(jnp.diagonal(gram) / sums.total, sums.middle), 1.0)
    gram = gram + outer(added, sums.middle)
    scale = jnp.where(standard == EQUILIBRATED, _powers(jnp.diagonal(gram) / sums.total, sums.middle), scale)
    gram = gram / scale[:, None] / scale[None]
    cross = (sums.cross + outer(added, sums.level)) / scale[:, None]
    values, vectors = jnp.linalg.eigh(2 / sums.total * gram)
    projected = matmul(vectors.T, 2 / sums.total * cross)
    basis, middle, level = vectors / scale[:, None], centred * sums.middle, centred * sums.level
    return Spectrum(values, basis, projected, middle, level, scale, None)


def _powers(squares: Array, middle: Array) -> Array:
    """Return powers of two near the lengths of columns of far scales, or 1 for all.

    Args:
      squares: mean squares about the mean, or about 0 without an intercept, shape (m,).
      middle: the means, shape (m,). A column is constant where the squares are rounding beside them.
    """
    varies = squares > (CONSTANT * middle) ** 2
    length = jnp.sqrt(jnp.where(varies, squares, 1.0))
    most, least = (jnp.where(varies, length, edge) for edge in (0.0, jnp.inf))
    size = jnp.where(varies, length, jnp.where(middle != 0, jnp.abs(middle), 1.0))
    powers = jnp.ldexp(1.0, jnp.frexp(size)[1])
    return jnp.where(most.max() > FAR_APART * least.min(), powers, 1.0)


@quick_jit()
def spectrum_of_kernel(x: Array, y: Array, weight: Array, centred: Array, standard: Array) -> Spectrum:
    """Return the spectrum from the kernel of the rows, as many eigenvalues as rows."""
    rows, aims, total = x.astype(jnp.float64), y.astype(jnp.float64), weight.sum()
    mean, level = matmul(weight, rows) / total, centred * matmul(weight, aims) / total
    # A mean rounds: a constant column would be what is left.
    first = rows[jnp.argmax(weight)]
    constant = ((rows == first[None]) | (weight == 0)[:, None]).all(0)
    mean = jnp.where(constant, first, mean)
    variance, middle = matmul(weight, (rows - mean[None]) ** 2) / total, centred * mean
    scale = jnp.where(standard > 0, deviation(variance, mean), 1.0)
    root = jnp.sqrt(2 * weight / total)[:, None]
    z, t = root * (rows - middle[None]) / scale[None], root * (aims - level[None])
    kernel, own = matmul(z, z.T), jnp.sqrt(weight / total)
    # With an intercept √(s/S) is in the null space: lifted above the other eigenvalues it stands alone, last.
    size = jnp.sqrt((kernel * kernel).sum())
    above = centred * jnp.where(size > 0, 2 * size, 1.0)
    values, vectors = jnp.linalg.eigh(kernel + above * outer(own, own))
    values = jnp.where(size > 0, values, 0.0)  # of the lift alone rounding is left
    values, basis = values.at[-1].multiply(1 - centred), matmul(z.T, vectors) / scale[:, None]
    return Spectrum(values, basis, matmul(vectors.T, t), middle, level, scale, vectors)


def inverse_of(spectrum: Spectrum, l2: Array) -> Array:
    """(values + λ)⁻¹, shape (l2, k); 0 where both are but rounding, which makes w the shortest solution."""
    values = jnp.maximum(spectrum.values, 0)
    cutoff = len(values) * jnp.finfo(values.dtype).eps * values.max()
    dropped = (values[None] <= cutoff) & (l2[:, None] <= cutoff)
    return jnp.where(dropped, 0.0, 1 / jnp.where(dropped, 1.0, values[None] + l2[:, None]))


@quick_jit()
def heads_of(spectrum: Spectrum, l2: Array) -> tuple[Array, Array]:
    """Return weights (l2, targets, m) and intercepts (l2, targets). At λ = 0 the solution is the shortest."""
    scaled = inverse_of(spectrum, l2)[:, None, :] * spectrum.projected.T[None]
    weight = matmul(scaled.reshape(-1, scaled.shape[-1]), spectrum.basis.T).reshape(*scaled.shape[:2], -1)
    return weight, intercept_of(spectrum, weight)


def intercept_of(spectrum: Spectrum, weight: Array) -> Array:
    """Return the intercepts that go with weights, shape (l2, targets)."""
    return spectrum.level[None] - matmul(weight, spectrum.middle)


@quick_jit()
def shortest_of(spectrum: Spectrum, weight: Array) -> Array:
    """Return the shortest solutions next to solutions at λ = 0, shape (l2, targets, m).

    The columns of the spectrum have other scales, in which other solutions are shortest. The part in the null
    space is taken away. Entries of the size of rounding would count by the inverse of a small scale. Where scales
    are so far apart that what is taken away changes predictions, the solutions stay as they are.
    """
    dropped = inverse_of(spectrum, jnp.zeros(1))[0] == 0
    vectors = jnp.where(dropped[None], spectrum.basis * spectrum.scale[:, None], 0.0)
    noise = 64 * len(spectrum.values) * jnp.finfo(weight.dtype).eps
    null = jnp.where(jnp.abs(vectors) > noise, vectors, 0.0) / spectrum.scale[:, None]
    basis, _ = jnp.linalg.qr(null / jnp.where(dropped, vector_norm(null, axis=0), 1.0)[None])
    basis = jnp.where(dropped[None], basis, 0.0)
    flat = weight.reshape(-1, len(basis))
    taken = matmul(matmul(flat, basis), basis.T)
    seen = jnp.where(dropped[None], 0.0, spectrum.basis * spectrum.scale[:, None])
    change = vector_norm(matmul(taken * spectrum.scale[None], seen), axis=-1)
    harmless = change <= HARMLESS * vector_norm(flat * spectrum.scale[None], axis=-1)
    return (flat - jnp.where(harmless[:, None], taken, 0.0)).reshape(weight.shape)


def r2_scores(
    inputs: TrainingData, accumulator: GramAccumulator, fit: int, l2: np.ndarray, parts: Parts
) -> np.ndarray:
    """Return 1 − (squared error)/(variance) of the rows held out: shape (L, targets)."""
    sums = accumulator.test_gram(fit)
    scores = []
    for coef, intercept in parts:
        error, height, digits = (np.asarray(a) for a in _errors(sums, coef, intercept))
        if not (digits <= DIGITS).all():
            error = _errors_of_rows(inputs, accumulator, fit, coef, intercept)
        scores.append(fraction_explained(error, height))
    return np.concatenate(scores)[: len(l2)]


@quick_jit()
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


def _errors_of_rows(
    inputs: TrainingData, accumulator: GramAccumulator, fit: int, coef: Array, intercept: Array
) -> np.ndarray:
    """Σ s(ŷ − y)² from the predictions of every row."""
    error = accumulator.put(np.zeros(intercept.shape))
    for x, y, weight, _ in accumulator.blocks(np.flatnonzero(inputs.test[fit] & (inputs.weight > 0))):
        error = _add_errors(jax.block_until_ready(error), x, y, weight, coef, intercept)
    return np.asarray(error)


@quick_jit(donate_argnums=0)
def _add_errors(error: Array, x: Array, y: Array, weight: Array, coef: Array, intercept: Array) -> Array:
    predicted = matmul(coef, x.astype(jnp.float64).T) + intercept[..., None]
    return error + (weight[None, None] * (predicted - y.astype(jnp.float64).T[None]) ** 2).sum(-1)


def predictions(accumulator: GramAccumulator, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Shape (K, len(index)): what `theta`, (K, m + 1), says of the rows of these numbers, ascending."""
    found, there = np.empty((len(theta), len(index))), accumulator.put(theta)
    for x, _, _, rows in accumulator.blocks(index):
        found[:, np.searchsorted(index, rows)] = np.asarray(logits_of_block(x, there))
    return found
