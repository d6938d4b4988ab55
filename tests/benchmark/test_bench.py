"""Tests of the benchmark: every way in which a result can be misleading is planted, and must be excluded."""

import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from seams import treat_solvers_as_slow

from dlcore import linalg
from dlcore.benchmark import bench, implementations
from dlcore.benchmark.accuracy import close_to_reference, relative_error, small_certified_gap
from dlcore.benchmark.bench import SUITES, sizes_of
from dlcore.benchmark.case import Case, CaseFamily
from dlcore.benchmark.compare import best_result, compare, crossover, growth_exponent, speedup
from dlcore.benchmark.measurement import Measurement, Result, measure_case, merge_passes
from dlcore.benchmark.roofline_peaks import RooflinePeaks, measure_peaks
from dlcore.benchmark.tune_solver import TOLERANCES, tune_solver
from dlcore.certificate import LinearHeads
from dlcore.cli import bench as bench_command
from dlcore.devices import find_device

CPU = {"cpu": find_device("cpu")}
PEAKS = {"cpu": RooflinePeaks(bandwidth=1e14, rate=1e17, latency=1e-12)}
"""Peaks that no machine exceeds."""


def product(side=64, reference=lambda a, b: a @ b, bound=1e-5, **changed) -> Case:
    """Return the case of a matrix product, with some fields changed."""
    a = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    case = Case(
        shape=f"{side} × {side}",
        inputs=(a, a),
        make_checker=close_to_reference(reference, bound),
        operations=2 * side**3,
        traffic=12 * side**2,
        function=linalg.matmul,
        peers={"numpy": np.matmul},
    )
    return case._replace(**changed)


def measured(case: Case, peaks=PEAKS) -> Measurement:
    family = CaseFamily("linalg.matmul", "math", (64,), lambda _: case)
    return measure_case(family, 64, CPU, peaks, ("numpy",), seconds=0.05)


def numpy_result(measurement: Measurement) -> Result:
    result = best_result(measurement, "numpy")
    assert result is not None
    return result


def test_correct_results_are_compared():
    measurement = measured(product())
    assert set(measurement.results) >= {"dlcore cpu", "numpy, 1 thread"}
    assert [result.wrong for result in measurement.results.values()] == [""] * len(measurement.results)
    result, baseline = measurement.results["dlcore cpu"], numpy_result(measurement)
    assert speedup(result, baseline) == baseline.median / result.median
    assert result.compile
    assert result.transfer is not None
    assert baseline.compile is None


def test_time_that_does_not_wait_for_the_result_is_excluded(monkeypatch):
    """JAX returns before the result is computed, which looks implausibly fast.

    The peaks are those of a machine three times as fast as this one.
    """
    side, operations = 400, 40 * 400**3

    def slow(a, b):
        return jax.lax.fori_loop(0, 20, lambda _, x: jnp.matmul(x, b, precision="highest") / side**0.5, a)

    def reference(a, b):
        for _ in range(20):
            a = a @ b / side**0.5
        return a

    case = product(
        side, function=slow, reference=reference, peers={}, operations=operations, bound=1e-3, xla_counts=False
    )
    awaited = measured(case).results["dlcore cpu"]
    assert not awaited.wrong
    peaks = {"cpu": RooflinePeaks(bandwidth=1e14, rate=3 * operations / awaited.median, latency=1e-12)}
    monkeypatch.setattr(jax, "block_until_ready", lambda result: result)
    assert "and the machine takes" in measured(case, peaks).results["dlcore cpu"].wrong


def test_function_that_compiles_in_every_call_is_excluded():
    def bind(inputs, device):
        return lambda: jax.jit(lambda a, b: linalg.matmul(a, b))(*inputs)

    result = measured(product(function=None, bind=bind)).results["dlcore cpu"]
    assert result.wrong == "compiled while it was timed"


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_peer_in_another_dtype_is_excluded(dtype):
    measurement = measured(product(peers={"numpy": lambda a, b: a.astype(dtype) @ b.astype(dtype)}))
    result = numpy_result(measurement)
    assert result.wrong == f"computes in {np.dtype(dtype)}, not float32"
    assert speedup(measurement.results["dlcore cpu"], result) is None


def test_peer_with_products_rounded_to_tf32_is_excluded():
    def rounded(a, b):
        mask = np.uint32(0xFFFFE000)
        return (a.view(np.uint32) & mask).view(np.float32) @ (b.view(np.uint32) & mask).view(np.float32)

    assert numpy_result(measured(product(peers={"numpy": rounded}))).wrong.startswith("is off by")


def test_peer_that_computes_half_of_the_answer_is_excluded():
    def half(a, b):
        answer = np.zeros_like(a)
        answer[: len(a) // 2] = a[: len(a) // 2] @ b
        return answer

    assert numpy_result(measured(product(peers={"numpy": half}))).wrong.startswith("is off by")


def test_answer_that_the_compiler_computed_is_excluded():
    """XLA folds constants, so that the program has nothing left to compute."""
    a = product().inputs[0]
    measurement = measured(product(function=lambda x, y: (x[0, 0] + y[0, 0]) * 0 + jnp.asarray(a @ a)))
    assert "operations by the compiler" in measurement.results["dlcore cpu"].wrong


def test_results_above_the_peaks_are_excluded():
    slow_machine = {"cpu": RooflinePeaks(bandwidth=1e3, rate=1e3, latency=1.0)}
    results = measured(product(), slow_machine).results
    assert all("and the machine takes" in result.wrong for result in results.values())


def test_measured_peaks_are_plausible():
    peaks = measure_peaks(CPU["cpu"], 2, 1 / 256)
    assert 1e8 < peaks.bandwidth < 1e14
    assert 1e8 < peaks.rate < 1e15
    assert 1e-7 < peaks.latency < 1


def test_calls_use_different_copies_of_the_inputs():
    copies = implementations.copy_inputs(product().inputs)
    assert len(copies.inputs) == implementations.MAX_COPIES
    assert len({inputs[0].ctypes.data for inputs in copies.inputs}) == len(copies.inputs)
    assert not copies.from_memory
    large = (np.zeros(implementations.CACHE_BYTES // 2 + 1, np.int8),)
    assert len(implementations.copy_inputs(large).inputs) == 2
    assert implementations.copy_inputs(large).from_memory


def test_relative_error_is_that_of_each_array():
    expected = [np.array([1e6, 1.0]), np.array(1e-3)]
    assert relative_error([np.array([1e6, 2.0]), np.array(1e-3)], expected) == 1e-6
    assert relative_error([np.array([1e6, 1.0]), np.array(2e-3)], expected) == 1.0
    assert relative_error([np.array([np.nan, 1.0]), np.array(1e-3)], expected) == math.inf
    assert relative_error([np.array([1e6]), np.array(1e-3)], expected) == math.inf


def test_limiting_peak():
    peaks = RooflinePeaks(bandwidth=10.0, rate=100.0, latency=0.5)
    assert peaks.limit(100.0, 50.0, has_latency=True) == (5.0, "memory")
    assert peaks.limit(1000.0, 50.0, has_latency=True) == (10.0, "products")
    assert peaks.limit(1.0, 1.0, has_latency=True) == (0.5, "calls")
    assert peaks.limit(1.0, 1.0, has_latency=False) == (0.1, "memory")


def test_crossover():
    sizes = [16, 64, 256]
    assert crossover(sizes, [2.0, 2.0, 3.0]) == 16
    assert crossover(sizes, [0.5, 0.5, 0.9]) == math.inf
    assert crossover(sizes, [2.0, 0.5, 2.0]) == 128
    assert crossover(sizes, [0.5, None, 2.0]) is None


@pytest.mark.parametrize(
    "suite",
    [pytest.param(suite, marks=[pytest.mark.slow] * (suite not in ("math", "gradient"))) for suite in SUITES],
)
def test_all_functions_of_a_suite_are_correct_at_the_smallest_size(suite):
    for family in SUITES[suite]():
        first = family.sizes[0]
        if suite != "first":  # which has one size
            assert any(abs(family.sizes[1] - factor * first) < factor for factor in (2, 4))
        peers = [name for name in implementations.LIBRARIES if importlib.util.find_spec(name)]
        family = family._replace(make=family.make_quick or family.make)
        measure = family.measure or measure_case
        measurement = measure(family, first, CPU, PEAKS, peers, seconds=0.01)
        assert (measurement.name, measurement.suite, measurement.size) == (family.name, suite, first)
        given_up = {title for title, setting in measurement.settings.items() if setting.wrong}
        wrong = {title: result.wrong for title, result in measurement.results.items() if result.wrong}
        assert set(wrong) <= given_up, wrong
        assert not measurement.settings or len(given_up) < len(measurement.settings)


def test_quick_run_makes_smaller_cases_of_slow_functions():
    run = bench(["sweep"], ["cpu"], [], quick=True, only=["fit_heads, ridge grid"])
    assert [measurement.shape for measurement in run.measurements] == ["781 × 20, 30 l2, 5 folds, 3 targets"]


def halving_solver(*halvings: int):
    """Return a solver of x = 1 and the list of its calls; call k has an error of 2**-halvings[k]."""

    def solve(dtype, tol, x):
        calls.append((dtype, tol))
        return x + 2.0 ** -halvings[min(len(calls), len(halvings)) - 1]

    calls: list[tuple[str, float]] = []
    return solve, calls


ONE = (np.ones(()),)


def check_one():
    return small_certified_gap(lambda answer, x: abs(answer - x))(ONE)


def test_solver_has_the_loosest_tolerance_that_is_accurate():
    solve, calls = halving_solver(4, 10, 30)
    setting = tune_solver(solve, ONE, check_one(), 1.0, math.inf)
    assert calls[:3] == [("float32", 1e-4), ("float32", 1e-6), ("float32", 1e-8)]
    assert setting[:2] == ("float32", 1e-8)
    assert setting.error == 2.0**-30
    assert not setting.wrong


def test_solver_that_is_never_accurate_is_given_up():
    solve, calls = halving_solver(*range(1, 9))
    setting = tune_solver(solve, ONE, check_one(), 1.0, math.inf)
    assert len(calls) == len(TOLERANCES)
    assert setting.wrong.startswith("float64, tol 1e-10 took")
    assert setting.wrong.endswith("has a certified gap of 4e-03, more than 1e-06")


def test_slow_and_inaccurate_solver_is_given_up_at_once():
    solve, calls = halving_solver(1)
    assert tune_solver(solve, ONE, check_one(), 1.0, 0.0).wrong
    assert len(calls) == 1


def test_slow_solver_is_called_once_and_compared(monkeypatch):
    treat_solvers_as_slow(monkeypatch)
    solve, calls = halving_solver(30)
    solvers = {"numpy, slow": lambda dtype, tol, *_: solve(dtype, tol, np.ones(()))}
    measurement = measured(product(peers={}, solvers=solvers, make_checker=small_certified_gap(lambda *_: 0.0)))
    assert len(calls) == 1
    result = numpy_result(measurement)
    assert (result.rounds, result.wrong, result.median) == (1, "", measurement.settings["numpy, slow"].seconds)
    assert best_result(merge_passes([measurement, measurement]), "numpy") == result


def test_fit_that_stops_early_is_excluded_by_its_certified_gap():
    def lazy(dtype, tol, x, y):
        del dtype, tol, y
        return LinearHeads(np.zeros((1, x.shape[1])), np.zeros(1), np.array([1 / len(x)]), "squared")

    def make(size):
        case = squared.make(size)
        cholesky = case.solvers["sklearn, cholesky"]
        return case._replace(solvers={"sklearn, lazy": lazy, "sklearn, cholesky": cholesky})

    squared = next(family for family in SUITES["fit"]() if family.name == "fit_heads, squared")
    family = squared._replace(make=make)
    first = measure_case(family, 256, CPU, PEAKS, ["sklearn"], seconds=0.01)
    assert "has a certified gap of" in first.results["sklearn, lazy"].wrong
    assert speedup(first.results["dlcore cpu"], first.results["sklearn, lazy"]) is None
    assert best_result(first, "sklearn") in [r for title, r in first.results.items() if "cholesky" in title]
    # A later pass uses the settings of the first.
    second = measure_case(family, 256, CPU, PEAKS, ["sklearn"], seconds=0.01, previous=first)
    assert second.results.keys() == first.results.keys()
    assert second.settings is first.settings
    assert Measurement.from_json(json.loads(json.dumps(first.to_json()))) == as_read(first)


def as_read(measurement: Measurement) -> Measurement:
    """Return a measurement with the lists that JSON makes of tuples."""
    results = {title: r._replace(quartiles=list(r.quartiles)) for title, r in measurement.results.items()}
    return measurement._replace(results=results)


def test_merged_passes_have_the_spread_of_all():
    def one_pass(median, low, high, wrong=""):
        result = Result(1.0, 2.0, 3.0, median, (low, high), 3, 0.5 / median, 1e-7, wrong, False)
        return Measurement("f", "math", 4, "4", "memory", True, {"dlcore cpu": result}, {}, "numbers", 8.0, 16.0)

    passes = [one_pass(1.0, 0.9, 1.1), one_pass(2.0, 1.9, 2.1, "is off"), one_pass(1.2, 1.1, 1.3)]
    result = merge_passes(passes).results["dlcore cpu"]
    assert (result.median, result.quartiles, result.rounds) == (1.2, (0.9, 2.1), 9)
    assert result.roofline_fraction == pytest.approx(0.5 / 1.2)
    assert result.noisy
    assert result.wrong == "is off"


def test_growth_exponent():
    assert growth_exponent([1, 4], [1.0, 2.0]) is None
    assert growth_exponent([1, 4, 16], [1.0, 2.0, 4.0]) == 0.5


@pytest.fixture(scope="module")
def run():
    return bench(["math"], ["cpu"], ["numpy"], quick=True, only=["linalg.vecdot"])


def test_run_describes_the_machine(run):
    assert run.devices == ["cpu"]
    assert [m.size for m in run.measurements] == list(sizes_of(next(SUITES["math"]()), quick=True))
    assert run.machine["packages"]["jax"] == jax.__version__
    assert run.machine["devices"]["cpu"]["kind"]
    assert len(run.machine["load after"]) == 3
    assert len(run.machine["pace"]) == 2
    assert min(run.machine["pace"]) > 0


def test_keys_of_the_file_stay(run):
    """`dlcore bench compare` reads the files of earlier versions."""
    file = json.loads(json.dumps(run.to_json(), allow_nan=False))
    assert list(file) == ["machine", "ceilings", "cells", "quick"]
    assert list(file["ceilings"]["cpu"]) == ["bandwidth", "rate", "latency"]
    cell = file["cells"][0]
    keys = "name suite size shape bound_by fresh figures settings along operations traffic details"
    assert list(cell) == keys.split()
    keys = "compile transfer first median quartiles rounds share error wrong noisy"
    assert list(cell["figures"]["dlcore cpu"]) == keys.split()
    assert cell["name"] == "linalg.vecdot"


@pytest.mark.parametrize(("old", "new"), [("cells", "measurements"), ("ceilings", "peaks")])
def test_old_fields_of_a_run_are_deprecated(run, old, new):
    with pytest.warns(DeprecationWarning, match=f"now Benchmark.{new}"):
        assert getattr(run, old) is getattr(run, new)


def test_runs_agree_if_their_spreads_overlap(run):
    def scaled(factor):
        """Return the run as a file, with all times multiplied and quartiles a tenth apart."""
        file = json.loads(json.dumps(run.to_json()))
        for cell in file["cells"]:
            for figure in cell["figures"].values():
                median = factor * figure["median"]
                figure |= {"median": median, "quartiles": [0.95 * median, 1.05 * median], "wrong": ""}
        return file

    for factor, agree in ((1.0, True), (1.2, True), (1.3, False), (0.7, False)):
        changes = compare(scaled(1.0), scaled(factor))
        assert len(changes) == sum(len(measurement.results) for measurement in run.measurements)
        assert {change.agree for change in changes} == {agree}
        assert all(change.ratio == pytest.approx(factor) for change in changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suites": ["maths"]}, "suites: there is no maths"),
        ({"peers": ["cupy"]}, "peers: there is no cupy"),
        ({"devices": ["npu"]}, "device: expected one of"),
        ({"only": ["losses.nothing"]}, "only: no function"),
    ],
)
def test_unknown_names_are_errors(arguments, message, compiles):
    with pytest.raises(ValueError, match=message):
        bench(**arguments)
    assert compiles() == 0


def test_command(tmp_path, capsys):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        bench_command.run(["--quick", "--only", "linalg.vecdot", "--peers", "numpy", "--json", str(file)])
    printed = capsys.readouterr().out
    assert "linalg.vecdot" in printed
    assert "GB/s" in printed
    assert max(map(len, printed.splitlines()[:8])) <= 100
    bench_command.run(["compare", *map(str, files)])
    assert "agree within the spread" in capsys.readouterr().out


def test_command_reports_files_that_it_cannot_read_or_write(tmp_path, capsys):
    contents = {
        "empty": b"{}",
        "torn": b'{"cells": [',
        "binary": b"\xff\xfe\x00",
        "nested": b"[" * 100_000,
    }
    cell = {"name": "f", "shape": "1"}
    figure = {"wrong": "", "median": 0.0, "quartiles": [0.0, 0.0]}
    for name, figures in (("table", ["dlcore"]), ("zero", {"dlcore": figure})):
        contents[name] = json.dumps({"cells": [cell | {"figures": figures}]}).encode()
    paths = {name: str(tmp_path / f"{name}.json") for name in (*contents, "nowhere")}
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_bytes(content)
    for first, second, message in (
        ("empty", "empty", "expected a file of dlcore bench"),
        ("nowhere", "empty", "nowhere"),
        ("torn", "empty", "torn.json: expected a file of dlcore bench --json"),
        ("empty", "binary", "binary.json: expected a file of dlcore bench --json"),
        ("nested", "empty", "nested.json: expected a file of dlcore bench --json"),
        ("table", "table", "first: expected a file of dlcore bench --json"),
        ("zero", "zero", "first: expected a file of dlcore bench --json"),
    ):
        assert_command_fails(capsys, ["compare", paths[first], paths[second]], (2,), message)
    assert_command_fails(capsys, ["--quick", "--json", str(tmp_path / "absent" / "a.json")], (1, 2), "absent")
    assert_command_fails(capsys, ["--quick", "--only", "losses.nothing"], (2,), "no function")


def assert_command_fails(capsys, arguments, statuses, message):
    with pytest.raises(SystemExit) as ended:
        bench_command.run(arguments)
    assert ended.value.code in statuses
    assert message in capsys.readouterr().err


@pytest.mark.devices
def test_arrays_of_a_device_that_is_not_the_default_begin_on_it():
    """A call that copied X from the default device would be timed with the copy."""
    if jax.device_count() < 2:
        pytest.skip("needs two devices: JAX_NUM_CPU_DEVICES=2 or more")
    last = jax.devices()[-1]

    def bind(inputs, device):
        x = jnp.asarray(inputs[0])  # as `Objective.prepare` does, which names no device
        return lambda: (x, jnp.zeros(3))

    case = product(function=None, bind=bind)
    implementation = implementations.implementations_of(case, {"last": last}, ())["dlcore last"]
    assert all(leaf.devices() == {last} for leaf in jax.tree.leaves(implementation.call()))
