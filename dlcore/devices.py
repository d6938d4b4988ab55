"""The devices that are there: the one a name stands for, the one arrays are on, and the cores of the host."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, get_args

import jax
import numpy as np
from numpy.typing import DTypeLike

from dlcore._core.array_checks import is_traced
from dlcore._core.types import Device

ALIGNMENT = 64
"""Bytes; memory of NumPy's that begins elsewhere is copied by JAX."""

SHARED_BYTES = 2**24
"""A copy of this size or more is made by all cores: new memory costs more to get than to fill."""
PIECE_BYTES = 2**22
"""So much a core copies at a time."""

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
    if not isinstance(name, str) or name not in get_args(DeviceName):
        raise ValueError(f"device: expected one of {', '.join(get_args(DeviceName))}, got {name!r}")
    devices = jax.devices() if name == "auto" else _devices(name)
    if not devices:
        found = [str(device) for platform in get_args(DeviceName)[1:] for device in _devices(platform)]
        raise ValueError(f"device: no {name} here; JAX found {', '.join(found)}")
    return devices[0]


def to_device(tree: Any) -> Any:
    """Place what is on the host on the default device, in memory of its own, as an explicit transfer.

    Arrays of JAX's stay as they are. A program that is called with NumPy's arrays or Python's numbers makes an
    implicit transfer instead, which `jax.transfer_guard("disallow")` refuses.
    """
    leaves, structure = jax.tree.flatten(tree)
    places = [place for place, leaf in enumerate(leaves) if not isinstance(leaf, jax.Array)]
    copies = jax.device_put([leaves[place] for place in places], may_alias=False)  # one call: each costs
    for place, copy in zip(places, copies, strict=True):
        leaves[place] = copy
    return jax.tree.unflatten(structure, leaves)


def platform_of(*arrays: Any) -> str:
    """Where arrays are, or where a program that is being traced, or is given NumPy arrays, will run."""
    for array in arrays:
        if isinstance(array, jax.Array) and not is_traced(array):
            return next(iter(array.devices())).platform
    chosen = jax.config.values["jax_default_device"]  # a device, the name of a platform, or None
    return getattr(chosen, "platform", chosen) or jax.default_backend()


def aligned_copy(array: np.ndarray, dtype: DTypeLike | None = None, rows: int | None = None) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes: a CPU device takes it as it is, without another copy.

    Nobody else may write to it from then on.

    Args:
      array: any.
      dtype: of the copy; None keeps that of the array.
      rows: of the copy, at least as many as the array has; those behind it are left unset. None makes no more.
    """
    shape = array.shape if rows is None else (rows, *array.shape[1:])
    copy = aligned_empty(shape, array.dtype if dtype is None else dtype)
    if copy.nbytes < SHARED_BYTES:
        np.copyto(copy if rows is None else copy[: len(array)], array, casting="unsafe")
        return copy
    pieces = -(-len(array) * copy.strides[0] // PIECE_BYTES)
    ends = [len(array) * piece // pieces for piece in range(pieces + 1)]

    def write(first: int, last: int) -> None:
        np.copyto(copy[first:last], array[first:last], casting="unsafe")

    with ThreadPoolExecutor(core_count()) as threads:
        list(threads.map(write, ends, ends[1:]))
    return copy


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Unset memory that begins at a multiple of 64 bytes, for numbers that a CPU device shares from then on."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def core_count() -> int:
    """How many cores this process may use: `taskset` and containers with their own set of cores lower it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _devices(platform: str) -> list[Device]:
    try:
        return jax.devices(platform)
    except RuntimeError:  # what JAX says of a platform that is absent or not installed
        return []
