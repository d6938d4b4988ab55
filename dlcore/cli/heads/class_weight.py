"""Class weights of the command line: the option as text, the weight of each class, and the weights of rows."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dlcore._core.labels import SHOWN, shown
from dlcore.data import Dataset
from dlcore.export import Model

BALANCED: Literal["balanced"] = "balanced"
OPTION = "--class-weight"


def read_class_weight(texts: Sequence[str], data: Dataset, loss: str) -> np.ndarray | None:
    """Return the weight of each class in sorted order, shape (classes,), or None without the option.

    "balanced" is S/(K·S_k) for class k of K, with the total weight S of the rows and S_k of those of the class.

    Args:
      texts: nothing, "balanced", or NAME=WEIGHT for every class.
      data: the rows that train.
      loss: the name of the loss.

    Raises:
      ValueError: if the loss has no classes, a class is missing, repeated or unknown, or a weight is not above 0.
    """
    if not texts:
        return None
    if loss not in ("logistic", "softmax"):
        raise ValueError(f"{OPTION}: expected none for loss {loss!r}, which has no classes")
    target = np.asarray(data.target)
    classes, codes = np.unique(target, return_inverse=True)
    if list(texts) == [BALANCED]:
        total = np.bincount(codes, data.weight, len(classes))
        if not total.all():
            label = classes[total == 0][:1]
            raise ValueError(
                f"{OPTION}: expected rows of positive weight in every class, got none of {shown(label)}"
            )
        return total.sum() / (len(classes) * total)
    weights: dict[Any, float] = {}
    for text in texts:
        name, weight = _parse_pair(text)
        label = _find_label(name, classes.tolist())
        if label in weights:
            raise ValueError(f"{OPTION}: expected one weight of every class, got two of {label!r}")
        weights[label] = weight
    missing = [label for label in classes.tolist() if label not in weights]
    if missing:
        raise ValueError(f"{OPTION}: expected the weight of every class, got none of {missing[0]!r}")
    return np.array([weights[label] for label in classes.tolist()])


def _parse_pair(text: str) -> tuple[str, float]:
    """Return the name and the weight of NAME=WEIGHT. The name may contain the sign."""
    name, sign, number = text.rpartition("=")
    try:
        weight = float(number) if sign else None
    except ValueError:
        weight = None
    if weight is None:
        raise ValueError(f"{OPTION}: expected {BALANCED}, or NAME=WEIGHT for every class, got {text!r}")
    if not 0 < weight < np.inf:
        raise ValueError(f"{OPTION}: expected finite numbers above 0, got {text!r}")
    return name, weight


def _find_label(name: str, labels: list[Any]) -> Any:
    """Return the label that a text names. Numbers may be written in any form."""
    for label in labels:
        if str(label) == name:
            return label
    for label in labels:
        try:
            if not isinstance(label, str | bool) and float(name) == label:
                return label
        except ValueError:
            break
    raise ValueError(f"{OPTION}: expected the classes {shown(np.array(labels))}, got {name!r}")


def weights_of_rows(class_weight: np.ndarray | None, data: Dataset) -> np.ndarray | None:
    """Return the weights of the rows that train, times those of their classes; None if all are 1."""
    if class_weight is None:
        return data.weight
    _, codes = np.unique(np.asarray(data.target), return_inverse=True)
    return class_weight[codes] if data.weight is None else class_weight[codes] * data.weight


def total_weight(class_weight: np.ndarray | None, data: Dataset) -> float:
    """Return the sum of the weights of the rows that train, times those of their classes."""
    weights = weights_of_rows(class_weight, data)
    return float(len(data) if weights is None else weights.sum(dtype=np.float64))


def class_weight_json(model: Model) -> dict[str, float] | None:
    """Return the weight of each class by its label, or None without class weights."""
    if model.class_weight is None or model.classes_ is None:
        return None
    return dict(zip(map(str, model.classes_.tolist()), model.class_weight.tolist(), strict=True))


def class_weight_text(model: Model) -> str:
    """Return the first class weights as text, or nothing without class weights."""
    pairs = list((class_weight_json(model) or {}).items())
    more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    return ", ".join(f"{label} {weight:.4g}" for label, weight in pairs[:SHOWN]) + more
