"""One compiled program on every core of a CPU: host threads call it at the same time, each for its own part.

XLA runs a loop over blocks on one core, and of the work in it only products on all. Two threads that each run a
program on half of the data keep both cores busy, products then made by the thread that needs them.

No two programs may wait for each other. What can wait is a batched factorisation: jaxlib 0.10 hands the parts of
the batch to XLA's pool of threads and waits for them on a thread of that same pool, which hangs for ever once as
many wait as the pool has threads. A program for this module must hold none (`heads/factors.py` shows how); all
else in XLA goes on when its inputs are there, and holds no thread meanwhile.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np

from dlcore._core.programs import Programs
from dlcore.devices import core_count, platform_of, to_device

ON_ONE_THREAD: dict[str, str | bool] = {"xla_cpu_multi_thread_eigen": False}
"""How XLA compiles a program for a CPU whose products stay on the thread that needs them."""

MODES = ("jax_default_device", "jax_default_matmul_precision")
"""Settings of JAX that a program depends on, beside x64."""


class CoreProgram(Programs):
    """A function that is compiled once for all threads that call it.

    `jax.jit` would be asked by each thread for itself, and two that are the first to ask would both compile. So
    programs are compiled ahead of their call, and kept by the shapes, dtypes and devices that they are for.
    """

    def on_each(self, arguments: Sequence[tuple[Any, ...]], **static: Any) -> list[Any]:
        """The results for several sets of arguments, each worked out by a thread of its own, when all are there.

        Of one set the products use all cores; of several, each set has one. In a debugging mode of JAX `jax.jit`
        works them out one after another.

        Args:
          arguments: positional arguments; shapes, dtypes and devices are those of the first set. None is traced.
          static: keyword arguments that are part of the program.
        """
        arguments = to_device(list(arguments))
        if _debugging():
            return [jax.block_until_ready(self.jitted(*one, **static)) for one in arguments]
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
        return self.trace(*arguments, **static).lower()

    def _program(self, arguments: tuple[Any, ...], static: dict[str, Any], *, alone: bool) -> Any:
        def make(function: Callable[..., Any]) -> Any:
            lowered = jax.jit(function, static_argnames=tuple(static)).trace(*arguments, **static).lower()
            return lowered.compile(None if alone else ON_ONE_THREAD)

        kinds = tuple(map(_kind, jax.tree.leaves(arguments)))
        modes = jax.config.read("jax_enable_x64"), *(getattr(jax.config, name) for name in MODES)
        return self.of(arguments, static, kinds, modes, alone, make=make)


def _debugging() -> bool:
    """Return whether a debugging mode is on, which a program compiled ahead of its call does not know."""
    return any(getattr(jax.config, name) for name in ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs"))


def core_program(*static_argnames: str) -> Callable[[Callable[..., Any]], CoreProgram]:
    """A decorator, as `jax.jit` is one."""
    return functools.partial(CoreProgram, static_argnames=static_argnames)


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
