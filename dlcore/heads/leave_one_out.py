r"""Ridge: what the heads of all other rows say of each row, from the factorisation of all rows.

Row i is left out at the alpha of all rows, α = λS/2, as scikit-learn's RidgeCV does: the heads of the others have
$\lambda_i = \lambda S/(S - s_i)$. Standardised columns have the deviations of all rows, as a StandardScaler before
a RidgeCV gives them. With the residual $e_i$ of the fit on all rows and the leverage of row i,

$e_{-i} = e_i/(1 - h_i)$,
$h_i = \frac{s_i}{S}\left(1 + 2(x_i - \bar x)^\top(H + \lambda I)^{-1}(x_i - \bar x)\right)$,

without the 1 and with $\bar x = 0$ where there is no intercept. The kernel $ZZ^\top = UDU^\top$ knows both parts
without a difference of numbers near 1: with t = √(2s/S)·y about its mean and $G = U(D + \lambda)^{-1}U^\top$ but
for the direction √s that the intercept takes, $\sqrt{2s_i/S}\,e_{-i} = (Gt)_i/G_{ii}$.

Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 7.10.1; Rifkin and Lippert
(2007), Notes on regularized least squares, section 3.
"""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._programs import kept_programs
from dlcore._types import Array
from dlcore.heads.inputs import Inputs
from dlcore.heads.ridge import Parts, Spectrum, heads_of, inverse_of, r2, strengths
from dlcore.heads.row_products import Streamed
from dlcore.heads.scoring import LOGIT_BYTES, Scoring, answer_of
from dlcore.linalg import matmul

NAME = "leave-one-out"


def check_leave_one_out(inputs: Inputs, loss: str) -> None:
    """Only the squared loss has it, nothing else scores, and something is left."""
    if inputs.validation is not None:
        raise ValueError(f"validation: expected None with folds {NAME!r}; rows are scored by one of the two")
    if loss != "squared":
        raise ValueError(f"folds: {NAME!r} is for the loss 'squared', got loss {loss!r}")
    if (rows := int((inputs.weight > 0).sum())) < 2:
        raise ValueError(f"folds: expected at least two rows of positive weight for {NAME!r}, got {rows}")


def left_out_scores(
    inputs: Inputs, streamed: Streamed, scoring: Scoring, spectrum: Spectrum, parts: Parts
) -> np.ndarray:
    """Of all rows, each predicted by the others: shape (L, targets)."""
    index = np.flatnonzero(inputs.weight > 0)
    if scoring == "r2":
        return _r2(inputs, streamed, index, spectrum, parts)
    aims, weight = streamed.y[index].astype(np.float64), inputs.scored[index] * inputs.unit
    scores = []
    for l2 in strengths(inputs.l2[0], streamed, max(1, LOGIT_BYTES // (8 * aims.size))):
        errors = np.empty((len(l2), aims.shape[1], len(index)))
        for rows, _, (found,) in _errors(inputs, streamed, index, spectrum, [(l2, *heads_of(spectrum, l2))]):
            errors[:, :, np.searchsorted(index, rows)] = np.asarray(found)
        for strength, of_targets in zip(np.asarray(l2)[: inputs.l2.shape[1] - len(scores)], errors, strict=False):
            where = f"{NAME}, l2 = {strength:g}"
            pairs = zip(aims.T, of_targets, strict=True)
            scores.append([answer_of(scoring, y, y - error, weight, where) for y, error in pairs])
    return np.array(scores)


def _r2(inputs: Inputs, streamed: Streamed, index: np.ndarray, spectrum: Spectrum, parts: Parts) -> np.ndarray:
    """1 − Σ s·e²/Σ s(y − ȳ)² over all rows; −∞ where the others do not determine a row."""
    pieces = [(l2, *part) for l2, part in zip(strengths(inputs.l2[0], streamed), parts, strict=True)]
    sums = [streamed.put(np.zeros(intercept.shape)) for _, _, intercept in pieces]
    for _, weight, errors in _errors(inputs, streamed, index, spectrum, pieces):
        sums = [_add_squares(total, error, weight) for total, error in zip(sums, errors, strict=True)]
        jax.block_until_ready(sums)  # blocks would queue up, all in memory
    error = np.concatenate([np.asarray(part) for part in sums])[: inputs.l2.shape[1]]
    y, weight = streamed.y[index].astype(np.float64), inputs.weight[index]
    off = y - weight @ y / weight.sum()
    return r2(error, np.where((y == y[0]).all(0), 0, weight @ off**2)[None])


@kept_programs(donate_argnums=0)
def _add_squares(total: Array, error: Array, weight: Array) -> Array:
    weight = weight[None, None]
    return total + jnp.where(weight > 0, weight * error**2, 0).sum(-1)


Piece = tuple[Array, Array, Array]
"""Strengths, their weights and intercepts."""


def _errors(
    inputs: Inputs, streamed: Streamed, index: np.ndarray, spectrum: Spectrum, pieces: Sequence[Piece]
) -> Iterator[tuple[np.ndarray, Array, list[Array]]]:
    """(row numbers, weights, of each piece y less what the others say), (l2, targets, rows), in one pass."""
    if spectrum.rows is not None:
        weight, place = streamed.put(inputs.weight[index]), streamed.put(index)
        yield index, weight, [_of_kernel(spectrum, l2, weight, place, streamed.centred) for l2, _, _ in pieces]
        return
    total = streamed.put(inputs.weight.sum())
    for x, y, weight, rows in streamed.blocks(index):
        own = streamed.put(inputs.weight[rows])
        yield rows, weight, [_of_rows(spectrum, *p, x, y, own, total, streamed.centred) for p in pieces]


@kept_programs()
def _of_rows(
    spectrum: Spectrum,
    l2: Array,
    coef: Array,
    intercept: Array,
    x: Array,
    y: Array,
    weight: Array,
    total: Array,
    centred: Array,
) -> Array:
    rows = x.astype(jnp.float64)
    error = y.astype(jnp.float64).T[None] - matmul(coef, rows.T) - intercept[..., None]
    along = matmul(rows - spectrum.middle[None], spectrum.basis)
    reach = 2 * matmul(inverse_of(spectrum, l2), (along**2).T)
    left = 1 - weight[None] / total * (centred + reach)
    # What is left of 1 is all rounding: without this row nothing determines its prediction.
    known = left > 64 * len(spectrum.values) * jnp.finfo(jnp.float64).eps
    return jnp.where(known[:, None], error / jnp.where(known, left, 1.0)[:, None], jnp.inf)


@kept_programs()
def _of_kernel(spectrum: Spectrum, l2: Array, weight: Array, index: Array, centred: Array) -> Array:
    """At λ = 0 the limit, taken where λ is rounding beside the eigenvalues."""
    assert spectrum.rows is not None
    values = jnp.maximum(spectrum.values, 0)
    least = len(values) * jnp.finfo(jnp.float64).eps * jnp.where(values.max() > 0, values.max(), 1.0)
    kept = jnp.where(jnp.arange(len(values)) == len(values) - 1, 1 - centred, 1.0)
    inverse = kept[None] / (values[None] + jnp.maximum(l2, least)[:, None])
    own = spectrum.rows[index]
    scaled = matmul(inverse[:, None] * spectrum.projected.T[None], own.T)
    return scaled / matmul(inverse, (own**2).T)[:, None] / jnp.sqrt(2 * weight / weight.sum())[None, None]
