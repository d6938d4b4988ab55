"""Arguments of metrics: checked, and without the rows of weight 0."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.labels import labels_as_numpy, shown
from dlcore.metrics.weighted_sums import scale_weights


class UndefinedMetricWarning(UserWarning):
    """A metric that its data leave undefined, such as the area under the ROC curve of a single class.

    >>> import warnings
    >>> warnings.simplefilter("ignore", UndefinedMetricWarning)
    """


def warn_undefined(message: str) -> None:
    """Warn the caller of a metric that its value is undefined."""
    warnings.warn(message, UndefinedMetricWarning, stacklevel=3)


# -- arguments of each kind of metric ------------------------------------------------------------------------


class Labelled(NamedTuple):
    """Labels of rows beside what a classifier says of them.

    Attributes:
      true: labels, shape (n,), or indicators of labels in int64, shape (labels, n).
      predicted: labels of the same shape, or scores of shape (n,) or (classes, n) in float64.
      weight: positive weights of the rows, shape (n,), the largest in [½, 1).
    """

    true: np.ndarray
    predicted: np.ndarray
    weight: np.ndarray


def read_labels(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None, *, multilabel: bool = False
) -> Labelled:
    """Return labels beside predicted labels, or with `multilabel` also indicators beside indicators."""
    true, predicted = labels_as_numpy("y_true", y_true), labels_as_numpy("y_pred", y_pred)
    true, predicted, weight = _counted_rows(true, "y_pred", predicted, sample_weight)
    if true.ndim != 1 and not (multilabel and true.ndim == 2 and true.shape[1]):
        expected = "1-D [n] or 2-D [n, labels]" if multilabel else "1-D [n]"
        raise ValueError(f"y_true: expected {expected}, got shape {true.shape}")
    _check_same_shape(true, "y_pred", predicted)
    if true.ndim == 2:
        return Labelled(_indicators("y_true", true).T, _indicators("y_pred", predicted).T, weight)
    _check_one_kind(true, "y_pred", predicted)
    return Labelled(true, predicted, weight)


def read_scores(
    y_true: npt.ArrayLike, name: str, score: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> Labelled:
    """Return labels beside a score of class 1, shape (n,), or of every class, shape (classes, n)."""
    true, scores, weight = _read_rows(y_true, name, score, sample_weight)
    return _labels_and_scores(true, name, scores, weight)


def read_probabilities(
    y_true: npt.ArrayLike, y_prob: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> Labelled:
    """Return labels beside the probability of class 1, shape (n,), or of every class, shape (classes, n)."""
    true, p, weight = _read_rows(y_true, "y_prob", y_prob, sample_weight)
    labelled = _labels_and_scores(true, "y_prob", p, weight)
    if p.ndim == 2:
        host_checks.check_probabilities(p, "y_prob")
    elif not ((p >= 0) & (p <= 1)).all():
        outside = p[(p < 0) | (p > 1)][0]
        raise ValueError(f"y_prob: expected probabilities from 0 to 1, got {outside:g}")
    return labelled


def read_rankings(
    y_true: npt.ArrayLike, y_score: npt.ArrayLike, sample_weight: npt.ArrayLike | None, *, probabilities: bool
) -> Labelled:
    """Return which rows are positive, shape (classes, n), beside their scores, shape (classes, n).

    Labels 0 and 1 with one score per row give one class. With `probabilities` the scores of labels of several
    classes must be probabilities. Indicators of labels may have any scores.
    """
    true, score, weight = _read_rows(y_true, "y_score", y_score, sample_weight)
    if true.ndim == 2:
        _check_same_shape(true, "y_score", score)
        if not true.shape[1]:
            raise ValueError(f"y_true: expected at least one label, got shape {true.shape}")
        return Labelled(_indicators("y_true", true).T, score.T.astype(np.float64), weight)
    labels, scores, _ = _labels_and_scores(true, "y_score", score, weight)
    if scores.ndim == 1:
        return Labelled(labels[None], scores[None], weight)
    if probabilities:
        host_checks.check_probabilities(score, "y_score")
    return Labelled((labels == np.arange(len(scores))[:, None]).astype(np.int64), scores, weight)


class Targets(NamedTuple):
    """Targets beside their predictions.

    Attributes:
      true: shape (targets, n), float64.
      predicted: the same.
      weight: positive weights of the rows, shape (n,), the largest in [½, 1).
    """

    true: np.ndarray
    predicted: np.ndarray
    weight: np.ndarray


def read_targets(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None) -> Targets:
    """Return numbers beside their predictions."""
    true, predicted, weight = _read_rows(y_true, "y_pred", y_pred, sample_weight)
    if true.ndim not in (1, 2) or 0 in true.shape:
        raise ValueError(f"y_true: expected 1-D [n] or 2-D [n, targets], got shape {true.shape}")
    _check_same_shape(true, "y_pred", predicted)
    host_checks.check_squares("y_true", true)
    host_checks.check_squares("y_pred", predicted)
    true, predicted = (array.reshape(len(array), -1).astype(np.float64) for array in (true, predicted))
    return Targets(np.ascontiguousarray(true.T), np.ascontiguousarray(predicted.T), weight)


def read_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise unless a value is one of the choices."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, choices))}, got {value!r}")


def encode_labels(
    true: np.ndarray, predicted: np.ndarray, labels: npt.ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the positions of labels among the classes, of predicted labels too, and the number of classes.

    Args:
      true: labels, shape (n,).
      predicted: labels, shape (n,).
      labels: the classes, in any order. None for those of `true` and `predicted`, ascending.
    """
    if labels is None:
        classes = np.union1d(true, predicted)
        return np.searchsorted(classes, true), np.searchsorted(classes, predicted), len(classes)
    classes = labels_as_numpy("labels", labels)
    if classes.ndim != 1 or not len(classes):
        raise ValueError(f"labels: expected 1-D [classes], not empty, got shape {classes.shape}")
    _check_one_kind(true, "labels", classes)
    order = np.argsort(classes, kind="stable")
    ascending = classes[order]
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(repeated):
        raise ValueError(f"labels: expected each class once, got {shown(repeated[:1])} twice")
    codes = []
    for name, values in (("y_true", true), ("y_pred", predicted)):
        unknown = np.setdiff1d(values, classes)
        if len(unknown):
            raise ValueError(f"{name}: expected labels among {shown(classes)}, got {shown(unknown)}")
        codes.append(order[np.searchsorted(ascending, values)])
    return codes[0], codes[1], len(classes)


# -- rows ----------------------------------------------------------------------------------------------------


def _read_rows(
    y_true: npt.ArrayLike, name: str, other: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the finite numbers of two arguments and the weights, of the rows of positive weight."""
    true, values = host_checks.as_numpy("y_true", y_true), host_checks.as_numpy(name, other)
    host_checks.check_finite("y_true", true)
    host_checks.check_finite(name, values)
    return _counted_rows(true, name, values, sample_weight)


def _counted_rows(
    true: np.ndarray, name: str, values: np.ndarray, sample_weight: npt.ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of positive weight of two arrays, and their weights."""
    host_checks.check_same_length(y_true=true, **{name: values})
    if sample_weight is None:
        return true, values, np.full(len(true), 0.5)
    weight = host_checks.as_numpy("sample_weight", sample_weight).astype(np.float64)
    host_checks.check_weights(weight, len(true), "sample_weight", "y_true")
    weight = scale_weights(weight)
    counted = weight > 0
    return (true, values, weight) if counted.all() else (true[counted], values[counted], weight[counted])


def _labels_and_scores(true: np.ndarray, name: str, score: np.ndarray, weight: np.ndarray) -> Labelled:
    host_checks.check_rank("y_true", true, 1, "[n], the class of each row")
    if score.ndim not in (1, 2):
        raise ValueError(f"{name}: expected 1-D [n] or 2-D [n, classes], got shape {score.shape}")
    if score.ndim == 2 and score.shape[1] < 2:
        hint = f"; pass {name}[:, 0]" if score.shape[1] else ""
        raise ValueError(
            f"{name}: expected 2-D [n, classes] of at least two classes, got shape {score.shape}{hint}"
        )
    labels, classes = _whole_numbers("y_true", true), 2 if score.ndim == 1 else score.shape[1]
    unknown = (labels < 0) | (labels >= classes)
    if unknown.any():
        expected = "0 and 1" if classes == 2 else f"0 to {classes - 1}"
        raise ValueError(
            f"y_true: expected the classes {expected}, as {name} has shape {score.shape}, got {labels[unknown][0]}"
        )
    return Labelled(labels, np.ascontiguousarray(score.T, np.float64), weight)


def _check_same_shape(true: np.ndarray, name: str, values: np.ndarray) -> None:
    if values.shape != true.shape:
        raise ValueError(f"{name}: expected the shape of y_true, {true.shape}, got {values.shape}")


def _check_one_kind(true: np.ndarray, name: str, values: np.ndarray) -> None:
    """Raise unless both arrays hold strings, or neither."""
    if (true.dtype.kind == "U") != (values.dtype.kind == "U"):
        raise ValueError(
            f"{name}: expected labels as y_true has, such as {shown(true[:1])}, got {shown(values[:1])}"
        )


def _whole_numbers(name: str, values: np.ndarray) -> np.ndarray:
    """Return class numbers in int64."""
    return labels_as_numpy(name, values).astype(np.int64)


def _indicators(name: str, values: np.ndarray) -> np.ndarray:
    """Return 0 and 1 in int64."""
    valid = (values == 0) | (values == 1)
    if not valid.all():
        raise ValueError(f"{name}: expected 0 and 1, which labels a row has, got {values[~valid][0]}")
    return values.astype(np.int64)
