"""Bootstrap intervals of metrics over test rows or groups of rows, and of paired differences."""

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from dlcore import metrics
from dlcore._core import host_checks
from dlcore.probing.data.rows import read_names
from dlcore.probing.fits.scoring import METRICS
from dlcore.probing.fits.settings import check_confidence
from dlcore.probing.table import ProbeTable

MetricFunction: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""A function of targets, predictions and weights of the rows, shape (n,), to a number."""
MetricLike: TypeAlias = str | MetricFunction
"""The name of a metric of `METRICS`, or a function of one's own."""


class Interval(NamedTuple):
    """A percentile interval.

    Attributes:
      low: the lower end; nan if no resample has a value.
      high: the upper end.
      undefined: the number of resamples in which the metric is undefined. They are left out.
    """

    low: float
    high: float
    undefined: int


def bootstrap(
    y: npt.ArrayLike,
    prediction: npt.ArrayLike,
    metric: MetricLike = "accuracy",
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ProbeTable:
    r"""Return a bootstrap percentile interval of a metric over the rows of a test set.

    A resample draws n rows of n with replacement, or G groups of G with all their rows. Its metric is that of the
    rows weighted by how often they are drawn.

    Args:
      y: labels or targets, shape (n,) or (n, targets).
      prediction: what the metric takes: labels, or probabilities of class 1 or of all classes, or numbers.
      metric: a name of `METRICS`, or a function of (y, prediction, weights) to a number.
      groups: the group of each row, shape (n,), such as its subject. None resamples rows.
      resamples: the number of resamples.
      confidence: the level of the interval.
      seed: of the resamples. The rows of resample b are `default_rng(seed).integers(0, n, (resamples, n))[b]`.

    Returns:
      A table with one row: the metric, its value, low, high, the standard error, and the numbers of resamples and
      of undefined ones.

    Raises:
      ValueError: if shapes do not fit, the metric is unknown, there is one group only, or no resample is defined.

    Source: Efron and Tibshirani (1993), An introduction to the bootstrap, sections 13.3 and 8.5 (groups).

    >>> table = bootstrap([0, 1, 1, 0], [0, 1, 0, 0], resamples=100)
    >>> table["value"], bool(table["low"][0] <= 0.75 <= table["high"][0])
    (array([0.75]), True)
    """
    name, function = read_metric(metric)
    truth, predicted = np.asarray(y), np.asarray(prediction)
    weights = _resampled_weights(len(truth), groups, resamples, seed)
    value = function(truth, predicted, np.ones(len(truth)))
    values = _values(function, truth, predicted, weights)
    return _table("bootstrap", name, value, values, confidence, seed=seed, groups=groups)


def paired_bootstrap(
    y: npt.ArrayLike,
    prediction: npt.ArrayLike,
    baseline: npt.ArrayLike,
    metric: MetricLike = "accuracy",
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ProbeTable:
    """Return a bootstrap interval of the difference of a metric between two heads on the same test rows.

    Both heads are measured on the same resamples.

    Args:
      y: labels or targets, shape (n,) or (n, targets).
      prediction: the predictions of the first head, as `bootstrap` takes them.
      baseline: those of the second head. The difference is first minus second.
      metric: as `bootstrap` takes it.
      groups: the group of each row, shape (n,), or None.
      resamples: the number of resamples.
      confidence: the level of the interval.
      seed: of the resamples.

    Returns:
      A table with one row, as that of `bootstrap`, of the difference.

    Raises:
      ValueError: as `bootstrap`, or if the predictions differ in shape.

    Source: Efron and Tibshirani (1993), An introduction to the bootstrap, sections 13.3 and 16.4.

    >>> table = paired_bootstrap([0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0], resamples=100)
    >>> table["value"]
    array([0.25])
    """
    name, function = read_metric(metric)
    truth, first, second = np.asarray(y), np.asarray(prediction), np.asarray(baseline)
    if first.shape != second.shape:
        raise ValueError(f"baseline: expected the shape of prediction, {first.shape}, got {second.shape}")

    def difference(rows: np.ndarray, both: np.ndarray, weight: np.ndarray) -> float:
        return function(rows, both[0], weight) - function(rows, both[1], weight)

    weights = _resampled_weights(len(truth), groups, resamples, seed)
    both = np.stack([first, second])
    value = difference(truth, both, np.ones(len(truth)))
    values = _values(difference, truth, both, weights)
    return _table("paired_bootstrap", name, value, values, confidence, seed=seed, groups=groups)


def read_metric(metric: MetricLike) -> tuple[str, MetricFunction]:
    """Return the name of a metric and a function of targets, predictions and weights."""
    if callable(metric):
        return getattr(metric, "__name__", type(metric).__name__), metric
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(f"metric: expected a function or one of {', '.join(map(repr, METRICS))}, got {metric!r}")
    function = METRICS[metric].function
    return metric, lambda y, prediction, weight: float(function(y, prediction, sample_weight=weight))


def percentile_interval(values: np.ndarray, confidence: float) -> Interval:
    """Return the percentile interval of the values that are no nan."""
    check_confidence(confidence)
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(np.nan, np.nan, len(values))
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), len(values) - len(known))


def resample_values(
    function: MetricFunction,
    y: np.ndarray,
    prediction: np.ndarray,
    resamples: int,
    seed: int,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return the metric of each resample, shape (resamples,), nan where it is undefined."""
    return _values(function, y, prediction, _resampled_weights(len(y), groups, resamples, seed))


def _values(
    function: MetricFunction, y: np.ndarray, prediction: np.ndarray, weights: Iterator[np.ndarray]
) -> np.ndarray:
    values = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", metrics.UndefinedMetricWarning)
        for weight in weights:
            try:
                values.append(float(function(y, prediction, weight)))
            except metrics.UndefinedMetricWarning:
                values.append(np.nan)
    return np.array(values)


def _resampled_weights(rows: int, groups: npt.ArrayLike | None, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each row is drawn, shape (rows,), for each resample."""
    count = host_checks.check_count("resamples", resamples)
    rng = np.random.default_rng(host_checks.check_count("seed", seed, minimum=0))
    units, unit_of_row = rows, np.arange(rows)
    if groups is not None:
        names, unit_of_row = np.unique(read_names("groups", groups, rows), return_inverse=True)
        units = len(names)
        if units < 2:
            raise ValueError("groups: expected at least two groups to resample, got one")
    return (
        np.bincount(rng.integers(0, units, units), minlength=units)[unit_of_row].astype(float)
        for _ in range(count)
    )


def _table(
    protocol: str,
    name: str,
    value: float,
    values: np.ndarray,
    confidence: float,
    *,
    seed: int,
    groups: npt.ArrayLike | None,
) -> ProbeTable:
    interval = percentile_interval(values, confidence)
    if np.isnan(interval.low):
        raise ValueError(f"metric: {name} is undefined in all {len(values)} resamples")
    columns = {
        "metric": np.array([name]),
        "value": np.array([value]),
        "low": np.array([interval.low]),
        "high": np.array([interval.high]),
        "standard_error": np.array(
            [np.nanstd(values, ddof=1) if len(values) - interval.undefined > 1 else np.nan]
        ),
        "resamples": np.array([len(values)]),
        "undefined": np.array([interval.undefined]),
    }
    settings = {"confidence": float(confidence), "seed": int(seed), "resamples": len(values)}
    unit = "rows" if groups is None else "groups"
    return ProbeTable(columns, {"protocol": protocol, "settings": {**settings, "resampled": unit, "metric": name}})
