"""Somebody else's solver at its best: the loosest tolerance that is good enough, the better number of threads."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from dlcore.benchmark.accuracy import Judge
from dlcore.devices import core_count

Solver = Callable[..., Any]
"""(dtype, its tolerance, inputs…) to what it found."""

TIGHTER = tuple((dtype, tol) for dtype in ("float32", "float64") for tol in (1e-4, 1e-6, 1e-8, 1e-10))
"""What is tried of a solver, one after another: the dtype it is given and its own tolerance."""

FAR, PATIENCE = 10, 60.0
"""A solver that takes so many times as long as ours, and so many seconds, and still misses the gap is out."""
SLOWER = 3
"""So is one that takes so many times as long as the best solver so far."""
ONCE = 20.0
"""A solver that takes so many seconds is asked once, on all threads: its figure is that of this call."""


class Setting(NamedTuple):
    """How a solver is asked.

    Attributes:
      dtype, tol: what it is given.
      threads: the better number.
      seconds: that one call took.
      error, wrong: the verdict on what it found; where wrong, the solver is out, and `seconds` a bound.
    """

    dtype: str
    tol: float
    threads: int
    seconds: float
    error: float
    wrong: str

    @property
    def known(self) -> bool:
        """Whether nothing is to be measured any more: it is out, or too slow to be asked again."""
        return bool(self.wrong) or self.seconds > ONCE

    def __str__(self) -> str:
        return f"{self.dtype}, tol {self.tol:g}"


def settle(solver: Solver, inputs: tuple[np.ndarray, ...], judge: Judge, ours: float, best: float) -> Setting:
    """Try settings on all threads until one is right, then that one on a single thread, unless it is slow.

    Args:
      solver: whose.
      inputs: what it is given.
      judge: of its answers.
      ours: seconds that dlcore takes.
      best: seconds that the best solver so far takes; infinite if there is none.
    """
    every, setting = core_count(), None
    for dtype, tol in TIGHTER:
        answer, seconds = _timed(solver, dtype, tol, inputs, every)
        setting = Setting(dtype, tol, every, seconds, *judge(answer))
        if not setting.wrong or seconds > min(SLOWER * best, max(PATIENCE, FAR * ours)):
            break
    assert setting is not None
    if setting.wrong:
        bound = f"{setting} took {setting.seconds:.3g} s and {setting.wrong}"
        return setting._replace(wrong=bound)
    if every == 1 or setting.known:
        return setting
    alone = _timed(solver, setting.dtype, setting.tol, inputs, 1)[1]
    return setting if setting.seconds <= alone else setting._replace(threads=1, seconds=alone)


def asked(solver: Solver, setting: Setting, inputs: tuple[np.ndarray, ...]) -> Callable[[], Any]:
    """A call of a solver at a setting."""

    def call() -> Any:
        with threads(setting.threads):
            return solver(setting.dtype, setting.tol, *inputs)

    return call


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of the BLAS and the OpenMP that NumPy, SciPy and scikit-learn call."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(count):
        yield


def _timed(
    solver: Solver, dtype: str, tol: float, inputs: tuple[np.ndarray, ...], count: int
) -> tuple[Any, float]:
    call = asked(solver, Setting(dtype, tol, count, 0.0, 0.0, ""), inputs)
    start = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - start
