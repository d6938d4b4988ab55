"""Measurement of fresh processes: the first call of `fit_heads`, and whole processes with their imports."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore._core.types import Device
from dlcore.benchmark.accuracy import TOL, AccuracyCheck
from dlcore.benchmark.case import Case, CaseFamily, FreshFit
from dlcore.benchmark.implementations import solvers_of, threads_text
from dlcore.benchmark.measurement import Measurement, Result, is_noisy, tune_all
from dlcore.benchmark.roofline_peaks import RooflinePeaks
from dlcore.benchmark.tune_solver import SolverSetting
from dlcore.certificate import LinearHeads

FOLDER = Path(__file__).parent
WARM_CALLS = 3
CACHED = " cached"
"""The end of the title of dlcore with a filled cache of compiled programs."""
CACHE_VARIABLES = ("JAX_COMPILATION_CACHE", "JAX_ENABLE_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")
"""Beginnings of environment variables that a fresh process does not inherit."""


def measure_first_call(
    family: CaseFamily,
    size: int,
    devices: Mapping[str, Device],
    peaks: Mapping[str, RooflinePeaks],
    peers: Sequence[str],
    *,
    seconds: float,
    previous: Measurement | None = None,
) -> Measurement:
    """Measure the first and warm calls of a fit in fresh processes, without and with a filled cache.

    Four processes run for each device: without a cache, with an empty one, with the filled one, and the unit.
    The unit is the time that one L-BFGS loop of optax takes to compile, on a softmax objective.

    Args:
      family: a function whose cases have `fresh`.
      size: the size of the case.
      devices: the devices that dlcore runs on, by name.
      peaks: of these devices.
      peers: not used.
      seconds: not used; a process has three warm calls.
      previous: not used.

    Returns:
      A measurement with results of "dlcore cpu" and "dlcore cpu cached". `compile` is the first call less the
      median of the warm calls. `details` has "programs" and "programs, other labels" of each result, and the
      "unit" of the first: seconds.
    """
    del peers, seconds, previous
    case = family.make(size)
    fresh = _fresh_of(case)
    results: dict[str, Result] = {}
    details: dict[str, dict[str, float]] = {}
    with _saved(case) as (folder, data):
        loop = folder / "loop.npz"
        _save_loop_data(loop, fresh.loop)
        for name in devices:
            cache = str(folder / f"cache {name}")
            heads = {"task": "heads", "data": data, "device": name, "fit": fresh.fit, "warm_calls": WARM_CALLS}
            plain = run_task(folder, heads)
            run_task(folder, heads | {"cache": cache, "warm_calls": 0})
            cached = run_task(folder, heads | {"cache": cache})
            unit = run_task(
                folder, {"task": "optax loop", "data": str(loop), "device": name, "warm_calls": WARM_CALLS}
            )
            for title, numbers in ((f"dlcore {name}", plain), (f"dlcore {name}{CACHED}", cached)):
                results[title] = _result_of_calls(case, numbers, peaks[name])
                details[title] = {key: numbers[key] for key in ("programs", "programs, other labels")}
            details[f"dlcore {name}"]["unit"] = unit["first"] - float(np.median(unit["warm"]))
    return _measurement(family, size, case, peaks, results, details=details)


def measure_process(
    family: CaseFamily,
    size: int,
    devices: Mapping[str, Device],
    peaks: Mapping[str, RooflinePeaks],
    peers: Sequence[str],
    *,
    seconds: float,
    previous: Measurement | None = None,
) -> Measurement:
    """Measure whole processes that fit once, imports included: of dlcore and of the fastest peer.

    The peers' solvers are tuned in this process first, as in the other suites.

    Args:
      family: a function whose cases have `fresh`.
      size: the size of the case.
      devices: the devices that dlcore runs on, by name.
      peaks: of these devices and of "cpu".
      peers: the libraries.
      seconds: not used; each process runs once.
      previous: the measurement of an earlier pass, whose settings of solvers are used again.
    """
    del seconds
    case = family.make(size)
    fresh, check = _fresh_of(case), case.make_checker(case.inputs)
    results: dict[str, Result] = {}
    with _saved(case) as (folder, data):
        answer = str(folder / "answer.npz")

        def checked(seconds: float, device: str) -> Result:
            with np.load(answer) as arrays:
                heads = LinearHeads(arrays["coef"], arrays["intercept"], fresh.fit["l2"], fresh.fit["loss"])
            os.remove(answer)
            return _result_of_process(case, seconds, check(heads), peaks[device])

        for name in devices:
            once = {"task": "once", "data": data, "device": name, "fit": fresh.fit, "answer": answer}
            cache = str(folder / f"cache {name}")
            results[f"dlcore {name}"] = checked(run_task(folder, once)["process"], name)
            run_task(folder, once | {"cache": cache})
            cached_s = run_task(folder, once | {"cache": cache})["process"]
            results[f"dlcore {name}{CACHED}"] = checked(cached_s, name)
        settings: dict[str, SolverSetting] = {}
        if solvers := solvers_of(case, peers):
            dlcore_s = next(iter(results.values())).median
            settings = previous.settings if previous else tune_all(solvers, case, check, dlcore_s)
        accurate = {title: setting for title, setting in settings.items() if not setting.wrong}
        if accurate:
            title = min(accurate, key=lambda title: accurate[title].seconds)
            setting = accurate[title]
            options = {"title": title, "dtype": setting.dtype, "tol": setting.tol, "threads": setting.threads}
            path = {"l2": fresh.fit["l2"], "loss": fresh.fit["loss"]}
            peer_s = run_process("head_peers.py", {"data": data, "output": answer, **options, **path})
            results[f"{title}, {threads_text(setting.threads)}"] = checked(peer_s, "cpu")
    return _measurement(family, size, case, peaks, results, settings=settings)


def run_task(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Run a task of `fresh_process.py` in a fresh process.

    Args:
      folder: for the file with the numbers.
      options: the arguments of the task, see `fresh_process.main`; without "cache" there is none.

    Returns:
      The numbers of the task, and "process", the seconds of the whole process.
    """
    output = folder / "numbers.json"
    process_s = run_process("fresh_process.py", {"cache": None, "output": str(output), **options})
    return {"process": process_s, **json.loads(output.read_text(encoding="utf-8"))}


def run_process(script: str, options: Mapping[str, Any]) -> float:
    """Run a script of this folder in a fresh process, without a cache of compiled programs.

    Args:
      script: the name of the file.
      options: the JSON object that is its argument.

    Returns:
      The seconds of the whole process.

    Raises:
      RuntimeError: if the process fails, with the end of its errors.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(CACHE_VARIABLES)}
    paths = [str(FOLDER.parent.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # this process has an accelerator's memory already
    command = [sys.executable, "-P", str(FOLDER / script), json.dumps(options)]
    start = time.perf_counter()
    process = subprocess.run(
        command, env=environment, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{script} ended with status {process.returncode}: {process.stderr[-2000:]}")
    return seconds


def first_call_table(
    measurements: Sequence[Measurement], device: str
) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """Return the header, rows and notes of the table of the suite `first`.

    Args:
      measurements: of the suite.
      device: dlcore on a device, such as "dlcore cpu".

    Returns:
      A row for each measurement of a first call: seconds, their multiple of the unit and numbers of programs.
      The notes are the seconds of whole processes and the reasons why a result is wrong.
    """
    seconds = ("first", "warm", "first − warm", "÷ unit", "cached")
    header = ("function, size; seconds", *seconds, "programs", "other labels")
    rows, notes = [], []
    for measurement in measurements:
        name, results = f"{measurement.name}, {measurement.shape}", measurement.results
        if details := measurement.details.get(device):
            plain, cached = results[device], results[device + CACHED]
            compile_s, unit_s = plain.compile or 0.0, details["unit"]
            times = (plain.first, plain.median, compile_s)
            ratio = f"{compile_s / unit_s:.2f}" if unit_s > 0 else "–"
            programs = (f"{details[key]:.0f}" for key in ("programs", "programs, other labels"))
            rows.append((name, *map(_three_digits, times), ratio, _three_digits(cached.compile or 0.0), *programs))
        else:
            times = ", ".join(f"{title} {_three_digits(result.median)} s" for title, result in results.items())
            notes.append(f"{name}: {times}")
        notes += [f"{name}: {title} {result.wrong}" for title, result in results.items() if result.wrong]
    units = [m.details[device]["unit"] for m in measurements if device in m.details]
    if units:
        notes.append(f"unit: one L-BFGS loop of optax compiles in {_three_digits(float(np.median(units)))} s")
    return header, rows, notes


def _three_digits(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:.0f}"


def _fresh_of(case: Case) -> FreshFit:
    assert case.fresh is not None
    return case.fresh


@contextlib.contextmanager
def _saved(case: Case) -> Iterator[tuple[Path, str]]:
    """Save the inputs of a case in a temporary folder; return the folder and the file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        x, y = case.inputs
        np.savez(folder / "data.npz", x=x, y=y)
        yield folder, str(folder / "data.npz")


def _save_loop_data(path: Path, shape: tuple[int, int, int]) -> None:
    """Save data of a softmax model of (rows, features, classes)."""
    rows, features, classes = shape
    x = np.random.default_rng(0).standard_normal((rows, features), dtype=np.float32)
    np.savez(path, x=x, y=np.arange(rows) % classes)


def _result_of_calls(case: Case, numbers: Mapping[str, Any], peaks: RooflinePeaks) -> Result:
    """Return the result of the first and the warm calls of one process."""
    warm, gap = np.array(numbers["warm"]), numbers["gap"]
    median, (low, high) = float(np.median(warm)), map(float, np.quantile(warm, [0.25, 0.75]))
    return Result(
        compile=max(0.0, numbers["first"] - median),
        transfer=None,
        first=numbers["first"],
        median=median,
        quartiles=(low, high),
        rounds=len(warm),
        roofline_fraction=_min_seconds(case, peaks) / median,
        error=gap,
        wrong="" if gap <= TOL else f"has a certified gap of {gap:.0e}, more than {TOL:.0e}",
        noisy=is_noisy(median, (low, high)),
    )


def _result_of_process(case: Case, seconds: float, checked: AccuracyCheck, peaks: RooflinePeaks) -> Result:
    return Result(
        compile=None,
        transfer=None,
        first=seconds,
        median=seconds,
        quartiles=(seconds, seconds),
        rounds=1,
        roofline_fraction=_min_seconds(case, peaks) / seconds,
        error=checked.error,
        wrong=checked.wrong,
        noisy=False,
    )


def _min_seconds(case: Case, peaks: RooflinePeaks) -> float:
    return peaks.limit(case.operations, case.traffic, has_latency=True)[0]


def _measurement(
    family: CaseFamily,
    size: int,
    case: Case,
    peaks: Mapping[str, RooflinePeaks],
    results: dict[str, Result],
    *,
    settings: dict[str, SolverSetting] | None = None,
    details: dict[str, dict[str, float]] | None = None,
) -> Measurement:
    return Measurement(
        name=family.name,
        suite=family.suite,
        size=size,
        shape=case.shape,
        bound_by=next(iter(peaks.values())).limit(case.operations, case.traffic, has_latency=True)[1],
        from_memory=True,
        results=results,
        settings=settings or {},
        size_unit=family.size_unit,
        operations=case.operations,
        traffic=case.traffic,
        details=details or {},
    )
