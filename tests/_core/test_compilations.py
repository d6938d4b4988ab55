"""Counting of the programs that a thread compiles."""

import threading

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.compilation.compilations import Compilations


def program(name):
    """Return a fresh function of that name, jitted, that calls another one."""

    def function(x):
        return jnp.sum(jax.jit(jnp.tanh)(x))

    function.__name__ = name
    return jax.jit(function)


def test_programs_are_named_once_and_their_seconds_do_not_overlap():
    x = jax.device_put(np.ones(3, np.float32))
    first, second, later = program("first"), program("second"), program("later")
    with Compilations() as outer:
        first(x)
        with Compilations() as inner:
            second(x)
            second(x)
    later(x)
    assert (outer.names, inner.names) == (["first", "second"], ["second"])
    assert (outer.count, inner.count) == (2, 1)
    assert 0 < inner.seconds < outer.seconds


def test_programs_of_another_thread_are_not_counted():
    x = jax.device_put(np.ones(3, np.float32))
    with Compilations() as compilations:
        thread = threading.Thread(target=lambda: program("other")(x))
        thread.start()
        thread.join()
    assert (compilations.names, compilations.seconds) == ([], 0)
