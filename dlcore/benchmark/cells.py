"""One work, everybody who can do it side by side, and what is wrong with a figure before anybody reads it."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore._types import Device
from dlcore.benchmark.ceilings import Ceilings
from dlcore.benchmark.contestants import Contestant, contestants_of
from dlcore.benchmark.work import Work
from dlcore.measuring import Timing, measure

LEAST_ROUNDS, MOST_ROUNDS = 7, 101
SPREAD = 0.2
"""The quartiles of a figure that is not noisy are this share of its median apart, at most."""
FASTER_THAN_CAN_BE = 1.5
"""A share of the ceiling above this is no speed: nobody waited, or nothing was computed. Ceilings are noisy too,
and a small input may come from the cache."""


class Figure(NamedTuple):
    """What one contestant did.

    Attributes:
      compile, transfer, first, median: seconds; None where there is no such thing.
      quartiles: of the warm calls.
      rounds: how many of them.
      share: of the nearer ceiling of its device, 1 where nobody could be faster.
      error: the largest, relative to the largest number of the answer.
      wrong: why the figure must not be compared; empty where it may be.
      noisy: whether the quartiles are far apart.
    """

    compile: float | None
    transfer: float | None
    first: float
    median: float
    quartiles: tuple[float, float]
    rounds: int
    share: float
    error: float
    wrong: str
    noisy: bool


class Cell(NamedTuple):
    """What came out of one work; `bound_by` is the nearer ceiling, `fresh` whether inputs came from memory."""

    name: str
    suite: str
    size: int
    shape: str
    bound_by: str
    fresh: bool
    figures: dict[str, Figure]


def cell_of(
    work: Work,
    devices: dict[str, Device],
    ceilings: Mapping[str, Ceilings],
    peers: tuple[str, ...],
    seconds: float,
) -> Cell:
    """Time everybody in turn for about so many seconds, then look at what they computed."""
    contestants = contestants_of(work, devices, peers)
    calls = {title: one.call for title, one in contestants.items()}
    before = {title: one.before for title, one in contestants.items() if one.before is not None}
    trial = measure(calls, 1, before)
    each = sum(timing.median for timing in trial.values())
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(seconds / each)))
    with Compilations() as compiled:
        timings = measure(calls, rounds, before)
    exact = work.twin(*(array.astype(np.float64) if array.dtype.kind == "f" else array for array in work.inputs))
    host, figures = ceilings["cpu"], {}
    for title, one in contestants.items():
        first, warm = trial[title].first, timings[title]
        mine = title.startswith("dlcore ")
        limits = ceilings[title.removeprefix("dlcore ")] if mine else host
        least = limits.least(work.operations, work.traffic, calls=mine)[0]
        result = one.call()
        if one.compile is None and mine:  # a verb compiles in its first call
            one = one._replace(compile=max(0.0, first - warm.median))
        figures[title] = figure(
            one, trial[title].first, timings[title], least, result, exact, work, bool(compiled)
        )
    bound_by = next(iter(ceilings.values())).least(work.operations, work.traffic, calls=True)[1]
    fresh = all(one.fresh for one in contestants.values())
    return Cell(work.name, work.suite, work.size, work.shape, bound_by, fresh, figures)


def figure(
    one: Contestant,
    first: float,
    timing: Timing,
    least: float,
    result: Any,
    exact: Any,
    work: Work,
    compiled: bool,
) -> Figure:
    """The figure of one contestant, and what is wrong with it."""
    found, right = ([np.asarray(leaf) for leaf in jax.tree.leaves(answer)] for answer in (result, exact))
    error = error_of(found, right)
    low, high = timing.quartiles
    share = least / timing.median
    wanted = np.result_type(*(array.dtype for array in work.inputs if array.dtype.kind == "f"))
    wrong = ""
    if other := [array.dtype for array in found if array.dtype != wanted]:
        wrong = f"computes in {other[0]}, not {wanted}"
    elif not error <= work.bound:
        wrong = f"is off by {error:.1e}, more than {work.bound:.0e}"
    elif compiled and one.compile is not None:
        wrong = "compiled while it was timed"
    elif work.counted and one.operations is not None and one.operations < work.operations / 2:
        wrong = f"was left {one.operations:.2g} of {work.operations:.2g} operations by the compiler"
    elif least > FASTER_THAN_CAN_BE * low:  # the median would miss a queue that fills up and only then waits
        wrong = f"is {least / low:.1f} times faster than the machine can be"
    noisy = high - low > SPREAD * timing.median
    return Figure(
        one.compile, one.transfer, first, timing.median, (low, high), len(timing.calls), share, error, wrong, noisy
    )


def error_of(found: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """The largest of any array, relative to its largest number; infinite where shapes differ or one is nan."""
    worst = 0.0
    for one, right in zip(found, exact, strict=True):
        if one.shape != right.shape or not np.isfinite(one).all():
            return math.inf
        scale = float(np.abs(right).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(one.astype(np.float64) - right).max(initial=0)) / scale)
    return worst


class Compilations:
    """Counts what XLA compiles inside the block; true once it compiled anything."""

    def __init__(self) -> None:
        self.count = 0

    def _heard(self, event: str, duration_secs: float, **_: Any) -> None:
        del duration_secs
        self.count += event.endswith("backend_compile_duration")

    def __enter__(self) -> "Compilations":
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._heard)

    def __bool__(self) -> bool:
        return self.count > 0
