"""Rows over several devices, in new processes, because the number of devices is set before JAX starts."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import compilation_cache
import jax
import numpy as np
import pytest
from helpers import DTYPE, EPS, ROOT, assert_close, breast_cancer

from dlcore import Objective, descent, fit
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import logistic

SCRIPT = Path(__file__).parent.parent / "sharded_steps.py"
SECONDS = 240
"""A limit of ten times the duration on two idle cores, which only a deadlock reaches."""
pytestmark = pytest.mark.timeout(3 * SECONDS)  # a test starts two processes at most


@functools.cache
def run_script(devices: int, threads: int | None, run: int = 0) -> dict[str, Any]:
    """Return the results of the script with a pool of `threads`. Each `run` is a new process."""
    del run
    environment = {key: value for key, value in os.environ.items() if key not in ("NPROC", "XLA_FLAGS")}
    compilation_cache.compile_quickly(environment)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    environment |= {"JAX_NUM_CPU_DEVICES": str(devices)} | ({} if threads is None else {"NPROC": str(threads)})
    done = subprocess.run(
        [sys.executable, SCRIPT], env=environment, text=True, capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


slow = pytest.mark.slow
POOLS = [(4, None), (2, 4), *(pytest.param(*pool, marks=slow) for pool in ((2, None), (8, None), (8, 16)))]


@pytest.mark.parametrize(("devices", "threads"), POOLS)
def test_two_hundred_asynchronous_steps_do_not_deadlock(devices, threads):
    """The script makes the steps from one thread and from two at a time. The test is that it ends."""
    results = run_script(devices, threads)
    assert results["threads"] == [results["steps"]] * 2
    assert results["placed"] == [devices, devices]


@pytest.mark.parametrize("devices", [4, pytest.param(2, marks=slow), pytest.param(8, marks=slow)])
def test_one_device_and_several_agree_to_rounding(devices):
    single, several = run_script(1, None), run_script(devices, None)
    names = (
        "value and gradient",
        "of two models",
        "hvp",
        "hessian",
        "without weights",
        "rows that divide",
        "safe step",
    )
    for name in names:
        for actual, expected in zip(several[name], single[name], strict=True):
            # The rounding term of the safe step grows with the rows of a block, thousands of terms.
            units = 1_000_000 if name == "safe step" else 64
            assert_close(actual, expected, units=units, scale=max(1, np.abs(expected).max()))
    for name in ("steps", "fit"):
        for actual, expected in zip(several[name], single[name], strict=True):
            assert_close(actual, expected, units=200, scale=1)


@pytest.mark.parametrize(("devices", "threads"), POOLS)
def test_the_same_devices_give_the_same_bits_and_one_program(devices, threads):
    """The fit runs twice in one process, in chunks and in one call."""
    results = run_script(devices, threads)
    assert results["fit"] == results["fit again"]
    assert results["batches"][0] == results["batches"][1]
    assert results["compilations"] == 1


def test_the_same_devices_give_the_same_bits_in_every_process():
    assert run_script(4, None, run=1) == run_script(4, None)


@pytest.mark.parametrize(("devices", "threads"), [(2, 4), pytest.param(8, 16, marks=slow)])
def test_jitted_steps_run_with_enough_threads(devices, threads):
    results = run_script(devices, threads)
    for actual, expected in zip(results["in a program"], results["steps"], strict=True):
        assert_close(actual, expected, units=200, scale=1)
    for actual, expected in zip(results["under a transformation"], results["value and gradient"][1:], strict=True):
        assert_close(actual, expected, units=64, scale=1)
    assert results["collectives"] == 1
    assert results["temporary"] < 0.25


@pytest.mark.parametrize("devices", [4, pytest.param(8, marks=slow)])
def test_jitted_steps_are_refused_if_they_could_deadlock(devices):
    if len(os.sched_getaffinity(0)) >= 2 * devices:
        pytest.skip("this machine has threads enough for every program")
    results = run_script(devices, None)
    for name in ("in a program", "under a transformation"):
        assert f"NPROC={2 * devices}" in results[name]


@pytest.mark.devices
def test_a_batch_size_must_divide_among_the_devices():
    if jax.device_count() < 2:
        pytest.skip("needs two devices: JAX_NUM_CPU_DEVICES=2 or more")
    objective = Objective(logistic, sigmoid_cross_entropy, 0.01)
    rule, key = descent.gradient_descent(0.1), jax.random.key(0)
    with pytest.raises(ValueError, match="batch_size: expected a multiple of the 2 devices, got 7"):
        fit(objective, breast_cancer(), rule, key=key, batch_size=7, devices=2)


@pytest.mark.devices
def test_data_goes_to_the_device_of_a_list():
    objective = Objective(logistic, sigmoid_cross_entropy, 0.01)
    chosen = jax.devices()[-1]
    fitted = fit(objective, breast_cancer(), descent.gradient_descent(0.2), devices=[chosen], max_steps=20)
    plain = fit(objective, breast_cancer(), descent.gradient_descent(0.2), max_steps=20)
    assert fitted.params.weight.devices() == {chosen}
    assert_close(fitted.params.weight, plain.params.weight, units=64)


@pytest.mark.devices
def test_forward_mode_goes_through_a_fit_over_devices():
    objective, rule = Objective(logistic, sigmoid_cross_entropy), descent.gradient_descent(0.2)

    def bias(l2, devices):
        problem = Objective(objective.model, objective.loss, l2)
        return fit(problem, breast_cancer(), rule, max_steps=20, tol=0, devices=devices).params.bias

    l2 = jax.numpy.asarray(0.1, DTYPE)
    tangents = [jax.jvp(lambda l2, d=d: bias(l2, d), (l2,), (l2,))[1] for d in (None, 1)]
    assert_close(tangents[1], tangents[0], units=64, scale=1)
    assert abs(float(tangents[0])) > 100 * EPS


BAD_DEVICES = [
    (0, ValueError, "devices: expected an integer of at least 1, got 0"),
    (1000, ValueError, "devices: expected at most"),
    ("all", TypeError, "devices: expected an integer, got 'all'"),
    ([], TypeError, r"devices: expected a number or a list of jax.devices\(\), got \[\]"),
    ([3], TypeError, "devices: expected a number or a list"),
]


@pytest.mark.devices
@pytest.mark.parametrize(("devices", "error", "message"), BAD_DEVICES)
def test_invalid_devices_are_named(devices, error, message):
    with pytest.raises(error, match=message):
        Objective(logistic, sigmoid_cross_entropy).prepare(breast_cancer(), devices=devices)


@pytest.mark.devices
def test_prepared_data_is_not_placed_again():
    objective = Objective(logistic, sigmoid_cross_entropy)
    data = objective.prepare(breast_cancer())
    with pytest.raises(ValueError, match="devices: the data is placed already"):
        fit(objective, data, descent.gradient_descent(0.1), devices=1)
    placed = objective.prepare(breast_cancer(), devices=1)
    assert objective.prepare(placed, devices=1) is placed
    with pytest.raises(TypeError, match="cannot be placed"):
        jax.jit(lambda x: objective.prepare((x, breast_cancer()[1]), devices=1).x)(breast_cancer()[0])
