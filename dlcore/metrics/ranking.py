"""Metrics of a ranking of rows: areas under the ROC curve and under the precision-recall curve.

Rows of equal scores enter a curve together, so that no metric depends on the order of the rows.
"""

from collections.abc import Callable
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.metrics.inputs import Labelled, read_choice, read_rankings, warn_undefined

Average = Literal["macro", "micro"]
Interpolation = Literal["voc2007"]
BinaryMetric = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""A function of which rows are positive, their scores and their weights, all of shape (n,)."""

RECALLS = 11
"""Levels of recall, 0, 0.1, … 1, of the average precision of the PASCAL VOC challenge up to 2007."""


@overload
def roc_auc(
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    average: Average = ...,
    sample_weight: npt.ArrayLike | None = ...,
) -> float: ...
@overload
def roc_auc(
    y_true: npt.ArrayLike, y_score: npt.ArrayLike, *, average: None, sample_weight: npt.ArrayLike | None = ...
) -> np.ndarray: ...
def roc_auc(
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    average: Average | None = "macro",
    sample_weight: npt.ArrayLike | None = None,
) -> float | np.ndarray:
    r"""Return the area under the ROC curve, the weighted fraction of pairs that the score ranks right.

    A pair is a positive and a negative row, and counts half if their scores are equal:
    $\sum_{i+,j-} s_is_j([z_i > z_j] + \frac12[z_i = z_j]) / \sum_{i+}s_i\sum_{j-}s_j$.

    Args:
      y_true: labels 0 and 1, shape (n,); class numbers 0, 1, …, shape (n,), each against all others; or which
        labels each row has, 0 and 1, shape (n, labels).
      y_score: scores of class 1, shape (n,); probabilities of all classes, shape (n, classes); or scores of the
        labels, shape (n, labels).
      average: "macro" for the mean over the classes, "micro" for the area of all classes' rows as one ranking.
        None for each class, and the class 1 alone of labels 0 and 1.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1, or with `average=None` shape (classes,). It is nan, with a warning, where a class has
      no row or every row; so is the macro average then. It equals scikit-learn's `roc_auc_score` with
      `multi_class="ovr"` and `labels=range(classes)`.

    Raises:
      ValueError: if shapes do not fit, there are no rows, a number is not finite, a label is not the number of a
        class, probabilities of a row do not sum to 1, a weight is negative or all are 0, or `average` is unknown.
      TypeError: if an argument is not an array of real numbers.

    Warns:
      UndefinedMetricWarning: if a class has no row or every row.

    Source: Hanley and McNeil (1982), The meaning and use of the area under a ROC curve; Fawcett (2006), An
    introduction to ROC analysis, section 9 (several classes).

    >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    read_choice("average", average, ("macro", "micro", None))
    rows = read_rankings(y_true, y_score, sample_weight, probabilities=True)
    areas = by_class(binary_roc_auc, rows, average)
    if np.isnan(areas).any():
        warn_undefined("roc_auc: a class has no row in y_true or every row, and the value nan")
    return areas if average is None else float(areas.mean())


@overload
def average_precision(
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    average: Average = ...,
    interpolation: Interpolation | None = ...,
    sample_weight: npt.ArrayLike | None = ...,
) -> float: ...
@overload
def average_precision(
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    average: None,
    interpolation: Interpolation | None = ...,
    sample_weight: npt.ArrayLike | None = ...,
) -> np.ndarray: ...
def average_precision(
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    average: Average | None = "macro",
    interpolation: Interpolation | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> float | np.ndarray:
    r"""Return the average precision $\sum_t (R_t - R_{t-1})P_t$ over the thresholds t, from the highest down.

    $P_t$ and $R_t$ are precision and recall of the rows that score at least t.

    Args:
      y_true: labels 0 and 1, shape (n,); class numbers 0, 1, …, shape (n,), each against all others; or which
        labels each row has, 0 and 1, shape (n, labels).
      y_score: scores of class 1, shape (n,), of all classes, shape (n, classes), or of the labels, (n, labels).
      average: "macro" for the mean over the classes, which is called mAP. "micro" for the average precision of all
        classes' rows as one ranking. None for each class, and the class 1 alone of labels 0 and 1.
      interpolation: None, or "voc2007" for the mean of the best precision at eleven levels of recall,
        $\frac1{11}\sum_{r\in\{0,0.1,…,1\}}\max_{t: R_t \ge r}P_t$. With "macro" it is the "11-point mAP" of image
        benchmarks. Recalls that miss a level by rounding reach it. A row that is difficult for one class weighs 0
        in a call for that class.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1, or with `average=None` shape (classes,). A class without rows has 0, with a warning.
      Without interpolation it equals scikit-learn's `average_precision_score`.

    Raises:
      ValueError: if shapes do not fit, there are no rows, a number is not finite, a label is not the number of a
        class, a weight is negative or all are 0, or `average` or `interpolation` is unknown.
      TypeError: if an argument is not an array of real numbers.

    Warns:
      UndefinedMetricWarning: if a class has no rows.

    Source: Manning, Raghavan and Schütze, Introduction to Information Retrieval, section 8.4; Everingham, Van
    Gool, Williams, Winn and Zisserman (2010), The PASCAL visual object classes (VOC) challenge, section 4.2.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 6)
    0.833333
    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], interpolation="voc2007"), 6)
    0.848485
    """
    read_choice("average", average, ("macro", "micro", None))
    read_choice("interpolation", interpolation, ("voc2007", None))
    rows = read_rankings(y_true, y_score, sample_weight, probabilities=False)
    values = by_class(binary_voc2007_precision if interpolation else binary_average_precision, rows, average)
    if not rows.true.any(-1).all():
        warn_undefined("average_precision: a class has no rows in y_true, and the value 0")
    return values if average is None else float(values.mean())


def recall_at_fpr(
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    max_fpr: float,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Return the largest recall of a threshold whose false-positive rate is at most `max_fpr`.

    The rows that score at least the threshold are called positive. Nothing is interpolated.

    Args:
      y_true: labels 0 and 1, shape (n,).
      y_score: scores of class 1, shape (n,).
      max_fpr: the largest false-positive rate, from 0 to 1. A rate that is equal but for rounding is allowed.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1; 0 where every threshold has a larger rate. It is nan, with a warning, where a class has
      no rows. It is the largest `tpr` of scikit-learn's `roc_curve` where `fpr <= max_fpr`.

    Raises:
      ValueError: if shapes do not fit, there are no rows, a number is not finite, a label is not 0 or 1, `max_fpr`
        is not from 0 to 1, or a weight is negative or all are 0.
      TypeError: if an argument is not an array of real numbers, or `max_fpr` not a number.

    Warns:
      UndefinedMetricWarning: if a class has no rows.

    Source: Fawcett (2006), An introduction to ROC analysis, section 4.

    >>> recall_at_fpr([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], max_fpr=0.1)
    0.5
    """
    host_checks.check_number("max_fpr", max_fpr, minimum=0)
    if np.ndim(max_fpr) or not max_fpr <= 1:
        raise ValueError(f"max_fpr: expected a number from 0 to 1, got {max_fpr!r}")
    rows = read_rankings(y_true, y_score, sample_weight, probabilities=False)
    if len(rows.true) > 1:
        raise ValueError(f"y_score: expected 1-D [n], got shape {rows.predicted.shape[::-1]}")
    recall = binary_recall_at_fpr(rows.true[0] == 1, rows.predicted[0], rows.weight, float(max_fpr))
    if np.isnan(recall):
        warn_undefined("recall_at_fpr: a class has no rows in y_true, and the value is nan")
    return recall


# -- one ranking, unchecked ------------------------------------------------------------------------------------


def by_class(metric: BinaryMetric, rows: Labelled, average: Average | None) -> np.ndarray:
    """Return a metric of each class, shape (classes,), or of all classes' rows as one ranking, shape (1,).

    Args:
      metric: the metric.
      rows: which rows are positive, their scores, both of shape (classes, n), and their weights, shape (n,).
      average: "micro" for one ranking.
    """
    positive, score, weight = rows.true == 1, rows.predicted, rows.weight
    if average == "micro":
        return np.array([metric(positive.ravel(), score.ravel(), np.tile(weight, len(score)))])
    return np.array([metric(*row, weight) for row in zip(positive, score, strict=True)])


def batched_ranking(
    metric: BinaryMetric, labels: np.ndarray, scores: np.ndarray, weight: np.ndarray, average: Average = "macro"
) -> np.ndarray:
    """Return a metric of many predictions, shape (H,), averaged over the classes.

    Args:
      metric: the metric.
      labels: class numbers, shape (H, n).
      scores: of class 1, shape (H, n), or of every class, shape (H, classes, n).
      weight: weights of the rows, shape (n,).
      average: "macro" or "micro".
    """
    if scores.ndim == 2:
        rows = zip(labels[:, None], scores[:, None], strict=True)
    else:
        classes = np.arange(scores.shape[1])[:, None]
        rows = ((label == classes, score) for label, score in zip(labels, scores, strict=True))
    return np.array([by_class(metric, Labelled(*row, weight), average).mean() for row in rows])


def sums_by_threshold(
    positive: np.ndarray, score: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the true and of the false positives at each distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # of rows of the same score
    true, false = (np.cumsum(np.where(rows, weight, 0)[order])[last] for rows in (positive, ~positive))
    return true, false


def binary_roc_auc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Return the area under the ROC curve, nan for one class."""
    true, false = sums_by_threshold(positive, score, weight)
    if not (true[-1] > 0 and false[-1] > 0):
        return np.nan
    # Powers of two leave the digits of both sums, and no product of them leaves the range.
    true, false = (np.ldexp(sums, -np.frexp(sums[-1])[1]) for sums in (true, false))
    middle = (np.append(0.0, true[:-1]) + true) / 2  # of each step of the curve
    return min(1.0, float(middle @ np.diff(false, prepend=0.0) / (true[-1] * false[-1])))


def binary_average_precision(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Return the average precision, 0 without positive rows."""
    true, false = sums_by_threshold(positive, score, weight)
    if not true[-1] > 0:
        return 0.0
    return min(1.0, float(np.diff(true, prepend=0.0) @ (true / (true + false)) / true[-1]))


def binary_voc2007_precision(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Return the mean of the best precision at eleven levels of recall, 0 without positive rows."""
    true, false = sums_by_threshold(positive, score, weight)
    if not true[-1] > 0:
        return 0.0
    best = np.maximum.accumulate((true / (true + false))[::-1])[::-1]  # of this threshold and all lower ones
    levels = np.arange(RECALLS) / (RECALLS - 1) * true[-1]
    return float(best[np.searchsorted(true, levels * (1 - _rounding(score)))].mean())


def binary_recall_at_fpr(positive: np.ndarray, score: np.ndarray, weight: np.ndarray, max_fpr: float) -> float:
    """Return the largest recall at a false-positive rate of at most `max_fpr`, nan for one class."""
    true, false = sums_by_threshold(positive, score, weight)
    if not (true[-1] > 0 and false[-1] > 0):
        return np.nan
    allowed = false <= max_fpr * false[-1] * (1 + _rounding(score))
    return float(true[allowed].max(initial=0.0) / true[-1])


def _rounding(score: np.ndarray) -> float:
    """Return a bound on the relative error of a sum of as many weights as there are scores, doubled."""
    return 2 * len(score) * float(np.finfo(np.float64).eps)
