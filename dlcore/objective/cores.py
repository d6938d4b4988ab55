"""One compiled program on every core of a CPU: host threads call it at the same time, each for its own part.

XLA runs a loop over blocks on one core, and of the work in it only products on all. Two threads that each run a
program on half of the data keep both cores busy, products then made by the thread that needs them.

No two programs may wait for each other. What can wait is a batched factorisation: jaxlib 0.10 hands the parts of
the batch to XLA's pool of threads and waits for them on a thread of that same pool, which hangs for ever once as
many wait as the pool has threads. A program for this module must hold none (`heads/factors.py` shows how); all
else in XLA goes on when its inputs are there, and holds no thread meanwhile.
"""

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np

from dlcore.devices import core_count, platform_of, to_device

ON_ONE_THREAD = {"xla_cpu_multi_thread_eigen": False}
"""How XLA compiles a program for a CPU whose products stay on the thread that needs them."""


class CoreProgram:
    """A function that is compiled once for all threads that call it.

    `jax.jit` would be asked by each thread for itself, and two that are the first to ask would both compile. So
    programs are compiled ahead of their call, and kept by the shapes, dtypes and devices that they are for.
    """

    def __init__(self, function: Callable[..., Any], static_argnames: Sequence[str] = ()) -> None:
        functools.update_wrapper(self, function)
        self._jitted = jax.jit(function, static_argnames=tuple(static_argnames))
        self._programs: dict[Any, Any] = {}
        self._lock = threading.Lock()
        _ALL.add(self)

    def on_each(self, arguments: Sequence[tuple[Any, ...]], **static: Any) -> list[Any]:
        """The results for several sets of arguments, each worked out by a thread of its own, when all are there.

        Of one set the products use all cores; of several, each set has one.

        Args:
          arguments: positional arguments; shapes, dtypes and devices are those of the first set. None is traced.
          static: keyword arguments that are part of the program.
        """
        arguments = to_device(list(arguments))
        program = self._program(arguments[0], static, alone=len(arguments) == 1)
        x64 = jax.config.read("jax_enable_x64")

        def run(one: tuple[Any, ...]) -> Any:
            with jax.enable_x64(x64):  # a thread has a mode of its own
                return jax.block_until_ready(program(*one))

        others = [_threads().submit(run, one) for one in arguments[1:]]
        try:
            first = run(arguments[0])
        finally:
            wait(others)
        return [first, *(other.result() for other in others)]

    def __call__(self, *arguments: Any, **static: Any) -> Any:
        """The result for one set of arguments, when it is there."""
        return self.on_each([arguments], **static)[0]

    def lower(self, *arguments: Any, **static: Any) -> Any:
        """What XLA would compile, as `jax.jit` has it."""
        return self._jitted.trace(*arguments, **static).lower()

    def _program(self, arguments: tuple[Any, ...], static: dict[str, Any], *, alone: bool) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        mode = jax.config.read("jax_enable_x64"), jax.config.values["jax_default_device"], alone
        key = (structure, tuple(map(_kind, leaves)), tuple(sorted(static.items())), mode)
        with self._lock:
            if key not in self._programs:
                lowered = self.lower(*arguments, **static)
                self._programs[key] = lowered.compile(None if alone else ON_ONE_THREAD)
            return self._programs[key]

    def clear(self) -> None:
        """Forget the programs, as `jax.clear_caches` does those of `jax.jit`."""
        with self._lock:
            self._programs.clear()


def core_program(*static_argnames: str) -> Callable[[Callable[..., Any]], CoreProgram]:
    """A decorator, as `jax.jit` is one."""
    return functools.partial(CoreProgram, static_argnames=static_argnames)


def clear_programs() -> None:
    """Forget the programs of all functions."""
    for program in list(_ALL):
        program.clear()


def cores_for(work: float, *arrays: Any, least: float = 2**21) -> int:
    """How many threads are worth it: all cores of a CPU where each has that much to do, else one.

    Args:
      work: how many numbers, or products of them, a call reads or makes in all.
      arrays: what it works on; on an accelerator one thread is enough.
      least: what one thread should have to do; below it handing out work costs more than is gained.
    """
    if platform_of(*arrays) != "cpu":
        return 1
    return max(1, min(core_count(), int(work / least)))


_ALL: "weakref.WeakSet[CoreProgram]" = weakref.WeakSet()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads beside those of the callers, as many as there are cores; made when first needed."""
    return ThreadPoolExecutor(core_count(), thread_name_prefix="dlcore")


def _kind(leaf: Any) -> Any:
    """What a program depends on of an array."""
    if isinstance(leaf, jax.Array):
        weak = getattr(leaf, "weak_type", False)  # random keys have none
        return leaf.shape, leaf.dtype, weak, leaf.sharding, leaf.committed
    array = np.asarray(leaf)
    return array.shape, array.dtype, type(leaf) in (bool, int, float)
