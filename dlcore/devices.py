"""The device that a name stands for: there, or an error that lists what is."""

from typing import Literal, get_args

import jax

from dlcore._types import Device

DeviceName = Literal["auto", "cpu", "gpu", "tpu"]


def find_device(name: str = "auto") -> Device:
    """The first device of a platform; "auto" takes JAX's own choice.

    Args:
      name: "auto", "cpu", "gpu" or "tpu".

    Returns:
      A device. A platform that is named and absent is never replaced by another.

    Raises:
      ValueError: if the name is none of these, or no such device is there; it lists those that are.

    >>> find_device("cpu").platform
    'cpu'
    """
    if name not in get_args(DeviceName):
        raise ValueError(f"device: expected one of {', '.join(get_args(DeviceName))}, got {name!r}")
    devices = jax.devices() if name == "auto" else _devices(name)
    if not devices:
        found = [str(device) for platform in get_args(DeviceName)[1:] for device in _devices(platform)]
        raise ValueError(f"device: no {name} here; JAX found {', '.join(found)}")
    return devices[0]


def _devices(platform: str) -> list[Device]:
    try:
        return jax.devices(platform)
    except RuntimeError:  # what JAX says of a platform that is absent or not installed
        return []
