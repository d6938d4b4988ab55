"""Scores of ridge heads: R² from sums of products, or from rows if the sums lose digits.

Other metrics use predictions.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.quick_jit import quick_jit
from dlcore.heads.scoring.logits import logits_of_block
from dlcore.heads.solvers.ridge.gram import GramAccumulator, Products, gram_of
from dlcore.heads.solvers.ridge.spectrum import Parts
from dlcore.linalg import matmul, vecdot
from dlcore.metrics.regression import fraction_explained

DIGITS = 1e-10
"""The largest error of R² from sums of products. Above it R² is computed from the rows."""


def r2_scores(
    inputs: TrainingData, accumulator: GramAccumulator, fit: int, l2: np.ndarray, parts: Parts
) -> np.ndarray:
    """Return R² of the held-out rows, 1 − Σ s(ŷ − y)²/Σ s(y − ȳ)², shape (L, targets)."""
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
    """Return Σ s(ŷ − y)², Σ s(y − ȳ)², and a bound on the error of the first, relative to the second."""
    flat, gram = coef.reshape(-1, coef.shape[-1]), gram_of(sums)
    mean = intercept + matmul(coef, sums.middle) - sums.level[None]
    curved = vecdot(flat, matmul(flat, gram)).reshape(mean.shape)
    linear = vecdot(coef, jnp.broadcast_to(sums.cross.T[None], coef.shape))
    error = sums.total * mean**2 + curved - 2 * linear + sums.height[None]
    largest = (
        jnp.sqrt(jnp.trace(gram) * vecdot(flat, flat)).reshape(mean.shape) + jnp.sqrt(sums.height)[None]
    ) ** 2
    tiny = 64 * jnp.finfo(jnp.float64).eps
    # The height of a constant target is rounding.
    certain = sums.height > sums.total * (tiny * sums.level) ** 2
    height = jnp.where(certain, sums.height, 0.0)
    return error, height, tiny * largest / height[None]


def _errors_of_rows(
    inputs: TrainingData, accumulator: GramAccumulator, fit: int, coef: Array, intercept: Array
) -> np.ndarray:
    """Return Σ s(ŷ − y)² from the predictions of every row."""
    error = accumulator.put(np.zeros(intercept.shape))
    for x, y, weight, _ in accumulator.blocks(np.flatnonzero(inputs.test[fit] & (inputs.weight > 0))):
        error = _add_errors(jax.block_until_ready(error), x, y, weight, coef, intercept)
    return np.asarray(error)


@quick_jit(donate_argnums=0)
def _add_errors(error: Array, x: Array, y: Array, weight: Array, coef: Array, intercept: Array) -> Array:
    predicted = matmul(coef, x.astype(jnp.float64).T) + intercept[..., None]
    return error + (weight[None, None] * (predicted - y.astype(jnp.float64).T[None]) ** 2).sum(-1)


def predictions(accumulator: GramAccumulator, theta: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the predictions of `theta`, shape (H, m + 1), for rows by ascending indices: (H, len(index))."""
    found, on_device = np.empty((len(theta), len(index))), accumulator.put(theta)
    for x, _, _, rows in accumulator.blocks(index):
        found[:, np.searchsorted(index, rows)] = np.asarray(logits_of_block(x, on_device))
    return found
