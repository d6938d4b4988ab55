"""The cache of compiled programs evicts the programs of shapes that are no longer used."""

import gc

import jax
import numpy as np
import pytest
from helpers import DTYPE
from seams import CACHES, clear_compiled_programs, limit_cached_programs, use_threads

from dlcore import Objective, descent, fit, fit_heads, losses, models, sweep
from dlcore._core.compilation.jit_cache import cached_jit

X = np.random.default_rng(0).normal(size=(40, 3)).astype(DTYPE)
Y = (X[:, 0] > 0).astype(np.int32)
OBJECTIVE = Objective(models.logistic, losses.sigmoid_cross_entropy, 1e-1)


def make_optimizer(setting):
    return descent.gradient_descent(setting["rate"])


def value(x, y):
    params = models.LinearParams(np.ones(3, DTYPE), np.zeros((), DTYPE))
    OBJECTIVE.value(params, (x, y))
    OBJECTIVE.hvp(params, params, (x, y))


TASKS = {
    "value": value,
    "fit": lambda x, y: fit(OBJECTIVE, (x, y), descent.gradient_descent(0.1), max_steps=2),
    "sweep": lambda x, y: sweep(OBJECTIVE, (x, y), make_optimizer, {"rate": [0.1]}, max_steps=2),
    "lipschitz": lambda x, y: descent.lipschitz_step(OBJECTIVE, (x, y)),
    "logistic": lambda x, y: fit_heads(x, y, l2=[0.1], folds=2).predict(x),
    "softmax": lambda x, y: fit_heads(x, y, loss="softmax", l2=[0.1], folds=2),
    "squared": lambda x, y: fit_heads(x, y.astype(DTYPE), loss="squared", l2=[0.1], folds=2),
}


def executables():
    gc.collect()
    return len(jax.devices()[0].client.live_executables())


@pytest.mark.parametrize("task", TASKS)
def test_programs_of_old_shapes_are_evicted(task, monkeypatch):
    """The number of live programs after six shapes is that after three."""
    limit_cached_programs(2, monkeypatch)
    clear_compiled_programs()
    alive = []
    for rows in range(30, 36):
        TASKS[task](X[:rows], Y[:rows])
        alive.append(executables())
    assert alive[-1] <= alive[2], alive
    assert all(len(cache) <= 2 for cache in CACHES)


def test_programs_of_old_shapes_on_several_threads_are_evicted(monkeypatch):
    limit_cached_programs(2, monkeypatch)
    use_threads(2, monkeypatch)
    clear_compiled_programs()
    alive = []
    for rows in range(30, 36):
        value(X[:rows], Y[:rows])
        alive.append(executables())
    assert alive[-1] <= alive[2], alive


def test_a_used_shape_is_not_compiled_again(compiles):
    clear_compiled_programs()
    value(X, Y)
    count = compiles()
    value(X, Y)
    assert compiles() == count > 0


def test_the_least_recently_used_program_is_evicted(compiles, monkeypatch):
    limit_cached_programs(2, monkeypatch)
    double = cached_jit("times")(lambda x, *, times: x * times)
    arrays = [jax.device_put(np.zeros(n, DTYPE)) for n in (3, 4, 5)]
    for x in (arrays[0], arrays[1], arrays[0], arrays[2]):  # the second is evicted
        double(x, times=2)
    before = compiles()
    double(arrays[0], times=2)
    assert compiles() == before
    double(arrays[1], times=2)
    assert compiles() > before
    double(arrays[1], times=3)
    assert len(double) == 2
    assert jax.jit(lambda x: double(x, times=2))(arrays[0]).shape == (3,)
