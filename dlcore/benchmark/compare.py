"""Comparison of implementations within a run (speedups, crossovers) and of the times of two runs."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dlcore.benchmark.measurement import JsonObject, Measurement, Result


def best_result(measurement: Measurement, library: str) -> Result | None:
    """Return the fastest comparable result of a library on any number of threads.

    Results that are wrong count only if there is no other. None means that the library was not measured.
    """
    results = [result for title, result in measurement.results.items() if title.startswith(f"{library}, ")]
    comparable = [result for result in results if not result.wrong]
    return min(comparable or results, key=lambda result: result.median) if results else None


def comparable_result(measurement: Measurement, name: str) -> Result | None:
    """Return dlcore's result on a device or a library's best result, or None if it is wrong or absent."""
    result = measurement.results.get(name) or best_result(measurement, name)
    return None if result is None or result.wrong else result


def libraries_of(measurements: Iterable[Measurement]) -> list[str]:
    """Return the names of the libraries that dlcore is compared with."""
    titles = [title for measurement in measurements for title in measurement.results]
    return list(dict.fromkeys(title.partition(",")[0] for title in titles if "," in title))


def speedup(result: Result, baseline: Result) -> float | None:
    """Return how many times faster a result is than the baseline, or None if one of them is wrong."""
    return None if result.wrong or baseline.wrong else baseline.median / result.median


def crossover(sizes: list[int], speedups: list[float | None]) -> float | None:
    """Return the size from which the speedup stays above 1, by log-log interpolation.

    It is infinite if the largest size has no speedup above 1, and None if a speedup is missing.

    >>> crossover([16, 64, 256], [0.25, 0.5, 2.0])
    128.0
    """
    values = [value for value in speedups if value is not None]
    if len(values) < len(speedups) or not values:
        return None
    slower = [k for k, value in enumerate(values) if value <= 1]
    if not slower:
        return float(sizes[0])
    k = slower[-1]
    if k == len(sizes) - 1:
        return math.inf
    fraction = -math.log(values[k]) / (math.log(values[k + 1]) - math.log(values[k]))
    return float(round(sizes[k] * (sizes[k + 1] / sizes[k]) ** fraction, 6))


def growth_exponent(sizes: list[int], seconds: list[float]) -> float | None:
    """Return the slope of log time against log size over the last three sizes, or None if there are fewer.

    >>> growth_exponent([1, 4, 16, 64], [9.0, 1.0, 4.0, 16.0])
    1.0
    """
    if len(sizes) < 3:
        return None
    return round(float(np.polyfit(np.log(sizes[-3:]), np.log(seconds[-3:]), 1)[0]), 6)


def find_crossover(measurements: list[Measurement], title: str, library: str) -> float | None:
    """Return the crossover of an implementation against the best result of a library.

    Args:
      measurements: of one function, in increasing order of size.
      title: the implementation, such as "dlcore cpu".
      library: the library that it is compared with.
    """
    speedups: list[float | None] = []
    for measurement in measurements:
        result, baseline = measurement.results.get(title), best_result(measurement, library)
        speedups.append(None if result is None or baseline is None else speedup(result, baseline))
    return crossover([measurement.size for measurement in measurements], speedups)


class Change(NamedTuple):
    """Change of one result between two runs.

    Attributes:
      name: the function.
      shape: its size as text.
      title: the implementation.
      ratio: the second median divided by the first.
      agree: whether the intervals of both results overlap. An interval reaches half of the interquartile range
        beyond each quartile.
    """

    name: str
    shape: str
    title: str
    ratio: float
    agree: bool


def compare(first: JsonObject, second: JsonObject) -> list[Change]:
    """Return the changes of all results that two files of `dlcore bench --json` have in common.

    Raises:
      ValueError: if a file is not of this kind, or if the files have no result in common.
    """
    before, after = _comparable_times("first", first), _comparable_times("second", second)
    common = [key for key in before if key in after]
    if not common:
        raise ValueError("compare: the two runs have no figure in common")
    return [
        Change(*key, after[key].median / before[key].median, before[key].overlaps(after[key])) for key in common
    ]


class _Times(NamedTuple):
    """Median and quartiles of the warm calls of one result, in seconds."""

    median: float
    low: float
    high: float

    def overlaps(self, other: "_Times") -> bool:
        """Return whether the intervals of two results overlap, each half as wide again on either side."""
        first, second = ((t.low - (t.high - t.low) / 2, t.high + (t.high - t.low) / 2) for t in (self, other))
        return first[0] <= second[1] and second[0] <= first[1]


def _comparable_times(name: str, run: JsonObject) -> dict[tuple[str, str, str], _Times]:
    """Return the times of all results that are not wrong, by function, shape and implementation."""
    try:
        return {
            (cell["name"], cell["shape"], title): _read_times(figure)
            for cell in run["cells"]
            for title, figure in cell["figures"].items()
            if not figure["wrong"]
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{name}: expected a file of dlcore bench --json, got one without {error}") from error


def _read_times(figure: JsonObject) -> _Times:
    """Return the times of one result.

    Raises:
      ValueError: if the median is not finite and above 0.
    """
    times = _Times(*map(float, (figure["median"], *figure["quartiles"])))
    if not 0 < times.median < math.inf:
        raise ValueError(f"times above 0, but {times.median:g}")
    return times
