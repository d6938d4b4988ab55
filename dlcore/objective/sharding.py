"""Rows sharded over devices and over host threads.

A program that sums over several devices ends in a rendezvous of all devices, for which each holds a thread. CPU
devices share one pool of threads. A second program of this kind may fill the pool: some threads wait for the first
program and some for the second, and both wait for ever. Two programs over CPU devices therefore never run at the
same time.
"""

import dataclasses
import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import DTypeLike

from dlcore._core import host_checks
from dlcore._core.array_checks import is_traced
from dlcore._core.threads import core_count
from dlcore._core.types import Device
from dlcore.devices import aligned_copy
from dlcore.objective.blocks import Batch, BlockedData, Data

AXIS = "rows"
"""The name of the axis of the mesh."""

Devices = int | Sequence[Device]
"""The number of devices, the first ones of `jax.devices()`, or a list of devices of one platform."""

Tree = TypeVar("Tree")
Result = TypeVar("Result")
Rows = TypeVar("Rows", bound=Data)

_EXCLUSIVE = threading.RLock()
"""Held while a program over several CPU devices runs: threads of the caller take turns."""


def row_mesh(devices: Devices) -> Mesh:
    """Return the devices as a mesh with one axis."""
    if isinstance(devices, list | tuple):
        if not devices or not all(hasattr(device, "platform") for device in devices):
            raise TypeError(f"devices: expected a number or a list of jax.devices(), got {devices!r}")
        chosen: list[Device] = list(devices)
        if len(set(chosen)) < len(chosen) or len({device.platform for device in chosen}) > 1:
            raise ValueError(f"devices: expected different devices of one platform, got {devices!r}")
    else:
        count, available = host_checks.check_count("devices", devices), jax.devices()
        if count > len(available):
            raise ValueError(f"devices: expected at most {len(available)}, as many as JAX has here, got {count}")
        chosen = available[:count]
    return Mesh(np.array(chosen), (AXIS,))


def row_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that places equally many rows on each device."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def pad_rows(array: np.ndarray, dtype: DTypeLike, mesh: Mesh, fill: float | None = None) -> np.ndarray:
    """Return an aligned copy with as many rows on each device, padded by `fill`, or by the last row where None."""
    copy = aligned_copy(array, dtype, -(-len(array) // mesh.size) * mesh.size)
    copy[len(array) :] = array[-1:] if fill is None else fill
    return copy


def replicate(tree: Tree, mesh: Mesh | None) -> Tree:
    """Place the same arrays on every device; without a mesh, return them unchanged."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def constrain_replicated(tree: Tree, mesh: Mesh | None) -> Tree:
    """Require, inside a program, that its results are on every device, as after `replicate`."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def shard_rows(data: BlockedData, count: int) -> list[BlockedData]:
    """Return `count` shards of equally many rows, one for each host thread.

    All shards run the same program. The last one begins early where `count` does not divide the rows, as the last
    batch does.
    """
    if count == 1:
        return [data]
    rows = -(-data.x.shape[0] // count)
    return [dataclasses.replace(data, batch=Batch(np.int32(shard), None, rows)) for shard in range(count)]


def sum_over_devices(
    sum_on_device: Callable[[Tree, tuple[object, ...]], Result],
    mesh: Mesh,
    rows: Tree,
    shared: tuple[object, ...],
) -> Result:
    """Sum `sum_on_device` over the devices, by one collective at the end.

    Args:
      sum_on_device: (rows of the device, shared) to a pytree of arrays.
      mesh: the result of `row_mesh`.
      rows: a pytree of arrays whose first axis is sharded over the devices.
      shared: arrays that every device needs whole. Derivatives must be taken of these: `sum_on_device` must not
        close over what is differentiated.
    """

    def sum_shard(rows: Tree, shared: tuple[object, ...]) -> Result:
        return jax.lax.psum(sum_on_device(rows, shared), AXIS)

    # check_vma would sum a gradient taken inside over the devices, and psum would sum it once more.
    specs = (PartitionSpec(AXIS), PartitionSpec())
    return jax.shard_map(sum_shard, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)(
        rows, shared
    )


def run_program(program: Callable[[Rows], Result], data: Rows, *arguments: object) -> Result:
    """Return `program(data)`; for rows over several CPU devices, wait until it is done.

    Args:
      program: a compiled function that sums over the blocks of `data`.
      data: as `Objective.value` takes it.
      arguments: the other arrays of the program. If one of them or the data is traced, the caller of the
        transformation runs the program.
    """
    if not isinstance(data, BlockedData) or data.mesh is None:
        return program(data)
    if any(map(is_traced, jax.tree.leaves((data, arguments)))):
        return program(data)
    blocking = dataclasses.replace(data, blocking=True)
    return run_exclusive(lambda: program(blocking), data.mesh)


def run_exclusive(program: Callable[[], Result], mesh: Mesh) -> Result:
    """Return `program()`; over several CPU devices, wait for it and let no other such program run meanwhile."""
    if not _is_cpu_mesh(mesh):
        return program()
    with _EXCLUSIVE:
        return jax.block_until_ready(program())


def check_blocking(mesh: Mesh) -> None:
    """Raise a RuntimeError if a program that nobody waits for may deadlock.

    Measured with jax 0.10.2: 200 dependent steps over 2, 4 and 8 CPU devices hang if the pool has as many threads
    as devices. They never hang if it has twice as many.
    """
    threads = _pool_size()
    if _is_cpu_mesh(mesh) and threads < 2 * mesh.size:
        raise RuntimeError(
            f"data over {mesh.size} CPU devices in a transformation or a program of your own: two of these in "
            f"flight can wait for each other for ever, with {threads} threads. Start Python with the "
            f"environment variable NPROC={2 * mesh.size}, or call the objective's functions and dlcore.fit as "
            "they are: those wait"
        )


def _is_cpu_mesh(mesh: Mesh) -> bool:
    """Return whether the mesh has several CPU devices."""
    return mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"


def _pool_size() -> int:
    """Return the number of threads of JAX's CPU client, without those it adds if devices outnumber cores."""
    threads = os.environ.get("NPROC", "")
    return int(threads) if threads.isdigit() else core_count()
