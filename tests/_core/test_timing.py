import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE

from dlcore._core import timing


def make_computation():
    """Return a computation of tens of milliseconds, whose result JAX returns before it is computed."""
    start = jnp.full((200, 200), 0.01, DTYPE)
    work = jax.jit(lambda x: jax.lax.fori_loop(0, 300, lambda _, a: jnp.tanh(jnp.matmul(a, a)), x))
    return lambda: work(start)


def waits_for_results():
    """Return whether the measured time includes the computation."""
    run = make_computation()
    results = []
    times = timing.measure({"work": lambda: results.append(run()) or results[-1]}, repeats=5)["work"]
    for result in results:
        result.block_until_ready()
    total = time.perf_counter()
    for _ in range(5):
        np.asarray(run())
    total = (time.perf_counter() - total) / 5
    return times.median > total / 4


def test_results_are_waited_for(monkeypatch):
    assert waits_for_results()
    monkeypatch.setattr(jax, "block_until_ready", lambda result: result)
    assert not waits_for_results()


def test_functions_are_called_in_both_orders():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = timing.measure(functions, repeats=4)
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc" + "cba"
    assert list(timings) == ["a", "b", "c"]
    assert all(times.calls.shape == (4,) for times in timings.values())


def test_median_and_quartiles():
    times = timing.Timing(9.0, np.array([5.0, 1.0, 2.0, 3.0, 4.0]))
    assert times.median == 3
    assert times.quartiles == (2, 4)


def test_the_first_call_is_separate():
    seconds = iter([0.05, 0.0, 0.0, 0.0])
    times = timing.measure({"a": lambda: time.sleep(next(seconds))}, repeats=3)["a"]
    assert times.first > 0.04 > times.median


@pytest.mark.parametrize(("functions", "repeats"), [({}, 3), ({"a": lambda: None}, 0)])
def test_no_functions_or_rounds_are_an_error(functions, repeats):
    with pytest.raises(ValueError, match="measure: expected functions and at least 1 round"):
        timing.measure(functions, repeats)
