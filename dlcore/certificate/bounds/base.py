"""The record of a loss that has a certificate: all that differs between losses."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlcore.certificate.bounds.row_losses import RowLoss
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.result import Bounds
from dlcore.certificate.rows import TrainingData


def accept_any_heads(y: np.ndarray, weights: np.ndarray, heads: HeadArrays) -> None:
    """Raise no error: every head fits targets that `check_targets` accepts."""
    del y, weights, heads


class CertifiedLoss(NamedTuple):
    """A loss that `certify` knows.

    Attributes:
      name: the name in `LinearHeads.loss`.
      bounds: a function that takes heads, their data and the center of the rows, shape (m,) or None, and returns
        `Bounds`.
      check_targets: a function of y and the largest weight of each row, shape (n,) or None. It raises an error for
        invalid targets.
      predict: a function that takes logits, the axis of rows last, and returns predictions.
      predict_proba: a function that takes logits and returns the probabilities of all classes. None for regression
        losses.
      check_targets_of_heads: a function of y, the weights (sets, n) and the heads. It raises an error if the heads
        do not fit the targets.
      has_classes: whether the coefficients of a head have an axis of classes.
      check_labels_and_count_logits: a function of labels and weights, shape (n,) each, that raises an error for
        invalid labels. It returns the number of logits of a row, 1 for the sigmoid. None for regression losses,
        whose targets are never separable.
      row_loss: the loss of a row for the bound by curvature. None for a loss with exact `bounds`. `certify` then
        does not center the rows either.
    """

    name: str
    bounds: Callable[[HeadArrays, TrainingData, np.ndarray | None], Bounds]
    check_targets: Callable[[np.ndarray, np.ndarray | None], None]
    predict: Callable[[np.ndarray], np.ndarray]
    predict_proba: Callable[[np.ndarray], np.ndarray] | None = None
    check_targets_of_heads: Callable[[np.ndarray, np.ndarray, HeadArrays], None] = accept_any_heads
    has_classes: bool = False
    check_labels_and_count_logits: Callable[[np.ndarray, np.ndarray], int] | None = None
    row_loss: RowLoss | None = None


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits, shape (..., classes, n), as probabilities, shape (..., n, classes)."""
    powers = np.exp(logits - logits.max(-2, keepdims=True))
    return (powers / powers.sum(-2, keepdims=True)).swapaxes(-1, -2)
