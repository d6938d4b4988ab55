"""One work, everybody who can do it side by side, and what is wrong with a figure before anybody reads it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore._core.timing import Timing, measure
from dlcore._core.types import Device
from dlcore.benchmark.accuracy import Judge, Verdict
from dlcore.benchmark.case import Family, Work
from dlcore.benchmark.implementations import Contestant, contestants_of, of_solvers, solvers_of
from dlcore.benchmark.roofline_peaks import Ceilings
from dlcore.benchmark.tune_solver import Setting, Solver, settle

LEAST_ROUNDS, MOST_ROUNDS = 3, 101
SLOW = 5.0
"""Seconds that one round of everybody takes from which on a pass has one round."""
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
      quartiles: of the warm calls; of several passes the lowest first and the highest third one.
      rounds: how many of them.
      share: of the nearer ceiling of its device, 1 where nobody could be faster.
      error: the largest, relative to the largest number of the answer; of what was fitted, the certified gap.
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
      settings: of the solvers among them, by library and solver.
      along: what the size counts.
      operations, traffic: what the algorithm cannot do without, as counted from it, not measured.
    """

    name: str
    suite: str
    size: int
    shape: str
    bound_by: str
    fresh: bool
    figures: dict[str, Figure]
    settings: dict[str, Setting]
    along: str
    operations: float
    traffic: float


def cell_of(
    family: Family,
    size: int,
    devices: Mapping[str, Device],
    ceilings: Mapping[str, Ceilings],
    peers: Sequence[str],
    seconds: float,
    before: Cell | None = None,
) -> Cell:
    """Time everybody in turn for about so many seconds, then look at what they computed.

    Args:
      family: what is done.
      size: how much of it.
      devices: where dlcore does it, by name.
      ceilings: of these, and of "cpu", where peers are.
      peers: the libraries.
      seconds: about so long; each is called five times at least, twice where that is long.
      before: the same cell of an earlier pass; solvers are then asked as they were there.
    """
    work = family.make(size)
    judge = work.judge(work.inputs)
    contestants = contestants_of(work, devices, peers)
    trial = _measured(contestants, 1)
    if solvers := solvers_of(work, peers):
        mine = next(iter(trial.values())).median
        settings = _settled(solvers, work, judge, mine) if before is None else before.settings
        asked = of_solvers(work, solvers, settings)
        contestants, trial = contestants | asked, trial | _measured(asked, 1)
    else:
        settings = {}
    timings, each, compiled = trial, sum(timing.median for timing in trial.values()), False
    if each < SLOW:
        with Compilations() as heard:
            timings = _measured(contestants, max(LEAST_ROUNDS, min(MOST_ROUNDS, int(seconds / each))))
        compiled = bool(heard)
    figures = {}
    for title, one in contestants.items():
        first, warm, limits = trial[title].first, timings[title], ceilings[one.device]
        verdict = judge(one.call())
        figures[title] = Figure(
            # A verb compiles in its first call.
            compile=max(0.0, first - warm.median) if one.dispatched and one.compile is None else one.compile,
            transfer=one.transfer,
            first=first,
            median=warm.median,
            quartiles=warm.quartiles,
            rounds=len(warm.calls),
            share=limits.least(work.operations, work.traffic, calls=one.dispatched)[0] / warm.median,
            error=verdict.error,
            wrong=wrong_of(work, one, warm, limits, verdict, compiled=compiled),
            noisy=_noisy(warm.median, warm.quartiles),
        )
    for title, setting in settings.items():
        if setting.known:
            figures[title] = _once(work, setting, ceilings["cpu"])
    bound_by = next(iter(ceilings.values())).least(work.operations, work.traffic, calls=True)[1]
    fresh = all(one.fresh for one in contestants.values())
    return Cell(
        family.name,
        family.suite,
        size,
        work.shape,
        bound_by,
        fresh,
        figures,
        settings,
        family.along,
        work.operations,
        work.traffic,
    )


def merged(passes: Sequence[Cell]) -> Cell:
    """One cell of several passes: what a figure states then holds how the machine changed between them."""
    figures = {}
    for title, first in passes[0].figures.items():
        if title in passes[0].settings:  # of a call in the first pass alone
            figures[title] = first
            continue
        every = [cell.figures[title] for cell in passes]
        median = float(np.median([one.median for one in every]))
        quartiles = min(one.quartiles[0] for one in every), max(one.quartiles[1] for one in every)
        transfers = [one.transfer for one in every if one.transfer is not None]
        figures[title] = first._replace(  # it compiled in the first pass
            transfer=float(np.median(transfers)) if transfers else None,
            median=median,
            quartiles=quartiles,
            rounds=sum(one.rounds for one in every),
            share=first.share * first.median / median,
            error=max(one.error for one in every),
            wrong=next((one.wrong for one in every if one.wrong), ""),
            noisy=_noisy(median, quartiles),
        )
    return passes[0]._replace(figures=figures)


def _noisy(median: float, quartiles: tuple[float, float]) -> bool:
    return quartiles[1] - quartiles[0] > SPREAD * median


def _measured(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Timing]:
    if not contestants:
        return {}
    setting_up = {title: one.before for title, one in contestants.items() if one.before is not None}
    return measure({title: one.call for title, one in contestants.items()}, rounds, setting_up)


def _settled(solvers: Mapping[str, Solver], work: Work, judge: Judge, mine: float) -> dict[str, Setting]:
    """How each is best asked; `mine`: the seconds that dlcore takes."""
    settings, best = {}, math.inf
    for title, solver in solvers.items():
        settings[title] = settle(solver, work.inputs, judge, mine, best)
        if not settings[title].wrong:
            best = min(best, settings[title].seconds)
    return settings


def _once(work: Work, setting: Setting, limits: Ceilings) -> Figure:
    """Of a solver too slow to be asked again, or that no setting made right: its time is then only a bound."""
    share = limits.least(work.operations, work.traffic, calls=False)[0] / setting.seconds
    same = setting.seconds, setting.seconds
    return Figure(
        None, None, setting.seconds, setting.seconds, same, 1, share, setting.error, setting.wrong, False
    )


def wrong_of(
    work: Work, one: Contestant, timing: Timing, limits: Ceilings, verdict: Verdict, *, compiled: bool
) -> str:
    """Why a figure must not be compared; empty where it may be."""
    possible = limits.possible(work.operations / FASTER_THAN_CAN_BE, work.traffic / FASTER_THAN_MEMORY)
    fast = timing.quartiles[0]  # the median would miss a queue that fills up and only then waits
    if verdict.wrong:
        return verdict.wrong
    if compiled and one.dispatched:
        return "compiled while it was timed"
    if work.counted and one.operations is not None and one.operations < work.operations / 2:
        return f"was left {one.operations:.2g} of {work.operations:.2g} operations by the compiler"
    if fast < possible:
        return f"took {fast:.2g} s, and the machine takes {possible:.2g} s at least"
    return ""


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
