"""Parts `bench-…`: the suites of `dlcore bench` at sizes where a GPU can win, with the CPU beside it."""

from typing import NamedTuple

import jax

from dlcore._core.compilation import compilation_cache
from dlcore._core.types import Device
from dlcore.benchmark import hardware
from dlcore.benchmark.bench import SUITES, Benchmark
from dlcore.benchmark.case import CaseFamily
from dlcore.benchmark.measurement import Measurement, measure_case
from dlcore.benchmark.roofline_peaks import PRODUCT_SIDE, RooflinePeaks, measure_peaks
from dlcore.devices import find_device
from on_device.child import Request, Save, describe_error
from on_device.document import JsonObject
from on_device.estimate import Work, total

SECONDS, SMALL_SECONDS = 1.0, 0.05
"""Approximate seconds of the warm calls of a case."""
PEERS = {"math": ("torch", "jax"), "gradient": ("torch", "jax"), "fit": (), "sweep": ()}
"""Libraries beside dlcore. Solvers of scikit-learn take longer than a visit at these sizes."""
SCALE, SMALL_SCALE = 16.0, 1 / 64
"""Factors of the sizes of `measure_peaks` on a device that is no CPU."""
SMALL_CASES = {"math": 2, "gradient": 2, "fit": 1, "sweep": 1}
FIELDS = ("machine", "ceilings", "cells", "quick", "errors")


class PlannedCase(NamedTuple):
    """A case of a suite and its work.

    Attributes:
      name: the name of the function.
      size: its size.
      numbers: numbers of the inputs.
      operations: operations of a call.
      loops: programs of solvers and descents that the first call compiles, as counted on a CPU.
      tuned: programs with products whose tiles are timed.
    """

    name: str
    size: int
    numbers: float
    operations: float
    loops: int = 0
    tuned: int = 0


CASES = {
    "gradient": (
        PlannedCase("value_and_grad, logistic", 2**20, 2**27, 2**29),
        PlannedCase("values_and_grads, logistic", 2**18, 2**25, 2**34, tuned=2),
        PlannedCase("value_and_grad, softmax", 2**19, 2**26, 10 * 2**28, tuned=1),
    ),
    "sweep": (
        PlannedCase("fit_heads, ridge grid", 50_000, 5e4 * 612, 2e11, 5),
        PlannedCase("fit_heads, softmax l2", 60_000, 6e4 * 784, 1e12, 3),
        PlannedCase("sweep, gradient_descent", 2_000, 569 * 30, 1.4e11, 1),
    ),
    "fit": (
        PlannedCase("fit_heads, logistic", 1_000_000, 1.28e8, 2e10, 3),
        PlannedCase("fit_heads, softmax of 1,024, 10 classes", 20_000, 2e7, 4e10, 3),
        PlannedCase("fit, nesterov", 2**20, 2**26, 3e10, 2),
    ),
    "math": (
        PlannedCase("linalg.matmul", 4096, 2**25, 2**37, tuned=2),
        PlannedCase("linalg.matvec", 8192, 2**26, 2**27),
        PlannedCase("losses.sigmoid_cross_entropy", 2**24, 2**25, 2**28),
        PlannedCase("losses.softmax_cross_entropy", 2**20, 2**24, 2**27),
        PlannedCase("losses.softmax", 2**20, 2**24, 2**27),
        PlannedCase("linalg.vecdot", 2**24, 2**25, 2**25),
        PlannedCase("linalg.vector_norm", 2**24, 2**24, 2**25),
        PlannedCase("linalg.solve", 2048, 2**22, 6 * 2**33),
    ),
}
"""Cases of each suite, most important first."""
CALLS = 12
"""Calls of a case on the device."""
HOST_CALLS = {"math": 40, "gradient": 40, "fit": 6, "sweep": 6}
"""Calls of a case on the host, with the check. A call of a peer on one core counts as eight."""


def run(request: Request, save: Save) -> JsonObject:
    """Measure the cases of the suite that the name of the part ends with."""
    suite = request.name.rpartition("-")[2]
    devices = devices_of(find_device(request.device))
    peaks = {name: _peaks(device, request) for name, device in devices.items()}
    machine = hardware.describe_machine(devices)
    peers = [name for name in PEERS[suite] if name in machine["packages"]]
    machine["left out"] = [f"{name}: {name} is not installed" for name in PEERS[suite] if name not in peers]
    measurements: list[Measurement] = []
    errors: list[JsonObject] = []

    def result() -> JsonObject:
        run = Benchmark(machine, peaks, measurements, request.small)
        return {**run.to_json(), "errors": errors, "passed": not errors}

    with compilation_cache.disabled():
        for family, size in cases_of(suite, small=request.small):
            seconds = SMALL_SECONDS if request.small else SECONDS
            try:
                measurements.append(measure_case(family, size, devices, peaks, peers, seconds=seconds))
            except Exception as error:  # such as memory that is exhausted
                errors.append({"name": family.name, "size": size, "error": describe_error(error)})
            save(result())
            jax.clear_caches()  # their programs hold memory of the device
    machine["pace"].append(hardware.clock_probe())
    machine["load after"] = hardware.load_average()
    return result()


def _peaks(device: Device, request: Request) -> RooflinePeaks:
    """Return the peaks of a device; the default sizes are too small for a fast one."""
    scale = SMALL_SCALE if request.small else SCALE if device.platform != "cpu" else 1.0
    return measure_peaks(device, 3 if request.small else 9, scale)


def devices_of(device: Device) -> dict[str, Device]:
    """Return the device and the CPU beside it, by name.

    In a rehearsal the device is a CPU. The CPU beside it is then another simulated device, if there is one.
    """
    cpu = jax.devices("cpu")[-1]
    return {device.platform if device.platform != "cpu" else "device": device, "cpu": cpu}


def cases_of(suite: str, *, small: bool) -> list[tuple[CaseFamily, int]]:
    """Return families with a size; the first ones at their smallest size if `small`.

    Raises:
      ValueError: if the suite has no function of a planned name.
    """
    families = {family.name: family for family in SUITES[suite]()}
    if missing := [case.name for case in CASES[suite] if case.name not in families]:
        raise ValueError(f"the suite {suite} has no {', '.join(missing)}")
    planned = [(families[case.name], case.size) for case in CASES[suite]]
    if not small:
        return planned
    return [(f._replace(make=f.make_quick or f.make), f.sizes[0]) for f, _ in planned[: SMALL_CASES[suite]]]


def work(suite: str) -> Work:
    """Return the work of a suite at full size. The host compiles as many programs as the device."""
    peaks = Work(float32=2 * (PRODUCT_SIDE * SCALE**0.5) ** 3 * 10, programs=6, tuned=1)
    return total([peaks, *(_case_work(case, HOST_CALLS[suite]) for case in CASES[suite])])


def _case_work(case: PlannedCase, host_calls: int) -> Work:
    return Work(
        traffic=4.0 * case.numbers * CALLS,
        float32=case.operations * CALLS,
        programs=4,
        tuned=case.tuned,
        loops=2 * case.loops,
        moved=4.0 * case.numbers,
        host=case.operations * host_calls,
        drawn=case.numbers,
        seconds=SECONDS,
    )
