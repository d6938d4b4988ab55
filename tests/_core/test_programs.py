"""Compiled programs of shapes that are no longer used are let go of."""

import gc

import jax
import numpy as np
import pytest
from helpers import DTYPE
from seams import PROGRAMS, forget_programs, keep_programs, use_cores

from dlcore import Objective, descent, fit, fit_heads, losses, models, sweep
from dlcore._core.programs import kept_programs

X = np.random.default_rng(0).normal(size=(40, 3)).astype(DTYPE)
Y = (X[:, 0] > 0).astype(np.int32)
OBJECTIVE = Objective(models.logistic, losses.sigmoid_cross_entropy, 1e-1)


def still(setting):
    return descent.gradient_descent(setting["rate"])


def value(x, y):
    params = models.LinearParams(np.ones(3, DTYPE), np.zeros((), DTYPE))
    OBJECTIVE.value(params, (x, y))
    OBJECTIVE.hvp(params, params, (x, y))


TASKS = {
    "value": value,
    "fit": lambda x, y: fit(OBJECTIVE, (x, y), descent.gradient_descent(0.1), max_steps=2),
    "sweep": lambda x, y: sweep(OBJECTIVE, (x, y), still, {"rate": [0.1]}, max_steps=2),
    "lipschitz": lambda x, y: descent.lipschitz_step(OBJECTIVE, (x, y)),
    "logistic": lambda x, y: fit_heads(x, y, l2=[0.1], folds=2).predict(x),
    "softmax": lambda x, y: fit_heads(x, y, loss="softmax", l2=[0.1], folds=2),
    "squared": lambda x, y: fit_heads(x, y.astype(DTYPE), loss="squared", l2=[0.1], folds=2),
}


def executables():
    gc.collect()
    return len(jax.devices()[0].client.live_executables())


@pytest.mark.parametrize("task", TASKS)
def test_another_shape_lets_go_of_the_programs_of_an_old_one(task, monkeypatch):
    """As many programs live after six shapes as after three."""
    keep_programs(2, monkeypatch)
    forget_programs()
    alive = []
    for rows in range(30, 36):
        TASKS[task](X[:rows], Y[:rows])
        alive.append(executables())
    assert alive[-1] <= alive[2], alive
    assert all(len(programs) <= 2 for programs in PROGRAMS)


def test_so_do_cores_that_share_the_rows(monkeypatch):
    keep_programs(2, monkeypatch)
    use_cores(2, monkeypatch)
    forget_programs()
    alive = []
    for rows in range(30, 36):
        value(X[:rows], Y[:rows])
        alive.append(executables())
    assert alive[-1] <= alive[2], alive


def test_a_shape_that_is_used_stays(compiles):
    forget_programs()
    value(X, Y)
    made = compiles()
    value(X, Y)
    assert compiles() == made > 0


def test_the_program_called_last_is_kept(compiles, monkeypatch):
    keep_programs(2, monkeypatch)
    double = kept_programs("times")(lambda x, *, times: x * times)
    arrays = [jax.device_put(np.zeros(n, DTYPE)) for n in (3, 4, 5)]
    for x in (arrays[0], arrays[1], arrays[0], arrays[2]):  # the second goes
        double(x, times=2)
    before = compiles()
    double(arrays[0], times=2)
    assert compiles() == before
    double(arrays[1], times=2)
    assert compiles() > before
    double(arrays[1], times=3)
    assert len(double) == 2
    assert jax.jit(lambda x: double(x, times=2))(arrays[0]).shape == (3,)
