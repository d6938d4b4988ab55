"""A bounded cache of compiled programs: `jax.jit` for the argument shapes that were used last.

`jax.jit` keeps the program of every shape for as long as the function lives, some megabytes each.
The memory of a process that fits many data sets would grow without bound.
"""

import collections
import functools
import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np

from dlcore._core.array_checks import is_traced

Function = Callable[..., Any]

MAX_PROGRAMS = 32
"""The number of programs that are kept for each function."""


class CachedJit:
    """A jitted function that keeps the programs of the argument shapes used last.

    Each shape has a `jax.jit` object of its own.
    The key of the cache holds shapes and static arguments, and `jax.jit` tells apart everything else.

    Attributes:
      jitted: the function under one plain `jax.jit`.
    """

    def __init__(self, function: Function, static_argnames: Sequence[str] = (), **jit_options: object) -> None:
        functools.update_wrapper(self, function)
        self._function, self._static_argnames = function, frozenset(static_argnames)
        self._jit_options = {"static_argnames": tuple(static_argnames), **jit_options}
        self._programs: collections.OrderedDict[Hashable, Function] = collections.OrderedDict()
        self._lock = threading.Lock()
        self.jitted: jax.stages.Wrapped = self._jit(function)
        ALL_CACHES.add(self)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Return the result. Under a trace the function is inlined into the outer program."""
        if any(map(is_traced, jax.tree.leaves((args, kwargs)))):
            return self.jitted(*args, **kwargs)
        return self.program_for(args, kwargs)(*args, **kwargs)

    def __len__(self) -> int:
        return len(self._programs)

    def program_for(
        self,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        *extra_key: Hashable,
        make: Callable[[Function], Function] | None = None,
    ) -> Function:
        """Return the compiled program for these arguments, made if it is not in the cache.

        Args:
          args: positional arguments, all of them data.
          kwargs: keyword arguments, data or static.
          extra_key: further parts of the key.
          make: a function of a fresh copy of the function to its program; `jax.jit` if None.
        """
        static = tuple(sorted((name, value) for name, value in kwargs.items() if name in self._static_argnames))
        data = {name: value for name, value in kwargs.items() if name not in self._static_argnames}
        leaves, structure = jax.tree.flatten((args, data))
        key = structure, tuple(map(np.shape, leaves)), static, extra_key
        with self._lock:
            if key not in self._programs:
                self._programs[key] = (make or self._jit)(_copy(self._function))
                if len(self._programs) > MAX_PROGRAMS:
                    self._programs.popitem(last=False)
            self._programs.move_to_end(key)
            return self._programs[key]

    def _jit(self, function: Function, **more_options: Any) -> jax.stages.Wrapped:
        return jax.jit(function, **self._jit_options, **more_options)

    def trace(self, *args: object, **kwargs: object) -> jax.stages.Traced:
        """Trace the function for these arguments, as `jax.jit` does."""
        return self.jitted.trace(*args, **kwargs)

    def clear(self) -> None:
        """Drop all programs of the function."""
        with self._lock:
            self._programs.clear()


def cached_jit(*static_argnames: str, **jit_options: object) -> Callable[[Function], CachedJit]:
    """Return a decorator like `jax.jit` with these static arguments and options, with a bounded cache."""
    return functools.partial(CachedJit, static_argnames=static_argnames, **jit_options)


def clear_jit_cache() -> None:
    """Drop the programs of all functions, as `jax.clear_caches` drops those of `jax.jit`."""
    for cache in list(ALL_CACHES):
        cache.clear()


ALL_CACHES: "weakref.WeakSet[CachedJit]" = weakref.WeakSet()
"""All functions with a bounded cache."""


def _copy(function: Function) -> Function:
    """Return a function with an identity of its own: JAX keeps its programs only as long as it lives."""

    @functools.wraps(function)
    def copy(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return copy
