"""Metrics of predicted labels: accuracy, over all rows or by class, F1, and top-k accuracy."""

from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.metrics.inputs import encode_labels, read_choice, read_labels, read_scores, warn_undefined
from dlcore.metrics.weighted_sums import sums_by_group, weighted_mean

Average = Literal["macro", "micro"]


def accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> float:
    r"""Return the weighted fraction of rows whose label is predicted, $\sum_i s_i[\hat y_i = y_i]/\sum_i s_i$.

    Args:
      y_true: labels, strings or whole numbers, shape (n,).
      y_pred: predicted labels, shape (n,).
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1. It equals scikit-learn's `accuracy_score`.

    Raises:
      ValueError: if shapes differ, there are no rows, a number is not finite or a label not whole, a label is
        missing, only one of the two has strings, or a weight is negative or all are 0.
      TypeError: if labels are neither numbers nor strings, or weights no real numbers.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 7.2.

    >>> accuracy([0, 1, 2, 2], [0, 1, 1, 2])
    0.75
    """
    true, predicted, weight = read_labels(y_true, y_pred, sample_weight)
    return float(weighted_mean(predicted == true, weight))


def per_class_accuracy(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> np.ndarray:
    """Return the accuracy on the rows of each class, which is the recall of the class.

    Args:
      y_true: labels, strings or whole numbers, shape (n,).
      y_pred: predicted labels, shape (n,).
      labels: the classes, shape (classes,), in the order of the result. None for those of `y_true` and `y_pred`,
        ascending.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      Shape (classes,). A class without rows in `y_true` has nan. It equals scikit-learn's `recall_score` with
      `average=None` and `zero_division=nan`.

    Raises:
      ValueError: as `accuracy`, or if a label is not among `labels`, or `labels` has one twice.
      TypeError: if labels are neither numbers nor strings, or weights no real numbers.

    Warns:
      UndefinedMetricWarning: if a class has no rows in `y_true`.

    Source: Manning, Raghavan and Schütze, Introduction to Information Retrieval, section 8.3 (recall).

    >>> print(per_class_accuracy([0, 1, 2, 2], [0, 1, 1, 2]))
    [1.  1.  0.5]
    """
    true, predicted, weight = read_labels(y_true, y_pred, sample_weight)
    true, predicted, classes = encode_labels(true, predicted, labels)
    recalls = batched_recalls(true, predicted, weight, classes)
    if np.isnan(recalls).any():
        warn_undefined("per_class_accuracy: a class has no rows in y_true, and the value nan")
    return recalls


def balanced_accuracy(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Return the mean over the classes of the accuracy on the rows of each class.

    Args:
      y_true: labels, strings or whole numbers, shape (n,).
      y_pred: predicted labels, shape (n,).
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1. The classes are those of `y_true`. It equals scikit-learn's `balanced_accuracy_score`,
      and the "mean per class accuracy" of image benchmarks.

    Raises:
      ValueError: as `accuracy`.
      TypeError: if labels are neither numbers nor strings, or weights no real numbers.

    Source: Brodersen, Ong, Stephan and Buhmann (2010), The balanced accuracy and its posterior distribution.

    >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    true, predicted, weight = read_labels(y_true, y_pred, sample_weight)
    true, predicted, classes = encode_labels(true, predicted, None)
    return float(batched_balanced_accuracy(true, predicted, weight, classes))


@overload
def f1(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    average: Average = ...,
    labels: npt.ArrayLike | None = ...,
    sample_weight: npt.ArrayLike | None = ...,
) -> float: ...
@overload
def f1(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    average: None,
    labels: npt.ArrayLike | None = ...,
    sample_weight: npt.ArrayLike | None = ...,
) -> np.ndarray: ...
def f1(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    average: Average | None = "macro",
    labels: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> float | np.ndarray:
    r"""Return F1, the harmonic mean of precision and recall, $2\,TP/(2\,TP + FP + FN)$.

    Args:
      y_true: labels, strings or whole numbers, shape (n,); or which labels each row has, 0 and 1, shape
        (n, labels).
      y_pred: predicted labels, of the same shape.
      average: "macro" for the mean over the classes, "micro" for F1 of the sums over the classes, which is the
        accuracy where a row has one label. None for each class.
      labels: the classes, shape (classes,), in the order of the result. None for those of `y_true` and `y_pred`,
        ascending. Only for labels of shape (n,).
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1, or with `average=None` shape (classes,). A class that is neither in `y_true` nor in
      `y_pred` has 0. It equals scikit-learn's `f1_score`.

    Raises:
      ValueError: as `accuracy`, or if a label is not among `labels`, `labels` has one twice or is not None for
        indicators, an indicator is not 0 or 1, or `average` is unknown.
      TypeError: if labels are neither numbers nor strings, or weights no real numbers.

    Warns:
      UndefinedMetricWarning: if a class is neither in `y_true` nor in `y_pred`.

    Source: Manning, Raghavan and Schütze, Introduction to Information Retrieval, sections 8.3 and 13.6.

    >>> print(f1([0, 1, 2, 2], [0, 1, 1, 2], average=None).round(3))
    [1.    0.667 0.667]
    >>> f1([0, 1, 2, 2], [0, 1, 1, 2], average="micro")
    0.75
    """
    read_choice("average", average, ("macro", "micro", None))
    true, predicted, weight = read_labels(y_true, y_pred, sample_weight, multilabel=True)
    if true.ndim == 2:
        if labels is not None:
            raise ValueError("labels: expected None for indicators of labels, whose columns are the classes")
        hits, size = (true & predicted) @ weight, (true + predicted) @ weight
    else:
        true, predicted, classes = encode_labels(true, predicted, labels)
        hits, size = batched_f1_sums(true, predicted, weight, classes)
    if average == "micro":
        hits, size = hits.sum(), size.sum()
    if not np.all(size > 0):
        warn_undefined("f1: a class is neither in y_true nor in y_pred, and has the value 0")
    of_class = 2 * hits / np.where(size > 0, size, 1)
    return of_class if average is None else float(of_class.mean())


def top_k_accuracy(
    y_true: npt.ArrayLike, y_score: npt.ArrayLike, *, k: int, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Return the weighted fraction of rows whose class has one of the `k` highest scores.

    Of equal scores the one of the higher class number is the higher, as in scikit-learn.

    Args:
      y_true: class numbers 0, 1, …, shape (n,).
      y_score: probabilities, logits or other scores, shape (n, classes).
      k: how many classes are chosen, fewer than there are.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1. It equals scikit-learn's `top_k_accuracy_score` with `labels=range(classes)`.

    Raises:
      ValueError: as `accuracy`, or if a label is not the number of a column, or `k` is not from 1 to classes − 1.
      TypeError: if an argument is not an array of real numbers, or `k` not an integer.

    Source: Russakovsky et al. (2015), ImageNet large scale visual recognition challenge, section 4.1.

    >>> top_k_accuracy([0, 1, 2], [[0.5, 0.2, 0.3], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1]], k=2)
    0.6666666666666666
    """
    labels, scores, weight = read_scores(y_true, "y_score", y_score, sample_weight)
    if scores.ndim == 1:
        raise ValueError(f"y_score: expected 2-D [n, classes], got shape {scores.shape}")
    k = host_checks.check_count("k", k, maximum=len(scores) - 1)
    return float(batched_top_k_accuracy(labels, scores, weight, k))


# -- many predictions at once, unchecked: leading axes, rows last, class numbers in an integer dtype -----------


def batched_recalls(true: np.ndarray, predicted: np.ndarray, weight: np.ndarray, classes: int) -> np.ndarray:
    """Return the recall of each class, shape (…, classes), nan without rows. Labels have shape (…, n)."""
    hits = sums_by_group(true, weight * (true == predicted), classes)
    rows = sums_by_group(true, weight, classes)
    return np.where(rows > 0, hits / np.where(rows > 0, rows, 1), np.nan)


def batched_balanced_accuracy(
    true: np.ndarray, predicted: np.ndarray, weight: np.ndarray, classes: int
) -> np.ndarray:
    """Return the mean recall of the classes that have rows, shape (…,). Labels have shape (…, n)."""
    return np.nanmean(batched_recalls(true, predicted, weight, classes), axis=-1)


def batched_f1_sums(
    true: np.ndarray, predicted: np.ndarray, weight: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return TP and 2·TP + FP + FN of each class, shape (…, classes). Labels have shape (…, n)."""
    hits = sums_by_group(true, weight * (true == predicted), classes)
    return hits, sums_by_group(true, weight, classes) + sums_by_group(predicted, weight, classes)


def batched_f1_macro(true: np.ndarray, predicted: np.ndarray, weight: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean F1 of the classes that have or get rows, shape (…,). Labels have shape (…, n)."""
    hits, size = batched_f1_sums(true, predicted, weight, classes)
    return np.nanmean(np.where(size > 0, 2 * hits / np.where(size > 0, size, 1), np.nan), axis=-1)


def batched_top_k_accuracy(labels: np.ndarray, scores: np.ndarray, weight: np.ndarray, k: int) -> np.ndarray:
    """Return top-k accuracies, shape (…,), of labels (…, n) and scores (…, classes, n)."""
    own = np.take_along_axis(scores, labels[..., None, :], axis=-2)
    classes = np.arange(scores.shape[-2])[:, None]
    above = (scores > own) | ((scores == own) & (classes > labels[..., None, :]))
    return weighted_mean(above.sum(-2) < k, weight)
