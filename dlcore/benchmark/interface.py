"""`bench`: suites on devices against peers, side by side, every figure judged before it is compared."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from dlcore._types import Device
from dlcore.benchmark import gradient_suite, machine, math_suite
from dlcore.benchmark.ceilings import Ceilings, ceilings_of
from dlcore.benchmark.cells import Cell, cell_of
from dlcore.benchmark.contestants import PEERS
from dlcore.benchmark.work import Family
from dlcore.devices import find_device

SUITES = {"math": math_suite.families, "gradient": gradient_suite.families}
QUICK_SIZES, QUICK_SECONDS, SECONDS = 3, 0.05, 1.0
"""With `quick` the first few sizes and as many seconds a cell; else all, and so many."""


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
                {**cell._asdict(), "figures": {who: one._asdict() for who, one in cell.figures.items()}}
                for cell in self.cells
            ],
            "quick": self.quick,
        }


def bench(
    suites: Sequence[str] = tuple(SUITES),
    devices: Sequence[str] = ("auto",),
    peers: Sequence[str] = tuple(PEERS),
    *,
    quick: bool = False,
    only: Sequence[str] = (),
    callback: Callable[[Cell], Any] | None = None,
) -> Benchmark:
    """Measure suites on devices, with peers on the CPU side by side.

    Args:
      suites: "math" and "gradient".
      devices: "auto", "cpu", "gpu", "tpu"; dlcore runs on each.
      peers: "numpy" and "torch"; one that is not installed is left out.
      quick: few small sizes and rounds, to see that all runs.
      only: names of functions, or beginnings of names.
      callback: called with each cell when it is there.

    Raises:
      ValueError: of a suite, a device or a peer that there is not, and names that no function begins with.

    >>> found = bench(["math"], peers=["numpy"], only=["linalg.vecdot"], quick=True)
    >>> sorted(found.cells[0].figures)[0]
    'dlcore cpu'
    """
    for name, given, known in (("suites", suites, SUITES), ("peers", peers, PEERS)):
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
    known = machine.record(there)
    scale = 1 / 64 if quick else 1.0
    judged = {"cpu": jax.devices("cpu")[0], **there}  # peers are on the CPU
    ceilings = {name: ceilings_of(device, 3 if quick else 9, scale) for name, device in judged.items()}
    installed = tuple(name for name in peers if name in known["packages"])
    seconds, cells = QUICK_SECONDS if quick else SECONDS, []
    for family in families:
        for size in sizes_of(family, quick):
            cells.append(cell_of(family, size, there, ceilings, installed, seconds))
            if callback is not None:
                callback(cells[-1])
    known["load after"] = [round(load, 2) for load in os.getloadavg()]
    return Benchmark(known, ceilings, cells, quick)


def sizes_of(family: Family, quick: bool) -> tuple[int, ...]:
    """All of them, or the first few."""
    return family.sizes[:QUICK_SIZES] if quick else family.sizes
