"""Private names that tests use, each with the reason why no public name will do.

A rename inside the library changes this file alone.
Unit tests of a module with a contract of its own import the module: a line search, a factorisation, a thread pool.
"""

import contextlib
import functools
import importlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax

from dlcore._core.compilation import jit_cache
from dlcore._core.compilation.jit_cache import ALL_CACHES as CACHES
from dlcore._core.compilation.jit_cache import clear_jit_cache
from dlcore.benchmark import tune_solver
from dlcore.certificate.rounding.logistic import logistic_intercept_bound as largest_intercept
from dlcore.certificate.rounding.logistic import logistic_intercept_distance as distance_of_intercept
from dlcore.certificate.rounding.softmax import softmax_intercept_distance as spread_of_distance
from dlcore.heads.solvers import lbfgs_sweep
from dlcore.objective import passes

__all__ = [
    "CACHES",
    "clear_compiled_programs",
    "distance_of_intercept",
    "largest_intercept",
    "limit_cached_programs",
    "share_mlir_context",
    "spread_of_distance",
    "treat_solvers_as_slow",
    "use_threads",
]
# An intercept bound is added to larger terms of a certificate, so no certificate shows an error in it.


def use_threads(count: int, patch: Any = None) -> None:
    """Set the number of threads that share a pass of `fit`, `sweep` or `fit_heads`.

    The library decides by the machine and by the size of the data, and has no setting: a test with three threads
    would need three cores and millions of numbers.

    Args:
      count: the number of threads.
      patch: pytest's monkeypatch; None changes the process for good.
    """
    set_attribute = setattr if patch is None else patch.setattr
    sweep = importlib.import_module("dlcore.sweeping.sweep")  # the package's attribute is the function
    for module in (passes, sweep, lbfgs_sweep):
        set_attribute(module, "cores_for", lambda *_, **__: count)


def treat_solvers_as_slow(patch: Any) -> None:
    """Treat every solver of a benchmark as slow. Otherwise a test would need a solver that takes 20 seconds."""
    patch.setattr(tune_solver, "SINGLE_CALL_S", 0.0)


def clear_compiled_programs() -> None:
    """Clear all compiled programs, including those of host threads, which `jax.clear_caches` does not reach."""
    jax.clear_caches()
    clear_jit_cache()


@contextlib.contextmanager
def share_mlir_context() -> Iterator[None]:
    """Make JAX lower every program of the block in one MLIR context. It makes a new one for each program.

    A context takes longer than the rest of the lowering of a small program. What a context has seen stays in its
    memory, so the block is one file of tests. A JAX without this function lowers as before.
    """
    mlir = importlib.import_module("jax._src.interpreters.mlir")
    make = getattr(mlir, "make_ir_context", None)
    if make is None:
        yield
        return
    with mock.patch.object(mlir, "make_ir_context", functools.cache(make)):
        yield


def limit_cached_programs(count: int, patch: Any) -> None:
    """Limit the number of cached programs per function. With the default limit a test would compile dozens."""
    patch.setattr(jit_cache, "MAX_PROGRAMS", count)
