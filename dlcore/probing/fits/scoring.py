"""Metrics of test rows by name, from the logits of heads. Each is a function of `dlcore.metrics`."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dlcore import metrics
from dlcore.certificate import LinearHeads

BLOCK_BYTES = 2**26
"""Size of the test rows that are float64 at a time."""


class NamedMetric(NamedTuple):
    """A metric and what it compares with the targets.

    Attributes:
      kind: "label", "probability" or "number".
      function: a function of `dlcore.metrics`.
      losses: the losses whose heads it measures.
    """

    kind: str
    function: Callable[..., float]
    losses: tuple[str, ...] = ("softmax", "logistic")


METRICS: dict[str, NamedMetric] = {
    "accuracy": NamedMetric("label", metrics.accuracy),
    "balanced_accuracy": NamedMetric("label", metrics.balanced_accuracy),
    "f1_macro": NamedMetric("label", metrics.f1),
    "f1_micro": NamedMetric("label", functools.partial(metrics.f1, average="micro")),
    "log_loss": NamedMetric("probability", metrics.log_loss),
    "brier": NamedMetric("probability", metrics.brier),
    "expected_calibration_error": NamedMetric("probability", metrics.expected_calibration_error),
    "roc_auc": NamedMetric("probability", metrics.roc_auc),
    "average_precision": NamedMetric("probability", metrics.average_precision),
    **{
        f"top_{k}_accuracy": NamedMetric(
            "probability", functools.partial(metrics.top_k_accuracy, k=k), ("softmax",)
        )
        for k in (2, 3, 5, 10)
    },
    "r2": NamedMetric("number", metrics.r2, ("squared",)),
    "pearson_r": NamedMetric("number", metrics.pearson_r, ("squared",)),
    "d2_poisson": NamedMetric("number", metrics.d2_poisson, ("poisson",)),
    "poisson_deviance": NamedMetric("number", metrics.poisson_deviance, ("poisson",)),
}
"""The metrics by name. Losses and errors are positive: "log_loss", "brier", "poisson_deviance"."""


OF_ALL_TARGETS = ("f1_macro", "f1_micro", "roc_auc", "average_precision", "r2", "pearson_r")
"""Metrics that take several targets at once. Of the others the mean over the targets is measured."""


def check_metric_names(names: Sequence[str], loss: str) -> None:
    """Raise unless each name is that of a metric of heads of a loss, and none occurs twice."""
    for name in names:
        if name not in METRICS or loss not in METRICS[name].losses:
            known = ", ".join(repr(key) for key, metric in METRICS.items() if loss in metric.losses)
            raise ValueError(f"metrics: expected names among {known} for loss {loss!r}, got {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"metrics: expected each name once, got {list(names)}")


def predictions(heads: Sequence[LinearHeads], x: np.ndarray) -> list[np.ndarray]:
    """Return what each head predicts: probabilities of class 1 or of all classes, numbers or rates.

    All heads read the rows together, a block of rows at a time, in float64.

    Args:
      heads: single heads of the same loss and shape, each with coef (m,) or (classes, m).
      x: shape (n, m).

    Returns:
      For each head shape (n,), or (n, classes) for softmax heads.
    """
    loss = heads[0].loss
    coef = np.stack([np.asarray(head.coef, np.float64) for head in heads])
    shape = coef.shape[1:-1]
    bias = np.stack([np.broadcast_to(0.0 if head.intercept is None else head.intercept, shape) for head in heads])
    flat, offsets = coef.reshape(-1, coef.shape[-1]), bias.reshape(-1, 1).astype(np.float64)
    logits = np.empty((len(flat), len(x)))
    step = max(1, BLOCK_BYTES // (8 * x.shape[1]))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        logits[:, part] = flat @ x[part].astype(np.float64).T + offsets
    logits = logits.reshape(*coef.shape[:-1], len(x))
    return [prediction_of(loss, logit) for logit in logits]


def prediction_of(loss: str, logits: np.ndarray) -> np.ndarray:
    """Return probabilities, numbers or rates from the logits of one head, shape (n,) or (classes, n)."""
    if loss == "softmax":
        powers = np.exp(logits - logits.max(0))
        return np.ascontiguousarray((powers / powers.sum(0)).T)
    if loss == "logistic":
        tail = np.exp(-np.abs(logits))
        return np.where(logits > 0, 1, tail) / (1 + tail)
    with np.errstate(over="ignore"):
        return np.exp(logits) if loss == "poisson" else logits


def measure(name: str, y: np.ndarray, prediction: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
    """Return a metric of the predictions of one head.

    Args:
      name: the name of a metric.
      y: class numbers or targets, shape (n,), or indicators of labels, shape (n, targets).
      prediction: as `predictions` returns it, or of shape (n, targets) for several targets.
      sample_weight: weights of the rows, shape (n,), or None.
    """
    metric = METRICS[name]
    if metric.kind == "label":
        is_multiclass = prediction.ndim == 2 and y.ndim == 1
        prediction = prediction.argmax(1) if is_multiclass else (prediction > 0.5).astype(np.intp)
    if y.ndim == 1 or name in OF_ALL_TARGETS:
        return float(metric.function(y, prediction, sample_weight=sample_weight))
    return _mean_of_targets(metric, y, prediction, sample_weight)


def _mean_of_targets(
    metric: NamedMetric, y: np.ndarray, prediction: np.ndarray, sample_weight: np.ndarray | None
) -> float:
    """Return the mean of a metric over the targets."""
    columns = zip(y.T, prediction.T, strict=True)
    return float(
        np.mean([metric.function(truth, column, sample_weight=sample_weight) for truth, column in columns])
    )
