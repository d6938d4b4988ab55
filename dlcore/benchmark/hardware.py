"""Where and with what figures were measured: without that they are nobody's."""

import importlib.metadata
import os
import platform
import sys
import time
from typing import Any

import jax
import numpy as np

from dlcore._core.types import Device
from dlcore.devices import core_count

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "torch", "scikit-learn", "dlcore-jax")


PACE_SIDE, PACE_ROUNDS = 64, 2_000
"""A product of matrices that stay in the nearest cache, so often: what it takes is the clock's doing."""


def pace() -> float:
    """Seconds that a fixed work of one core takes, the best of five: it grows where the clock falls."""
    a = np.ones((PACE_SIDE, PACE_SIDE), np.float32)
    return round(min(_seconds(a) for _ in range(5)), 6)


def _seconds(a: np.ndarray) -> float:
    start = time.perf_counter()
    for _ in range(PACE_ROUNDS):
        np.einsum("ij,ij->", a, a)  # no BLAS, so that no thread of a peer's joins in
    return time.perf_counter() - start


def record(devices: dict[str, Device]) -> dict[str, Any]:
    """Processor, system, devices with the version of their driver, packages, pace, load, JAX's settings."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "cores": core_count(),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not told",
        "pace": [pace()],
        "load": [round(load, 2) for load in os.getloadavg()],
        "devices": {
            name: {"kind": device.device_kind, "platform": device.platform, "version": _version(device)}
            for name, device in devices.items()
        },
        "packages": {name: version for name in PACKAGES if (version := _installed(name))},
        "default matmul precision": str(jax.config.values["jax_default_matmul_precision"] or "JAX's own"),
    }


def _version(device: Device) -> str:
    return str(device.client.platform_version).partition("\n")[0]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().strip()
    except OSError:
        return ""
