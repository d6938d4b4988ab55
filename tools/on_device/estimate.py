"""Estimates of seconds on an H200, from bytes, operations, programs and calls.

The rates of the device are those of its data sheet. The other constants are guesses, to be replaced by the seconds
that a visit reports for each part.
"""

from typing import NamedTuple

BANDWIDTH = 4.8e12
"""Bytes of device memory per second."""
FLOAT32_RATE, FLOAT64_RATE = 67e12, 34e12
"""Operations per second."""
REACHED = 0.5
"""Fraction of these rates that programs reach."""
LINK = 1e10
"""Bytes per second between the host and the device."""
HOST_RATE = 5e11
"""Float32 operations per second of the host, with all cores."""
RANDOM_RATE = 5e7
"""Normal numbers per second, drawn and checked by one core of the host."""
START_S = 7.0
"""Seconds of a process: its imports and the start of the driver."""
COMPILE_S, TUNED_COMPILE_S, LOOP_COMPILE_S = 0.3, 2.5, 1.5
"""Seconds of a small program, of a product whose tiles the compiler times, and of a solver or a descent."""
CALL_S = 2e-4
"""Seconds of a call from Python with its transfers."""


class Work(NamedTuple):
    """Work of a part.

    Attributes:
      traffic: bytes read from and written to the memory of the device.
      float32: operations of the device.
      float64: operations of the device.
      programs: programs that are compiled.
      tuned: programs with products whose tiles are timed.
      loops: programs of solvers and descents.
      calls: calls from Python.
      moved: bytes between the host and the device.
      host: operations of the host.
      drawn: normal numbers that the host draws.
      seconds: what is timed for a fixed number of seconds.
    """

    traffic: float = 0.0
    float32: float = 0.0
    float64: float = 0.0
    programs: float = 0.0
    tuned: float = 0.0
    loops: float = 0.0
    calls: float = 0.0
    moved: float = 0.0
    host: float = 0.0
    drawn: float = 0.0
    seconds: float = 0.0


def total(works: list[Work]) -> Work:
    """Return the sum of several works."""
    return Work(*(sum(numbers) for numbers in zip(*works, strict=True)))


def seconds_of(work: Work) -> float:
    """Return the seconds of a process that does some work, one kind after another."""
    device = work.traffic / BANDWIDTH + work.float32 / FLOAT32_RATE + work.float64 / FLOAT64_RATE
    compiled = work.programs * COMPILE_S + work.tuned * TUNED_COMPILE_S + work.loops * LOOP_COMPILE_S
    host = work.host / HOST_RATE + work.drawn / RANDOM_RATE
    return START_S + device / REACHED + compiled + work.calls * CALL_S + work.moved / LINK + host + work.seconds
