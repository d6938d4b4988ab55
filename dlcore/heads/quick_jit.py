"""Programs that compile quickly on a CPU, because the first call of `fit_heads` matters as much as later calls."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from dlcore._core.compilation.jit_cache import CachedJit
from dlcore.devices import platform_of

QUICK: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}
"""Options with which XLA's older code for loops over elements compiles in less time and runs as fast.

They are passed to JAX before version 0.11 only, because later XLA no longer has that code.
"""


class QuickJit(CachedJit):
    """A `CachedJit` with the options `QUICK` on a CPU."""

    def program_for(self, args: tuple[object, ...], kwargs: dict[str, object], *extra_key: Any, make: Any = None):
        """Return the compiled program for these arguments, as `CachedJit` does."""
        if make is None and platform_of(*jax.tree.leaves((args, kwargs))) == "cpu":
            make = functools.partial(self._jit, compiler_options=QUICK or None)
        return super().program_for(args, kwargs, *extra_key, make=make)


def quick_jit(*static_argnames: str, **jit_options: object) -> Callable[[Callable[..., Any]], QuickJit]:
    """Return a decorator like `jax.jit` with these static arguments and options."""
    return functools.partial(QuickJit, static_argnames=static_argnames, **jit_options)
