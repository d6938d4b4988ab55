"""Threads of the host: each has a part of the work, where a library would use one core."""

import contextvars
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


def core_count() -> int:
    """Return the number of cores that this process may use, which `taskset` and containers can lower."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_on_threads(function: Callable[[Work], Result], work: Sequence[Work]) -> list[Result]:
    """Return what the function returns for each piece of work: the first by this thread, each other by its own.

    All run in the caller's context, which has what NumPy does about overflow.
    """
    submitted = [_pool().submit(contextvars.copy_context().run, function, each) for each in work[1:]]
    try:
        first = function(work[0])
    finally:
        wait(submitted)
    return [first, *(future.result() for future in submitted)]


def runs_of(work: Sequence[Work], most: int) -> list[Sequence[Work]]:
    """Return the pieces of work in as many runs of neighbours as there are cores, and no more than `most`.

    Example:
      >>> runs_of([1, 2, 3], 1)
      [[1, 2, 3]]
    """
    count = max(1, min(core_count(), most, len(work)))
    return [work[k * len(work) // count : (k + 1) * len(work) // count] for k in range(count)]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads beside those of the callers, as many as cores."""
    return ThreadPoolExecutor(core_count(), thread_name_prefix="dlcore")


if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads, and starts its own
    os.register_at_fork(after_in_child=_pool.cache_clear)
