"""What one run says, and two: who gains how much, from which size on, and whether a run repeats another."""

import math
from typing import Any, NamedTuple

import numpy as np

from dlcore.benchmark.measurement import Cell, Figure


def best_of(cell: Cell, library: str) -> Figure | None:
    """A peer's faster figure, on all threads or on one, of those that may be compared; None without any."""
    mine = [one for title, one in cell.figures.items() if title.startswith(f"{library}, ")]
    fair = [one for one in mine if not one.wrong]
    return min(fair or mine, key=lambda one: one.median) if mine else None


def gain(ours: Figure, theirs: Figure) -> float | None:
    """How many times faster ours is; None where one of both is wrong."""
    return None if ours.wrong or theirs.wrong else theirs.median / ours.median


def crossover(sizes: list[int], gains: list[float | None]) -> float | None:
    """The size from which on the gain is above 1 to the end, between two sizes on a line of logarithms.

    Infinite where it never is, None where a figure is missing.

    >>> crossover([16, 64, 256], [0.25, 0.5, 2.0])
    128.0
    """
    known = [found for found in gains if found is not None]
    if len(known) < len(gains) or not known:
        return None
    below = [k for k, found in enumerate(known) if found <= 1]
    if not below:
        return float(sizes[0])
    if below[-1] == len(sizes) - 1:
        return math.inf
    k = below[-1]
    share = -math.log(known[k]) / (math.log(known[k + 1]) - math.log(known[k]))
    return float(round(sizes[k] * (sizes[k + 1] / sizes[k]) ** share, 6))


def slope(sizes: list[int], seconds: list[float]) -> float | None:
    """That of log time against log size over the last three sizes, 1 where time is a line; None of fewer.

    >>> slope([1, 4, 16, 64], [9.0, 1.0, 4.0, 16.0])
    1.0
    """
    if len(sizes) < 3:
        return None
    return round(float(np.polyfit(np.log(sizes[-3:]), np.log(seconds[-3:]), 1)[0]), 6)


def crossover_of(cells: list[Cell], who: str, library: str) -> float | None:
    """The crossover of one function's cells, from the smallest: `who` against the best of a library."""
    gains: list[float | None] = []
    for cell in cells:
        ours, theirs = cell.figures.get(who), best_of(cell, library)
        gains.append(None if ours is None or theirs is None else gain(ours, theirs))
    return crossover([cell.size for cell in cells], gains)


class Change(NamedTuple):
    """One figure in two runs.

    Attributes:
      name, shape, who: which.
      ratio: the second median over the first.
      agree: whether the ranges that both state, the quartiles and half of their distance on either side, meet.
    """

    name: str
    shape: str
    who: str
    ratio: float
    agree: bool


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[Change]:
    """The figures that two files of `dlcore bench --json` have in common.

    Raises:
      ValueError: if a file is none of these, or they have nothing in common.
    """
    tables = []
    for name, run in (("first", first), ("second", second)):
        try:
            tables.append(
                {
                    ((cell["name"], cell["shape"]), who): _times(one)
                    for cell in run["cells"]
                    for who, one in cell["figures"].items()
                    if not one["wrong"]
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{name}: expected a file of dlcore bench --json, got one without {error}") from error
    common = [key for key in tables[0] if key in tables[1]]
    if not common:
        raise ValueError("compare: the two runs have no figure in common")
    pairs = {key: (tables[0][key], tables[1][key]) for key in common}
    return [
        Change(name, shape, who, after[0] / before[0], _meet(before, after))
        for ((name, shape), who), (before, after) in pairs.items()
    ]


def _times(figure: dict[str, Any]) -> tuple[float, float, float]:
    """Return the median, which is above 0, and the quartiles."""
    median, low, high = map(float, (figure["median"], *figure["quartiles"]))
    if not 0 < median < math.inf:
        raise ValueError(f"times above 0, but {median:g}")
    return median, low, high


def _meet(first: tuple[float, float, float], second: tuple[float, float, float]) -> bool:
    ranges = [(low - (high - low) / 2, high + (high - low) / 2) for _, low, high in (first, second)]
    return ranges[0][0] <= ranges[1][1] and ranges[1][0] <= ranges[0][1]
