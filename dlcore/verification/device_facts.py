"""What a device does with float32 numbers, found by asking it for products whose exact answer tells."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import HIGHEST, Device
from dlcore.devices import to_device

SIZE = 128
"""Of the matrices: large enough that an accelerator uses its units for products."""

FORMATS = {23: "float32", 10: "TF32", 7: "bfloat16"}
"""What numbers of so many bits behind the leading 1 are called."""


class DeviceFacts(NamedTuple):
    """What was measured.

    Attributes:
      device: in JAX's words.
      platform: "cpu", "gpu" or "tpu".
      default_products: what the operands of a float32 product are rounded to where no precision is stated.
      stated_products: the same at the precision that the library states.
      subnormals: whether numbers below the smallest normal one are "kept" or "flushed" to 0.
    """

    device: str
    platform: str
    default_products: str
    stated_products: str
    subnormals: str


def measure(device: Device) -> DeviceFacts:
    """Ask a device; two small products and one multiplication.

    >>> measure(jax.devices("cpu")[0]).stated_products
    'float32'
    """
    with jax.default_device(device):
        return DeviceFacts(
            device=f"{device.device_kind} ({device})",
            platform=device.platform,
            default_products=format_of(_kept_bits(None)),
            stated_products=format_of(_kept_bits(HIGHEST)),
            subnormals="kept" if _keeps_subnormals() else "flushed",
        )


def format_of(bits: int) -> str:
    """The format whose numbers have so many bits behind the leading 1.

    >>> format_of(10), format_of(16)
    ('TF32', '16 bits')
    """
    return FORMATS.get(bits, f"{bits} bits")


def _kept_bits(precision: str | None) -> int:
    """The largest k for which a product with the identity leaves 1 + 2⁻ᵏ, and all before it, as they are."""
    numbers = 1 + 2.0 ** -np.arange(1, 24)
    a = np.ones((SIZE, SIZE), np.float32)
    a[0, : len(numbers)] = numbers
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))(
        *to_device((a, np.eye(SIZE, dtype=np.float32)))
    )
    kept = np.asarray(product)[0, : len(numbers)] == numbers.astype(np.float32)
    return int(np.argmin(kept)) if not kept.all() else len(numbers)


def _keeps_subnormals() -> bool:
    halved = jax.jit(lambda x: x * jnp.float32(0.5))(to_device(np.finfo(np.float32).tiny))
    # Compared as bits: a comparison of subnormal numbers may flush them itself.
    return bool(np.asarray(halved).view(np.uint32))
