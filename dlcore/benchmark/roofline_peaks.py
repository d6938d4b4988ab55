"""What the machine can do at most, measured in the same run: bytes read, products made, calls handed out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.timing import measure
from dlcore._core.types import HIGHEST, Device

MEMORY_BYTES = 2**28
"""Read for the bandwidth: more than any cache holds."""
PRODUCT = 2048
"""Rows and columns of the matrices of the product; a quarter of it on a CPU takes as long as a GPU for all."""


class Ceilings(NamedTuple):
    """Of one device.

    Attributes:
      bandwidth: bytes of memory read a second.
      rate: operations of a float32 product a second.
      latency: seconds from a call of a program that computes next to nothing to its result.
    """

    bandwidth: float
    rate: float
    latency: float

    def possible(self, operations: float, traffic: float) -> float:
        """Seconds that so many of either take at least, calls apart: their latency is no law."""
        return max(operations / self.rate, traffic / self.bandwidth)

    def least(self, operations: float, traffic: float, *, calls: bool) -> tuple[float, str]:
        """Seconds that a work takes at least, and what binds it: "memory", "products" or, of programs, "calls"."""
        bounds = {"memory": traffic / self.bandwidth, "products": operations / self.rate}
        if calls:
            bounds["calls"] = self.latency
        name = max(bounds, key=lambda name: bounds[name])
        return bounds[name], name


def ceilings_of(device: Device, repeats: int = 9, scale: float = 1.0) -> Ceilings:
    """The best that anybody reaches here: XLA, and on a CPU NumPy's BLAS too.

    Args:
      device: which.
      repeats: rounds.
      scale: of the sizes; below 1 the figures say less.
    """
    count = int(MEMORY_BYTES * scale) // 4
    side = max(64, int(PRODUCT * scale**0.5))
    with jax.default_device(device):
        flat, square = jnp.ones(count, jnp.float32), jnp.ones((side, side), jnp.float32)
        total = jax.jit(lambda x: x.sum())
        product = jax.jit(lambda a: jnp.matmul(a, a, precision=HIGHEST))
        nothing, one = jax.jit(lambda x: x + 1), jnp.float32(1)
        contestants: dict[str, Callable[[], Any]] = {
            "memory": lambda: total(flat),
            "products": lambda: product(square),
            "calls": lambda: nothing(one),
        }
        if device.platform == "cpu":
            ours, theirs = np.asarray(flat), np.asarray(square)
            contestants |= {"memory, BLAS": lambda: np.dot(ours, ours), "products, BLAS": lambda: theirs @ theirs}
        timings = measure(contestants, repeats)

    def best(name: str) -> float:
        return min(float(timing.calls.min()) for key, timing in timings.items() if key.startswith(name))

    return Ceilings(4 * count / best("memory"), 2 * side**3 / best("products"), timings["calls"].median)
