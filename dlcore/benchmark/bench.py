"""Entry point of the benchmarks: `bench` runs suites of cases on devices, side by side with other libraries."""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from dlcore._core.compilation import compilation_cache
from dlcore._core.types import Device
from dlcore.benchmark import hardware, suites
from dlcore.benchmark.case import CaseFamily
from dlcore.benchmark.hardware import Machine
from dlcore.benchmark.implementations import LIBRARIES
from dlcore.benchmark.measurement import JsonObject, Measurement, measure_case, merge_passes
from dlcore.benchmark.roofline_peaks import RooflinePeaks, measure_peaks
from dlcore.devices import find_device

SUITES = {
    "math": suites.math.families,
    "gradient": suites.gradient.families,
    "fit": suites.fit.families,
    "sweep": suites.sweep.families,
    "scale": suites.scale.families,
    "first": suites.first.families,
}
DISTRIBUTIONS = {"sklearn": "scikit-learn", "sklearnex": "scikit-learn-intelex"}
"""Package names of libraries, where they differ."""
PASSES, SECONDS = 3, 1.0
"""Every case is measured this often, minutes apart, for this many seconds in all: machines change meanwhile."""
QUICK_SIZES, QUICK_SECONDS = 2, 0.05
"""A `quick` run has a single pass over the smallest sizes, or the smallest size for what is fitted."""


class Benchmark(NamedTuple):
    """Result of a run.

    Attributes:
      machine: the machine, devices and software.
      peaks: the roofline peaks of each device.
      measurements: in the order of the suites.
      quick: whether sizes and rounds are too few for any conclusion.
    """

    machine: Machine
    peaks: dict[str, RooflinePeaks]
    measurements: list[Measurement]
    quick: bool

    @property
    def devices(self) -> list[str]:
        """Return the names of the devices that dlcore ran on."""
        return list(self.machine["devices"])

    @property
    def cells(self) -> list[Measurement]:
        """Return `measurements`. Deprecated."""
        warnings.warn("Benchmark.cells is now Benchmark.measurements", DeprecationWarning, stacklevel=2)
        return self.measurements

    @property
    def ceilings(self) -> dict[str, RooflinePeaks]:
        """Return `peaks`. Deprecated."""
        warnings.warn("Benchmark.ceilings is now Benchmark.peaks", DeprecationWarning, stacklevel=2)
        return self.peaks

    def to_json(self) -> JsonObject:
        """Return all of it as an object of JSON."""
        return {
            "machine": self.machine,
            "ceilings": {name: peaks._asdict() for name, peaks in self.peaks.items()},
            "cells": [measurement.to_json() for measurement in self.measurements],
            "quick": self.quick,
        }


@compilation_cache.disabled()
def bench(
    suites: Sequence[str] = ("math", "gradient"),
    devices: Sequence[str] = ("auto",),
    peers: Sequence[str] = LIBRARIES,
    *,
    quick: bool = False,
    largest: bool = False,
    only: Sequence[str] = (),
    callback: Callable[[Measurement], object] | None = None,
) -> Benchmark:
    """Run suites of benchmarks on devices, side by side with peers on the CPU.

    Every program is compiled and none is read from JAX's persistent cache, so that compilations can be timed.

    Args:
      suites: "math", "gradient", "fit", "sweep", "scale" and "first". The last four take hours.
      devices: "auto", "cpu", "gpu", "tpu". dlcore runs on each of them.
      peers: "numpy", "torch", "jax", "sklearn" and "sklearnex". Libraries that are not installed are left out,
        and `Benchmark.machine["left out"]` says so.
      quick: a few small sizes and rounds, to check that everything runs.
      largest: only the largest size of each function, unless `quick`.
      only: names of functions, or prefixes of names.
      callback: called with each measurement, in every pass.

    Raises:
      ValueError: if a suite, device or peer does not exist, or if no function has a name of `only`.

    >>> run = bench(["math"], peers=["numpy"], only=["linalg.vecdot"], quick=True)
    >>> sorted(run.measurements[0].results)[0]
    'dlcore cpu'
    """
    for argument, names, choices in (("suites", suites, SUITES), ("peers", peers, LIBRARIES)):
        if unknown := sorted(set(names) - set(choices)):
            raise ValueError(f"{argument}: there is no {', '.join(unknown)}; there are {', '.join(choices)}")
    dlcore_devices: dict[str, Device] = {}
    for name in devices:
        device = find_device(name)
        dlcore_devices[device.platform] = device
    families = [
        family for suite in suites for family in SUITES[suite]() if not only or family.name.startswith(tuple(only))
    ]
    if not families:
        raise ValueError(f"only: no function of {', '.join(suites)} begins with {', '.join(only)}")
    if quick:
        families = [family._replace(make=family.make_quick or family.make) for family in families]
    cases = [(family, size) for family in families for size in sizes_of(family, quick=quick, largest=largest)]
    machine = hardware.describe_machine(dlcore_devices)
    measured_devices = {"cpu": jax.devices("cpu")[0], **dlcore_devices}  # peers run on the CPU
    repeats, scale = (3, 1 / 64) if quick else (9, 1.0)
    peaks = {name: measure_peaks(device, repeats, scale) for name, device in measured_devices.items()}
    installed = tuple(name for name in peers if DISTRIBUTIONS.get(name, name) in machine["packages"])
    machine["left out"] = [
        f"{name}: {DISTRIBUTIONS.get(name, name)} is not installed" for name in peers if name not in installed
    ]
    count, seconds = (1, QUICK_SECONDS) if quick else (PASSES, SECONDS / PASSES)
    passes: list[list[Measurement]] = []
    for turn in range(count):
        passes.append([])
        for k, (family, size) in enumerate(cases):
            previous = passes[0][k] if turn else None
            measure = family.measure or measure_case
            measurement: Measurement = measure(
                family, size, dlcore_devices, peaks, installed, seconds=seconds, previous=previous
            )
            passes[-1].append(measurement)
            if callback is not None:
                callback(measurement)
        machine["pace"].append(hardware.clock_probe())
    machine["load after"] = hardware.load_average()
    return Benchmark(machine, peaks, [merge_passes(results) for results in zip(*passes, strict=True)], quick)


def sizes_of(family: CaseFamily, *, quick: bool = False, largest: bool = False) -> tuple[int, ...]:
    """Return all sizes of a family, or the smallest if `quick`, or the largest."""
    if quick:
        return family.sizes[: QUICK_SIZES if family.suite in ("math", "gradient") else 1]
    return family.sizes[-1:] if largest else family.sizes
