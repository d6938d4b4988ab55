"""Benchmarks judge a figure before they compare it: each mistake that makes one a lie is planted, and caught."""

import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from seams import ask_slow_solvers_once

from dlcore import linalg
from dlcore.benchmark import bench, implementations
from dlcore.benchmark.accuracy import certified, error_of, near
from dlcore.benchmark.bench import SUITES, sizes_of
from dlcore.benchmark.case import Family, Work
from dlcore.benchmark.compare import best_of, compare, crossover, gain, slope
from dlcore.benchmark.measurement import Cell, Figure, cell_of, merged
from dlcore.benchmark.roofline_peaks import Ceilings, ceilings_of
from dlcore.benchmark.tune_solver import TIGHTER, settle
from dlcore.certificate import LinearHeads
from dlcore.cli import bench as bench_command
from dlcore.devices import find_device

CPU = {"cpu": find_device("cpu")}
LIMITS = {"cpu": Ceilings(bandwidth=1e14, rate=1e17, latency=1e-12)}
"""Of a machine that nobody outruns."""


def work(side=64, twin=lambda a, b: a @ b, bound=1e-5, **changed) -> Work:
    a = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    product = Work(
        shape=f"{side} × {side}",
        function=linalg.matmul,
        inputs=(a, a),
        judge=near(twin, bound),
        peers={"numpy": np.matmul},
        operations=2 * side**3,
        traffic=12 * side**2,
    )
    return product._replace(**changed)


def measured(one: Work, limits=LIMITS) -> Cell:
    return cell_of(Family("linalg.matmul", "math", (64,), lambda _: one), 64, CPU, limits, ("numpy",), 0.05)


def test_what_is_right_is_compared():
    cell = measured(work())
    assert set(cell.figures) >= {"dlcore cpu", "numpy, 1 thread"}
    assert [one.wrong for one in cell.figures.values()] == [""] * len(cell.figures)
    ours, theirs = cell.figures["dlcore cpu"], best_of(cell, "numpy")
    assert theirs is not None
    assert gain(ours, theirs) == theirs.median / ours.median
    assert ours.compile
    assert ours.transfer is not None
    assert theirs.compile is None


def test_a_clock_that_does_not_wait(monkeypatch):
    """JAX hands back a result before it is there: nobody is that fast.

    The machine of the limits is three times as fast as the one at hand, whatever that is.
    """
    side, operations = 400, 40 * 400**3

    def slow(a, b):
        return jax.lax.fori_loop(0, 20, lambda _, x: jnp.matmul(x, b, precision="highest") / side**0.5, a)

    def exact(a, b):
        for _ in range(20):
            a = a @ b / side**0.5
        return a

    one = work(side, function=slow, twin=exact, peers={}, operations=operations, bound=1e-3, counted=False)
    honest = measured(one).figures["dlcore cpu"]
    assert not honest.wrong
    limits = {"cpu": Ceilings(bandwidth=1e14, rate=3 * operations / honest.median, latency=1e-12)}
    monkeypatch.setattr(jax, "block_until_ready", lambda result: result)
    assert "and the machine takes" in measured(one, limits).figures["dlcore cpu"].wrong


def test_a_time_that_holds_a_compilation():
    """Of a verb, which compiles in its first call, that goes on to compile in every call."""

    def ready(inputs, device):
        return lambda: jax.jit(lambda a, b: linalg.matmul(a, b))(*inputs)

    found = measured(work(function=None, ready=ready)).figures["dlcore cpu"]
    assert found.wrong == "compiled while it was timed"


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_a_peer_in_another_dtype(dtype):
    cell = measured(work(peers={"numpy": lambda a, b: a.astype(dtype) @ b.astype(dtype)}))
    theirs = best_of(cell, "numpy")
    assert theirs is not None
    assert theirs.wrong == f"computes in {np.dtype(dtype)}, not float32"
    assert gain(cell.figures["dlcore cpu"], theirs) is None


def test_a_peer_whose_products_are_rounded():
    """As TF32 rounds them: the result is float32, and off."""

    def rounded(a, b):
        cut = np.uint32(0xFFFFE000)
        return (a.view(np.uint32) & cut).view(np.float32) @ (b.view(np.uint32) & cut).view(np.float32)

    theirs = best_of(measured(work(peers={"numpy": rounded})), "numpy")
    assert theirs is not None
    assert theirs.wrong.startswith("is off by")


def test_a_peer_that_stops_early():
    def half(a, b):
        answer = np.zeros_like(a)
        answer[: len(a) // 2] = a[: len(a) // 2] @ b
        return answer

    theirs = best_of(measured(work(peers={"numpy": half})), "numpy")
    assert theirs is not None
    assert theirs.wrong.startswith("is off by")


def test_a_result_that_the_compiler_made_beforehand():
    """Of constants it computes while it compiles, and the program has nothing left to do."""
    a = work().inputs[0]
    cell = measured(work(function=lambda x, y: (x[0, 0] + y[0, 0]) * 0 + jnp.asarray(a @ a)))
    assert "operations by the compiler" in cell.figures["dlcore cpu"].wrong


def test_a_share_that_nobody_can_have():
    slow = {"cpu": Ceilings(bandwidth=1e3, rate=1e3, latency=1.0)}
    figures = measured(work(), slow).figures
    assert all("and the machine takes" in one.wrong for one in figures.values())


def test_ceilings_are_those_of_a_machine():
    limits = ceilings_of(CPU["cpu"], 2, 1 / 256)
    assert 1e8 < limits.bandwidth < 1e14
    assert 1e8 < limits.rate < 1e15
    assert 1e-7 < limits.latency < 1


def test_inputs_are_other_memory_in_every_call():
    copies = implementations.copies_of(work().inputs)
    assert len(copies) == implementations.COPIES
    assert len({inputs[0].ctypes.data for inputs in copies}) == len(copies)
    large = (np.zeros(implementations.CACHE_BYTES // 2 + 1, np.int8),)
    assert len(implementations.copies_of(large)) == 2


def test_an_error_is_relative_to_each_array():
    right = [np.array([1e6, 1.0]), np.array(1e-3)]
    assert error_of([np.array([1e6, 2.0]), np.array(1e-3)], right) == 1e-6
    assert error_of([np.array([1e6, 1.0]), np.array(2e-3)], right) == 1.0
    assert error_of([np.array([np.nan, 1.0]), np.array(1e-3)], right) == math.inf
    assert error_of([np.array([1e6]), np.array(1e-3)], right) == math.inf


def test_the_ceiling_that_binds():
    limits = Ceilings(bandwidth=10.0, rate=100.0, latency=0.5)
    assert limits.least(100.0, 50.0, calls=True) == (5.0, "memory")
    assert limits.least(1000.0, 50.0, calls=True) == (10.0, "products")
    assert limits.least(1.0, 1.0, calls=True) == (0.5, "calls")
    assert limits.least(1.0, 1.0, calls=False) == (0.1, "memory")


def test_crossovers():
    sizes = [16, 64, 256]
    assert crossover(sizes, [2.0, 2.0, 3.0]) == 16
    assert crossover(sizes, [0.5, 0.5, 0.9]) == math.inf
    assert crossover(sizes, [2.0, 0.5, 2.0]) == 128
    assert crossover(sizes, [0.5, None, 2.0]) is None


@pytest.mark.parametrize(
    "suite",
    [pytest.param(suite, marks=[pytest.mark.slow] * (suite in ("fit", "sweep", "scale"))) for suite in SUITES],
)
def test_every_function_of_a_suite_is_right_at_its_smallest_size(suite):
    for family in SUITES[suite]():
        first, second = family.sizes[:2]
        assert any(abs(second - factor * first) < factor for factor in (2, 4))
        peers = [name for name in implementations.LIBRARIES if importlib.util.find_spec(name)]
        family = family._replace(make=family.quick or family.make)
        cell = cell_of(family, first, CPU, LIMITS, peers, 0.01)
        assert (cell.name, cell.suite, cell.size) == (family.name, suite, first)
        out = {who for who, setting in cell.settings.items() if setting.wrong}  # slower, and not there yet
        wrong = {who: found.wrong for who, found in cell.figures.items() if found.wrong and who not in out}
        assert wrong == {}
        assert not cell.settings or len(out) < len(cell.settings)


def test_a_quick_run_makes_narrower_problems_of_what_takes_minutes():
    found = bench(["sweep"], ["cpu"], [], quick=True, only=["fit_heads, ridge grid"])
    assert [cell.shape for cell in found.cells] == ["781 × 20, 30 l2, 5 folds, 3 targets"]


def solving(*halvings: int):
    """A solver of x = 1 that makes another number of halvings of its error in every call."""

    def solve(dtype, tol, x):
        calls.append((dtype, tol))
        return x + 2.0 ** -halvings[min(len(calls), len(halvings)) - 1]

    calls: list[tuple[str, float]] = []
    return solve, calls


ONE = (np.ones(()),)


def judge_of_one():
    return certified(lambda answer, x: abs(answer - x))(ONE)


def test_a_solver_is_asked_for_no_more_than_is_needed():
    solve, calls = solving(4, 10, 30)
    setting = settle(solve, ONE, judge_of_one(), 1.0, math.inf)
    assert calls[:3] == [("float32", 1e-4), ("float32", 1e-6), ("float32", 1e-8)]
    assert setting[:2] == ("float32", 1e-8)
    assert setting.error == 2.0**-30
    assert not setting.wrong


def test_a_solver_that_never_is_near_enough_is_out():
    solve, calls = solving(*range(1, 9))
    setting = settle(solve, ONE, judge_of_one(), 1.0, math.inf)
    assert len(calls) == len(TIGHTER)
    assert setting.wrong.startswith("float64, tol 1e-10 took")
    assert setting.wrong.endswith("has a certified gap of 4e-03, more than 1e-06")


def test_a_solver_that_is_slower_and_not_there_is_not_waited_for():
    solve, calls = solving(1)
    assert settle(solve, ONE, judge_of_one(), 1.0, 0.0).wrong
    assert len(calls) == 1


def test_a_slow_solver_is_asked_once_and_compared(monkeypatch):
    ask_slow_solvers_once(monkeypatch)
    solve, calls = solving(30)
    peers = {"numpy": {"slow": lambda dtype, tol, *_: solve(dtype, tol, np.ones(()))}}
    cell = measured(work(peers=peers, judge=certified(lambda *_: 0.0)))
    assert len(calls) == 1
    slow = best_of(cell, "numpy")
    assert slow is not None
    assert (slow.rounds, slow.wrong, slow.median) == (1, "", cell.settings["numpy, slow"].seconds)
    assert best_of(merged([cell, cell]), "numpy") == slow


def test_a_solver_that_stops_early_is_not_compared():
    """Its fit is fast, and its certified gap says why."""

    def lazy(dtype, tol, x, y):
        del dtype, tol, y
        return LinearHeads(np.zeros((1, x.shape[1])), np.zeros(1), np.array([1 / len(x)]), "squared")

    def make(size):
        one = squared.make(size)
        theirs = one.peers["sklearn"]
        assert isinstance(theirs, dict)
        return one._replace(peers={"sklearn": {"lazy": lazy, "cholesky": theirs["cholesky"]}})

    squared = next(family for family in SUITES["fit"]() if family.name == "fit_heads, squared")
    planted = squared._replace(make=make)
    cell = cell_of(planted, 256, CPU, LIMITS, ["sklearn"], 0.01)
    assert "has a certified gap of" in cell.figures["sklearn, lazy"].wrong
    assert gain(cell.figures["dlcore cpu"], cell.figures["sklearn, lazy"]) is None
    assert best_of(cell, "sklearn") in [one for who, one in cell.figures.items() if "cholesky" in who]
    # Another pass asks as the first one found best.
    again = cell_of(planted, 256, CPU, LIMITS, ["sklearn"], 0.01, cell)
    assert again.figures.keys() == cell.figures.keys()


def test_passes_state_what_changed_between_them():
    def at(median, low, high, wrong=""):
        one = Figure(1.0, 2.0, 3.0, median, (low, high), 3, 0.5 / median, 1e-7, wrong, False)
        return Cell("f", "math", 4, "4", "memory", True, {"dlcore cpu": one}, {}, "numbers", 8.0, 16.0)

    one = merged([at(1.0, 0.9, 1.1), at(2.0, 1.9, 2.1, "is off"), at(1.2, 1.1, 1.3)]).figures["dlcore cpu"]
    assert (one.median, one.quartiles, one.rounds) == (1.2, (0.9, 2.1), 9)
    assert one.share == pytest.approx(0.5 / 1.2)
    assert one.noisy
    assert one.wrong == "is off"


def test_what_a_size_makes_of_the_time():
    assert slope([1, 4], [1.0, 2.0]) is None
    assert slope([1, 4, 16], [1.0, 2.0, 4.0]) == 0.5


@pytest.fixture(scope="module")
def found():
    return bench(["math"], ["cpu"], ["numpy"], quick=True, only=["linalg.vecdot"])


def test_a_run_says_where_and_with_what(found):
    assert found.devices == ["cpu"]
    assert [cell.size for cell in found.cells] == list(sizes_of(next(SUITES["math"]()), True))
    assert found.machine["packages"]["jax"] == jax.__version__
    assert found.machine["devices"]["cpu"]["kind"]
    assert len(found.machine["load after"]) == 3
    assert len(found.machine["pace"]) == 2
    assert min(found.machine["pace"]) > 0
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["cells"][0]["name"] == "linalg.vecdot"


def test_runs_agree_where_the_spreads_they_state_meet(found):
    def run(factor):
        """The same, each figure so many times as long, with quartiles a tenth apart."""
        table = json.loads(json.dumps(found.to_json()))
        for cell in table["cells"]:
            for one in cell["figures"].values():
                middle = factor * one["median"]
                one |= {"median": middle, "quartiles": [0.95 * middle, 1.05 * middle], "wrong": ""}
        return table

    for factor, agree in ((1.0, True), (1.2, True), (1.3, False), (0.7, False)):
        changes = compare(run(1.0), run(factor))
        assert len(changes) == sum(len(cell.figures) for cell in found.cells)
        assert {change.agree for change in changes} == {agree}
        assert all(change.ratio == pytest.approx(factor) for change in changes)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"suites": ["maths"]}, "suites: there is no maths"),
        ({"peers": ["cupy"]}, "peers: there is no cupy"),
        ({"devices": ["npu"]}, "device: expected one of"),
        ({"only": ["losses.nothing"]}, "only: no function"),
    ],
)
def test_what_there_is_not(arguments, named, compiles):
    with pytest.raises(ValueError, match=named):
        bench(**arguments)
    assert compiles() == 0


def test_the_command(tmp_path, capsys):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        bench_command.run(["--quick", "--only", "linalg.vecdot", "--peers", "numpy", "--json", str(file)])
    printed = capsys.readouterr().out
    assert "linalg.vecdot" in printed
    assert "GB/s" in printed
    assert max(map(len, printed.splitlines()[:8])) <= 100
    bench_command.run(["compare", *map(str, files)])
    assert "agree within the spread" in capsys.readouterr().out


def test_files_that_cannot_be_compared_or_written(tmp_path, capsys):
    empty, nowhere = tmp_path / "a.json", tmp_path / "nowhere.json"
    empty.write_text("{}")
    torn, binary = tmp_path / "torn.json", tmp_path / "binary.json"
    torn.write_text('{"cells": [')
    binary.write_bytes(b"\xff\xfe\x00")
    nested, table, still = tmp_path / "nested.json", tmp_path / "table.json", tmp_path / "still.json"
    nested.write_text("[" * 100_000)
    cell = {"name": "f", "shape": "1"}
    table.write_text(json.dumps({"cells": [cell | {"figures": ["dlcore"]}]}))
    figure = {"wrong": "", "median": 0.0, "quartiles": [0.0, 0.0]}
    still.write_text(json.dumps({"cells": [cell | {"figures": {"dlcore": figure}}]}))
    for arguments, status, named in (
        (["compare", str(empty), str(empty)], 2, "expected a file of dlcore bench"),
        (["compare", str(nowhere), str(empty)], 2, "nowhere"),
        (["compare", str(torn), str(empty)], 2, "torn.json: expected a file of dlcore bench --json"),
        (["compare", str(empty), str(binary)], 2, "binary.json: expected a file of dlcore bench --json"),
        (["compare", str(nested), str(empty)], 2, "nested.json: expected a file of dlcore bench --json"),
        (["compare", str(table), str(table)], 2, "first: expected a file of dlcore bench --json"),
        (["compare", str(still), str(still)], 2, "first: expected a file of dlcore bench --json"),
        (["--quick", "--json", str(tmp_path / "absent" / "a.json")], None, "absent"),
        (["--quick", "--only", "losses.nothing"], 2, "no function"),
    ):
        with pytest.raises(SystemExit) as ended:
            bench_command.run(arguments)
        assert ended.value.code in ((1, 2) if status is None else (status,))
        assert named in capsys.readouterr().err
