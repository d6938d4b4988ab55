"""Metrics of held-out rows, with intervals of the bootstrap."""

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np

from dlcore import metrics
from dlcore._core.labels import codes_of
from dlcore.cli.console import ShowWork, ignore_work
from dlcore.data import Dataset
from dlcore.export import Model

RESAMPLES = 500
"""Number of resamples. Each draws as many rows, or groups, as there are."""
LEVEL = 0.95
"""Coverage of the intervals."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A metric of the held-out rows, and the percentile interval of its bootstrap."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.5g} ({self.low:.5g} to {self.high:.5g})"


def held_out_metrics(
    model: Model, held: Dataset, seed: int, progress: ShowWork = ignore_work
) -> dict[str, Interval]:
    """Return the metrics of a model on held-out rows, by name.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, section 13.3 (percentile intervals).

    Args:
      model: the model.
      held: rows with a target; groups are resampled as wholes.
      seed: the seed of the resamples.
      progress: a function of (work, done, total).
    """
    functions = metrics_of(model, held)
    weight = np.ones(len(held)) if held.weight is None else held.weight.astype(np.float64)
    values = {name: function(weight) for name, function in functions.items()}
    codes = np.arange(len(held)) if held.groups is None else np.unique(held.groups, return_inverse=True)[1]
    units, rng = int(codes.max()) + 1, np.random.default_rng(seed)
    samples: dict[str, list[float]] = {name: [] for name in functions}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample may lack a class, and its metric is nan
        for resample in range(RESAMPLES):
            progress("resamples scored", resample + 1, RESAMPLES)
            counts = np.bincount(rng.integers(0, units, units), minlength=units)
            resampled = weight * counts[codes]
            if not resampled.any():
                continue
            for name, function in functions.items():
                samples[name].append(function(resampled))
        tail = 50 * (1 - LEVEL)
        bounds = {name: np.nanpercentile(found, [tail, 100 - tail]) for name, found in samples.items()}
    return {name: Interval(value, *map(float, bounds[name])) for name, value in values.items()}


def metrics_of(model: Model, held: Dataset) -> dict[str, Callable[[np.ndarray], float]]:
    """Return functions of the weights of the rows that compute each metric of a loss, by name."""
    target = held.target
    assert target is not None
    if model.loss in ("squared", "poisson"):
        return _number_metrics(model, target.astype(np.float64), model.predict(held.features))
    classes = model.classes_
    y = target.astype(np.intp) if classes is None else codes_of("target", target, np.asarray(classes))
    p = model.predict_proba(held.features)
    predicted, score = p.argmax(1), p if p.shape[1] > 2 else p[:, 1]
    found: dict[str, Callable[[np.ndarray], float]] = {
        "accuracy": lambda w: float(metrics.accuracy(y, predicted, sample_weight=w)),
        "balanced_accuracy": lambda w: float(metrics.balanced_accuracy(y, predicted, sample_weight=w)),
        "log_loss": lambda w: float(metrics.log_loss(y, score, sample_weight=w)),
        "brier": lambda w: float(metrics.brier(y, score, sample_weight=w)),
        "expected_calibration_error": lambda w: float(
            metrics.expected_calibration_error(y, score, sample_weight=w)
        ),
    }
    if p.shape[1] == 2:
        found["roc_auc"] = lambda w: float(metrics.roc_auc(y, score, sample_weight=w))
    return found


def _number_metrics(
    model: Model, y: np.ndarray, predicted: np.ndarray
) -> dict[str, Callable[[np.ndarray], float]]:
    if model.loss == "poisson":
        return {
            "d2": lambda w: float(metrics.d2_poisson(y, predicted, sample_weight=w)),
            "poisson_deviance": lambda w: float(metrics.poisson_deviance(y, predicted, sample_weight=w)),
        }
    return {
        "r2": lambda w: float(metrics.r2(y, predicted, sample_weight=w)),
        "root_mean_squared_error": lambda w: float(np.sqrt(np.average((y - predicted) ** 2, weights=w))),
        "pearson_r": lambda w: float(metrics.pearson_r(y, predicted, sample_weight=w)),
    }
