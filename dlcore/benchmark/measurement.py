"""Measurement of one case: all implementations timed side by side, and reasons to exclude their results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dlcore._core.compilation.compilations import Compilations
from dlcore._core.timing import Timing, measure
from dlcore._core.types import Device
from dlcore.benchmark.accuracy import Checker
from dlcore.benchmark.case import Case, CaseFamily
from dlcore.benchmark.head_peers import start_library
from dlcore.benchmark.implementations import Implementation, bound_solvers, implementations_of, solvers_of
from dlcore.benchmark.roofline_peaks import RooflinePeaks
from dlcore.benchmark.tune_solver import Solver, SolverSetting, tune_solver

MIN_ROUNDS, MAX_ROUNDS = 3, 101
SLOW_ROUND_S = 5.0
"""If one round of all implementations takes longer than this, a pass has a single round."""
NOISY_SPREAD = 0.2
"""A result is noisy if its interquartile range is a larger fraction of its median."""
MAX_PEAK_FRACTION = 1.5
"""FLOP/s above this multiple of the peak are implausible: the result was not awaited, or not computed."""
MAX_BANDWIDTH_FRACTION = 8.0
"""The same for bandwidth. Caches are faster than memory, and some hold all copies of the inputs."""

JsonObject: TypeAlias = dict[str, Any]
"""An object of a JSON file."""


class Result(NamedTuple):
    """Result of one implementation; times are in seconds.

    Attributes:
      compile: the time of the compilation; None if nothing is compiled.
      transfer: the time to move the inputs to the device; None if they are not moved.
      first: the time of the first call.
      median: the median of the warm calls.
      quartiles: of the warm calls; over several passes the smallest first and the largest third quartile.
      rounds: the number of warm calls.
      roofline_fraction: the achieved fraction of the limiting peak (bandwidth, FLOP/s or latency).
      error: the largest error relative to the largest number of the answer; for fitted heads the certified gap.
      wrong: the reason why the result must not be compared; empty if it may be.
      noisy: whether the interquartile range is large.
    """

    compile: float | None
    transfer: float | None
    first: float
    median: float
    quartiles: tuple[float, float]
    rounds: int
    roofline_fraction: float
    error: float
    wrong: str
    noisy: bool


class Measurement(NamedTuple):
    """Results of all implementations of one function at one size.

    Attributes:
      name: the function.
      suite: the suite that it belongs to.
      size: the size of the case.
      shape: the size as text.
      bound_by: the limiting peak of the first device.
      from_memory: whether the inputs were too large for a cache.
      results: by title, such as "dlcore cpu" or "numpy, 2 threads".
      settings: by title, of solvers with a tolerance of their own.
      size_unit: what the size counts.
      operations: operations that the algorithm needs at least, counted and not measured.
      traffic: bytes that the algorithm reads and writes at least, counted and not measured.
      details: by title, numbers of calls in fresh processes, see `measure_first_call`; empty in other suites.
    """

    name: str
    suite: str
    size: int
    shape: str
    bound_by: str
    from_memory: bool
    results: dict[str, Result]
    settings: dict[str, SolverSetting]
    size_unit: str
    operations: float
    traffic: float
    details: Mapping[str, Mapping[str, float]] = {}

    def to_json(self) -> JsonObject:
        """Return the measurement as an object of JSON, which has no infinity: None stands for it."""
        records = {
            field: {title: _renamed(record._asdict(), JSON_KEYS) for title, record in table.items()}
            for field, table in (("results", self.results), ("settings", self.settings))
        }
        return _renamed(self._asdict() | records, JSON_KEYS)

    @classmethod
    def from_json(cls, cell: JsonObject) -> "Measurement":
        """Return the measurement that `to_json` wrote."""
        fields = {key: field for field, key in JSON_KEYS.items()}
        values = _renamed(cell, fields)
        results = {title: Result(**_renamed(figure, fields)) for title, figure in cell["figures"].items()}
        settings = {title: SolverSetting(**setting) for title, setting in cell["settings"].items()}
        return cls(**values | {"results": results, "settings": settings})


JSON_KEYS = {"from_memory": "fresh", "results": "figures", "size_unit": "along", "roofline_fraction": "share"}
"""Fields that have another name in files."""


def _renamed(values: JsonObject, names: Mapping[str, str]) -> JsonObject:
    return {
        names.get(key, key): None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def measure_case(
    family: CaseFamily,
    size: int,
    devices: Mapping[str, Device],
    peaks: Mapping[str, RooflinePeaks],
    peers: Sequence[str],
    *,
    seconds: float,
    previous: Measurement | None = None,
) -> Measurement:
    """Time all implementations of a case in turn, then check their answers.

    Args:
      family: the function.
      size: the size of the case.
      devices: the devices that dlcore runs on, by name.
      peaks: of these devices and of "cpu", where the peers run.
      peers: the libraries.
      seconds: the approximate time of a pass. Each implementation has three warm calls at least, or one if slow.
      previous: the measurement of an earlier pass, whose settings of solvers are used again.
    """
    case = family.make(size)
    check = case.make_checker(case.inputs)
    implementations = implementations_of(case, devices, peers)
    trial = _time(implementations, 1)
    settings: dict[str, SolverSetting] = {}
    if solvers := solvers_of(case, peers):
        dlcore_s = next(iter(trial.values())).median
        settings = previous.settings if previous else tune_all(solvers, case, check, dlcore_s)
        tuned = bound_solvers(case, solvers, settings)
        implementations, trial = implementations | tuned, trial | _time(tuned, 1)
    timings, round_s, compiled = trial, sum(timing.median for timing in trial.values()), False
    if round_s < SLOW_ROUND_S:
        with Compilations() as compilations:
            timings = _time(implementations, max(MIN_ROUNDS, min(MAX_ROUNDS, int(seconds / round_s))))
        compiled = compilations.count > 0
    results = {}
    for title, implementation in implementations.items():
        first, timing, device_peaks = trial[title].first, timings[title], peaks[implementation.device]
        compile_s = implementation.compile
        if compile_s is None and implementation.has_latency:  # compiles in its first call
            compile_s = max(0.0, first - timing.median)
        checked = check(implementation.call())
        limit = device_peaks.limit(case.operations, case.traffic, has_latency=implementation.has_latency)
        results[title] = Result(
            compile=compile_s,
            transfer=implementation.transfer,
            first=first,
            median=timing.median,
            quartiles=timing.quartiles,
            rounds=len(timing.calls),
            roofline_fraction=limit[0] / timing.median,
            error=checked.error,
            wrong=checked.wrong or _implausible(case, implementation, timing, device_peaks, compiled=compiled),
            noisy=is_noisy(timing.median, timing.quartiles),
        )
    results |= {
        title: _single_call(case, setting, peaks["cpu"]) for title, setting in settings.items() if setting.is_final
    }
    return Measurement(
        name=family.name,
        suite=family.suite,
        size=size,
        shape=case.shape,
        bound_by=next(iter(peaks.values())).limit(case.operations, case.traffic, has_latency=True)[1],
        from_memory=all(implementation.from_memory for implementation in implementations.values()),
        results=results,
        settings=settings,
        size_unit=family.size_unit,
        operations=case.operations,
        traffic=case.traffic,
    )


def merge_passes(passes: Sequence[Measurement]) -> Measurement:
    """Merge the measurements of several passes, so that spreads include how the machine changed between them."""
    merged = {}
    for title, first in passes[0].results.items():
        if title in passes[0].settings:  # a single call, in the first pass
            merged[title] = first
            continue
        results = [measurement.results[title] for measurement in passes]
        median = float(np.median([result.median for result in results]))
        lows, highs = zip(*(result.quartiles for result in results), strict=True)
        transfers = [result.transfer for result in results if result.transfer is not None]
        if title in passes[0].details:  # every pass compiles in processes of its own
            first = first._replace(
                compile=float(np.median([result.compile or 0.0 for result in results])),
                first=float(np.median([result.first for result in results])),
            )
        merged[title] = first._replace(  # elsewhere the compilation is that of the first pass
            transfer=float(np.median(transfers)) if transfers else None,
            median=median,
            quartiles=(min(lows), max(highs)),
            rounds=sum(result.rounds for result in results),
            roofline_fraction=first.roofline_fraction * first.median / median,
            error=max(result.error for result in results),
            wrong=next((result.wrong for result in results if result.wrong), ""),
            noisy=is_noisy(median, (min(lows), max(highs))),
        )
    details = {
        title: {name: float(np.median([p.details[title][name] for p in passes])) for name in numbers}
        for title, numbers in passes[0].details.items()
    }
    return passes[0]._replace(results=merged, details=details)


def is_noisy(median: float, quartiles: tuple[float, float]) -> bool:
    """Return whether the interquartile range is a large fraction of the median."""
    return quartiles[1] - quartiles[0] > NOISY_SPREAD * median


def _time(implementations: Mapping[str, Implementation], rounds: int) -> dict[str, Timing]:
    if not implementations:
        return {}
    set_threads = {title: i.set_threads for title, i in implementations.items() if i.set_threads is not None}
    return measure({title: i.call for title, i in implementations.items()}, rounds, set_threads)


def tune_all(
    solvers: Mapping[str, Solver], case: Case, check: Checker, dlcore_s: float
) -> dict[str, SolverSetting]:
    """Return the setting of each solver. A solver is given up behind the best of its own library.

    Args:
      solvers: by title.
      case: with the inputs of the solvers.
      check: the accuracy check of their answers.
      dlcore_s: the seconds that dlcore takes.
    """
    settings: dict[str, SolverSetting] = {}
    best_s: dict[str, float] = {}
    for title, solver in solvers.items():
        library = title.partition(",")[0]
        start_library(title)
        settings[title] = tune_solver(solver, case.inputs, check, dlcore_s, best_s.get(library, math.inf))
        if not settings[title].wrong:
            best_s[library] = min(best_s.get(library, math.inf), settings[title].seconds)
    return settings


def _single_call(case: Case, setting: SolverSetting, peaks: RooflinePeaks) -> Result:
    """Return the result of a solver that is not timed again; if it was given up, its time is a lower bound."""
    seconds = setting.seconds
    return Result(
        compile=None,
        transfer=None,
        first=seconds,
        median=seconds,
        quartiles=(seconds, seconds),
        rounds=1,
        roofline_fraction=peaks.min_seconds(case.operations, case.traffic) / seconds,
        error=setting.error,
        wrong=setting.wrong,
        noisy=False,
    )


def _implausible(
    case: Case, implementation: Implementation, timing: Timing, peaks: RooflinePeaks, *, compiled: bool
) -> str:
    """Return the reason why a time is implausible, or an empty string."""
    min_s = peaks.min_seconds(case.operations / MAX_PEAK_FRACTION, case.traffic / MAX_BANDWIDTH_FRACTION)
    # The median would miss a queue of calls that are not awaited until it is full.
    fast_s, operations = timing.quartiles[0], implementation.operations
    if compiled and implementation.has_latency:
        return "compiled while it was timed"
    if case.xla_counts and operations is not None and operations < case.operations / 2:
        return f"was left {operations:.2g} of {case.operations:.2g} operations by the compiler"
    if fast_s < min_s:
        return f"took {fast_s:.2g} s, and the machine takes {min_s:.2g} s at least"
    return ""
