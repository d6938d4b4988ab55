"""Tuning of peers' solvers: the loosest tolerance that is accurate enough, and the faster number of threads."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlcore._core.threads import core_count
from dlcore.benchmark.accuracy import Checker
from dlcore.benchmark.head_peers import limit_threads

Solver = Callable[..., object]
"""A function of (dtype, tol, *inputs) that returns the solution."""

TOLERANCES = tuple((dtype, tol) for dtype in ("float32", "float64") for tol in (1e-4, 1e-6, 1e-8, 1e-10))
"""The dtype of the inputs and the solver's own tolerance, in the order in which they are tried."""

GIVE_UP_AFTER_S, GIVE_UP_AFTER_RATIO = 60.0, 10
"""An inaccurate solver is given up beyond this many seconds and this many times dlcore's time."""
GIVE_UP_BEHIND_BEST = 3
"""An inaccurate solver is also given up beyond this many times the time of its library's best."""
SINGLE_CALL_S = 20.0
"""A solver that takes longer than this is called only once, on all threads."""


class SolverSetting(NamedTuple):
    """Setting of a solver, and the result of one call.

    Attributes:
      dtype: of the inputs.
      tol: the solver's own tolerance.
      threads: the faster number of threads.
      seconds: the time of one call; a lower bound if the solver was given up.
      error: the certified gap, or the error of the answer.
      wrong: the reason why the solver was given up; empty if it is accurate.
    """

    dtype: str
    tol: float
    threads: int
    seconds: float
    error: float
    wrong: str

    @property
    def is_final(self) -> bool:
        """Return whether the solver is not timed again: it was given up or is too slow."""
        return bool(self.wrong) or self.seconds > SINGLE_CALL_S

    def __str__(self) -> str:
        return f"{self.dtype}, tol {self.tol:g}"


def tune_solver(
    solver: Solver, inputs: tuple[np.ndarray, ...], check: Checker, dlcore_s: float, best_s: float
) -> SolverSetting:
    """Try tolerances on all threads until one is accurate, then try it on one thread unless it is slow.

    Args:
      solver: the solver.
      inputs: its inputs.
      check: the accuracy check of its answers.
      dlcore_s: the seconds that dlcore takes.
      best_s: the seconds of the best solver of its library so far; infinite if there is none.
    """
    cores, setting = core_count(), None
    give_up_s = min(GIVE_UP_BEHIND_BEST * best_s, max(GIVE_UP_AFTER_S, GIVE_UP_AFTER_RATIO * dlcore_s))
    for dtype, tol in TOLERANCES:
        answer, seconds = _timed(solver, (dtype, tol, *inputs), cores)
        setting = SolverSetting(dtype, tol, cores, seconds, *check(answer))
        if not setting.wrong or seconds > give_up_s:
            break
    assert setting is not None
    if setting.wrong:
        return setting._replace(wrong=f"{setting} took {setting.seconds:.3g} s and {setting.wrong}")
    if cores == 1 or setting.is_final:
        return setting
    single_thread_s = _timed(solver, (setting.dtype, setting.tol, *inputs), 1)[1]
    return setting if setting.seconds <= single_thread_s else setting._replace(threads=1, seconds=single_thread_s)


def bind_solver(solver: Solver, setting: SolverSetting, inputs: tuple[np.ndarray, ...]) -> Callable[[], object]:
    """Return a call without arguments that solves with a setting."""

    def call() -> object:
        with limit_threads(setting.threads):
            return solver(setting.dtype, setting.tol, *inputs)

    return call


def _timed(solver: Solver, arguments: tuple[object, ...], threads: int) -> tuple[object, float]:
    """Return the answer of a call on some number of threads, and its seconds."""
    start = time.perf_counter()
    with limit_threads(threads):
        answer = solver(*arguments)
    return answer, time.perf_counter() - start
