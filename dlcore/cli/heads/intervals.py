"""Metrics of held-out rows, with intervals of the bootstrap."""

import dataclasses
import math

import numpy as np

from dlcore._core.labels import codes_of
from dlcore.cli.console import ShowWork, ignore_work
from dlcore.data import Dataset
from dlcore.export import Model
from dlcore.probing.bootstrap import percentile_interval, resample_values
from dlcore.probing.fits.scoring import measure

RESAMPLES = 500
"""Number of resamples. Each draws as many rows, or groups, as there are."""
LEVEL = 0.95
"""Coverage of the intervals."""
OF_CLASSES = ("accuracy", "balanced_accuracy", "log_loss", "brier", "expected_calibration_error")
OF_TWO_CLASSES = (*OF_CLASSES, "roc_auc")
OF_NUMBERS = ("r2", "root_mean_squared_error", "pearson_r")
OF_COUNTS = ("d2_poisson", "poisson_deviance")
"""Names of the metrics of each kind of target, the first of which the card shows first."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A metric of the held-out rows, and the percentile interval of its bootstrap.

    The ends are nan if the metric is undefined in all resamples, or if all rows are of one group.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.5g} ({self.low:.5g} to {self.high:.5g})"


def held_out_metrics(
    model: Model, held: Dataset, seed: int, progress: ShowWork = ignore_work
) -> dict[str, Interval]:
    """Return the metrics of a model on held-out rows, by name.

    Args:
      model: the model.
      held: rows with a target; groups are resampled as wholes.
      seed: the seed of the resamples.
      progress: a function of (work, done, total).
    """
    names, y, prediction = _predictions(model, held)
    weight = np.ones(len(held)) if held.weight is None else held.weight.astype(np.float64)
    units = len(held) if held.groups is None else len(np.unique(held.groups))
    found = {}
    for done, name in enumerate(names):
        progress("metrics", done, len(names))

        def of_resample(y: np.ndarray, prediction: np.ndarray, counts: np.ndarray, name: str = name) -> float:
            weights = weight * counts
            return _metric(name, y, prediction, weights) if weights.any() else math.nan

        low, high = math.nan, math.nan
        if units > 1:
            values = resample_values(of_resample, y, prediction, RESAMPLES, seed, held.groups)
            low, high, _ = percentile_interval(values, LEVEL)
        found[name] = Interval(_metric(name, y, prediction, weight), low, high)
    progress("metrics", len(names), len(names))
    return found


def _predictions(model: Model, held: Dataset) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return the names of the metrics, the targets or codes of classes, and the predictions."""
    target = held.target
    assert target is not None
    if model.loss in ("squared", "poisson"):
        names = OF_NUMBERS if model.loss == "squared" else OF_COUNTS
        return names, target.astype(np.float64), model.predict(held.features)
    classes = model.classes_
    y = target.astype(np.intp) if classes is None else codes_of("target", target, np.asarray(classes))
    p = model.predict_proba(held.features)
    return (OF_TWO_CLASSES, y, p[:, 1]) if p.shape[1] == 2 else (OF_CLASSES, y, p)


def _metric(name: str, y: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> float:
    if name == "root_mean_squared_error":
        return float(np.sqrt(np.average((y - prediction) ** 2, weights=weight)))
    return measure(name, y, prediction, weight)
