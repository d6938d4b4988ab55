"""The private names that tests still reach, each with the reason why no public name will do.

A rename inside the library changes this file alone. Unit tests of one idea with a contract of its own, such as a
line search, a factorisation or a pool of threads, import its module themselves.
"""

import importlib
from typing import Any

import jax

from dlcore._core import programs
from dlcore._core.programs import ALL as PROGRAMS
from dlcore._core.programs import clear_programs
from dlcore.benchmark import tune_solver
from dlcore.certificate.bounds.logistic import _distance_of_intercept as distance_of_intercept
from dlcore.certificate.bounds.logistic import _largest_intercept as largest_intercept
from dlcore.certificate.bounds.softmax import _spread_of_distance as spread_of_distance
from dlcore.heads import logistic as logistic_heads
from dlcore.objective import passes

__all__ = [
    "PROGRAMS",
    "ask_slow_solvers_once",
    "distance_of_intercept",
    "forget_programs",
    "keep_programs",
    "largest_intercept",
    "spread_of_distance",
    "use_cores",
]
# Bounds on intercepts enter a certificate beside larger terms, so that no certificate shows their errors.


def use_cores(count: int, patch: Any = None) -> None:
    """Set how many threads a pass of `fit`, `sweep` or `fit_heads` is handed out to.

    The library decides by the machine and by the size of the data, and has no setting: a test of three cores would
    need three cores and millions of numbers.

    Args:
      count: how many.
      patch: pytest's monkeypatch; None changes the process for good.
    """
    change = setattr if patch is None else patch.setattr
    sweep = importlib.import_module("dlcore.sweeping.sweep")  # the package's attribute is the function
    for module in (passes, sweep, logistic_heads):
        change(module, "cores_for", lambda *_, **__: count)


def ask_slow_solvers_once(patch: Any) -> None:
    """Let every solver of a benchmark count as slow: without it one that takes 20 seconds would be needed."""
    patch.setattr(tune_solver, "ONCE", 0.0)


def forget_programs() -> None:
    """Forget compiled programs, those of host threads too, which `jax.clear_caches` does not know."""
    jax.clear_caches()
    clear_programs()


def keep_programs(count: int, patch: Any) -> None:
    """Let every function keep so many programs: with as many as it keeps, a test would compile dozens."""
    patch.setattr(programs, "KEPT", count)
