"""Timing done right: what is compared runs side by side, in turn, warm, and is waited for."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Timing(NamedTuple):
    """How long calls of one contestant took, in seconds.

    Attributes:
      first: the first call, which compiles and is no part of the others.
      calls: each call after it.
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
    contestants: Mapping[str, Callable[[], Any]],
    repeats: int = 9,
    before: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, Timing]:
    """Time functions against each other in one run.

    What else the machine does falls on all alike: each round calls every contestant once, and every other round in
    the opposite order. JAX returns before it has computed, so that every result is waited for.

    Args:
      contestants: by name, functions of nothing.
      repeats: rounds after the first, at least 1.
      before: by the same names, what is called before every call and not timed, such as setting threads.

    Returns:
      A `Timing` for each name. Compare medians of one call of this function, never of two.

    Raises:
      ValueError: if there is nothing to measure.

    Source: Georges, Buytaert and Eeckhout, Statistically rigorous Java performance evaluation, OOPSLA 2007.

    >>> timings = measure({"sum": lambda: np.ones(1000).sum(), "nothing": lambda: None}, repeats=3)
    >>> sorted(timings), timings["sum"].calls.shape, timings["sum"].median > 0
    (['nothing', 'sum'], (3,), True)
    """
    if not contestants or repeats < 1:
        raise ValueError(f"measure: expected contestants and at least 1 round, got {len(contestants)}, {repeats}")
    ready = before or {}
    first = {name: _seconds(contestant, ready.get(name)) for name, contestant in contestants.items()}
    calls: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats):
        for name in list(contestants)[:: -1 if turn % 2 else 1]:
            calls[name].append(_seconds(contestants[name], ready.get(name)))
    return {name: Timing(first[name], np.array(calls[name])) for name in contestants}


def _seconds(contestant: Callable[[], Any], before: Callable[[], Any] | None) -> float:
    """How long one call takes until its result is there."""
    if before is not None:
        before()
    start = time.perf_counter()
    jax.block_until_ready(contestant())
    return time.perf_counter() - start
