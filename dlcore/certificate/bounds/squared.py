r"""The exact gap of heads with squared loss.

J is quadratic. With its gradient g and Hessian H at any point, $J - J^* = \frac12 g^\top H^+ g$. The columns are
centered first, which eliminates the intercept. Let $X_c$ and $y_c$ be centered, ρ = ŷ − y the residuals and
$\bar\rho$ their mean. Let $G = \frac1S X_c^\top\mathrm{diag}(s)X_c$ and $c = \frac1S X_c^\top(s\circ y_c)$. With
$A = 2G$ and the gradient $h = \frac2S X_c^\top(s\circ\rho) + \lambda w$,

$J - J^* = \bar\rho^2 + \frac12 h^\top(A + \lambda I)^+ h$

With a scale σ the penalty is that of σw. Then h and A are divided by σ, and σw takes the place of w. One
eigendecomposition of A serves every head with these weights, whatever its l2 and target. For many heads h and J
come from G and c, without a pass over the rows: $h = 2(Gw - c) + \lambda w$. For few heads, and if that rounds too
much, they come from the residuals.

Duality needs no A, because $h^\top(A + \lambda I)^{-1}h \le \|h\|^2/\lambda$. Few heads may take this bound if it
is small enough.
"""

from typing import NamedTuple, cast

import numpy as np

from dlcore.certificate.bounds.base import CertifiedLoss
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.moments import ColumnMoments, Moments, RowSums
from dlcore.certificate.result import Bounds
from dlcore.certificate.rounding import squared as rounding
from dlcore.certificate.rounding.base import err_logit, sum_rounding
from dlcore.certificate.rounding.squared import SquaredErrors
from dlcore.certificate.rows import (
    BLOCK_BYTES,
    HostTable,
    RowWeights,
    TrainingData,
    head_slices,
    row_norms,
    row_slices,
    slices_of,
)

FEW_HEADS = 8
"""Heads are evaluated from residuals if there are at most this many, or at most one per this many columns.

That costs no more than computing A.
"""
ROUNDING_TOL = 1e-7
"""Relative rounding above which a head is evaluated from its residuals.

It is the rounding of the value relative to J, or of the gap relative to the smaller of J and E.
"""
NUMBERS = ("value", "gradient_norm", "gap", "rounding", "null_value", "improvement")


class _HeadBatch(NamedTuple):
    """Heads with the same weights of rows.

    Attributes:
      coef: shape (H, m).
      intercept: shape (H,), or None.
      l2: shape (H,).
      target: the index of the target of each head, shape (H,).
    """

    coef: np.ndarray
    intercept: np.ndarray | None
    l2: np.ndarray
    target: np.ndarray

    def select(self, index: slice | np.ndarray) -> "_HeadBatch":
        """Return some of the heads."""
        intercept = None if self.intercept is None else self.intercept[index]
        return _HeadBatch(self.coef[index], intercept, self.l2[index], self.target[index])


class _Evaluation(NamedTuple):
    """Sums over the rows for H heads, divided by Σ s. ρ are the residuals, and x is centered.

    Attributes:
      value: Σ s·ρ², shape (H,).
      mean_residual: Σ s·ρ, 0 without an intercept, shape (H,).
      grad_coef: Σ s·ρ·x, shape (H, m).
      errors: bounds on the errors of these sums.
    """

    value: np.ndarray
    mean_residual: np.ndarray
    grad_coef: np.ndarray
    errors: SquaredErrors


class _Spectrum(NamedTuple):
    """The eigendecomposition DAD = VΛVᵀ.

    Attributes:
      values: Λ, ascending, shape (m,).
      vectors: V, shape (m, m), or None for the identity.
      scale: d, the diagonal of D, powers of two or 0, shape (m,).
      err: a bound on the norm of the error of DAD.
      trace_root: the root of Σ 2d²·`error_scale`, an upper bound on the trace of DAD.
    """

    values: np.ndarray
    vectors: np.ndarray | None
    scale: np.ndarray
    err: float
    trace_root: float


class _Curvature:
    """A of x/σ, centered if the heads have an intercept, and its eigendecompositions, computed on demand."""

    def __init__(self, moments: Moments, scale: np.ndarray | None, *, centered: bool) -> None:
        self.scale, self.error_scale = scale, _error_scale_of(moments, scale, centered=centered)
        self.gram, self.relative_error = moments.gram, moments.relative_error
        if not centered:
            self.gram = self.gram + np.outer(moments.x_mean, moments.x_mean)
        if scale is not None:
            self.gram = self.gram / scale[:, None] / scale
            self.relative_error += rounding.SCALED_GRAM
        self._spectra: dict[bool, _Spectrum] = {}

    def spectrum(self, *, penalised: bool) -> _Spectrum:
        """Return the decomposition for l2 > 0, or for l2 = 0 that of scaled columns."""
        if penalised not in self._spectra:
            self._spectra[penalised] = self._decompose(penalised=penalised)
        return self._spectra[penalised]

    def _decompose(self, *, penalised: bool) -> _Spectrum:
        """Decompose A. Without a penalty, its columns are first scaled to norms in [1, 2).

        A constant column is only rounding after centering. It is omitted.
        """
        a, error_scale, scale = 2 * self.gram, 2 * self.error_scale, np.ones(len(self.gram))
        if not penalised:
            varies = np.diag(a) > 4 * self.relative_error * error_scale
            exponent = np.frexp(np.sqrt(np.where(varies, np.diag(a), 1)))[1]
            scale = np.where(varies, np.ldexp(1.0, 1 - exponent), 0)
            a = scale[:, None] * a * scale
        values, vectors = np.linalg.eigh(a)
        trace = float((scale**2 * error_scale).sum())
        err = rounding.err_gram(self.relative_error, trace, values)
        return _Spectrum(values, vectors, scale, err, float(np.sqrt(trace)))


class _NoCurvature:
    """The lower bound λI of A + λI, in place of A. It needs λ > 0."""

    def __init__(self, moments: ColumnMoments, scale: np.ndarray | None, *, centered: bool) -> None:
        self.scale, self.error_scale = scale, _error_scale_of(moments, scale, centered=centered)

    def spectrum(self, *, penalised: bool) -> _Spectrum:
        """Return eigenvalues 0 and the identity."""
        assert penalised
        zeros = np.zeros(len(self.error_scale))
        return _Spectrum(zeros, None, zeros + 1, 0.0, float(np.sqrt(2 * self.error_scale.sum())))


def _error_scale_of(moments: ColumnMoments, scale: np.ndarray | None, *, centered: bool) -> np.ndarray:
    """Return the `error_scale` of x/σ, centered or about 0, shape (m,)."""
    error_scale = moments.error_scale[: moments.features]
    error_scale = error_scale if centered else (np.sqrt(error_scale) + np.abs(moments.x_mean)) ** 2
    return error_scale if scale is None else error_scale / scale / scale


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
    batch = _HeadBatch(heads.coef, heads.intercept, heads.l2, np.arange(count) % sums.y.shape[1])
    is_few = count * len(sums.weights.values) <= max(FEW_HEADS, features // FEW_HEADS)
    if duality_tol and is_few and (heads.l2 > 0).all():
        columns = sums.column_moments(k)
        if np.isfinite(columns.error_scale).all():
            no_curvature = _NoCurvature(columns, scale, centered=heads.intercept is not None)
            bounds = _bounds_at(columns, no_curvature, batch, _evaluate_rows(sums, k, columns, batch))
            if (bounds.gap + bounds.rounding <= duality_tol * np.minimum(bounds.value, bounds.improvement)).all():
                return bounds
    moments = sums.moments(k)
    if not (np.isfinite(moments.gram).all() and np.isfinite(moments.cross).all()):
        return _bounds_of_overflow(moments, batch, scale, _evaluate_rows(sums, k, moments, batch))
    curvature = _Curvature(moments, scale, centered=heads.intercept is not None)
    if count <= max(FEW_HEADS, features // FEW_HEADS):
        return _bounds_at(moments, curvature, batch, _evaluate_rows(sums, k, moments, batch))
    parts, is_inexact = [], []
    # Intermediate results of a block stay in the cache.
    for block in slices_of(count, max(1, BLOCK_BYTES // (32 * features))):
        part = batch.select(block)
        evaluation = _evaluate_moments(moments, part)
        parts.append(bounds := _bounds_at(moments, curvature, part, evaluation))
        value_scale = np.minimum(bounds.value, bounds.improvement)
        is_exact = evaluation.errors.err_value <= ROUNDING_TOL * bounds.value
        is_inexact.append(~(is_exact & (bounds.rounding <= ROUNDING_TOL * value_scale)))
    numbers = {name: np.concatenate([getattr(part, name) for part in parts]) for name in NUMBERS}
    names = [name for part in parts for name in part.bound]
    again = np.flatnonzero(np.concatenate(is_inexact))
    if len(again):
        part = batch.select(again)
        bounds = _bounds_at(moments, curvature, part, _evaluate_rows(sums, k, moments, part))
        for name in NUMBERS:
            numbers[name][again] = getattr(bounds, name)
        for h, name in zip(again, bounds.bound, strict=True):
            names[h] = name
    return Bounds(**numbers, bound=names)


def _bounds_of_overflow(
    moments: Moments, heads: _HeadBatch, scale: np.ndarray | None, evaluation: _Evaluation
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


def _evaluate_moments(moments: Moments, heads: _HeadBatch) -> _Evaluation:
    r"""Evaluate heads from the moments G and c.

    $\frac1S\sum s\rho^2 = w^\top(Gw - c) - w^\top c + \frac1S\sum sy^2 + \bar\rho^2$.
    """
    coef, intercept, _, target = heads
    features, roots = coef.shape[1], np.sqrt(moments.error_scale)
    grad_coef, cross = coef @ moments.gram, moments.cross[target]
    grad_coef -= cross
    square = np.einsum("ij,ij->i", coef, grad_coef) - np.einsum("ij,ij->i", coef, cross) + moments.variance[target]
    x_mean, y_mean = moments.x_mean, moments.y_mean[target]
    mean = coef @ x_mean - y_mean + (0 if intercept is None else intercept)
    magnitude = np.abs(coef) @ np.abs(x_mean) + np.abs(y_mean) + (0 if intercept is None else np.abs(intercept))
    reach = np.abs(coef) @ roots[:features] + roots[features:][target]
    errors = rounding.errors_from_moments(features, moments.relative_error, magnitude, reach, mean)
    value = np.maximum(square, 0) + mean**2
    if intercept is None:  # moments about 0 in place of the mean
        grad_coef += mean[:, None] * x_mean
        errors = rounding.without_centering(errors, mean, moments.relative_error)
        mean = np.zeros(len(coef))
    return _Evaluation(value, mean, grad_coef, errors)


def _evaluate_rows(sums: RowSums, k: int, moments: ColumnMoments, heads: _HeadBatch) -> _Evaluation:
    """Evaluate heads from the residuals of every row."""
    x, y, weights = sums.x, sums.y, sums.weights.subset(k)
    coef, intercept, _, target = heads
    count, features = coef.shape
    blocks = row_slices(x, count)
    total = sum(weights.block(block).sum() for block in blocks)
    shift = np.zeros(features) if intercept is None else moments.x_mean
    # About the size of each column minus the shift. In these units the norms of w and x bound Σ|w||x|. Any
    # positive units are valid.
    units = np.sqrt(moments.error_scale[:features] + (moments.x_mean - shift) ** 2)
    units = np.where((units > 0) & np.isfinite(units), units, 1)
    level = coef @ shift + (0 if intercept is None else intercept)
    level_reach = np.abs(coef) @ np.abs(shift) + np.abs(level)
    coef_reach = np.linalg.norm(coef * units, axis=1)
    value, mean, abs_residual, square_error = np.zeros((4, count))
    grad_coef, center = np.zeros((count, features)), np.zeros(features)
    for block in blocks:
        weight = weights.block(block)[0] / total
        rows = x[block].astype(np.float64)
        rows -= shift
        norms = row_norms(rows / units)
        center += weight @ rows
        for h in head_slices(count, len(rows)):
            y_rows = y[block].astype(np.float64)[:, target[h]].T
            residual = coef[h] @ rows.T
            # The two large numbers first: they are nearly equal, so their difference has almost no error.
            residual -= y_rows - level[h, None]
            # a product of m terms, a level of m + 1 terms, two sums, and the rounding of the centered row
            reach = coef_reach[h, None] * norms + level_reach[h, None] + np.abs(y_rows)
            square_error[h] += (weight * err_logit(features, reach, extra=6) ** 2).sum(-1)
            weighted = weight * residual
            value[h] += (weighted * residual).sum(-1)
            mean[h] += weighted.sum(-1)
            grad_coef[h] += weighted @ rows
            np.abs(weighted, out=weighted)
            abs_residual[h] += weighted.sum(-1)
    if intercept is None:
        mean[:] = 0
    else:  # the shift is the mean up to rounding, and the rest of the mean is subtracted here
        grad_coef -= mean[:, None] * center
    errors = rounding.errors_from_rows(
        square_error, None if intercept is None else abs_residual, value, sum_rounding(blocks)
    )
    return _Evaluation(value, mean, grad_coef, errors)


def _value_and_gradient_norm(
    moments: ColumnMoments, l2: np.ndarray, scaled_coef: np.ndarray, evaluation: _Evaluation, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return J and ‖∇J‖ of the data as given. The mean residual is 0 without an intercept."""
    mean = evaluation.mean_residual
    norm = np.hypot(row_norms(h + 2 * mean[:, None] * moments.x_mean), 2 * mean)
    return evaluation.value + l2 / 2 * np.einsum("ij,ij->i", scaled_coef, scaled_coef), norm


def _bounds_at(
    moments: ColumnMoments, curvature: _Curvature | _NoCurvature, heads: _HeadBatch, evaluation: _Evaluation
) -> Bounds:
    """Return the bounds of heads from their evaluation."""
    l2, scale, errors = heads.l2, curvature.scale, evaluation.errors
    coef, grad_coef = heads.coef, evaluation.grad_coef
    if scale is not None:
        coef, grad_coef = coef * scale, grad_coef / scale
    h = 2 * grad_coef + l2[:, None] * coef
    value, gradient_norm = _value_and_gradient_norm(
        moments, l2, coef, evaluation, h if scale is None else h * scale
    )
    gap, err_root = np.zeros((2, len(coef)))
    names = np.full(len(coef), "exact", dtype=object)
    for mask, penalised in ((l2 > 0, True), (l2 == 0, False)):
        if not mask.any():
            continue
        spectrum = curvature.spectrum(penalised=penalised)
        index = slice(None) if mask.all() else mask
        grad = grad_coef[index] if penalised else grad_coef[index] * spectrum.scale
        err_h = rounding.err_penalised_grad(
            errors.err_grad[index], spectrum.trace_root, l2[index], row_norms(coef[index]), row_norms(grad)
        )
        gap[index], err_root[index], names[index] = _quadratic_form(
            spectrum, h[index] if penalised else 2 * grad, l2[index], err_h
        )
    gap_root = np.sqrt(evaluation.mean_residual**2 + gap)
    null_value, err_null = _null_value(moments, heads)
    penalty = l2 / 2 * np.einsum("ij,ij->i", coef, coef)
    return Bounds(
        value,
        gradient_norm,
        gap_root**2,
        rounding.squared_rounding(errors, err_root, gap_root, moments.rounding),
        list(names),
        null_value,
        np.maximum(null_value - value - err_null - errors.err_value, penalty),
    )


def _null_value(moments: ColumnMoments, heads: _HeadBatch) -> tuple[np.ndarray, np.ndarray]:
    """Return J₀ = Σ s·y² and a bound on its error, shape (H,) each. Without an intercept y is not centered."""
    mean, variance = moments.y_mean, moments.variance
    error_scale = moments.error_scale[moments.features :]
    if heads.intercept is None:
        variance, error_scale = variance + mean**2, (np.sqrt(error_scale) + np.abs(mean)) ** 2
    return variance[heads.target], (moments.relative_error * error_scale)[heads.target]


def _quadratic_form(
    spectrum: _Spectrum, h: np.ndarray, l2: np.ndarray, err_h: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return ½hᵀ(A + λI)⁺h, a bound on how far its root is below the true root, and the name of the bound.

    `dlcore.certificate.rounding.squared` splits the eigenvectors into C, whose eigenvalues are certain, and U. At
    λ = 0, U is treated as the null space of A, and the name of the bound states the rank |C|.

    Args:
      spectrum: the eigendecomposition of A.
      h: in the scale of the spectrum, shape (H, m).
      l2: λ, shape (H,).
      err_h: a bound on the error of h, shape (H,).
    """
    count = h.shape[1]
    err_h = rounding.err_rotated(err_h, count, row_norms(h))
    squares = np.square(h if spectrum.vectors is None else h @ spectrum.vectors)
    name = "duality" if spectrum.vectors is None else "exact"
    gap, err_root, names = np.zeros(len(h)), np.zeros(len(h)), np.full(len(h), name, dtype=object)
    for penalty in np.unique(l2):
        same = np.flatnonzero(l2 == penalty)
        same = slice(same[0], same[-1] + 1) if same[-1] - same[0] + 1 == len(same) else same
        certain, lower = rounding.certain_eigenvalues(spectrum.values, penalty, spectrum.err)
        computed = np.where(certain, spectrum.values + penalty, np.inf)
        factors = np.stack([1 / computed, 1 / lower, ~certain, certain], axis=1)
        sums = squares[same] @ factors
        gap[same] = sums[:, 0] / 2
        err_values = np.maximum(np.sqrt(sums[:, 1] / 2) - np.sqrt(gap[same]), 0)
        norms = np.sqrt(sums[:, 2]), np.sqrt(sums[:, 3])
        smallest, rank = lower.min(), int(certain.sum())
        err_root[same] = rounding.err_root_gap(
            err_values, norms, err_h[same], penalty, smallest, full_rank=rank == count
        )
        if penalty == 0 and rank < count:
            refuted = rounding.is_rank_refuted(norms, err_h[same], spectrum.err, smallest)
            err_root[same] = np.where(refuted, np.inf, err_root[same])
            none = f"none: of {count} columns only {rank} are independent in float64"
            names[same] = np.where(refuted, none, f"exact if the rank is {rank}")
    return gap, err_root, names


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
