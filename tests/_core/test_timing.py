import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE

from dlcore._core import timing


def program():
    """Work of tens of milliseconds that JAX hands back before it is done."""
    start = jnp.full((200, 200), 0.01, DTYPE)
    work = jax.jit(lambda x: jax.lax.fori_loop(0, 300, lambda _, a: jnp.tanh(jnp.matmul(a, a)), x))
    return lambda: work(start)


def waits():
    """Whether the measured time holds the work: waiting for the result at once afterwards takes no time."""
    run = program()
    results = []
    times = timing.measure({"work": lambda: results.append(run()) or results[-1]}, repeats=5)["work"]
    for result in results:
        result.block_until_ready()
    whole = time.perf_counter()
    for _ in range(5):
        np.asarray(run())
    whole = (time.perf_counter() - whole) / 5
    return times.median > whole / 4


def test_a_result_is_waited_for_and_a_clock_that_does_not_is_caught(monkeypatch):
    assert waits()
    monkeypatch.setattr(jax, "block_until_ready", lambda result: result)
    assert not waits()


def test_contestants_take_turns_in_both_orders():
    calls = []
    contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = timing.measure(contestants, repeats=4)
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc" + "cba"
    assert list(timings) == ["a", "b", "c"]
    assert all(times.calls.shape == (4,) for times in timings.values())


def test_the_figures_of_a_timing():
    times = timing.Timing(9.0, np.array([5.0, 1.0, 2.0, 3.0, 4.0]))
    assert times.median == 3
    assert times.quartiles == (2, 4)


def test_the_first_call_is_apart():
    seconds = iter([0.05, 0.0, 0.0, 0.0])
    times = timing.measure({"a": lambda: time.sleep(next(seconds))}, repeats=3)["a"]
    assert times.first > 0.04 > times.median


@pytest.mark.parametrize(("contestants", "repeats"), [({}, 3), ({"a": lambda: None}, 0)])
def test_nothing_to_measure_is_an_error(contestants, repeats):
    with pytest.raises(ValueError, match="measure: expected contestants and at least 1 round"):
        timing.measure(contestants, repeats)
