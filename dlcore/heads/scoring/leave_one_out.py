r"""Leave-one-out errors of ridge heads, from the factorisation of all rows.

Row i is left out at the alpha of all rows, α = λS/2, as in scikit-learn's RidgeCV: the fit on the remaining rows
has $\lambda_i = \lambda S/(S - s_i)$. Standardised columns have the deviations of all rows, as with a
StandardScaler before a RidgeCV. With the residual $e_i$ of the fit on all rows and the leverage of row i,

$e_{-i} = e_i/(1 - h_i)$,
$h_i = \frac{s_i}{S}\left(1 + 2(x_i - \bar x)^\top(H + \lambda I)^{-1}(x_i - \bar x)\right)$,

without the 1 and with $\bar x = 0$ if there is no intercept.

$1 - h_i$ cancels where $h_i$ is near 1. Two other forms do not cancel:

- The kernel $ZZ^\top = UDU^\top$, if rows are no more than coefficients: every leverage is near 1 then. With
  t = √(2s/S)·y about its mean and $G = U(D + \lambda)^{-1}U^\top$ without the direction √s, which the intercept
  takes, $\sqrt{2s_i/S}\,e_{-i} = (Gt)_i/G_{ii}$.
- The ridge of the remaining rows, if some rows have a smaller leverage. Rows with leverage near 1 form the set T.
  The ridge of the remaining rows predicts T; the matrix M below accounts for the rows of T in each other's fit.
  With the errors ρ of that ridge on T, its curvature A, its sum of weights $S_0$ and $K_{ij} =
  \sqrt{s_is_j}\,(\frac2S\tilde x_i^\top A^{-1}\tilde x_j + 1/S_0)$, $\sqrt{s_i}\,e_{-i} = (M\sqrt
  s\rho)_i/M_{ii}$, $M = (I + K)^{-1}$.

At λ = 0 both forms give the limit λ → 0: the prediction of the shortest solution.

Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 7.10.1; Rifkin and Lippert
(2007), Notes on regularized least squares, section 3.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.losses.squared import SQUARED
from dlcore.heads.quick_jit import quick_jit
from dlcore.heads.scoring.held_out import LOGIT_BYTES, Scoring, answer_of, scores_by_name
from dlcore.heads.solvers.ridge.fit_ridge import strengths
from dlcore.heads.solvers.ridge.gram import GramAccumulator, Products, gram_of, rows_at
from dlcore.heads.solvers.ridge.spectrum import Parts, Spectrum, heads_of, inverse_of, spectrum_of_kernel
from dlcore.linalg import matmul, outer
from dlcore.metrics.regression import fraction_explained

NAME = "leave-one-out"
NEAR_1 = 1e-3
"""A row whose leverage exceeds 1 − `NEAR_1` uses the ridge of the remaining rows, or the kernel if no row remains.

Below it, $1 - h_i$ loses at most three digits.
"""
EPS = float(np.finfo(np.float64).eps)
ROTATION = 16
"""The assumed rotation of an eigenvector by rounding, in units of n·eps·max(values)/value."""


def check_leave_one_out(inputs: TrainingData) -> None:
    """Raise unless the loss is squared, there is no validation set, and two or more rows have a weight above 0."""
    if inputs.validation is not None:
        raise ValueError(f"validation: expected None with folds {NAME!r}; rows are scored by one of the two")
    if not inputs.loss.is_exact:
        raise ValueError(f"folds: {NAME!r} is for the loss 'squared', got loss {inputs.loss.name!r}")
    if (rows := int((inputs.weight > 0).sum())) < 2:
        raise ValueError(f"folds: expected at least two rows of positive weight for {NAME!r}, got {rows}")


class LeaveOneOutInput(NamedTuple):
    """The fit on all rows, and its data.

    Attributes:
      inputs: the checked arguments.
      accumulator: rows on the device.
      rows: indices of the rows of positive weight, ascending, shape (n,).
      spectrum: the spectrum of the fit on all rows.
    """

    inputs: TrainingData
    accumulator: GramAccumulator
    rows: np.ndarray
    spectrum: Spectrum


def left_out_scores(
    inputs: TrainingData,
    accumulator: GramAccumulator,
    scoring: Scoring,
    spectrum: Spectrum,
    l2: np.ndarray,
    parts: Parts,
) -> np.ndarray:
    """Return the leave-one-out scores of all rows, shape (L, targets)."""
    index = np.flatnonzero(inputs.weight > 0)
    fitted = LeaveOneOutInput(inputs, accumulator, index, spectrum)
    if scoring == "r2":
        return _r2(fitted, l2, parts)
    aims, weight = accumulator.y[index].astype(np.float64), inputs.score_weight[index] * inputs.unit
    scores = []
    for part in strengths(l2, accumulator, max(1, LOGIT_BYTES // (8 * aims.size))):
        errors = np.empty((len(part), aims.shape[1], len(index)))
        for rows, _, (found,) in _errors(fitted, [(part, *heads_of(spectrum, part))]):
            errors[:, :, np.searchsorted(index, rows)] = np.asarray(found)
        for strength, of_targets in zip(np.asarray(part)[: len(l2) - len(scores)], errors, strict=False):
            if isinstance(scoring, str):
                scores.append(scores_by_name(scoring, SQUARED, aims.T - of_targets, aims.T, weight))
                continue
            where = f"{NAME}, l2 = {strength:g}"
            pairs = zip(aims.T, of_targets, strict=True)
            scores.append([answer_of(scoring, y, y - error, weight, where) for y, error in pairs])
    return np.array(scores)


def _r2(fitted: LeaveOneOutInput, l2: np.ndarray, parts: Parts) -> np.ndarray:
    """Return 1 − Σ s·e²/Σ s(y − ȳ)² over all rows."""
    inputs, accumulator, index, _ = fitted
    pieces = [(l2, *part) for l2, part in zip(strengths(l2, accumulator), parts, strict=True)]
    sums = [accumulator.put(np.zeros(intercept.shape)) for _, _, intercept in pieces]
    for _, weight, errors in _errors(fitted, pieces):
        sums = [_add_squares(total, error, weight) for total, error in zip(sums, errors, strict=True)]
        jax.block_until_ready(sums)  # blocks would queue up, all in memory
    error = np.concatenate([np.asarray(part) for part in sums])[: len(l2)]
    y, weight = accumulator.y[index].astype(np.float64), inputs.weight[index]
    off = y - weight @ y / weight.sum()
    return fraction_explained(error, np.where((y == y[0]).all(0), 0, weight @ off**2)[None])


@quick_jit(donate_argnums=0)
def _add_squares(total: Array, error: Array, weight: Array) -> Array:
    weight = weight[None, None]
    return total + jnp.where(weight > 0, weight * error**2, 0).sum(-1)


Piece = tuple[Array, Array, Array]
"""Strengths, with the coefficients and intercepts of the fit on all rows."""


def _errors(fitted: LeaveOneOutInput, pieces: Sequence[Piece]) -> Iterator[tuple[np.ndarray, Array, list[Array]]]:
    """Yield row indices, weights, and the leave-one-out errors of each piece, shape (l2, targets, rows).

    Rows with leverage near 1 are yielded first with error 0, and again at the end with their error.
    """
    inputs, accumulator, index, spectrum = fitted
    near_1 = np.zeros(len(inputs.weight), bool)
    if len(index) <= inputs.x.shape[1] + accumulator.fit_intercept:
        near_1[index] = True
    else:
        yield from _by_leverages(fitted, pieces, near_1)
    rows, rest = np.flatnonzero(near_1), index[~near_1[index]]
    if not len(rows):
        return
    given = (
        accumulator.rows_on_device(rows),
        accumulator.put(accumulator.y[rows]),
        accumulator.put(inputs.weight[rows]),
    )
    if len(rest):
        total = accumulator.put(inputs.weight.sum())
        others = _ridge_of_others(accumulator.summed(rest), spectrum.scale, accumulator.has_intercept, total)
        of_rows = functools.partial(_by_others, others, given, spectrum.scale, total, accumulator.has_intercept)
    else:
        of_rows = functools.partial(_by_kernel, _kernel_of(fitted), given[-1], accumulator.has_intercept)
    yield rows, given[-1], [of_rows(l2) for l2, _, _ in pieces]


def _by_leverages(
    fitted: LeaveOneOutInput, pieces: Sequence[Piece], near_1: np.ndarray
) -> Iterator[tuple[np.ndarray, Array, list[Array]]]:
    """Yield the errors by the leverages, as `_errors` does, and mark the rows with leverage near 1 in `near_1`."""
    inputs, accumulator, index, spectrum = fitted
    # Leverages are largest under the weakest penalty.
    total = accumulator.put(inputs.weight.sum())
    weakest = accumulator.put(min(np.asarray(l2).min() for l2, _, _ in pieces))
    for x, y, weight, rows in accumulator.blocks(index):
        given = (x, y, accumulator.put(inputs.weight[rows])), total, accumulator.has_intercept, weakest
        errors, marks = zip(*(_by_leverage(spectrum, piece, *given) for piece in pieces), strict=True)
        near_1[rows] = np.asarray(marks[0])
        yield rows, weight, list(errors)


@quick_jit()
def _by_leverage(
    spectrum: Spectrum,
    piece: tuple[Array, Array, Array],
    block: tuple[Array, Array, Array],
    total: Array,
    has_intercept: Array,
    weakest: Array,
) -> tuple[Array, Array]:
    """Return e/(1 − h), (l2, targets, rows), and the rows whose h is near 1 at `weakest`: their errors are 0."""
    (l2, coef, intercept), (x, y, weight) = piece, block
    rows = x.astype(jnp.float64)
    error = y.astype(jnp.float64).T[None] - matmul(coef, rows.T) - intercept[..., None]
    along = matmul(rows - spectrum.middle[None], spectrum.basis) ** 2

    def complement(l2: Array) -> Array:
        return 1 - weight[None] / total * (has_intercept + 2 * matmul(inverse_of(spectrum, l2), along.T))

    near_1 = complement(weakest[None])[0] < NEAR_1
    left = jnp.where(near_1[None], 1.0, complement(l2))
    return jnp.where(near_1[None, None], 0.0, error / left[:, None]), near_1


def _kernel_of(fitted: LeaveOneOutInput) -> tuple[Array, Array, Array]:
    """Return eigenvalues (n,), eigenvectors (n, n) and projected targets (n, targets) of the kernel."""
    inputs, accumulator, index, spectrum = fitted
    if spectrum.rows is not None:
        return spectrum.values, rows_at(spectrum.rows, accumulator.put(index)), spectrum.projected
    x, y, weight = (
        accumulator.rows_on_device(index),
        accumulator.put(accumulator.y[index]),
        accumulator.put(inputs.weight[index]),
    )
    found = spectrum_of_kernel(x, y, weight, accumulator.has_intercept, accumulator.scaling_mode)
    assert found.rows is not None
    return found.values, found.rows, found.projected


@quick_jit()
def _by_kernel(kernel: tuple[Array, Array, Array], weight: Array, has_intercept: Array, l2: Array) -> Array:
    """Return (Gt)ᵢ/Gᵢᵢ in units of y, shape (l2, targets, rows)."""
    values, vectors, projected = kernel
    resolved, inverse = _resolved_inverse(values, l2)
    kept = jnp.where(jnp.arange(len(values)) == len(values) - 1, 1 - has_intercept, 1.0)  # drop √s
    # Rounding rotates the null space by about n·eps·max(values)/values, which the factor 1/λ would amplify.
    rotation = ROTATION * len(values) * EPS * values.max() / jnp.where(resolved, values, jnp.inf)
    in_null_space = matmul(vectors**2, jnp.where(resolved, 0.0, kept)) > matmul(vectors**2, rotation**2)
    vectors = jnp.where(resolved[None] | in_null_space[:, None], vectors, 0.0)
    inverse = kept[None] * inverse
    scaled = matmul(inverse[:, None] * projected.T[None], vectors.T)
    return scaled / matmul(inverse, (vectors**2).T)[:, None] / jnp.sqrt(2 * weight / weight.sum())[None, None]


def _resolved_inverse(values: Array, l2: Array) -> tuple[Array, Array]:
    """Return which eigenvalues exceed rounding, (k,), and 1/(value + λ), where unresolved eigenvalues count as 0.

    The second has shape (l2, k). λ is raised to at least rounding²·max(values) for unresolved eigenvalues, because
    eigenvectors have errors of that order.
    """
    rounding = len(values) * EPS
    largest = jnp.where(values.max() > 0, values.max(), 1.0)
    resolved = values > rounding * largest
    least = jnp.maximum(l2, rounding**2 * largest)[:, None]
    return resolved, 1 / jnp.where(resolved[None], values[None] + l2[:, None], least)


class OtherRows(NamedTuple):
    """The ridge of the rows whose leverage is not near 1, in units of `scale`.

    Attributes:
      values: eigenvalues of the curvature, shape (m,).
      basis: eigenvectors, shape (m, m).
      projected: targets in that basis, shape (m, targets).
      middle: the mean of x, shape (m,), 0 without an intercept.
      level: the mean of y, shape (targets,), 0 without an intercept.
      weight: the sum of weights, shape ().
    """

    values: Array
    basis: Array
    projected: Array
    middle: Array
    level: Array
    weight: Array


@quick_jit()
def _ridge_of_others(sums: Products, scale: Array, has_intercept: Array, total: Array) -> OtherRows:
    """Return the ridge of the rows of these sums.

    `total` is the sum of the weights of all rows, by which λ is normalised.
    """
    about_0 = (1 - has_intercept) * sums.total * sums.middle
    gram = (gram_of(sums) + outer(about_0, sums.middle)) / scale[:, None] / scale[None]
    cross = (sums.cross + outer(about_0, sums.level)) / scale[:, None]
    values, basis = jnp.linalg.eigh(2 / total * gram)
    projected = 2 / total * matmul(basis.T, cross)
    return OtherRows(values, basis, projected, has_intercept * sums.middle, has_intercept * sums.level, sums.total)


@quick_jit()
def _by_others(
    others: OtherRows,
    block: tuple[Array, Array, Array],
    scale: Array,
    total: Array,
    has_intercept: Array,
    l2: Array,
) -> Array:
    """Return (M√s·ρ)ᵢ/Mᵢᵢ in units of y, shape (l2, targets, rows)."""
    x, y, weight = block
    along = matmul((x.astype(jnp.float64) - others.middle[None]) / scale[None], others.basis)
    resolved, inverses = _resolved_inverse(others.values, l2)
    projected = jnp.where(resolved[:, None], others.projected, 0.0)
    root = jnp.sqrt(weight)

    def for_strength(inverse: Array) -> Array:
        predicted = others.level[None] + matmul(along * inverse[None], projected)
        residual = root[:, None] * (y.astype(jnp.float64) - predicted)
        half = root[:, None] * along * jnp.sqrt(2 / total * inverse)[None]
        kernel = matmul(half, half.T) + has_intercept / others.weight * outer(root, root)
        # The matrix is scaled to a unit diagonal, because rows may be of any scale.
        unit = jnp.sqrt(1 + jnp.diagonal(kernel))
        values, vectors = jnp.linalg.eigh((jnp.eye(len(root)) + kernel) / outer(unit, unit))
        values = jnp.maximum(values, len(root) * EPS * values.max())
        solved = matmul(vectors / values[None], matmul(vectors.T, residual / unit[:, None]))
        return (unit[:, None] * solved / ((vectors**2 / values[None]).sum(-1) * root)[:, None]).T

    return jax.lax.map(for_strength, inverses)
