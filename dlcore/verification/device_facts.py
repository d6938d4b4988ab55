"""Float32 arithmetic of a device, measured by products with known results."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import HIGHEST, Device
from dlcore.devices import to_device

SIZE = 128
"""The size of the matrices: large enough for an accelerator to use its matrix units."""

FORMATS = {23: "float32", 10: "TF32", 7: "bfloat16"}
"""The name of the format by its number of fraction bits."""


class DeviceFacts(NamedTuple):
    """Measured properties of a device.

    Attributes:
      device: the name of the device in JAX.
      platform: "cpu", "gpu" or "tpu".
      default_products: the format to which the operands of a float32 product are rounded by default.
      stated_products: the format at the precision that the library requests.
      subnormals: whether subnormal numbers are "kept" or "flushed" to 0.
    """

    device: str
    platform: str
    default_products: str
    stated_products: str
    subnormals: str


def measure(device: Device) -> DeviceFacts:
    """Measure a device with two small products and one multiplication.

    >>> measure(jax.devices("cpu")[0]).stated_products
    'float32'
    """
    with jax.default_device(device):
        return DeviceFacts(
            device=f"{device.device_kind} ({device})",
            platform=device.platform,
            default_products=format_name(_fraction_bits(None)),
            stated_products=format_name(_fraction_bits(HIGHEST)),
            subnormals="kept" if _has_subnormals() else "flushed",
        )


def format_name(bits: int) -> str:
    """Return the name of the format with this number of fraction bits.

    >>> format_name(10), format_name(16)
    ('TF32', '16 bits')
    """
    return FORMATS.get(bits, f"{bits} bits")


def _fraction_bits(precision: str | None) -> int:
    """Return the largest k for which a product with the identity preserves 1 + 2⁻¹, …, 1 + 2⁻ᵏ."""
    numbers = 1 + 2.0 ** -np.arange(1, 24)
    a = np.ones((SIZE, SIZE), np.float32)
    a[0, : len(numbers)] = numbers
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))(
        *to_device((a, np.eye(SIZE, dtype=np.float32)))
    )
    preserved = np.asarray(product)[0, : len(numbers)] == numbers.astype(np.float32)
    return int(np.argmin(preserved)) if not preserved.all() else len(numbers)


def _has_subnormals() -> bool:
    half = jax.jit(lambda x: x * jnp.float32(0.5))(to_device(np.finfo(np.float32).tiny))
    # Compare bits, because a comparison of subnormal numbers may flush them.
    return bool(np.asarray(half).view(np.uint32))
