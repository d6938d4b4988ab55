"""Tests of the peers that fit heads: their objective, their threads, and what their process imports."""

import ast
import importlib.util
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from dlcore._core.threads import core_count
from dlcore.benchmark import bench, hardware, head_peers
from dlcore.benchmark.accuracy import AccuracyCheck
from dlcore.benchmark.measurement import tune_all
from dlcore.benchmark.suites import problems
from dlcore.benchmark.suites.heads import path_case, worst_gap
from dlcore.benchmark.tune_solver import SolverSetting
from dlcore.certificate import LinearHeads

L2 = np.array([1e-1, 1e-3])


def library_of(title: str) -> str:
    return title.partition(",")[0]


def needs(title: str) -> None:
    if not importlib.util.find_spec(library_of(title)):
        pytest.skip(f"{library_of(title)} is not installed")


@pytest.mark.any_mode
@pytest.mark.parametrize("title", head_peers.SOLVERS)
@pytest.mark.parametrize(("loss", "classes"), [("logistic", 2), ("softmax", 3)])
def test_peer_minimises_the_objective(title, loss, classes):
    """The certificate is an oracle that shares nothing with a peer.

    A solver ends where a step changes J by about 64 units in the last place, and is then within the root of one.
    A wrong factor of the penalty, or a penalty of the intercept, leaves a gap above 1e-4.
    """
    needs(title)
    x, y = problems.embeddings(0, 300, 6, classes)
    path = head_peers.fit_path(title, L2, loss, x, y, dtype="float64", tol=1e-10)
    heads = LinearHeads(*path, L2, loss)
    assert np.shape(heads.coef) == ((2, 6) if loss == "logistic" else (2, 3, 6))
    assert worst_gap(heads, x, y) < np.sqrt(np.finfo(np.float64).eps)


@pytest.mark.any_mode
@pytest.mark.parametrize("title", head_peers.SOLVERS)
def test_tuned_peer_reaches_the_gap(title):
    needs(title)
    case = path_case(problems.embeddings(0, 300, 6, 2), L2, "logistic", (title,))
    setting = tune_all(case.solvers, case, case.make_checker(case.inputs), math.inf)[title]
    assert not setting.wrong
    assert setting.error <= 1e-6
    assert setting.threads in (1, core_count())


@pytest.mark.any_mode
def test_solver_is_given_up_behind_the_best_of_its_own_library(monkeypatch):
    """Another library may be any number of times faster."""
    behind = []

    def tune(solver, inputs, check, dlcore_s, best_s):
        behind.append(best_s)
        return tuned[len(behind) - 1]

    tuned = [setting(seconds) for seconds in (0.1, 5.0, 4.0, 9.0)]
    monkeypatch.setattr("dlcore.benchmark.measurement.tune_solver", tune)
    case = path_case(problems.embeddings(0, 20, 2, 2), L2, "logistic", ())
    titles = ("sklearn, a", "peer, a", "peer, b", "sklearn, b")
    assert set(tune_all(dict.fromkeys(titles, len), case, lambda _: AccuracyCheck(0.0), 1.0)) == set(titles)
    assert behind == [math.inf, math.inf, 5.0, 0.1]


def setting(seconds: float) -> SolverSetting:
    return SolverSetting("float32", 1e-4, 1, seconds, 0.0, "")


@pytest.mark.any_mode
def test_newton_is_left_out_where_its_hessian_is_large():
    assert head_peers.solvers_for("logistic", 1024, 2) == head_peers.SOLVERS
    assert head_peers.solvers_for("softmax", 64, 10) == head_peers.SOLVERS
    assert head_peers.solvers_for("softmax", 768, 100) == head_peers.SOLVERS[1:]


@pytest.mark.any_mode
@pytest.mark.parametrize("count", [1, 2])
def test_threads_are_limited_and_restored(count):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    pytest.importorskip("sklearn.linear_model")  # loads BLAS and OpenMP

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]

    before = threads()
    with head_peers.limit_threads(count):
        assert set(threads()) == {count}
    assert threads() == before


@pytest.mark.any_mode
def test_threads_of_torch_are_limited_and_restored():
    torch = pytest.importorskip("torch")

    def threads() -> set[int]:
        """Return the threads of PyTorch, OpenMP and MKL, if it has MKL."""
        pools = re.findall(r"(?:at::get_num|omp_get_max|mkl_get_max)_threads\(\) : (\d+)", parallel_info())
        return set(map(int, pools))

    parallel_info = torch.__config__.parallel_info
    torch.set_num_threads(1)  # as the suite gradient leaves it
    with head_peers.limit_threads(2):
        assert threads() == {2}
    assert threads() == {1}


@pytest.mark.any_mode
def test_process_of_a_peer_imports_no_other_part_of_dlcore():
    tree = ast.parse(Path(head_peers.__file__).read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.startswith(("dlcore", "jax"))]


@pytest.mark.any_mode
def test_process_of_a_peer_saves_its_path(tmp_path):
    pytest.importorskip("sklearn")
    x, y = problems.embeddings(0, 100, 4, 3)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    path = {"title": "sklearn, lbfgs", "l2": L2.tolist(), "loss": "softmax", "dtype": "float32", "tol": 1e-6}
    files = {"data": str(tmp_path / "data.npz"), "output": str(tmp_path / "answer.npz")}
    head_peers.main([json.dumps({**path, **files, "threads": 1})])
    expected = head_peers.fit_path("sklearn, lbfgs", L2, "softmax", x, y, dtype="float32", tol=1e-6)
    with np.load(files["output"]) as answer:
        # The number of threads changes the order of float32 sums.
        np.testing.assert_allclose(answer["coef"], expected.coef, atol=1e-3)
        np.testing.assert_allclose(answer["intercept"], expected.intercept, atol=1e-3)


def test_absent_peer_is_left_out_with_a_reason(monkeypatch):
    monkeypatch.setattr(hardware, "PACKAGES", ("jax", "numpy"))
    run = bench(["math"], ["cpu"], ["numpy", "sklearnex"], quick=True, only=["linalg.vecdot"])
    assert run.machine.get("left out") == ["sklearnex: scikit-learn-intelex is not installed"]
    assert {title.partition(",")[0] for title in run.measurements[0].results} == {"dlcore cpu", "numpy"}
