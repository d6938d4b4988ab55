"""Where and with what figures were measured: without that they are nobody's."""

import importlib.metadata
import os
import platform
import sys
from typing import Any

import jax

from dlcore._types import Device
from dlcore.devices import core_count

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "torch", "scikit-learn", "dlcore-jax")


def record(devices: dict[str, Device]) -> dict[str, Any]:
    """Processor, system, devices with the version of their driver, packages, threads, load, JAX's settings."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "cores": core_count(),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not told",
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
