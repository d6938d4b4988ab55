"""Devices: the device of a name, the transfer to it, aligned host memory and the cores of the host."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar, get_args

import jax
import numpy as np
from numpy.typing import DTypeLike

from dlcore._core.array_checks import is_traced
from dlcore._core.threads import core_count
from dlcore._core.types import Device

Tree = TypeVar("Tree")

ALIGNMENT = 64
"""Bytes. JAX copies NumPy memory that does not begin at a multiple of it."""

MIN_THREADED_BYTES = 2**24
"""Copies of at least this size use all cores, because new memory costs more to get than to fill."""
CHUNK_BYTES = 2**22
"""The number of bytes that a thread copies at a time."""

DeviceName = Literal["auto", "cpu", "gpu", "tpu"]


def find_device(name: str = "auto") -> Device:
    """Return the first device of a platform, or the default device of JAX for "auto".

    Args:
      name: "auto", "cpu", "gpu" or "tpu".

    Returns:
      A device. A named platform that is absent is never replaced by another.

    Raises:
      ValueError: if the name is none of these, or the platform has no device. It lists the devices.

    >>> find_device("cpu").platform
    'cpu'
    """
    if not isinstance(name, str) or name not in get_args(DeviceName):
        raise ValueError(f"device: expected one of {', '.join(get_args(DeviceName))}, got {name!r}")
    devices = jax.devices() if name == "auto" else _devices(name)
    if not devices:
        available = [str(device) for platform in get_args(DeviceName)[1:] for device in _devices(platform)]
        raise ValueError(f"device: no {name} here; JAX found {', '.join(available)}")
    return devices[0]


def to_device(tree: Tree) -> Tree:
    """Copy the NumPy arrays and numbers of a tree to the default device, in one explicit transfer.

    JAX arrays stay as they are.
    A program that is called with NumPy arrays or Python numbers makes an implicit transfer instead.
    `jax.transfer_guard("disallow")` refuses implicit transfers.
    """
    leaves, structure = jax.tree.flatten(tree)
    host_leaves = [leaf for leaf in leaves if not isinstance(leaf, jax.Array)]
    copies = iter(jax.device_put(host_leaves, may_alias=False))  # one call, because each call costs
    return jax.tree.unflatten(
        structure, [leaf if isinstance(leaf, jax.Array) else next(copies) for leaf in leaves]
    )


def platform_of(*arrays: object) -> str:
    """Return the platform of the first concrete JAX array, or of the default device if there is none.

    Programs that are traced or called with NumPy arrays run on the default device.
    """
    for array in arrays:
        if isinstance(array, jax.Array) and not is_traced(array):
            return next(iter(array.devices())).platform
    default = jax.config.values["jax_default_device"]  # a device, the name of a platform, or None
    return getattr(default, "platform", default) or jax.default_backend()


def aligned_copy(array: np.ndarray, dtype: DTypeLike | None = None, rows: int | None = None) -> np.ndarray:
    """Return a copy that begins at a multiple of 64 bytes, which a CPU device takes without another copy.

    Nothing else may write to it from then on.

    Args:
      array: any array.
      dtype: the dtype of the copy. None keeps that of the array.
      rows: the number of rows of the copy, at least that of the array. Further rows are left unset.
    """
    shape = array.shape if rows is None else (rows, *array.shape[1:])
    copy = aligned_empty(shape, array.dtype if dtype is None else dtype)
    if copy.nbytes < MIN_THREADED_BYTES:
        np.copyto(copy if rows is None else copy[: len(array)], array, casting="unsafe")
        return copy
    chunks = -(-len(array) * copy.strides[0] // CHUNK_BYTES)
    bounds = [len(array) * chunk // chunks for chunk in range(chunks + 1)]

    def copy_rows(start: int, stop: int) -> None:
        np.copyto(copy[start:stop], array[start:stop], casting="unsafe")

    with ThreadPoolExecutor(core_count()) as threads:
        list(threads.map(copy_rows, bounds, bounds[1:]))
    return copy


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return unset memory that begins at a multiple of 64 bytes, which a CPU device can share."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _devices(platform: str) -> list[Device]:
    try:
        return jax.devices(platform)
    except RuntimeError:  # the platform is absent or not installed
        return []
