"""certify: check the input, compute the bound of the loss, and return the certificate."""

import dataclasses
import warnings
from typing import Never

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.labels import codes_of
from dlcore._core.soft_labels import read_soft_labels
from dlcore._core.tables import columns
from dlcore.certificate.bounds import tightest
from dlcore.certificate.bounds.base import CertifiedLoss
from dlcore.certificate.bounds.row_losses import RowLoss
from dlcore.certificate.bounds.soft_labels import is_soft, probabilities_of_soft_labels
from dlcore.certificate.centering import CenteredRows, centered_intercept, find_center
from dlcore.certificate.data_report.report import DataReport, report_on
from dlcore.certificate.data_report.separation import Separation
from dlcore.certificate.data_report.separation_names import names_with_separation, separations_without_search
from dlcore.certificate.head_arrays import HeadArrays, HeadsLike, multiply_class_weight, read_heads, read_weights
from dlcore.certificate.losses import certified_loss
from dlcore.certificate.result import Bounds, Certificate, certificate_from_bounds
from dlcore.certificate.rows import DataLike, HostTable, TrainingData, scaled_weights

ROUNDING_FACTOR = 4
"""If a gap is at most this many times its rounding, more solver steps do not help.

The curvature bound is tried instead.
"""


def certify(
    heads: HeadsLike,
    x: DataLike,
    y: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *positional: bool,
    tight: bool = False,
    report: bool = False,
    **unknown: Never,
) -> Certificate:
    r"""Return a certificate: an upper bound on J − J* for each head.

    The objective is $J(w, b) = \frac1S\sum_i s_i\ell_i + \frac\lambda2\|w\|^2$. The loss $\ell_i$ is the
    cross-entropy of the probabilities $p_i$ of row i. By Fenchel duality, any probabilities $q_i$ with
    $\sum_i s_i(q_i - y_i) = 0$ give a lower bound on $J^*$. It follows that

    $J - J^* \le \frac1S\sum_i s_i\,\mathrm{KL}(q_i\|p_i)
    + \frac{1}{2\lambda}\left\|\frac1S X^\top(s\circ(q - y)) + \lambda w\right\|^2$

    Here q is the repaired p. With a sigmoid, the residuals of the class with the larger sum are scaled down until
    both sums are equal. With a softmax, some classes receive more probability than their weight. This excess is
    moved to the other classes. The repair needs no solve for the intercept and no difference of large numbers.
    Without an intercept q = p and the first term is 0.

    With the squared loss the gap is $\frac12 g^\top H^+ g$ exactly, where g is the gradient and H the Hessian. For
    counts the duality bound holds with rates μ in place of p, and the divergence $q\ln(q/\mu) - q + \mu$ in place
    of KL. Heads with a scale σ are equivalent to heads with the coefficients σw on x/σ, and the bound is that of
    the equivalent heads.

    The float64 gap is an upper bound too, because it includes a bound on its rounding errors. See
    `dlcore.certificate.rounding`.

    Args:
      heads: anything with the attributes of `LinearHeads`.
      x: shape (n, m), any real dtype: a NumPy array or anything that NumPy reads, on disk too, or a sparse table
        of SciPy's. It is read block by block in float64. A NumPy array or a sparse table is never copied whole. If
        the heads have `feature_names` and x has column names, the columns are taken by name, in any order.
      y: the labels or targets. With the loss "logistic" they are labels 0 and 1, or probabilities of class 1,
        shape (n,). With "softmax" they are class indices, shape (n,), or probabilities, shape (n, classes), whose
        rows sum to 1. With "squared" they are real numbers, shape (n,) or (n, targets). With "poisson" they are
        numbers of at least 0, shape (n,). If the heads have `classes_`, labels are those in `classes_`.
      weights: s, shape (n,), or shape (models, n), a set for each model. A set may be 0 in the held-out fold of
        the model and 1 elsewhere. None gives every row the weight 1. If the heads have a `class_weight`, s is
        multiplied by the weight of the row's class.
      *positional: `tight` and `report` by position, which is deprecated.
      tight: whether to compute the curvature too, at the heads or at a point of lower J, and to return the smaller
        bound. At λ = 0 with linearly dependent columns, the curvature of independent columns is tried too.
        `dlcore.certificate.bounds.curvature` derives the bound. The curvature takes a few passes over the rows for
        each head, more for a head far from its optimum. A pass costs n·coefficients² products. Heads of more than
        2,000 coefficients keep the bound by duality, and `bound` says so. The squared loss does not need the
        curvature.
      report: whether to add a report on the data, see `dlcore.certificate.data_report`.
      **unknown: not accepted. If the name is one of another library, such as C, the error gives dlcore's name for
        it.

    Returns:
      A `Certificate`. Duality needs a penalty. At λ = 0 the bound of a cross-entropy or of counts is that of the
        curvature. Without `tight` it is computed if a pass for all heads takes at most 5·10¹⁰ multiplications.
        The gap is then infinity if the curvature is not positive definite, unless only linearly dependent columns
        are the cause. It is infinity if a number overflows. It is infinity if no intercept is optimal: a class has
        no weight, or all counts of positive weight are 0. The squared loss at λ = 0 usually has a bound. For
        linearly dependent columns a bound holds if the rank is the number in `bound`. Float64 cannot exclude a
        higher rank.

    Raises:
      ValueError: if shapes do not fit, a value is not finite, labels are not class indices, or binary labels are
        all of one class. Also if a count is negative, or all counts are 0 and the heads have an intercept. Also if
        a penalty or a weight is negative, all weights are 0, a scale is not above 0, the loss is unknown, or the
        columns of x are not those of the heads.
      TypeError: if `heads` lacks an attribute, an input is not an array of real numbers, or `tight` or `report` is
        not True or False. Object arrays of Python numbers are converted.

    Source: Boyd and Vandenberghe, Convex Optimization, section 5.5.1 (the gap); Yu, Huang and Lin (2011), Dual
    coordinate descent methods for logistic regression (the dual).

    >>> from dlcore import LinearHeads
    >>> x, y = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0, 1, 0, 1])
    >>> certificate = certify(LinearHeads(coef=[0.0], intercept=0.0, l2=0.5), x, y)
    >>> print(round(certificate.value, 4), round(certificate.gap, 4), certificate.bound)
    0.6931 0.0625 duality
    >>> certificate = certify(LinearHeads(coef=[0.0], intercept=0.0, l2=0.0, loss="squared"), x, y)
    >>> print(round(certificate.value, 4), round(certificate.gap, 4), certificate.bound)
    0.5 0.3 exact
    """
    host_checks.reject_unknown_arguments("certify", unknown, " of the heads", X="x", sample_weight="weights")
    if positional:
        if len(positional) > 2:
            raise TypeError(f"certify: expected at most 6 positional arguments, got {4 + len(positional)}")
        warnings.warn(
            "certify: tight and report by position are deprecated, pass tight=… and report=…",
            DeprecationWarning,
            stacklevel=2,
        )
        tight, report = (*positional, report)[:2]
    for name, flag in (("tight", tight), ("report", report)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name}: expected True or False, got {flag!r}")
    return compute_certificate(heads, x, y, weights, tight=tight, report=report)


def compute_certificate(
    heads: HeadsLike,
    x: DataLike,
    y: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    tight: bool = False,
    report: bool = False,
    tol: float | None = None,
    witness: Separation | None = None,
) -> Certificate:
    """Check the arguments and compute the certificate.

    With a tolerance, also compute the curvature and the separation of the classes for heads that need them.

    Args:
      heads: as in `certify`.
      x: as in `certify`.
      y: as in `certify`.
      weights: as in `certify`.
      tight: as in `certify`.
      report: as in `certify`.
      tol: tolerance of the solver, or None. If given, the curvature is also computed for heads whose duality gap
        exceeds `gap_tol(tol)` and is at most 4 times its rounding. For heads without a bound, a separation of the
        classes is searched.
      witness: a separation of a larger set of rows. It is tried if the head itself does not separate the classes.
    """
    missing = [part for part in ("coef", "intercept", "l2", "loss") if not hasattr(heads, part)]
    if missing:
        raise TypeError(
            f"heads: expected LinearHeads(coef, intercept, l2) or what fit_heads returns, got "
            f"{type(heads).__name__} without {', '.join(missing)}"
        )
    loss = certified_loss("heads.loss", heads.loss)
    names = columns.feature_names("x", x)
    order = columns.column_order("x", names, getattr(heads, "feature_names", None))
    has_class_indices, classes = loss.check_labels_and_count_logits is not None, getattr(heads, "classes_", None)
    soft = read_soft_labels("y", y, has_classes=loss.has_classes) if has_class_indices else None
    if soft is not None:
        y = soft
    elif classes is not None:
        y = codes_of("y", y, np.asarray(classes))
    table, labels, values = _checked_data(x, y, weights, np.ndim(heads.coef))
    table = columns.take_columns(table, order)
    if names is not None and isinstance(table, np.ndarray):  # the bits do not depend on how a frame is stored
        table = np.ascontiguousarray(table)
    if soft is None:
        loss.check_targets(labels, None if values is None else values.reshape(-1, len(table)).max(0))
    targets = labels.shape[1] if labels.ndim == 2 and soft is None else None
    arrays = read_heads(heads, table.shape[1], targets, has_classes=loss.has_classes)
    weight_sets = read_weights(values, len(table), arrays.models)
    if soft is None:
        loss.check_targets_of_heads(labels, weight_sets, arrays)
    else:
        labels = probabilities_of_soft_labels(labels, arrays, has_classes=loss.has_classes)
        has_class_indices = False
    count = 0 if loss.check_labels_and_count_logits is None else arrays.coef.shape[1] if loss.has_classes else 2
    weight_sets = multiply_class_weight(heads, labels, weight_sets, count, is_soft=soft is not None)
    scaled = scaled_weights(weight_sets)
    data = TrainingData(table, labels, scaled)
    report_of_data: DataReport | None = None
    separations: dict[int, Separation] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        if loss.row_loss is None:
            bounds = loss.bounds(arrays, data, None)
        else:
            if tol is not None and has_class_indices:
                separations = separations_without_search(arrays, data, witness)
            bounds = _best_bounds(
                loss, loss.row_loss, arrays, data, tight=tight, tol=tol, without_minimum=list(separations)
            )
    if report:
        report_of_data = _report(loss, arrays, table, data)
    if has_class_indices and (tol is not None or report):
        bounds = bounds._replace(bound=names_with_separation(bounds, arrays, data, report_of_data, separations))
    device = getattr(heads, "device", None)
    return dataclasses.replace(
        certificate_from_bounds(bounds, arrays.shape),
        heads_device=None if device is None else str(device),
        report=report_of_data,
    )


def _checked_data(
    x: DataLike, y: npt.ArrayLike, weights: npt.ArrayLike | None, coef_axes: int
) -> tuple[HostTable, np.ndarray, np.ndarray | None]:
    """Return rows, labels and weights as arrays on the host, after the checks that all losses share."""
    table: HostTable = host_checks.as_numpy_or_sparse("x", x)
    labels = host_checks.as_numpy("y", y)
    host_checks.check_matrix("x", table)
    host_checks.check_same_length(x=table, y=labels)
    values = None
    if weights is not None:
        values = host_checks.as_numpy("weights", weights)
        if values.ndim != 2 or coef_axes < 2:
            host_checks.check_weights(values, len(table))
        elif values.shape[1] != len(table):
            raise ValueError(
                f"weights: expected shape ({len(table)},), one per row of x, or (models, {len(table)}), got "
                f"{values.shape}"
            )
    host_checks.check_finite("x", table)
    host_checks.check_finite("y", labels)
    return table, labels, values


def _best_bounds(
    loss: CertifiedLoss,
    row_loss: RowLoss,
    heads: HeadArrays,
    data: TrainingData,
    *,
    tight: bool,
    tol: float | None,
    without_minimum: list[int],
) -> Bounds:
    """Return the bounds of heads by duality, or by curvature if that is requested or needed.

    Args:
      loss: the loss.
      row_loss: the loss of a row.
      heads: H heads.
      data: rows with their classes or counts.
      tight: whether the curvature is computed for all heads.
      tol: the tolerance of the solver, or None.
      without_minimum: indices of heads without a penalty that are known to have no minimum.
    """
    center = None if heads.intercept is None else find_center(data.x)
    if heads.intercept is not None and center is not None:
        heads = heads._replace(intercept=centered_intercept(heads.coef, heads.intercept, center))
        data = data._replace(x=CenteredRows(data.x, center))
    bounds = loss.bounds(heads, data, center)
    if tight:
        return tightest.best_bound(bounds, heads, data, row_loss)
    needs_curvature = heads.l2 == 0
    if tol is not None:
        certificate = certificate_from_bounds(bounds, heads.l2.shape)
        gap = certificate.gap
        needs_curvature |= (gap > certificate.gap_tol(tol)) & (gap <= ROUNDING_FACTOR * certificate.rounding)
    needs_curvature[without_minimum] = False
    if not needs_curvature.any():
        return bounds
    return tightest.best_bound(bounds, heads, data, row_loss, np.flatnonzero(needs_curvature))


def _report(loss: CertifiedLoss, heads: HeadArrays, x: HostTable, data: TrainingData) -> DataReport:
    """Return the report on rows of positive weight in any model.

    The heads are tried first as a proof that the classes are separable.
    """
    has_intercept = heads.intercept is not None
    if loss.check_labels_and_count_logits is None or is_soft(data):
        return report_on(x, None, data.weights, fit_intercept=has_intercept)
    logits = heads.coef.shape[1] if loss.has_classes else 1
    intercept = np.zeros(heads.coef.shape[:-1]) if heads.intercept is None else heads.intercept
    pairs = zip(heads.coef, intercept, strict=True)
    return report_on(x, data.y, data.weights, logits, pairs, fit_intercept=has_intercept)
