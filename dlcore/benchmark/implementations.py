"""Those who do a work, ready to be called: compiled, inputs where they read them, others in every call."""

import functools
import importlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore._core.types import Device
from dlcore.benchmark.case import Inputs, Peer, Work
from dlcore.benchmark.tune_solver import Setting, Solver, asked
from dlcore.devices import core_count

CACHE_BYTES = 2**27
"""Inputs that are used in turn come to this size, so that a call does not find its own in the cache."""
COPIES = 16
"""At most so many copies of small inputs, which then may stay in the cache: `Contestant.fresh` says so."""


class Contestant(NamedTuple):
    """Ready to be timed.

    Attributes:
      call: of nothing; takes the next copy of the inputs.
      before: what is done before every call and not timed: the number of threads.
      compile: seconds; None where nothing is compiled.
      transfer: seconds to bring one copy of the inputs to the device; None where they stay.
      operations: as the compiler counts them; None where it does not say.
      fresh: whether the copies together are larger than a cache.
      device: the name of the one it computes on.
      dispatched: whether a call hands out a program.
    """

    call: Callable[[], Any]
    before: Callable[[], Any] | None
    compile: float | None
    transfer: float | None
    operations: float | None
    fresh: bool
    device: str = "cpu"
    dispatched: bool = False


def contestants_of(work: Work, devices: Mapping[str, Device], libraries: Sequence[str]) -> dict[str, Contestant]:
    """By title: dlcore on each device; functions of libraries, on all threads and on one."""
    copies = copies_of(work.inputs)
    fresh = sum(array.nbytes for array in work.inputs) * len(copies) >= CACHE_BYTES
    found = {f"dlcore {name}": of_dlcore(work, copies, name, device, fresh) for name, device in devices.items()}
    wide = [_wide(inputs) for inputs in copies]
    for name in libraries:
        peer = work.peers.get(name)
        if peer is not None and not isinstance(peer, Mapping):
            found |= PEERS[name](peer, wide, devices, fresh)
    return found


def solvers_of(work: Work, libraries: Sequence[str]) -> dict[str, Solver]:
    """By library and name."""
    return {
        f"{name}, {title}": solver
        for name in libraries
        if isinstance(found := work.peers.get(name), Mapping)
        for title, solver in found.items()
    }


def of_solvers(
    work: Work, solvers: Mapping[str, Solver], settings: Mapping[str, Setting]
) -> dict[str, Contestant]:
    """Those that are still to be measured, as they are best asked."""
    return {
        f"{title}, {_spelt(settings[title].threads)}": _taking_turns(
            [asked(solver, settings[title], _wide(work.inputs))], fresh=False
        )
        for title, solver in solvers.items()
        if not settings[title].known
    }


def _wide(inputs: Inputs) -> Inputs:
    """Labels in the width that libraries index with: a peer need not cast them in every call."""
    return tuple(one.astype(np.int64) if one.dtype.kind == "i" else one for one in inputs)


def _spelt(threads: int) -> str:
    return f"{threads} thread" + "s" * (threads > 1)


def _taking_turns(calls: list[Callable[[], Any]], fresh: bool) -> Contestant:
    """What compiles nothing, on the CPU."""
    turn = itertools.cycle(calls)
    return Contestant(lambda: next(turn)(), None, None, None, None, fresh)


def copies_of(inputs: Inputs) -> list[Inputs]:
    """As many copies as the cache has room for, and one more; few of what is small."""
    size = max(1, sum(array.nbytes for array in inputs))
    count = min(COPIES, -(-CACHE_BYTES // size))
    return [inputs, *(tuple(array.copy() for array in inputs) for _ in range(count - 1))]


def of_dlcore(work: Work, copies: list[Inputs], name: str, device: Device, fresh: bool) -> Contestant:
    """The function compiled ahead of its first call, or the verb that compiles in it."""
    if work.function is not None:
        return of_program(jax.jit(work.function), copies, name, device, fresh)
    assert work.ready is not None
    return _placed(work.ready, copies, name, device, fresh)


def of_program(program: Any, copies: list[Inputs], name: str, device: Device, fresh: bool) -> Contestant:
    """A program of JAX's, compiled; inputs on the device."""
    with jax.default_device(device):
        start = time.perf_counter()
        ahead: Any = program.lower(*copies[0]).compile()
        seconds = time.perf_counter() - start
    operations = (ahead.cost_analysis() or {}).get("flops")
    ready = functools.partial(_called, program)  # a call of what `jit` keeps costs least
    return _placed(ready, copies, name, device, fresh)._replace(compile=seconds, operations=operations)


def _called(program: Any, inputs: Inputs, device: Device) -> Callable[[], Any]:
    there = jax.block_until_ready(jax.device_put(inputs, device))
    return lambda: program(*there)


def _placed(
    ready: Callable[[Inputs, Device], Callable[[], Any]],
    copies: list[Inputs],
    name: str,
    device: Device,
    fresh: bool,
) -> Contestant:
    calls, seconds = [], []
    for inputs in copies:
        start = time.perf_counter()
        calls.append(ready(inputs, device))
        seconds.append(time.perf_counter() - start)
    turn = itertools.cycle(calls)
    return Contestant(lambda: next(turn)(), None, None, float(np.median(seconds)), None, fresh, name, True)


def _of_numpy(
    peer: Peer, copies: list[Inputs], devices: Mapping[str, Device], fresh: bool
) -> dict[str, Contestant]:
    del devices

    def of(threads: int) -> Contestant:
        pools = _pools()

        def before() -> None:
            for pool in pools:
                pool.set_num_threads(threads)

        calls = [functools.partial(peer, *inputs) for inputs in copies]
        return _taking_turns(calls, fresh)._replace(before=before)

    return {f"numpy, {_spelt(count)}": of(count) for count in _thread_counts()}


@functools.cache
def _pools() -> Sequence[Any]:
    """Of the BLAS that NumPy calls."""
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


def _of_torch(
    peer: Peer, copies: list[Inputs], devices: Mapping[str, Device], fresh: bool
) -> dict[str, Contestant]:
    del devices
    torch = importlib.import_module("torch")
    calls = [functools.partial(peer, torch, *map(torch.from_numpy, inputs)) for inputs in copies]
    return {
        f"torch, {_spelt(count)}": _taking_turns(calls, fresh)._replace(
            before=functools.partial(torch.set_num_threads, count)
        )
        for count in _thread_counts()
    }


def _of_jax(peer: Peer, copies: list[Inputs], devices: Mapping[str, Device], fresh: bool) -> dict[str, Contestant]:
    """What anyone writes in JAX, on every device that dlcore is on."""
    return {
        f"jax, {name}": of_program(jax.jit(peer), copies, name, device, fresh) for name, device in devices.items()
    }


def _thread_counts() -> tuple[int, ...]:
    return tuple(dict.fromkeys((core_count(), 1)))


PEERS: dict[str, Callable[..., dict[str, Contestant]]] = {"numpy": _of_numpy, "torch": _of_torch, "jax": _of_jax}
"""What makes contestants of a peer's function, by library."""
LIBRARIES = (*PEERS, "sklearn")
"""Who is compared with; of scikit-learn only solvers."""
