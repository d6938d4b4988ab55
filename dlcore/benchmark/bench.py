"""`bench`: suites on devices against peers, side by side, every figure judged before it is compared."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from dlcore._core.types import Device
from dlcore.benchmark import hardware, suites
from dlcore.benchmark.case import Family
from dlcore.benchmark.implementations import LIBRARIES
from dlcore.benchmark.measurement import Cell, cell_of, merged
from dlcore.benchmark.roofline_peaks import Ceilings, ceilings_of
from dlcore.devices import find_device

SUITES = {
    "math": suites.math.families,
    "gradient": suites.gradient.families,
    "fit": suites.fit.families,
    "sweep": suites.sweep.families,
    "scale": suites.scale.families,
}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Names under which libraries are installed, where they are others."""
PASSES, SECONDS = 3, 1.0
"""All cells are measured so often, minutes apart, for so many seconds in all: machines change while they work."""
QUICK_SIZES, QUICK_SECONDS = 2, 0.05
"""With `quick` the first few sizes, one for what is fitted, in one pass."""


class Benchmark(NamedTuple):
    """What was measured.

    Attributes:
      machine: where and with what.
      ceilings: by device.
      cells: in the order of the suites.
      quick: whether sizes and rounds are too few to conclude anything.
    """

    machine: dict[str, Any]
    ceilings: dict[str, Ceilings]
    cells: list[Cell]
    quick: bool

    @property
    def devices(self) -> list[str]:
        """Where dlcore ran."""
        return list(self.machine["devices"])

    def to_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {
            "machine": self.machine,
            "ceilings": {name: limits._asdict() for name, limits in self.ceilings.items()},
            "cells": [
                {
                    **cell._asdict(),
                    "figures": {who: _finite(one._asdict()) for who, one in cell.figures.items()},
                    "settings": {who: _finite(one._asdict()) for who, one in cell.settings.items()},
                }
                for cell in self.cells
            ],
            "quick": self.quick,
        }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity."""
    return {
        name: None if isinstance(one, float) and not math.isfinite(one) else one for name, one in values.items()
    }


def bench(
    suites: Sequence[str] = ("math", "gradient"),
    devices: Sequence[str] = ("auto",),
    peers: Sequence[str] = LIBRARIES,
    *,
    quick: bool = False,
    largest: bool = False,
    only: Sequence[str] = (),
    callback: Callable[[Cell], Any] | None = None,
) -> Benchmark:
    """Measure suites on devices, with peers on the CPU side by side.

    Args:
      suites: "math", "gradient", "fit", "sweep" and "scale"; the last three take the better part of an hour.
      devices: "auto", "cpu", "gpu", "tpu"; dlcore runs on each.
      peers: "numpy", "torch", "jax" and "sklearn"; one that is not installed is left out.
      quick: few small sizes and rounds, to see that all runs.
      largest: only the largest size of each function, unless `quick`.
      only: names of functions, or beginnings of names.
      callback: called with each cell when it is there, in every pass.

    Raises:
      ValueError: of a suite, a device or a peer that there is not, and names that no function begins with.

    >>> found = bench(["math"], peers=["numpy"], only=["linalg.vecdot"], quick=True)
    >>> sorted(found.cells[0].figures)[0]
    'dlcore cpu'
    """
    for name, given, known in (("suites", suites, SUITES), ("peers", peers, LIBRARIES)):
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(f"{name}: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    there: dict[str, Device] = {}
    for name in devices:
        device = find_device(name)
        there[device.platform] = device
    families = [
        family for suite in suites for family in SUITES[suite]() if not only or family.name.startswith(tuple(only))
    ]
    if not families:
        raise ValueError(f"only: no function of {', '.join(suites)} begins with {', '.join(only)}")
    if quick:
        families = [family._replace(make=family.quick or family.make) for family in families]
    places = [(family, size) for family in families for size in sizes_of(family, quick, largest)]
    record = hardware.record(there)
    judged = {"cpu": jax.devices("cpu")[0], **there}  # peers are on the CPU
    ceilings = {
        name: ceilings_of(device, *((3, 1 / 64) if quick else (9, 1.0))) for name, device in judged.items()
    }
    installed = tuple(name for name in peers if DISTRIBUTIONS.get(name, name) in record["packages"])
    count, seconds = (1, QUICK_SECONDS) if quick else (PASSES, SECONDS / PASSES)
    passes: list[list[Cell]] = []
    for turn in range(count):
        passes.append([])
        for place, (family, size) in enumerate(places):
            before = passes[0][place] if turn else None
            passes[-1].append(cell_of(family, size, there, ceilings, installed, seconds, before))
            if callback is not None:
                callback(passes[-1][-1])
        record["pace"].append(hardware.pace())
    record["load after"] = [round(load, 2) for load in os.getloadavg()]
    return Benchmark(record, ceilings, [merged(cells) for cells in zip(*passes, strict=True)], quick)


def sizes_of(family: Family, quick: bool = False, largest: bool = False) -> tuple[int, ...]:
    """All of them, or the first few, or the last."""
    if quick:
        return family.sizes[: QUICK_SIZES if family.suite in ("math", "gradient") else 1]
    return family.sizes[-1:] if largest else family.sizes
