"""Class weights: a factor of the weights of the rows of each class."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from dlcore._core.labels import shown
from dlcore.heads.losses import HeadLoss

ClassWeightLike: TypeAlias = str | Mapping[Any, float]
"""The argument `class_weight` of `fit_heads`: "balanced", or the weight of every class."""


def class_weights(
    given: ClassWeightLike, y: np.ndarray, weight: np.ndarray, loss: HeadLoss, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the factor of each class and target, and the power of two that divided the factors of each target.

    "balanced" is $\frac{S}{K\,S_k}$ for class k of K. S is the sum of all weights and $S_k$ that of class k. All
    classes then have the same total weight over all rows, as in scikit-learn; in a fold they may differ. The
    factors of a target are divided by a power of two, so that the largest lies in [½, 1). This changes no
    objective.

    Args:
      given: "balanced", or a dictionary with the weight of every class.
      y: shape (n,) or (n, targets), class codes. Every class has rows of positive weight.
      weight: shape (n,).
      loss: of the heads.
      labels: the labels that the codes of `y` stand for, shape (classes,); None for the codes.

    Returns:
      Factors, shape (targets, classes), and powers of two, shape (targets,).

    Raises:
      ValueError: if the loss has no classes, a class is missing or unknown, or a weight is not a finite number
        above 0.
      TypeError: if `given` is neither a string nor a dictionary, or a weight is no number.
    """
    if loss.is_soft:
        raise ValueError(
            "class_weight: expected None with soft labels, whose rows belong to several classes; use sample_weight"
        )
    if not loss.is_classifier:
        raise ValueError(f"class_weight: expected None for loss {loss.name!r}, which has no classes")
    columns = y.reshape(len(y), -1).T.astype(np.intp)
    classes = int(y.max()) + 1
    names = list(range(classes)) if labels is None else labels.tolist()
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(f"class_weight: expected None, 'balanced' or a dictionary, got {given!r}")
        mass = np.stack([np.bincount(column, weight, classes) for column in columns])
        table = weight.sum() / classes / mass
    elif isinstance(given, Mapping):
        table = np.repeat(_in_order(given, names)[None], len(columns), axis=0)
    else:
        raise TypeError(f"class_weight: expected None, 'balanced' or a dictionary, got {given!r}")
    power = np.frexp(table.max(1))[1]
    table = np.ldexp(table, -power[:, None])
    least = weight[weight > 0].min()
    if not least * table.min() > 0:
        raise ValueError("class_weight: expected numbers in the range of float64 also times sample_weight")
    return table, np.ldexp(1.0, power)


def row_factors(of_classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the factor of every row, shape (n,)."""
    return of_classes[y.astype(np.intp)]


def _in_order(given: Mapping[Any, float], labels: list[Any]) -> np.ndarray:
    """Return the weights of the classes in the order of their labels."""
    unknown = [label for label in given if label not in labels]
    if unknown:
        raise ValueError(f"class_weight: expected the classes {shown(np.array(labels))}, got {unknown[0]!r}")
    missing = [label for label in labels if label not in given]
    if missing:
        raise ValueError(f"class_weight: expected the weight of every class, got none of {missing[0]!r}")
    numbers = [given[label] for label in labels]
    for number in numbers:
        if not isinstance(number, int | float | np.integer | np.floating):
            raise TypeError(f"class_weight: expected numbers, got {number!r}")
    try:
        table = np.array(numbers, np.float64)
    except OverflowError:  # of Python's integers
        table = np.array([np.inf])
    if not (np.isfinite(table) & (table > 0)).all():
        raise ValueError(f"class_weight: expected finite numbers above 0, got {dict(given)}")
    return table
