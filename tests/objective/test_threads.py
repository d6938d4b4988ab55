"""One program on every core: compiled once, equal to one core's, and never waiting for ever."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, ROOT, assert_close
from seams import use_cores

from dlcore import Objective
from dlcore.devices import ALIGNMENT, aligned_copy
from dlcore.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.models import LinearParams, linear, logistic, softmax
from dlcore.objective.threads import CoreProgram, core_program, cores_for

pytestmark = pytest.mark.devices

RNG = np.random.default_rng(0)
ROWS = 1_003  # no multiple of three
X = RNG.normal(size=(ROWS, 4)).astype(DTYPE)
S = RNG.random(ROWS) * (RNG.random(ROWS) < 0.7)
BINARY, CLASSES, NUMBERS = (X[:, 0] > 0).astype(DTYPE), RNG.integers(0, 3, ROWS), X[:, 1]
ONE = LinearParams(RNG.normal(size=4).astype(DTYPE), DTYPE.type(0.3))
THREE = LinearParams(RNG.normal(size=(4, 3)).astype(DTYPE), RNG.normal(size=3).astype(DTYPE))
MANY = LinearParams(RNG.normal(size=(5, 4)).astype(DTYPE), RNG.normal(size=5).astype(DTYPE))


def test_the_results_of_all_arguments_come_in_their_order(compiles):
    twice = core_program("by")(lambda x, *, by: by * x)
    found = twice.on_each([(DTYPE.type(k),) for k in range(7)], by=2)
    assert [float(one) for one in found] == [0, 2, 4, 6, 8, 10, 12]
    assert [float(one) for one in twice.on_each([(DTYPE.type(k),) for k in range(2)], by=2)] == [0, 2]
    assert compiles() == 1
    assert float(twice(DTYPE.type(5), by=3)) == 15
    assert np.asarray(twice(np.ones(3, DTYPE), by=3)).tolist() == [3, 3, 3]
    assert compiles() == 3


def test_threads_compute_in_the_mode_of_their_caller():
    with jax.enable_x64(True):
        found = CoreProgram(lambda x: x + 1).on_each([(np.float64(k),) for k in range(3)])
    assert all(one.dtype == np.float64 for one in found)


def test_an_error_of_one_thread_reaches_the_caller():
    program = CoreProgram(lambda x: x + 1)
    with pytest.raises(TypeError):
        program.on_each([(np.zeros(2, DTYPE),), (np.zeros(3, DTYPE),)])
    assert [np.asarray(one).tolist() for one in program.on_each([(np.zeros(2, DTYPE),)] * 2)] == [[1, 1]] * 2


@pytest.mark.parametrize("weights", [None, S])
@pytest.mark.parametrize(
    ("objective", "y", "params", "verb"),
    [
        (Objective(logistic, sigmoid_cross_entropy, 0.1), BINARY, ONE, "value_and_grad"),
        (Objective(logistic, sigmoid_cross_entropy, 0.1), BINARY, ONE, "hessian"),
        (Objective(logistic, sigmoid_cross_entropy, 0.1), BINARY, MANY, "values_and_grads"),
        (Objective(softmax, softmax_cross_entropy, 0.1), CLASSES, THREE, "value_and_grad"),
        (Objective(linear, squared_error, 0.1), NUMBERS, ONE, "value"),
    ],
)
def test_three_cores_give_what_one_gives(objective, y, params, verb, weights, monkeypatch, compiles):
    data = objective.prepare((X, y) if weights is None else (X, y, weights))
    found = {}
    for count in (1, 3):
        use_cores(count, monkeypatch)
        found[count] = jax.tree.leaves(getattr(objective, verb)(params, data))
        before = compiles()
        again = jax.tree.leaves(getattr(objective, verb)(params, data))
        assert compiles() == before
        for one, other in zip(found[count], again, strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(found[3], found[1], strict=True):
        assert_close(one, other, units=8 * ROWS**0.5)


def test_a_core_gets_as_much_as_is_worth_a_thread(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    assert [cores_for(work, jnp.zeros(1), least=10) for work in (0, 19, 20, 35, 1000)] == [1, 1, 2, 3, 4]


HEADS_IN_THREADS = """
import sys, threading, numpy as np, dlcore
sys.path.insert(0, "tests")
from seams import use_cores
use_cores({cores})
rng = np.random.default_rng(0)
x = rng.normal(size=(3000, 12)).astype(np.float32)
y = (x[:, 0] + rng.logistic(size=3000) > 0).astype(int)
l2 = np.geomspace(1e-4, 1, 12)
first, found = dlcore.fit_heads(x, y, l2=l2, folds=3), []
def work():
    for _ in range({repeats}):
        found.append(dlcore.fit_heads(x, y, l2=l2, folds=3))
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
ends = set(first.status) | set(first.fold_status.ravel())
same = all((heads.coef == first.coef).all() for heads in found)
print(len(found), same, *ends, first.steps.max() <= 6, flush=True)
"""


@pytest.mark.parametrize("repeats", [4, pytest.param(15, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cores", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_heads_in_several_threads_of_the_caller_end_with_the_same_bits(cores, repeats):
    """Batched factors on the pool of XLA would hang here for ever (jaxlib 0.10)."""
    done = subprocess.run(
        [sys.executable, "-c", HEADS_IN_THREADS.format(cores=cores, repeats=repeats)],
        cwd=ROOT, text=True, capture_output=True, timeout=240, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{4 * repeats} True converged True"]


@pytest.mark.parametrize("rows", [None, 70_001])
def test_a_large_copy_made_by_all_cores_is_the_array(rows):
    """Above 16 MiB; in another dtype too, strided, with room behind it."""
    array = np.arange(70_000 * 2 * 65, dtype=np.float64).reshape(70_000, -1)[:, ::2]
    copy = aligned_copy(array, np.dtype(np.float32), rows)
    assert copy.nbytes > 2**24
    assert copy.ctypes.data % ALIGNMENT == 0
    assert copy.shape == (rows or 70_000, 65)
    np.testing.assert_array_equal(copy[:70_000], array.astype(np.float32))
