"""All cores of a CPU for one pass over the data, with no setting changed.

XLA runs a loop over blocks on one core, and the programs that one thread starts one after another do not
overlap. So each core gets a host thread that calls the same compiled program on its own blocks. The program is
compiled before, in the caller's thread and under the caller's settings, which the other threads do not see.
There are no collectives, and so nothing that could wait for each other.
"""

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np

from dlcore._guards import is_traced
from dlcore._types import Array

MIN_BYTES = 2**25
"""Least size of X for which two threads are faster: below it a pass takes about two milliseconds on one core,
and finding the program, waking the threads and adding their results takes about one."""


def core_count() -> int:
    """How many cores this process may use: `taskset` and containers with their own set of cores lower it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def part_count(arguments: Any, x: Array, block: int) -> int:
    """Into how many parts a pass over the rows of `x` is cut: one for each core, or 1 where that would not pay.

    Args:
      arguments: every other array that the pass reads: a traced one belongs to a program of the caller's own.
      x: the array whose rows are summed.
      block: rows per block, of which a part has at least one.
    """
    settings: Any = jax.config
    if is_traced(x) or x.nbytes < MIN_BYTES or settings.jax_disable_jit:
        return 1
    if any(map(is_traced, jax.tree.leaves(arguments))):
        return 1
    if [device.platform for device in x.devices()] != ["cpu"]:
        return 1
    return min(core_count(), -(-x.shape[0] // block))


def on_all_cores(
    program: Callable[..., Any], arguments: tuple[Any, ...], blocks: int, parts: int, **static: Any
) -> tuple[Any, ...]:
    """Results of a compiled program on consecutive ranges of blocks, each from a thread of its own.

    Args:
      program: jitted, of (*arguments, first, last): what it does with the blocks from `first` to before `last`.
      arguments: JAX arrays, of which nothing is copied. A number of Python or NumPy might become one of another
        dtype in another thread.
      blocks: how many there are in all.
      parts: how many ranges, at most `blocks`.
      static: other arguments of the program.

    Returns:
      `parts` results in the order of their blocks, whichever came first: the same bits at every call.

    Raises:
      Exception: the first error of any part, when all have ended.
    """
    edges = [np.int32(blocks * part // parts) for part in range(parts + 1)]
    # Found again in JAX's own caches: only the first call of its kind compiles.
    compiled: Any = program
    compiled = compiled.lower(*arguments, edges[0], edges[1], **static).compile()

    def run(first: np.int32, last: np.int32) -> Any:
        return jax.block_until_ready(compiled(*arguments, first, last))

    futures = [_threads(parts).submit(run, *ends) for ends in itertools.pairwise(edges)]
    wait(futures)
    return tuple(future.result() for future in futures)


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Threads that stay: starting one takes as long as a short pass."""
    return ThreadPoolExecutor(count, thread_name_prefix="dlcore")
