"""Metrics of predicted probabilities: log loss and the Brier score."""

import numpy as np
import numpy.typing as npt

from dlcore.metrics.inputs import read_probabilities, read_scores
from dlcore.metrics.weighted_sums import weighted_mean

EPS = float(np.finfo(np.float64).eps)


def log_loss(
    y_true: npt.ArrayLike,
    y_prob: npt.ArrayLike,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    r"""Return the weighted mean of $-\ln p$ of each row's class, the cross-entropy in nats.

    Args:
      y_true: class numbers 0, 1, …, shape (n,).
      y_prob: probabilities of class 1, shape (n,), or of all classes, shape (n, classes).
      from_logits: whether `y_prob` has logits instead, of a sigmoid, shape (n,), or of a softmax, shape
        (n, classes). Their log loss has no rounding at probabilities near 0 and 1.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number of at least 0. Probabilities are clipped to [eps, 1 − eps] of float64, so that it is at most 36.04.
      It then equals scikit-learn's `log_loss` of float64 probabilities. From logits nothing is clipped.

    Raises:
      ValueError: if shapes do not fit, there are no rows, a number is not finite, a label is not the number of a
        class, a probability is outside [0, 1], those of a row do not sum to 1, a weight is negative or all are 0.
      TypeError: if an argument is not an array of real numbers.

    Source: Bishop, Pattern Recognition and Machine Learning, sections 4.3.2 and 4.3.4.

    >>> round(log_loss([1, 0, 1], [0.5, 0.25, 0.75]), 6)
    0.422837
    >>> round(log_loss([1, 0], [1000.0, 2.0], from_logits=True), 6)
    1.063464
    """
    if from_logits:
        labels, logits, weight = read_scores(y_true, "y_prob", y_prob, sample_weight)
        batched = batched_sigmoid_log_loss if logits.ndim == 1 else batched_softmax_log_loss
        return float(batched(labels, logits, weight))
    labels, p, weight = read_probabilities(y_true, y_prob, sample_weight)
    own = np.where(labels == 1, p, 1 - p) if p.ndim == 1 else np.take_along_axis(p, labels[None], axis=0)[0]
    return float(weighted_mean(-np.log(np.clip(own, EPS, 1 - EPS)), weight))


def brier(y_true: npt.ArrayLike, y_prob: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None) -> float:
    r"""Return the Brier score, the weighted mean squared error of probabilities.

    With two classes it is the mean of $(p_i - y_i)^2$, and with more the mean of $\sum_k(p_{ik} - [y_i = k])^2$.

    Args:
      y_true: class numbers 0, 1, …, shape (n,).
      y_prob: probabilities of class 1, shape (n,), or of all classes, shape (n, classes).
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1, or to 2 with more than two classes. It equals scikit-learn's `brier_score_loss`.

    Raises:
      ValueError: as `log_loss`.
      TypeError: if an argument is not an array of real numbers.

    Source: Brier (1950), Verification of forecasts expressed in terms of probability.

    >>> brier([1, 0, 1], [0.5, 0.25, 0.75])
    0.125
    """
    labels, p, weight = read_probabilities(y_true, y_prob, sample_weight)
    return float(batched_brier(labels, p if p.ndim == 2 else np.stack([1 - p, p]), weight))


# -- many predictions at once, unchecked: leading axes, rows last, class numbers in an integer dtype -----------


def batched_sigmoid_log_loss(labels: np.ndarray, logits: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return log losses of a sigmoid, shape (…,), of labels 0 and 1 and logits, both of shape (…, n)."""
    losses = np.log1p(np.exp(-abs(logits))) + np.maximum(np.where(labels == 1, -logits, logits), 0)
    return weighted_mean(losses, weight)


def batched_softmax_log_loss(labels: np.ndarray, logits: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return log losses of a softmax, shape (…,), of labels (…, n) and logits (…, classes, n).

    A logit of −inf is that of a class of probability 0, whose rows have an infinite loss.
    """
    own = np.take_along_axis(logits, labels[..., None, :], axis=-2)
    top = logits.max(-2, keepdims=True)
    powers = np.exp(logits - top)
    np.put_along_axis(powers, labels[..., None, :], 0.0, axis=-2)
    others, excess = powers.sum(-2), (top - own)[..., 0, :]
    losses = np.where(excess == 0, np.log1p(others), np.log(others + np.exp(-excess)) + excess)
    return weighted_mean(losses, weight)


def batched_brier(labels: np.ndarray, p: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return Brier scores, shape (…,), of labels (…, n) and probabilities (…, classes, n)."""
    own = np.take_along_axis(p, labels[..., None, :], axis=-2)
    residual = p.copy()
    np.put_along_axis(residual, labels[..., None, :], own - 1, axis=-2)
    total = weighted_mean((residual**2).sum(-2), weight)
    return total / 2 if p.shape[-2] == 2 else total
