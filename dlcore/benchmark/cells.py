"""One work, everybody who can do it side by side, and what is wrong with a figure before anybody reads it."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore._types import Device
from dlcore.benchmark.ceilings import Ceilings
from dlcore.benchmark.contestants import Contestant, contestants_of
from dlcore.benchmark.work import Family, Work
from dlcore.measuring import Timing, measure

LEAST_ROUNDS, MOST_ROUNDS = 7, 101
SPREAD = 0.2
"""The quartiles of a figure that is not noisy are this share of its median apart, at most."""
FASTER_THAN_CAN_BE = 1.5
"""A product faster than the best one by more than this is no speed: nobody waited, or nothing was computed."""
FASTER_THAN_MEMORY = 8.0
"""The same of bytes read: caches are that much faster than memory, and some hold all that is read in turn."""


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
    """What came out of one function at one size.

    Attributes:
      name, suite, size, shape: which.
      bound_by: the nearer ceiling of the first device.
      fresh: whether the inputs came from memory.
      figures: by contestant.
      operations, traffic: what the algorithm cannot do without, as counted from it, not measured.
    """

    name: str
    suite: str
    size: int
    shape: str
    bound_by: str
    fresh: bool
    figures: dict[str, Figure]
    operations: float
    traffic: float


def cell_of(
    family: Family,
    size: int,
    devices: dict[str, Device],
    ceilings: Mapping[str, Ceilings],
    peers: tuple[str, ...],
    seconds: float,
) -> Cell:
    """Time everybody in turn for about so many seconds, then look at what they computed."""
    work = family.make(size)
    contestants = contestants_of(work, devices, peers)
    calls = {title: one.call for title, one in contestants.items()}
    before = {title: one.before for title, one in contestants.items() if one.before is not None}
    trial = measure(calls, 1, before)
    each = sum(timing.median for timing in trial.values())
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(seconds / each)))
    with Compilations() as compiled:
        timings = measure(calls, rounds, before)
    exact = work.twin(*(array.astype(np.float64) if array.dtype.kind == "f" else array for array in work.inputs))
    figures = {}
    for title, one in contestants.items():
        mine = title.startswith("dlcore ")
        limits = ceilings[title.removeprefix("dlcore ") if mine else "cpu"]
        first, warm = trial[title].first, timings[title]
        answer = one.call()
        figures[title] = Figure(
            # A verb compiles in its first call.
            compile=max(0.0, first - warm.median) if mine and one.compile is None else one.compile,
            transfer=one.transfer,
            first=first,
            median=warm.median,
            quartiles=warm.quartiles,
            rounds=rounds,
            share=limits.least(work.operations, work.traffic, calls=mine)[0] / warm.median,
            error=error_of(answer, exact),
            wrong=wrong_of(work, one, warm, limits, answer, exact, compiled=bool(compiled)),
            noisy=warm.quartiles[1] - warm.quartiles[0] > SPREAD * warm.median,
        )
    bound_by = next(iter(ceilings.values())).least(work.operations, work.traffic, calls=True)[1]
    fresh = all(one.fresh for one in contestants.values())
    return Cell(
        family.name, family.suite, size, work.shape, bound_by, fresh, figures, work.operations, work.traffic
    )


def wrong_of(
    work: Work, one: Contestant, timing: Timing, limits: Ceilings, answer: Any, exact: Any, *, compiled: bool
) -> str:
    """Why a figure must not be compared; empty where it may be."""
    wanted = np.result_type(*(array.dtype for array in work.inputs if array.dtype.kind == "f"))
    others = [array.dtype for array in _arrays(answer) if array.dtype != wanted]
    error = error_of(answer, exact)
    possible = limits.possible(work.operations / FASTER_THAN_CAN_BE, work.traffic / FASTER_THAN_MEMORY)
    fast = timing.quartiles[0]  # the median would miss a queue that fills up and only then waits
    if others:
        return f"computes in {others[0]}, not {wanted}"
    if not error <= work.bound:
        return f"is off by {error:.1e}, more than {work.bound:.0e}"
    if compiled and one.compile is not None:
        return "compiled while it was timed"
    if work.counted and one.operations is not None and one.operations < work.operations / 2:
        return f"was left {one.operations:.2g} of {work.operations:.2g} operations by the compiler"
    if fast < possible:
        return f"took {fast:.2g} s, and the machine takes {possible:.2g} s at least"
    return ""


def error_of(answer: Any, exact: Any) -> float:
    """The largest of any array, relative to its largest number; infinite where shapes differ or one is nan."""
    worst = 0.0
    for one, right in zip(_arrays(answer), _arrays(exact), strict=True):
        if one.shape != right.shape or not np.isfinite(one).all():
            return math.inf
        scale = float(np.abs(right).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(one.astype(np.float64) - right).max(initial=0)) / scale)
    return worst


def _arrays(answer: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(answer)]


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
