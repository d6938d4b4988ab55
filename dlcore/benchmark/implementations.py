"""Implementations of a case, ready to be timed: compiled, with inputs in place that change from call to call."""

import functools
import importlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from dlcore._core.threads import core_count
from dlcore._core.types import Device
from dlcore.benchmark.case import Bind, Case, Inputs, Peer
from dlcore.benchmark.tune_solver import Solver, SolverSetting, bind_solver

CACHE_BYTES = 2**27
"""Copies of the inputs are used in turn and reach this total, so that a call finds none in the cache."""
MAX_COPIES = 16
"""Small inputs have no more copies than this, and may stay in the cache: see `Implementation.from_memory`."""


class Implementation(NamedTuple):
    """Implementation that is ready to be timed.

    Attributes:
      call: takes no arguments and uses the next copy of the inputs.
      from_memory: whether the copies together exceed the cache.
      set_threads: called before every call and not timed; None if the number of threads is fixed.
      compile: seconds; None if nothing is compiled ahead of the first call.
      transfer: seconds to move one copy of the inputs to the device; None if they are not moved.
      operations: as XLA counts them; None if unknown.
      device: the name of the device that it runs on.
      has_latency: whether a call hands a program to a device, at the cost of the peak "calls".
    """

    call: Callable[[], object]
    from_memory: bool
    set_threads: Callable[[], object] | None = None
    compile: float | None = None
    transfer: float | None = None
    operations: float | None = None
    device: str = "cpu"
    has_latency: bool = False


class Copies(NamedTuple):
    """Copies of the inputs of a case, and whether they exceed the cache together."""

    inputs: list[Inputs]
    from_memory: bool


def copy_inputs(inputs: Inputs) -> Copies:
    """Copy the inputs often enough to exceed the cache, or `MAX_COPIES` times."""
    size = max(1, sum(array.nbytes for array in inputs))
    count = min(MAX_COPIES, -(-CACHE_BYTES // size))
    copies = [inputs, *(tuple(array.copy() for array in inputs) for _ in range(count - 1))]
    return Copies(copies, size * count >= CACHE_BYTES)


def implementations_of(
    case: Case, devices: Mapping[str, Device], libraries: Sequence[str]
) -> dict[str, Implementation]:
    """Return by title dlcore on each device and the peers, those of the CPU on all threads and on one."""
    copies = copy_inputs(case.inputs)
    implementations = {f"dlcore {name}": _dlcore(case, copies, name, device) for name, device in devices.items()}
    peer_copies = copies._replace(inputs=[_with_int64_labels(inputs) for inputs in copies.inputs])
    for library in libraries:
        if library in case.peers:
            implementations |= PEERS[library](case.peers[library], peer_copies, devices)
    return implementations


def solvers_of(case: Case, libraries: Sequence[str]) -> dict[str, Solver]:
    """Return the solvers of some libraries, by title."""
    return {title: solver for title, solver in case.solvers.items() if title.partition(",")[0] in libraries}


def bound_solvers(
    case: Case, solvers: Mapping[str, Solver], settings: Mapping[str, SolverSetting]
) -> dict[str, Implementation]:
    """Return the solvers that are still to be timed, at their settings."""
    inputs = _with_int64_labels(case.inputs)
    return {
        f"{title}, {threads_text(settings[title].threads)}": Implementation(
            bind_solver(solver, settings[title], inputs), from_memory=False
        )
        for title, solver in solvers.items()
        if not settings[title].is_final
    }


def _with_int64_labels(inputs: Inputs) -> Inputs:
    """Widen integers, so that a peer need not cast them in every call."""
    return tuple(array.astype(np.int64) if array.dtype.kind == "i" else array for array in inputs)


def threads_text(count: int) -> str:
    """Return a number of threads as text."""
    return f"{count} thread" + "s" * (count > 1)


def _in_turn(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """Return a call that makes the next of several calls."""
    cycle = itertools.cycle(calls)
    return lambda: next(cycle)()


def _dlcore(case: Case, copies: Copies, name: str, device: Device) -> Implementation:
    if case.function is not None:
        return _compiled(case.function, copies, name, device)
    assert case.bind is not None
    return _on_device(case.bind, copies, name, device)


def _compiled(function: Callable[..., object], copies: Copies, name: str, device: Device) -> Implementation:
    """Return a JAX function, compiled ahead of its first call."""
    program = jax.jit(function)
    with jax.default_device(device):
        start = time.perf_counter()
        compiled = program.lower(*copies.inputs[0]).compile()
        seconds = time.perf_counter() - start
    costs = compiled.cost_analysis()
    operations = costs.get("flops") if isinstance(costs, Mapping) else None

    def bind(inputs: Inputs, device: Device) -> Callable[[], object]:
        arrays = jax.block_until_ready(jax.device_put(inputs, device))
        return lambda: program(*arrays)  # less overhead than a call of `compiled`

    return _on_device(bind, copies, name, device)._replace(compile=seconds, operations=operations)


def _on_device(bind: Bind, copies: Copies, name: str, device: Device) -> Implementation:
    calls, seconds = [], []
    for inputs in copies.inputs:
        start = time.perf_counter()
        with jax.default_device(device):
            call = bind(inputs, device)
        seconds.append(time.perf_counter() - start)
        calls.append(call if device == jax.devices()[0] else _as_default(device, call))
    transfer = float(np.median(seconds))
    return Implementation(_in_turn(calls), copies.from_memory, transfer=transfer, device=name, has_latency=True)


def _as_default(device: Device, call: Callable[[], object]) -> Callable[[], object]:
    """Return a call for which a device is JAX's default device, so that no argument begins on another."""

    def call_there() -> object:
        with jax.default_device(device):
            return call()

    return call_there


def _on_threads(
    library: str, calls: Sequence[Callable[[], object]], from_memory: bool, set_threads: Callable[[int], object]
) -> dict[str, Implementation]:
    """Return a library's calls on all threads and on one."""
    return {
        f"{library}, {threads_text(count)}": Implementation(
            _in_turn(calls), from_memory, functools.partial(set_threads, count)
        )
        for count in dict.fromkeys((core_count(), 1))
    }


def _numpy(peer: Peer, copies: Copies, devices: Mapping[str, Device]) -> dict[str, Implementation]:
    del devices
    import threadpoolctl  # installed with scikit-learn

    pools = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers

    def set_threads(count: int) -> None:
        for pool in pools:
            pool.set_num_threads(count)

    calls = [functools.partial(peer, *inputs) for inputs in copies.inputs]
    return _on_threads("numpy", calls, copies.from_memory, set_threads)


def _torch(peer: Peer, copies: Copies, devices: Mapping[str, Device]) -> dict[str, Implementation]:
    del devices
    torch = importlib.import_module("torch")
    calls = [functools.partial(peer, torch, *map(torch.from_numpy, inputs)) for inputs in copies.inputs]
    return _on_threads("torch", calls, copies.from_memory, torch.set_num_threads)


def _jax(peer: Peer, copies: Copies, devices: Mapping[str, Device]) -> dict[str, Implementation]:
    """Return a plain JAX function on every device that dlcore runs on."""
    return {f"jax, {name}": _compiled(peer, copies, name, device) for name, device in devices.items()}


PEERS: dict[str, Callable[[Peer, Copies, Mapping[str, Device]], dict[str, Implementation]]] = {
    "numpy": _numpy,
    "torch": _torch,
    "jax": _jax,
}
"""Functions that make the implementations of a peer, by library."""
LIBRARIES = (*PEERS, "sklearn", "sklearnex")
"""All libraries that dlcore is compared with; scikit-learn and its extension have solvers only."""
