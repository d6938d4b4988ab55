"""Scores of classifiers from logits, by name, with the metrics of `dlcore.metrics`. Larger is better."""

from collections.abc import Callable

import numpy as np

from dlcore.heads.losses.base import Metric
from dlcore.metrics import ranking
from dlcore.metrics.classification import batched_balanced_accuracy, batched_f1_macro
from dlcore.metrics.weighted_sums import weighted_mean


def label_metrics(
    predict: Callable[[np.ndarray], np.ndarray], classes: Callable[[np.ndarray], int]
) -> dict[str, Metric]:
    """Return the scores of predicted labels by name.

    Args:
      predict: a function of logits to class numbers, shape (H, rows).
      classes: a function of logits to the number of classes.
    """

    def accuracy(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return weighted_mean(predict(logits) == y, weight)

    def balanced_accuracy(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return batched_balanced_accuracy(y, predict(logits), weight, classes(logits))

    def f1_macro(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return batched_f1_macro(y, predict(logits), weight, classes(logits))

    return {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "f1_macro": f1_macro,
        "f1_micro": accuracy,  # each row has one label
    }


def ranking_metric(
    metric: ranking.BinaryMetric, score: Callable[[np.ndarray], np.ndarray], average: ranking.Average = "macro"
) -> Metric:
    """Return the score of a ranking of rows.

    Args:
      metric: a metric of one ranking.
      score: a function of logits to the numbers that rank the rows, shape (H, rows) or (H, K, rows).
      average: the average over the classes.
    """

    def rank(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return ranking.batched_ranking(metric, y, score(logits), weight, average)

    return rank
