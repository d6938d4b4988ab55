"""Roofline peaks of a device, measured in the same run: memory bandwidth, FLOP/s and latency of a call."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.timing import measure
from dlcore._core.types import HIGHEST, Device

MEMORY_BYTES = 2**28
"""Bytes read to measure the bandwidth: more than any cache holds."""
PRODUCT_SIDE = 2048
"""Rows and columns of the matrices whose product measures FLOP/s."""


class RooflinePeaks(NamedTuple):
    """Peaks of one device.

    Attributes:
      bandwidth: bytes of memory read per second.
      rate: operations per second of a float32 matrix product.
      latency: seconds from the call of an almost empty program to its result.
    """

    bandwidth: float
    rate: float
    latency: float

    def min_seconds(self, operations: float, traffic: float) -> float:
        """Return the shortest possible time, without the latency of a call."""
        return self.limit(operations, traffic, has_latency=False)[0]

    def limit(self, operations: float, traffic: float, *, has_latency: bool) -> tuple[float, str]:
        """Return the shortest possible time and the peak that limits it: "memory", "products" or "calls"."""
        bounds = {"memory": traffic / self.bandwidth, "products": operations / self.rate}
        if has_latency:
            bounds["calls"] = self.latency
        name = max(bounds, key=lambda name: bounds[name])
        return bounds[name], name


def measure_peaks(device: Device, repeats: int = 9, scale: float = 1.0) -> RooflinePeaks:
    """Measure the best that XLA reaches on a device; on a CPU the better of XLA and NumPy's BLAS.

    Args:
      device: the device.
      repeats: rounds of calls.
      scale: multiplies the sizes; a value below 1 is faster and less accurate.
    """
    count = int(MEMORY_BYTES * scale) // 4
    side = max(64, int(PRODUCT_SIDE * scale**0.5))
    with jax.default_device(device):
        vector, matrix = jnp.ones(count, jnp.float32), jnp.ones((side, side), jnp.float32)
        total = jax.jit(lambda x: x.sum())
        product = jax.jit(lambda a: jnp.matmul(a, a, precision=HIGHEST))
        increment, scalar = jax.jit(lambda x: x + 1), jnp.float32(1)
        calls: dict[str, Callable[[], object]] = {
            "memory": lambda: total(vector),
            "products": lambda: product(matrix),
            "calls": lambda: increment(scalar),
        }
        if device.platform == "cpu":
            x, a = np.asarray(vector), np.asarray(matrix)
            calls |= {"memory, BLAS": lambda: np.dot(x, x), "products, BLAS": lambda: a @ a}
        timings = measure(calls, repeats)

    def best(peak: str) -> float:
        return min(float(timing.calls.min()) for name, timing in timings.items() if name.startswith(peak))

    return RooflinePeaks(4 * count / best("memory"), 2 * side**3 / best("products"), timings["calls"].median)
