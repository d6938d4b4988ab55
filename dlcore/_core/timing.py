"""Timing of functions against each other: warm, in turn, and with the results waited for."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np


class Timing(NamedTuple):
    """Durations of the calls of one function, in seconds.

    Attributes:
      first: the first call, which compiles.
      calls: each later call.
    """

    first: float
    calls: np.ndarray

    @property
    def median(self) -> float:
        """The median of the warm calls."""
        return float(np.median(self.calls))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile of the warm calls."""
        low, high = np.quantile(self.calls, [0.25, 0.75])
        return float(low), float(high)


def measure(
    functions: Mapping[str, Callable[[], object]],
    repeats: int = 9,
    setup: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, Timing]:
    """Time functions against each other in one run.

    Each round calls every function once, and every second round in the opposite order.
    Other work of the machine therefore slows all functions alike.
    JAX returns before a result is computed, so each call is timed until its result is ready.

    Args:
      functions: by name, functions without arguments.
      repeats: rounds after the first, at least 1.
      setup: by the same names, functions that are called before every call and not timed.

    Returns:
      A `Timing` for each name. Compare medians of one call of `measure`, never of two.

    Raises:
      ValueError: if there is nothing to measure.

    Source: Georges, Buytaert and Eeckhout, Statistically rigorous Java performance evaluation, OOPSLA 2007.

    >>> timings = measure({"sum": lambda: np.ones(1000).sum(), "nothing": lambda: None}, repeats=3)
    >>> sorted(timings), timings["sum"].calls.shape, timings["sum"].median > 0
    (['nothing', 'sum'], (3,), True)
    """
    if not functions or repeats < 1:
        raise ValueError(f"measure: expected functions and at least 1 round, got {len(functions)}, {repeats}")
    setup = setup or {}
    first = {name: _duration(function, setup.get(name)) for name, function in functions.items()}
    calls: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats):
        for name in list(functions)[:: -1 if repeat % 2 else 1]:
            calls[name].append(_duration(functions[name], setup.get(name)))
    return {name: Timing(first[name], np.array(calls[name])) for name in functions}


def _duration(function: Callable[[], object], setup: Callable[[], object] | None) -> float:
    """Return the seconds from the call of a function until its result is ready."""
    if setup is not None:
        setup()
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start
