"""Compiled programs of the last few shapes: what is no longer called lets go of its memory.

`jax.jit` keeps the program of every shape that it was ever called with, some megabytes each, as long as the
function lives. A process that fits one data set after another would grow without end.
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

KEPT = 32
"""So many programs of a function are kept, those called last."""


class Programs:
    """A function of which the programs called last are kept, each a `jax.jit` of its own.

    The key holds shapes and what is static. All else that a program depends on, `jax.jit` itself knows.
    """

    def __init__(self, function: Callable[..., Any], static_argnames: Sequence[str] = (), **options: Any) -> None:
        functools.update_wrapper(self, function)
        self._function, self._static = function, frozenset(static_argnames)
        self._options = {"static_argnames": tuple(static_argnames), **options}
        self._kept: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._lock = threading.Lock()
        self.jitted = jax.jit(function, **self._options)
        ALL.add(self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The result; inside another program, a part of that."""
        if any(map(is_traced, jax.tree.leaves((arguments, named)))):
            return self.jitted(*arguments, **named)
        return self.of(arguments, named)(*arguments, **named)

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, arguments: tuple[Any, ...], named: dict[str, Any], *others: Hashable, make: Any = None) -> Any:
        """The program for these arguments.

        Args:
          arguments: positional ones, all data.
          named: by keyword, data or static.
          others: what else tells programs apart.
          make: (a function of its own) to a program; None makes a `jax.jit`.
        """
        static = tuple(sorted((name, value) for name, value in named.items() if name in self._static))
        data = {name: value for name, value in named.items() if name not in self._static}
        leaves, structure = jax.tree.flatten((arguments, data))
        key = structure, tuple(map(np.shape, leaves)), static, others
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (make or self._make)(_copy(self._function))
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def _make(self, function: Callable[..., Any]) -> Any:
        return jax.jit(function, **self._options)

    def trace(self, *arguments: Any, **named: Any) -> Any:
        """Trace the function for these arguments, as `jax.jit` does."""
        return self.jitted.trace(*arguments, **named)

    def clear(self) -> None:
        """Forget the programs, as `jax.clear_caches` does those of `jax.jit`."""
        with self._lock:
            self._kept.clear()


def kept_programs(*static_argnames: str, **options: Any) -> Callable[[Callable[..., Any]], Programs]:
    """A decorator, as `jax.jit` is one; its options are passed on."""
    return functools.partial(Programs, static_argnames=static_argnames, **options)


def clear_programs() -> None:
    """Forget the programs of all functions."""
    for programs in list(ALL):
        programs.clear()


ALL: "weakref.WeakSet[Programs]" = weakref.WeakSet()


def _copy(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of its own: JAX keeps what it knows of one as long as that lives."""

    @functools.wraps(function)
    def copy(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return copy
