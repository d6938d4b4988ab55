"""Description of the machine, the devices and the software of a run."""

import importlib.metadata
import os
import platform
import re
import sys
import timeit
from pathlib import Path
from typing import NotRequired, TypedDict

import jax
import numpy as np

from dlcore._core.threads import core_count
from dlcore._core.types import Device

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "torch", "scikit-learn", "scikit-learn-intelex", "dlcore-jax")

PROBE_SIDE, PROBE_CALLS = 64, 2_000
"""The clock probe sums the squares of a small matrix that stays in the nearest cache, this many times."""

Machine = TypedDict(
    "Machine",
    {
        "processor": str,
        "system": str,
        "python": str,
        "cores": int,
        "governor": str,
        "pace": list[float],
        "load": list[float],
        "devices": dict[str, dict[str, str]],
        "packages": dict[str, str],
        "default matmul precision": str,
        "load after": list[float],
        "left out": NotRequired[list[str]],
    },
)
"""The machine of a run. "pace" holds a `clock_probe` before the first pass and after each.
"left out" holds the peers that did not run, with the reasons."""


def clock_probe() -> float:
    """Return the seconds of a fixed computation on one core: they grow if the clock slows down."""
    a = np.ones((PROBE_SIDE, PROBE_SIDE), np.float32)
    # Unlike BLAS, einsum starts no threads.
    return round(min(timeit.repeat(lambda: np.einsum("ij,ij->", a, a), number=PROBE_CALLS)), 6)


def load_average() -> list[float]:
    """Return the system's load averages over 1, 5 and 15 minutes."""
    return [round(load, 2) for load in os.getloadavg()]


def describe_machine(devices: dict[str, Device]) -> Machine:
    """Return the processor, system, devices with driver versions, packages, load and settings of JAX."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "cores": core_count(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or "not told",
        "pace": [clock_probe()],
        "load": load_average(),
        "devices": {
            name: {
                "kind": device.device_kind,
                "platform": device.platform,
                "version": " ".join(str(device.client.platform_version).split()),
            }
            for name, device in devices.items()
        },
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "default matmul precision": str(jax.config.values["jax_default_matmul_precision"] or "JAX's own"),
        "load after": [],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    name = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return name[1].strip() if name else platform.processor() or platform.machine()


def _read(path: str) -> str:
    """Return the text of a file, or an empty string if the system has no such file."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
