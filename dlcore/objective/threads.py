"""One compiled program on every core of a CPU: each host thread calls it with its shard of the work.

XLA runs a loop over blocks on one core, and uses all cores for products alone. Two threads that each run a program
on half of the data keep two cores busy. Each product is then computed by the thread that needs it.

No two programs may wait for each other. A batched factorisation can wait: jaxlib 0.10 hands the matrices of the
batch to XLA's pool of threads and waits for them on a thread of that pool. It hangs for ever once as many wait as
the pool has threads. A program of this module must contain none. All other operations of XLA start when their
inputs are ready, and hold no thread before.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax

from dlcore._core.compilation.jit_cache import CachedJit
from dlcore._core.threads import core_count, map_on_threads
from dlcore.devices import platform_of, to_device

SINGLE_THREADED: dict[str, str | bool] = {"xla_cpu_multi_thread_eigen": False}
"""Compiler options of a program for a CPU whose products stay on the thread that needs them."""


class ThreadedProgram(CachedJit):
    """A compiled function that several host threads call at the same time.

    Several sets of arguments run a `jax.jit` program compiled with `SINGLE_THREADED`. The products of a single set
    use all cores.

    Attributes:
      cpu_options: further compiler options on a CPU.
    """

    cpu_options: Mapping[str, str | bool] = {}

    def map_threads(self, arguments: Sequence[tuple[object, ...]], **static: object) -> list[Any]:
        """Return the results for several sets of arguments, each computed by a thread, once all are ready.

        A debugging mode of JAX runs the sets one after another.

        Args:
          arguments: positional arguments; shapes, dtypes and devices are those of the first set. None is traced.
          static: keyword arguments that are part of the program.
        """
        arguments = to_device(list(arguments))
        return self.prepare(arguments, **static)(arguments)

    def prepare(
        self, arguments: Sequence[tuple[object, ...]], **static: object
    ) -> Callable[[Sequence[tuple[object, ...]]], list[Any]]:
        """Return a function like `map_threads` for arguments of these shapes, which compiles nothing more.

        A loop over one program calls it, because a look-up in the cache takes milliseconds.

        Args:
          arguments: as `map_threads` takes them, on the device.
          static: keyword arguments that are part of the program.
        """
        if _is_debugging():
            return lambda sets: [jax.block_until_ready(self(*each, **static)) for each in sets]
        options = dict(self.cpu_options) if platform_of(*jax.tree.leaves(arguments[0])) == "cpu" else {}
        options |= SINGLE_THREADED if len(arguments) > 1 else {}
        jit = functools.partial(self._jit, compiler_options=options or None)
        program = cast(jax.stages.Wrapped, self.program_for(arguments[0], static, len(arguments) > 1, make=jit))
        # The caller's thread traces: configurations are local to threads. `jax.jit` compiles a program once.
        compiled = program.trace(*arguments[0], **static).lower().compile()
        x64 = jax.config.read("jax_enable_x64")

        def run(each: tuple[object, ...]) -> Any:
            with jax.enable_x64(x64):  # a thread has its own mode
                return jax.block_until_ready(compiled(*each))

        return functools.partial(map_on_threads, run)


def threaded_program(
    *static_argnames: str, cpu_options: Mapping[str, str | bool] | None = None, **jit_options: object
) -> Callable[[Callable[..., Any]], ThreadedProgram]:
    """Return a decorator like `jax.jit` that makes a `ThreadedProgram`.

    Args:
      static_argnames: names of the arguments that are part of the program.
      cpu_options: further compiler options on a CPU.
      jit_options: further options of `jax.jit`.
    """

    def decorate(function: Callable[..., Any]) -> ThreadedProgram:
        program = ThreadedProgram(function, static_argnames=static_argnames, **jit_options)
        program.cpu_options = cpu_options or {}
        return program

    return decorate


def cores_for(cost: float, *arrays: object, least: float = 2**21) -> int:
    """Return the number of cores to use: all cores of a CPU if each has at least `least` to do, else fewer.

    Args:
      cost: numbers that a call reads or computes, in all.
      arrays: the arguments of the call; on an accelerator one thread is enough.
      least: smallest cost of a core. Below it, starting a thread costs more than it gains.
    """
    if platform_of(*arrays) != "cpu":
        return 1
    return max(1, min(core_count(), int(cost / least)))


def _is_debugging() -> bool:
    """Return whether a debugging mode is on, which a program compiled ahead of its call ignores."""
    return any(getattr(jax.config, name) for name in ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs"))
