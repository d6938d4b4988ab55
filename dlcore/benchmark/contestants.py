"""Those who do a work, ready to be called: compiled, inputs where they read them, others in every call."""

import functools
import importlib
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore._types import Device
from dlcore.benchmark.work import Work
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
    """

    call: Callable[[], Any]
    before: Callable[[], Any] | None
    compile: float | None
    transfer: float | None
    operations: float | None
    fresh: bool


def contestants_of(work: Work, devices: dict[str, Device], peers: tuple[str, ...]) -> dict[str, Contestant]:
    """By title: dlcore on each device, peers on all threads and on one."""
    copies = copies_of(work.inputs)
    size = sum(array.nbytes for array in work.inputs)
    fresh = size * len(copies) >= CACHE_BYTES
    found = {f"dlcore {name}": of_dlcore(work, copies, device, fresh) for name, device in devices.items()}
    # Labels in the width that both libraries index with: a peer need not cast them in every call.
    wide = [tuple(one.astype(np.int64) if one.dtype.kind == "i" else one for one in inputs) for inputs in copies]
    for name in peers:
        if name in work.peers:
            for threads in dict.fromkeys((core_count(), 1)):
                title = f"{name}, {threads} thread" + "s" * (threads > 1)
                found[title] = PEERS[name](work.peers[name], wide, threads, fresh)
    return found


def copies_of(inputs: tuple[np.ndarray, ...]) -> list[tuple[np.ndarray, ...]]:
    """As many copies as the cache has room for, and one more; few of what is small."""
    size = max(1, sum(array.nbytes for array in inputs))
    count = min(COPIES, -(-CACHE_BYTES // size))
    return [inputs, *(tuple(array.copy() for array in inputs) for _ in range(count - 1))]


def of_dlcore(work: Work, copies: list[tuple[np.ndarray, ...]], device: Device, fresh: bool) -> Contestant:
    """The function compiled ahead of its first call, or the verb that compiles in it."""
    compiled = operations = None
    with jax.default_device(device):
        if work.function is not None:
            program = jax.jit(work.function)
            start = time.perf_counter()
            ahead: Any = program.lower(*work.inputs).compile()
            compiled = time.perf_counter() - start
            operations = (ahead.cost_analysis() or {}).get("flops")
            ready = functools.partial(_placed, program)  # a call of what `jit` keeps costs least
        else:
            assert work.ready is not None
            ready = work.ready
        calls, seconds = [], []
        for inputs in copies:
            start = time.perf_counter()
            calls.append(ready(inputs, device))
            seconds.append(time.perf_counter() - start)
    turn = itertools.cycle(calls)
    return Contestant(lambda: next(turn)(), None, compiled, float(np.median(seconds)), operations, fresh)


def _placed(program: Any, inputs: tuple[np.ndarray, ...], device: Device) -> Callable[[], Any]:
    there = jax.block_until_ready(jax.device_put(inputs, device))
    return lambda: program(*there)


def _of_numpy(peer: Any, copies: list[tuple[np.ndarray, ...]], threads: int, fresh: bool) -> Contestant:
    turn = itertools.cycle(copies)
    pools = _pools()

    def before() -> None:
        for pool in pools:
            pool.set_num_threads(threads)

    return Contestant(lambda: peer(*next(turn)), before, None, None, None, fresh)


@functools.cache
def _pools() -> Sequence[Any]:
    """Of the BLAS that NumPy calls."""
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


def _of_torch(peer: Any, copies: list[tuple[np.ndarray, ...]], threads: int, fresh: bool) -> Contestant:
    torch = importlib.import_module("torch")
    turn = itertools.cycle([tuple(map(torch.from_numpy, inputs)) for inputs in copies])
    before = functools.partial(torch.set_num_threads, threads)
    return Contestant(lambda: peer(torch, *next(turn)), before, None, None, None, fresh)


PEERS: dict[str, Callable[..., Contestant]] = {"numpy": _of_numpy, "torch": _of_torch}
"""What makes a contestant of a peer's function, by library."""
