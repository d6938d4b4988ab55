r"""The exact gap of heads with squared loss.

J is quadratic. With its gradient g and Hessian H at any point, $J - J^* = \frac12 g^\top H^+ g$. The columns are
centered first, which eliminates the intercept. Let $X_c$ and $y_c$ be centered, ρ = ŷ − y the residuals and
$\bar\rho$ their mean. Let $G = \frac1S X_c^\top\mathrm{diag}(s)X_c$ and $c = \frac1S X_c^\top(s\circ y_c)$. With
$A = 2G$ and the gradient $h = \frac2S X_c^\top(s\circ\rho) + \lambda w$,

$J - J^* = \bar\rho^2 + \frac12 h^\top(A + \lambda I)^+ h$

With a scale σ the penalty is that of σw. Then h and A are divided by σ, and σw takes the place of w. One
eigendecomposition serves every head with these weights and l2 > 0, and another every head with l2 = 0. For many
heads h and J come from G and c, without a pass over the rows: $h = 2(Gw - c) + \lambda w$. For few heads, h and J
come from the residuals. They also come from the residuals if the moments round too much.

Duality needs no A, because $h^\top(A + \lambda I)^{-1}h \le \|h\|^2/\lambda$. Few heads may take this bound if it
is small enough.
"""

from typing import cast

import numpy as np

from dlcore.certificate.bounds.base import CertifiedLoss
from dlcore.certificate.bounds.quadratic_form import GramSpectra, PenaltyOnly, quadratic_form
from dlcore.certificate.bounds.squared_evaluation import (
    Evaluation,
    HeadBatch,
    evaluate_from_moments,
    evaluate_from_rows,
)
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.moments import ColumnMoments, Moments, RowSums
from dlcore.certificate.result import Bounds
from dlcore.certificate.rounding import squared as squared_errors
from dlcore.certificate.rows import (
    BLOCK_BYTES,
    HostTable,
    RowWeights,
    TrainingData,
    row_norms,
    slices_of,
)

FEW_HEADS = 8
"""Heads are evaluated from residuals if there are at most this many. That costs no more than computing A."""
COLUMNS_PER_HEAD = 8
"""Heads are also evaluated from residuals if there is at most one for this many columns."""
ROUNDING_TOL = 1e-7
"""Relative rounding above which a head is evaluated from its residuals.

It is the rounding of the value relative to J, or of the gap relative to the smaller of J and E.
"""
NUMBERS = ("value", "gradient_norm", "gap", "rounding", "null_value", "improvement")


def squared_bounds(heads: HeadArrays, x: HostTable, y: np.ndarray, weights: RowWeights) -> Bounds:
    """Return J, ‖∇J‖, the gap and its rounding for H heads.

    Args:
      heads: H heads. Head h has the target h mod targets.
      x: rows, shape (n, m).
      y: targets, shape (n, targets).
      weights: a set for all models, or a set for each.
    """
    count, intercept = len(heads.coef), heads.intercept
    model = np.zeros(count, int) if weights.is_shared else np.arange(count) // y.shape[1]
    distinct, set_of_model = np.unique(_first_equal(weights.values), return_inverse=True)
    sums = RowSums(x, y, RowWeights(weights.values[distinct], weights.exponent[distinct]))
    numbers, names = np.zeros((len(NUMBERS), count)), np.full(count, "", dtype=object)
    for k in range(len(distinct)):
        in_set = set_of_model[model] == k
        bias = None if intercept is None else intercept[in_set]
        batch = heads._replace(coef=heads.coef[in_set], intercept=bias, l2=heads.l2[in_set])
        bounds = bounds_of_set(sums, k, batch)
        numbers[:, in_set], names[in_set] = [getattr(bounds, name) for name in NUMBERS], bounds.bound
    return Bounds(**dict(zip(NUMBERS, numbers, strict=True)), bound=list(names))


def bounds_of_set(sums: RowSums, k: int, heads: HeadArrays, duality_tol: float = 0.0) -> Bounds:
    """Return the bounds of heads that all have the weights of set k.

    Args:
      sums: sums over the rows.
      k: the index of the set.
      heads: H heads. Head h has the target h mod targets.
      duality_tol: if there are few heads, all with l2 > 0, the duality bound is tried first. It is used if
        gap + rounding ≤ `duality_tol`·min(J, E) for every head. 0 omits the duality bound.
    """
    count, features = heads.coef.shape
    scale = heads.scale
    batch = HeadBatch(heads.coef, heads.intercept, heads.l2, np.arange(count) % sums.y.shape[1])
    is_few = count * len(sums.weights.values) <= max(FEW_HEADS, features // COLUMNS_PER_HEAD)
    if duality_tol and is_few and (heads.l2 > 0).all():
        columns, evaluation = evaluate_from_rows(sums, k, batch)
        if np.isfinite(columns.error_scale).all():
            penalty_only = PenaltyOnly(columns, scale, centered=heads.intercept is not None)
            bounds = _bounds_at(columns, penalty_only, batch, evaluation)
            if (bounds.gap + bounds.rounding <= duality_tol * np.minimum(bounds.value, bounds.improvement)).all():
                return bounds
    moments = sums.moments(k)
    if not (np.isfinite(moments.gram).all() and np.isfinite(moments.cross).all()):
        return _bounds_of_overflow(moments, batch, scale, evaluate_from_rows(sums, k, batch)[1])
    spectra = GramSpectra(moments, scale, centered=heads.intercept is not None)
    if count <= max(FEW_HEADS, features // COLUMNS_PER_HEAD):
        return _bounds_at(moments, spectra, batch, evaluate_from_rows(sums, k, batch)[1])
    parts, is_inaccurate = [], []
    # Intermediate results of a block stay in the cache.
    for block in slices_of(count, max(1, BLOCK_BYTES // (32 * features))):
        part = batch.select(block)
        evaluation = evaluate_from_moments(moments, part)
        parts.append(bounds := _bounds_at(moments, spectra, part, evaluation))
        value_scale = np.minimum(bounds.value, bounds.improvement)
        is_accurate = evaluation.errors.err_value <= ROUNDING_TOL * bounds.value
        is_inaccurate.append(~(is_accurate & (bounds.rounding <= ROUNDING_TOL * value_scale)))
    numbers = {name: np.concatenate([getattr(part, name) for part in parts]) for name in NUMBERS}
    names = [name for part in parts for name in part.bound]
    again = np.flatnonzero(np.concatenate(is_inaccurate))
    if len(again):
        part = batch.select(again)
        bounds = _bounds_at(moments, spectra, part, evaluate_from_rows(sums, k, part)[1])
        for name in NUMBERS:
            numbers[name][again] = getattr(bounds, name)
        for index, name in zip(again, bounds.bound, strict=True):
            names[index] = name
    return Bounds(**numbers, bound=names)


def _bounds_of_overflow(
    moments: Moments, heads: HeadBatch, scale: np.ndarray | None, evaluation: Evaluation
) -> Bounds:
    """Return J and ‖∇J‖ of heads whose moments overflow, without a bound."""
    unknown = np.full(len(heads.coef), np.nan)
    scaled_coef = heads.coef if scale is None else heads.coef * scale
    h = 2 * evaluation.grad_coef + heads.l2[:, None] * (scaled_coef if scale is None else scaled_coef * scale)
    value, norm = _value_and_gradient_norm(moments, heads.l2, scaled_coef, evaluation, h)
    return Bounds(value, norm, unknown, unknown, ["none: overflow"] * len(unknown), unknown, unknown)


def _first_equal(sets: np.ndarray) -> np.ndarray:
    """Return the index of the first equal set for each set of weights."""
    first: list[int] = []
    for k, row in enumerate(sets):
        equal = (j for j in dict.fromkeys(first) if np.array_equal(sets[j], row))
        first.append(next(equal, k))
    return np.array(first)


def _value_and_gradient_norm(
    moments: ColumnMoments, l2: np.ndarray, scaled_coef: np.ndarray, evaluation: Evaluation, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return J and ‖∇J‖ of the data as given. The mean residual is 0 without an intercept."""
    mean = evaluation.mean_residual
    norm = np.hypot(row_norms(h + 2 * mean[:, None] * moments.x_mean), 2 * mean)
    return evaluation.mean_square + l2 / 2 * np.einsum("ij,ij->i", scaled_coef, scaled_coef), norm


def _bounds_at(
    moments: ColumnMoments, spectra: GramSpectra | PenaltyOnly, heads: HeadBatch, evaluation: Evaluation
) -> Bounds:
    """Return the bounds of heads from their evaluation."""
    l2, scale, errors = heads.l2, spectra.scale, evaluation.errors
    coef, grad_coef = heads.coef, evaluation.grad_coef
    if scale is not None:
        coef, grad_coef = coef * scale, grad_coef / scale
    h = 2 * grad_coef + l2[:, None] * coef
    value, gradient_norm = _value_and_gradient_norm(
        moments, l2, coef, evaluation, h if scale is None else h * scale
    )
    gap, err_root = np.zeros((2, len(coef)))
    names = np.full(len(coef), "exact", dtype=object)
    for mask, penalized in ((l2 > 0, True), (l2 == 0, False)):
        if not mask.any():
            continue
        spectrum = spectra.spectrum(penalized=penalized)
        index = slice(None) if mask.all() else mask
        grad = grad_coef[index] if penalized else grad_coef[index] * spectrum.column_units
        err_h = squared_errors.err_penalized_grad(
            errors.err_grad[index], spectrum.trace_root, l2[index], row_norms(coef[index]), row_norms(grad)
        )
        gap[index], err_root[index], names[index] = quadratic_form(
            spectrum, h[index] if penalized else 2 * grad, l2[index], err_h
        )
    gap_root = np.sqrt(evaluation.mean_residual**2 + gap)
    null_value, err_null = _null_value(moments, heads)
    penalty = l2 / 2 * np.einsum("ij,ij->i", coef, coef)
    return Bounds(
        value,
        gradient_norm,
        gap_root**2,
        squared_errors.squared_rounding(errors, err_root, gap_root, moments.rounding),
        list(names),
        null_value,
        np.maximum(null_value - value - err_null - errors.err_value, penalty),
    )


def _null_value(moments: ColumnMoments, heads: HeadBatch) -> tuple[np.ndarray, np.ndarray]:
    """Return J₀ = Σ s·y² and a bound on its error, shape (H,) each. Without an intercept y is not centered."""
    mean, variance = moments.y_mean, moments.variance
    error_scale = moments.error_scale[moments.features :]
    if heads.intercept is None:
        variance, error_scale = variance + mean**2, (np.sqrt(error_scale) + np.abs(mean)) ** 2
    return variance[heads.target], (moments.relative_error * error_scale)[heads.target]


def _bounds_of_data(heads: HeadArrays, data: TrainingData, center: np.ndarray | None) -> Bounds:
    """Return the bounds of heads of one target or of several."""
    del center  # the moments are centered in any case
    targets = data.y if data.y.ndim == 2 else data.y[:, None]
    return squared_bounds(heads, cast("HostTable", data.x), targets, data.weights)


def _check_targets(y: np.ndarray, weights: np.ndarray | None) -> None:
    del weights
    if y.ndim not in (1, 2):
        raise ValueError(f"y: expected 1-D [n] or 2-D [n, targets], got {y.ndim}-D with shape {y.shape}")


def _predict(logits: np.ndarray) -> np.ndarray:
    return logits


SQUARED = CertifiedLoss("squared", _bounds_of_data, _check_targets, _predict)
"""The squared error (ŷ − y)²."""
