"""Calibration: how near predicted probabilities are to the frequencies of what they predict."""

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.metrics.inputs import read_probabilities
from dlcore.metrics.weighted_sums import sums_by_group

BINS = 15
"""Bins of Guo et al. and of torchmetrics."""


def expected_calibration_error(
    y_true: npt.ArrayLike, y_prob: npt.ArrayLike, *, bins: int = BINS, sample_weight: npt.ArrayLike | None = None
) -> float:
    r"""Return the expected calibration error $\sum_b \frac{S_b}{S}|\mathrm{accuracy}_b - \mathrm{confidence}_b|$.

    $S_b$ is the weight of the rows of bin b. With two classes and one probability per row, the confidence is the
    probability of class 1 and the accuracy is the fraction of class 1. With a column per class, the confidence is
    the largest probability and the accuracy is that of its class.

    Args:
      y_true: class numbers 0, 1, …, shape (n,).
      y_prob: probabilities of class 1, shape (n,), or of all classes, shape (n, classes). Of equal ones the first
        is the largest.
      bins: the number B of bins of equal width, [b/B, (b + 1)/B). A probability of 1 has a bin of its own.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from 0 to 1. It equals torchmetrics' `calibration_error` with `norm="l1"`, which has the same bins.

    Raises:
      ValueError: as `log_loss`, or if `bins` is not at least 1.
      TypeError: if an argument is not an array of real numbers, or `bins` not an integer.

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, section 2.

    >>> round(expected_calibration_error([1, 0, 1, 1], [0.9, 0.1, 0.6, 0.6], bins=2), 6)
    0.25
    """
    bins = host_checks.check_count("bins", bins)
    labels, p, weight = read_probabilities(y_true, y_prob, sample_weight)
    if p.ndim == 1:
        return float(batched_calibration_error(labels == 1, p, weight, bins))
    return float(batched_calibration_error(p.argmax(0) == labels, p.max(0), weight, bins))


def batched_calibration_error(
    correct: np.ndarray, confidence: np.ndarray, weight: np.ndarray, bins: int = BINS
) -> np.ndarray:
    """Return expected calibration errors of many predictions, unchecked, shape (…,).

    Args:
      correct: whether the prediction of a row is right, shape (…, n).
      confidence: its probability, shape (…, n).
      weight: weights of the rows, shape (n,).
      bins: the number of bins below a confidence of 1.
    """
    edges = np.arange(bins + 1) / bins
    bin_of_row = np.searchsorted(edges, np.minimum(confidence, 1.0), side="right") - 1
    excess = sums_by_group(bin_of_row, weight * (correct - confidence), bins + 1)
    return np.abs(excess).sum(-1) / weight.sum()
