"""Random problems of metrics: weights of many sizes, tied scores and absent classes."""

from typing import NamedTuple

import numpy as np

PROBLEMS = 200


class Problem(NamedTuple):
    """Rows of a classifier of `classes` classes.

    Attributes:
      labels: class numbers, shape (n,). Some problems lack a class.
      predicted: predicted labels, shape (n,).
      p: probabilities, shape (n, classes). In most problems many are equal, and some are 0 or 1.
      weight: weights of the rows, shape (n,), some of them 0, or None.
    """

    labels: np.ndarray
    predicted: np.ndarray
    p: np.ndarray
    weight: np.ndarray | None

    @property
    def counted(self) -> np.ndarray:
        """Return which rows have a positive weight."""
        return np.ones(len(self.labels), bool) if self.weight is None else self.weight > 0


def problem(seed: int, classes: int | None = None) -> Problem:
    """Return a random problem of 1 to 60 rows, of 3 to 6 classes unless `classes` says otherwise."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 61))
    classes = int(rng.integers(3, 7)) if classes is None else classes
    present = rng.permutation(classes)[: max(1, classes - seed % 3)]
    labels, predicted = rng.choice(present, n), rng.integers(0, classes, n)
    steps = [2, 5, 10**6][seed % 3]  # few values tie
    shares = rng.integers(0, steps, (n, classes)) + (np.arange(classes) == rng.integers(0, classes, (n, 1)))
    p = shares / shares.sum(1, keepdims=True)
    weight = None
    if seed % 4:
        weight = 10 ** rng.uniform(-3, 3, n) if seed % 4 == 1 else rng.integers(0, 3, n).astype(float)
        weight[rng.integers(n)] = 1.0
    return Problem(labels, predicted, p, weight)


class Regression(NamedTuple):
    """Rows of targets.

    Attributes:
      y: shape (n, targets). Some problems have a constant target.
      prediction: shape (n, targets).
      weight: weights of the rows, shape (n,), some of them 0, or None.
    """

    y: np.ndarray
    prediction: np.ndarray
    weight: np.ndarray | None


def regression(seed: int) -> Regression:
    """Return a random problem of 2 to 60 rows of positive weight."""
    rng = np.random.default_rng(seed)
    n, targets = int(rng.integers(2, 61)), int(rng.integers(1, 4))
    y = rng.normal(size=(n, targets)) * 10.0 ** rng.integers(-3, 4)
    prediction = y + rng.normal(size=(n, targets)) * 10.0 ** rng.integers(-3, 4)
    if seed % 5 == 0:
        y[:, 0] = 0.0  # the mean of other constants rounds in scikit-learn
    weight = None
    if seed % 3:
        weight = rng.uniform(0.1, 10, n) if seed % 3 == 1 else rng.integers(0, 3, n).astype(float)
        weight[:2] = 1.0
    return Regression(y, prediction, weight)
