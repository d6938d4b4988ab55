"""Programs on all cores: compiled once, equal to the result of one core, and free of deadlock."""

import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, ROOT, assert_close
from seams import use_threads

from dlcore import Objective, descent, sweep
from dlcore.devices import ALIGNMENT, aligned_copy
from dlcore.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.models import LinearParams, Model, linear, logistic, softmax
from dlcore.objective.threads import ThreadedProgram, cores_for, threaded_program

pytestmark = pytest.mark.devices

RNG = np.random.default_rng(0)
ROWS = 1_003  # no multiple of three
X = RNG.normal(size=(ROWS, 4)).astype(DTYPE)
S = RNG.random(ROWS) * (RNG.random(ROWS) < 0.7)
BINARY, CLASSES, NUMBERS = (X[:, 0] > 0).astype(DTYPE), RNG.integers(0, 3, ROWS), X[:, 1]
BINARY_PARAMS = LinearParams(RNG.normal(size=4).astype(DTYPE), DTYPE.type(0.3))
CLASS_PARAMS = LinearParams(RNG.normal(size=(4, 3)).astype(DTYPE), RNG.normal(size=3).astype(DTYPE))
PARAMS_OF_FIVE = LinearParams(RNG.normal(size=(5, 4)).astype(DTYPE), RNG.normal(size=5).astype(DTYPE))


def test_results_come_in_the_order_of_the_arguments(compiles):
    multiply = threaded_program("by")(lambda x, *, by: by * x)
    results = multiply.map_threads([(DTYPE.type(k),) for k in range(7)], by=2)
    assert [float(result) for result in results] == [0, 2, 4, 6, 8, 10, 12]
    results = multiply.map_threads([(DTYPE.type(k),) for k in range(2)], by=2)
    assert [float(result) for result in results] == [0, 2]
    assert compiles() == 1
    assert float(multiply(DTYPE.type(5), by=3)) == 15
    assert np.asarray(multiply(np.ones(3, DTYPE), by=3)).tolist() == [3, 3, 3]
    assert compiles() == 3


def test_callers_that_come_first_at_the_same_time_compile_once(compiles):
    add = ThreadedProgram(lambda x: x + 1)
    start, results = threading.Barrier(4), []

    def call():
        start.wait()
        results.extend(add.map_threads([(np.zeros(2, DTYPE),)] * 2))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [np.asarray(result).tolist() for result in results] == [[1, 1]] * 8
    assert compiles() == 1


def test_threads_compute_in_the_x64_mode_of_their_caller():
    with jax.enable_x64(True):
        results = ThreadedProgram(lambda x: x + 1).map_threads([(np.float64(k),) for k in range(3)])
    assert all(result.dtype == np.float64 for result in results)


def test_an_error_in_a_thread_reaches_the_caller():
    add = ThreadedProgram(lambda x: x + 1)
    with pytest.raises(TypeError):
        add.map_threads([(np.zeros(2, DTYPE),), (np.zeros(3, DTYPE),)])
    results = add.map_threads([(np.zeros(2, DTYPE),)] * 2)
    assert [np.asarray(result).tolist() for result in results] == [[1, 1]] * 2


@pytest.mark.parametrize("cores", [1, 2])
def test_another_matmul_precision_runs_another_program(cores, monkeypatch, compiles):
    """A model with a plain `jnp.dot` takes the precision from the configuration when it is traced."""
    use_threads(cores, monkeypatch)
    traced = []

    def apply(params, x):
        traced.append(jax.config.jax_default_matmul_precision)  # pyright: ignore[reportAttributeAccessIssue]
        return jnp.dot(x, params.weight) + params.bias

    objective = Objective(Model(lambda key: BINARY_PARAMS, apply, apply), squared_error, 0.1)
    data = objective.prepare((X, NUMBERS))

    def run():
        objective.value(BINARY_PARAMS, data)
        settings = {"rate": np.array([0.1, 0.2], DTYPE)}
        params = jax.device_put(BINARY_PARAMS)
        sweep(objective, data, lambda s: descent.gradient_descent(s["rate"]), settings, params=params, max_steps=2)

    run()
    assert set(traced) == {None}
    with jax.default_matmul_precision("highest"):
        traced.clear()
        before = compiles()
        run()
        assert set(traced) == {"highest"}
        assert compiles() >= before + 2  # the value and the sweep
        before = compiles()
        run()
        assert compiles() == before
    run()
    assert compiles() == before


@pytest.mark.parametrize("weights", [None, S])
@pytest.mark.parametrize(
    ("objective", "data", "params", "method"),
    [
        (Objective(logistic, sigmoid_cross_entropy, 0.1), (X, BINARY), BINARY_PARAMS, "value_and_grad"),
        (Objective(logistic, sigmoid_cross_entropy, 0.1), (X, BINARY), BINARY_PARAMS, "hessian"),
        (Objective(logistic, sigmoid_cross_entropy, 0.1), (X, BINARY), PARAMS_OF_FIVE, "values_and_grads"),
        (Objective(softmax, softmax_cross_entropy, 0.1), (X, CLASSES), CLASS_PARAMS, "value_and_grad"),
        (Objective(linear, squared_error, 0.1), (X, NUMBERS), BINARY_PARAMS, "value"),
    ],
)
def test_three_cores_give_the_result_of_one(objective, data, params, method, weights, request):
    monkeypatch, compiles = request.getfixturevalue("monkeypatch"), request.getfixturevalue("compiles")
    data = objective.prepare(data if weights is None else (*data, weights))
    results = {}
    for cores in (1, 3):
        use_threads(cores, monkeypatch)
        results[cores] = jax.tree.leaves(getattr(objective, method)(params, data))
        before = compiles()
        repeated = jax.tree.leaves(getattr(objective, method)(params, data))
        assert compiles() == before
        for first, second in zip(results[cores], repeated, strict=True):
            np.testing.assert_array_equal(first, second)
    for of_three, of_one in zip(results[3], results[1], strict=True):
        assert_close(of_three, of_one, units=8 * ROWS**0.5)


def test_a_core_is_used_only_if_it_has_enough_to_do(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    assert [cores_for(cost, jnp.zeros(1), least=10) for cost in (0, 19, 20, 35, 1000)] == [1, 1, 2, 3, 4]


HEADS_IN_THREADS = """
import sys, threading, numpy as np, dlcore
sys.path.insert(0, "tests")
from seams import {set_cores}
{set_cores}({cores})
rng = np.random.default_rng(0)
x = rng.normal(size=(3000, 12)).astype(np.float32)
y = (x[:, 0] + rng.logistic(size=3000) > 0).astype(int)
l2 = np.geomspace(1e-4, 1, 12)
first, repeated = dlcore.fit_heads(x, y, l2=l2, folds=3), []
def work():
    for _ in range({repeats}):
        repeated.append(dlcore.fit_heads(x, y, l2=l2, folds=3))
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
ends = set(first.status) | set(first.fold_status.ravel())
same = all((heads.coef == first.coef).all() for heads in repeated)
print(len(repeated), same, *ends, first.steps.max() <= 20, flush=True)
"""


@pytest.mark.parametrize("repeats", [4, pytest.param(15, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cores", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_heads_fitted_by_several_threads_of_the_caller_have_the_same_bits(cores, repeats):
    """Batched factorisations on the pool of XLA would hang here for ever (jaxlib 0.10)."""
    script = HEADS_IN_THREADS.format(set_cores=use_threads.__name__, cores=cores, repeats=repeats)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, text=True, capture_output=True, timeout=240, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{4 * repeats} True converged True"]


@pytest.mark.parametrize("rows", [None, 70_001])
def test_a_large_copy_made_by_all_cores_equals_the_array(rows):
    """The copy is above 16 MiB, of another dtype and a strided array, with spare rows at the end."""
    array = np.arange(70_000 * 2 * 65, dtype=np.float64).reshape(70_000, -1)[:, ::2]
    copy = aligned_copy(array, np.dtype(np.float32), rows)
    assert copy.nbytes > 2**24
    assert copy.ctypes.data % ALIGNMENT == 0
    assert copy.shape == (rows or 70_000, 65)
    np.testing.assert_array_equal(copy[:70_000], array.astype(np.float32))
