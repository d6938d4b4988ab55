"""The report on data: checks what comes in, and asks what its columns and its classes are like."""

from typing import Any

import numpy as np

from dlcore._core import host_checks
from dlcore.certificate.data_report.columns import columns_of
from dlcore.certificate.data_report.report import DataReport
from dlcore.certificate.data_report.separation import SEPARABLE, Separation, separates, separation_of
from dlcore.certificate.rows import Weights, scaled_weights


def data_report(
    x: Any, y: Any = None, weights: Any = None, *, loss: str = "logistic", fit_intercept: bool = True
) -> DataReport:
    """What is known of data before any head is fitted.

    Rows are read a block at a time, on disk too, and never copied whole; blocks, a matrix of m × m and, for the
    proof that classes are not separable, a few of all coefficients squared are held. That proof is looked for
    where there are at most 2,000 coefficients.

    Args:
      x: shape (n, m), as `certify` takes it.
      y: shape (n,): labels 0 and 1, or with the loss "softmax" 0, 1, …; not looked at with the loss "squared".
      weights: shape (n,); rows of weight 0 are left out.
      loss: "logistic", "softmax" or "squared".
      fit_intercept: whether heads have one: columns are then about their means.

    Returns:
      A `DataReport`; `str` of it is a short card.

    Raises:
      ValueError: if shapes do not fit, a value is not finite, labels are not those of classes, a weight is
        negative or all are 0, or the loss is unknown.
      TypeError: if something is not an array of real numbers, or `fit_intercept` is not True or False.

    >>> x = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [2.0, 1.0, 2.0], [3.0, 1.0, 3.0]])
    >>> print(data_report(x, [0, 0, 1, 1]))
    data: 4 rows of positive weight, 3 columns, float64
    rank 1, condition inf, inf with columns of one scale
    spreads of columns differ by 1 (column 0 over 0)
    constant columns: 1
    equal columns: (0, 2)
    classes: separable; without a penalty J has the infimum 0 and no minimum
    """
    if loss not in ("logistic", "softmax", "squared"):
        raise ValueError(f"loss: expected 'logistic', 'softmax' or 'squared', got {loss!r}")
    if not isinstance(fit_intercept, bool):
        raise TypeError(f"fit_intercept: expected True or False, got {fit_intercept!r}")
    x = host_checks.as_host_rows("x", x)
    host_checks.check_matrix("x", x)
    host_checks.check_finite("x", x)
    s = np.broadcast_to(np.float64(1), (1, len(x)))
    if weights is not None:
        s = host_checks.as_host_numbers("weights", weights)
        host_checks.check_weights(s, len(x))
        s = s[None]
    classes = 0
    if loss != "squared":
        y = host_checks.as_host_numbers("y", y)
        host_checks.check_rows(x=x, y=y)
        host_checks.check_rank("y", y, 1, "[n]")
        host_checks.check_finite("y", y)
        if loss == "logistic":
            host_checks.check_binary_labels(y, s[0], "loss='softmax'")
        elif (y != np.floor(y)).any() or (y < 0).any():
            raise ValueError(f"y: expected labels 0, 1, …, the numbers of classes, got {np.unique(y)[:5]}")
        classes = 1 if loss == "logistic" else int(y.max()) + 1
    return report_on(x, y, scaled_weights(s), classes, [], fit_intercept=fit_intercept)


def report_on(
    x: Any,
    y: Any,
    s: Weights,
    classes: int,
    heads: list[tuple[np.ndarray, np.ndarray]],
    *,
    fit_intercept: bool,
) -> DataReport:
    """Of data that is checked; `classes` is 1 for the sigmoid, 0 for numbers. `heads` may be witnesses."""
    whole = scaled_weights(s.numbers.max(0, keepdims=True))
    found = columns_of(x, whole, centred=fit_intercept)
    separation = None
    if classes:
        alone = np.ones(x.shape[1], bool)
        for group in found.groups:
            alone[list(group[1:])] = False
        alone[[j for j in found.constant if found.spread[j] == 0]] = False
        own = (Separation(SEPARABLE, coef, bias) for coef, bias in heads if _separates(coef, bias, x, y, whole))
        separation = next(own, None)
        if separation is None:
            with np.errstate(over="ignore", invalid="ignore"):  # then nothing is proven
                separation = separation_of(
                    x, y, whole, classes, np.flatnonzero(alone), fit_intercept=fit_intercept
                )
    spread = np.where(found.spread > 0, found.spread, np.nan)
    varies = bool((found.spread > 0).any())
    with np.errstate(over="ignore"):
        scale_ratio = float(np.nanmax(spread) / np.nanmin(spread)) if varies else np.nan
    return DataReport(
        rows=int((whole.numbers > 0).sum()),
        columns=x.shape[1],
        dtype=str(x.dtype),
        rank=found.rank,
        condition=found.condition,
        condition_scaled=found.condition_scaled,
        scale_ratio=scale_ratio,
        widest=int(np.nanargmax(spread)) if varies else None,
        narrowest=int(np.nanargmin(spread)) if varies else None,
        constant=found.constant,
        duplicates=found.groups,
        separability=None if separation is None else separation.verdict,
        direction=None if separation is None else separation.coef,
        direction_intercept=None if separation is None else separation.intercept,
    )


def _separates(coef: np.ndarray, intercept: np.ndarray, x: Any, y: np.ndarray, s: Weights) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return separates(np.atleast_2d(coef), np.atleast_1d(intercept), x, y, s)
