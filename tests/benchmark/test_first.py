"""Tests of the suite `first`: the numbers of fresh processes, most of them made in this process."""

import json
import os

import jax
import numpy as np
import pytest

from dlcore.benchmark import bench, first_call, fresh_process, head_peers
from dlcore.benchmark.bench import SUITES
from dlcore.benchmark.case import CaseFamily
from dlcore.benchmark.first_call import first_call_table, measure_first_call, run_process, run_task
from dlcore.benchmark.measurement import Measurement, merge_passes
from dlcore.benchmark.page.html import to_html
from dlcore.benchmark.roofline_peaks import RooflinePeaks
from dlcore.benchmark.suites import problems
from dlcore.benchmark.tune_solver import SolverSetting
from dlcore.certificate import LinearHeads, certify
from dlcore.devices import find_device

PEAKS = {"cpu": RooflinePeaks(bandwidth=1e14, rate=1e17, latency=1e-12)}
DEVICES = {"cpu": find_device("cpu")}


def family_named(name: str) -> CaseFamily:
    """Return a family of the suite, with its small case."""
    family = next(family for family in SUITES["first"]() if family.name == name)
    assert family.make_quick is not None
    return family._replace(make=family.make_quick)


def planted(folder, options):
    """Return the numbers of a task, as if the machine were twice as slow without a cache."""
    slow = 1.0 if options.get("cache") else 2.0
    if options["task"] == "optax loop":
        return {"first": 3.25, "warm": [0.25, 0.25, 0.25], "process": 9.0}
    warm = [0.5 * slow, 0.3 * slow, 0.4 * slow][: options["warm_calls"]]
    programs = {"programs": 5 * slow, "programs, other labels": slow - 1}
    return {"first": 3.4 * slow, "warm": warm, "gap": 1e-9, "process": 9.0, **programs}


def measured(monkeypatch, task=planted) -> Measurement:
    monkeypatch.setattr(first_call, "run_task", task)
    return measure_first_call(family_named("first call, softmax"), 20_000, DEVICES, PEAKS, (), seconds=0.01)


@pytest.mark.any_mode
def test_compilation_is_the_first_call_less_the_median_of_warm_calls(monkeypatch):
    measurement = measured(monkeypatch)
    plain, cached = measurement.results["dlcore cpu"], measurement.results["dlcore cpu cached"]
    assert (plain.compile, plain.first, plain.median, plain.rounds) == pytest.approx((6.0, 6.8, 0.8, 3))
    assert (cached.compile, cached.first, cached.median) == pytest.approx((3.0, 3.4, 0.4))
    assert measurement.details == {
        "dlcore cpu": {"programs": 10, "programs, other labels": 1, "unit": 3.0},
        "dlcore cpu cached": {"programs": 5, "programs, other labels": 0},
    }
    header, rows, notes = first_call_table([measurement], "dlcore cpu")
    assert rows == [(f"first call, softmax, {measurement.shape}", "6.8", "0.8", "6", "2.00", "3", "10", "1")]
    assert len(header) == len(rows[0])
    assert notes == ["unit: one L-BFGS loop of optax compiles in 3 s"]
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))).details == measurement.details


@pytest.mark.any_mode
def test_process_with_a_cache_runs_after_the_process_that_fills_it(monkeypatch):
    tasks = []

    def task(folder, options):
        tasks.append((options["task"], options.get("cache"), options["warm_calls"]))
        return planted(folder, options)

    measured(monkeypatch, task)
    names, caches, calls = zip(*tasks, strict=True)
    assert names == ("heads", "heads", "heads", "optax loop")
    assert caches[0] is None
    assert caches[1] is not None
    assert caches[2] == caches[1]
    assert caches[3] is None
    assert calls[1] == 0


@pytest.mark.any_mode
def test_fit_with_a_large_gap_is_wrong(monkeypatch):
    measurement = measured(monkeypatch, lambda folder, options: planted(folder, options) | {"gap": 1e-3})
    assert measurement.results["dlcore cpu"].wrong == "has a certified gap of 1e-03, more than 1e-06"
    assert any("has a certified gap" in note for note in first_call_table([measurement], "dlcore cpu")[2])


@pytest.mark.any_mode
def test_merged_passes_have_the_median_compilation(monkeypatch):
    """A pass compiles in processes of its own, so that no pass is a warm one."""
    first = measured(monkeypatch)
    result = first.results["dlcore cpu"]
    passes = []
    for seconds in (6.0, 9.0, 7.0):
        results = {"dlcore cpu": result._replace(compile=seconds, first=seconds + result.median)}
        details = {"dlcore cpu": {"programs": seconds, "unit": seconds / 2}}
        passes.append(first._replace(results=results, details=details))
    merged = merge_passes(passes)
    assert (merged.results["dlcore cpu"].compile, merged.results["dlcore cpu"].first) == (7.0, 7.0 + result.median)
    assert merged.details == {"dlcore cpu": {"programs": 7.0, "unit": 3.5}}


def in_process(script, options):
    """Run a script of the benchmark in this process; return 1 second."""
    del script
    fresh_process.main([json.dumps(options | {"cache": None})])
    return 1.0


@pytest.mark.parametrize("classes", [2, 3])
def test_programs_are_counted(compiles, classes):
    """No other test has this shape, so that its programs are not in memory yet. NumPy fits smaller tables."""
    x, y = problems.embeddings(0, 2**17 + 1, 2, classes)
    fit = {"loss": "logistic" if classes == 2 else "softmax", "l2": [1e-1, 1e-3], "folds": None}
    numbers = fresh_process.time_heads(x, y, fit, 2)
    assert numbers["programs"] > 0
    assert numbers["programs"] + numbers["programs, other labels"] == compiles()
    assert len(numbers["warm"]) == 2
    assert numbers["first"] > 0
    assert numbers["gap"] <= 1e-6
    again = fresh_process.time_heads(x, y, fit, 1)
    assert (again["programs"], again["programs, other labels"]) == (0, 0)


def test_programs_of_a_call_with_other_labels_are_counted(monkeypatch):
    """No fit is known that compiles for other labels, so one is planted: it compiles in every call."""

    class Fitted:
        certificate = certify(LinearHeads(np.zeros((1, 2)), np.zeros(1), np.ones(1)), np.eye(2), np.arange(2))
        fold_gap = np.zeros((0, 1))

    def fit(x, y):
        for _ in range(2 if y[0] == 0 else 3):  # the first label changes
            jax.jit(lambda x: x + 1)(np.ones(3, np.float32))
        return Fitted

    monkeypatch.setattr("dlcore.heads.fit_heads", fit)
    numbers = fresh_process.time_heads(np.eye(2), np.arange(2), {}, 1)
    assert (numbers["programs"], numbers["programs, other labels"]) == (2, 3)


def test_gap_is_that_of_the_folds_too():
    x, y = problems.regression(0, 60, 3, 3, 2)
    numbers = fresh_process.time_heads(x, y, {"loss": "squared", "l2": [1e-1, 1e-3], "folds": 3}, 1)
    assert 0 <= numbers["gap"] <= 1e-6


@pytest.mark.any_mode
def test_other_labels_are_those_of_some_rows():
    y = np.arange(100)
    changed = fresh_process.other_labels(y)
    assert np.flatnonzero(changed != y).tolist() == list(range(0, 100, 10))
    assert changed[10] == 11
    assert y.tolist() == list(range(100))


def test_loop_of_optax_is_timed():
    x = np.random.default_rng(0).standard_normal((30, 4), dtype=np.float32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as users have them
        numbers = fresh_process.time_optax_loop(x, np.arange(30) % 3, 2)
    assert len(numbers["warm"]) == 2
    assert numbers["first"] > max(numbers["warm"])  # it traces, and compiles or reads the persistent cache


def test_whole_process_is_that_of_the_fastest_peer(monkeypatch):
    scripts = []

    def process(script, options):
        scripts.append((script, options.get("title")))
        if script == "head_peers.py":
            head_peers.main([json.dumps(options)])
            return 4.0
        return in_process(script, options)

    pytest.importorskip("sklearn")
    monkeypatch.setattr(first_call, "run_process", process)
    times = {
        "sklearn, newton-cholesky": (2.0, ""),
        "sklearn, lbfgs": (1.0, ""),
        "sklearnex, lbfgs": (0.5, "wrong"),
    }
    tuned = {title: SolverSetting("float64", 1e-8, 1, s, 0.0, wrong) for title, (s, wrong) in times.items()}
    monkeypatch.setattr(first_call, "tune_all", lambda *_: tuned)
    family = family_named("whole process, softmax")
    measure = family.measure
    assert measure is not None
    measurement = measure(family, 20_000, DEVICES, PEAKS, ("sklearn",), seconds=0.01)
    assert scripts[-1] == ("head_peers.py", "sklearn, lbfgs")
    assert [name for name, _ in scripts[:-1]] == ["fresh_process.py"] * 3
    titles = list(measurement.results)
    assert titles == ["dlcore cpu", "dlcore cpu cached", "sklearn, lbfgs, 1 thread"]
    assert not [result.wrong for result in measurement.results.values() if result.wrong]
    assert measurement.results[titles[2]].median == 4.0
    second = measure(family, 20_000, DEVICES, PEAKS, ("sklearn",), seconds=0.01, previous=measurement)
    assert second.settings is measurement.settings
    assert merge_passes([measurement, second]).results[titles[2]].rounds == 2
    notes = first_call_table([measurement], "dlcore cpu")[2]
    assert "dlcore cpu 1 s" in notes[0]


def test_page_has_the_table(monkeypatch):
    run = bench(["math"], ["cpu"], [], quick=True, only=["linalg.vecdot"])
    text = to_html(run)
    assert "The first call in a fresh process" not in text
    text = to_html(run._replace(measurements=[*run.measurements, measured(monkeypatch)]))
    assert "The first call in a fresh process, dlcore cpu" in text
    assert "one L-BFGS loop of optax compiles in 3 s" in text


@pytest.mark.any_mode
@pytest.mark.parametrize("has_cache", [False, True])
def test_fresh_process_has_the_cache_that_it_is_given(tmp_path, monkeypatch, has_cache):
    """A real process: it inherits no cache, and keeps every program in its folder if it is given one."""
    inherited, cache, data = tmp_path / "inherited", tmp_path / "cache", tmp_path / "data.npz"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(inherited))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    np.savez(data, x=np.eye(30, 4, dtype=np.float32), y=np.arange(30) % 3)
    loop = {"task": "optax loop", "data": str(data), "device": "cpu", "warm_calls": 1}
    numbers = run_task(tmp_path, loop | ({"cache": str(cache)} if has_cache else {}))
    assert 0 < numbers["warm"][0] < numbers["first"] < numbers["process"]
    assert not inherited.exists()
    assert cache.exists() == has_cache
    assert not has_cache or [name for name in os.listdir(cache) if name.startswith("jit_run")]


@pytest.mark.any_mode
def test_failed_process_is_an_error():
    with pytest.raises(RuntimeError, match=r"head_peers.py ended with status 1: (.|\n)*KeyError: 'data'"):
        run_process("head_peers.py", {})
