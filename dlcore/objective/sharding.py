"""Rows over several devices: where they lie, and why two programs over CPU devices are never in flight at once.

A program that sums over several devices ends in a rendezvous of all of them, for which each device holds a
thread. On a CPU the devices share one pool of threads: with a second such program in flight the pool may be full
of threads that wait, some for the first and some for the second, and then both wait for ever.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dlcore._core import host_checks
from dlcore._core.types import Device
from dlcore.devices import core_count

AXIS = "rows"
"""The name of the mesh's one axis."""

_ONE_AT_A_TIME = threading.RLock()
"""Held while a program over several CPU devices runs, so that threads of the caller's take turns."""


def row_mesh(devices: Any) -> Mesh:
    """The devices as a mesh with one axis.

    Args:
      devices: how many of `jax.devices()`, the first ones, or a list of devices of one platform.
    """
    if isinstance(devices, list | tuple):
        if not devices or not all(hasattr(device, "platform") for device in devices):
            raise TypeError(f"devices: expected a number or a list of jax.devices(), got {devices!r}")
        chosen: list[Device] = list(devices)
        if len(set(chosen)) < len(chosen) or len({device.platform for device in chosen}) > 1:
            raise ValueError(f"devices: expected different devices of one platform, got {devices!r}")
    else:
        count, there = host_checks.check_count("devices", devices), jax.devices()
        if count > len(there):
            raise ValueError(f"devices: expected at most {len(there)}, as many as JAX has here, got {count}")
        chosen = there[:count]
    return Mesh(np.array(chosen), (AXIS,))


def over_rows(mesh: Mesh) -> NamedSharding:
    """Equal numbers of rows on each device."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated(tree: Any, mesh: Mesh | None) -> Any:
    """The same arrays on every device; without a mesh, as they are."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def kept_replicated(tree: Any, mesh: Mesh | None) -> Any:
    """Inside a program: its results are to be on every device, as `replicated` had them."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def sum_over_devices(sum_of: Callable[..., Any], mesh: Mesh, rows: Any, shared: tuple[Any, ...]) -> Any:
    """`sum_of` of each device's own rows, summed over the devices: one collective, at the end.

    Args:
      sum_of: (rows, shared) to a pytree of arrays.
      mesh: of `row_mesh`.
      rows: a pytree of arrays whose first axis lies over the devices.
      shared: arrays that every device needs whole. A derivative must be taken of these and not of what `sum_of`
        closes over.
    """

    def of_device(rows: Any, shared: tuple[Any, ...]) -> Any:
        return jax.lax.psum(sum_of(rows, shared), AXIS)

    # check_vma would sum every gradient that is taken inside over the devices, and psum then once more.
    specs = (PartitionSpec(AXIS), PartitionSpec())
    return jax.shard_map(of_device, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)(
        rows, shared
    )


def may_deadlock(mesh: Mesh | None) -> bool:
    """Whether a second program over the devices, dispatched before the first is done, may wait for ever.

    Measured (jax 0.10.2): 200 dependent steps over 2, 4 and 8 devices hang where the pool has as many threads as
    there are devices, and never where it has twice as many.
    """
    if mesh is None or mesh.size == 1 or mesh.devices.flat[0].platform != "cpu":
        return False
    return _threads() < 2 * mesh.size


def check_awaited(mesh: Mesh) -> None:
    """A RuntimeError where nobody can know that the program being traced is waited for, and it must be."""
    if may_deadlock(mesh):
        raise RuntimeError(
            f"data over {mesh.size} CPU devices in a transformation or a program of your own: two of these in "
            f"flight can wait for each other for ever, with {_threads()} threads. Start Python with the "
            f"environment variable NPROC={2 * mesh.size}, or call the objective's functions and dlcore.fit as "
            "they are: those wait"
        )


def run_alone(program: Callable[..., Any], mesh: Mesh | None) -> Any:
    """What `program()` gives; over several CPU devices, when it is done, and no other is run meanwhile."""
    if mesh is None or mesh.size == 1 or mesh.devices.flat[0].platform != "cpu":
        return program()
    with _ONE_AT_A_TIME:
        return jax.block_until_ready(program())


def _threads() -> int:
    """How many threads JAX's CPU client takes, but for those that more devices than cores make it take."""
    asked = os.environ.get("NPROC", "")
    if asked.isdigit():
        return int(asked)
    return core_count()
