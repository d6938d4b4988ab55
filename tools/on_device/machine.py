"""Device, driver and versions of a process, which stand beside every figure."""

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path

import jax

import dlcore
from dlcore.benchmark.hardware import describe_machine
from dlcore.devices import find_device
from on_device.document import JsonObject

PACKAGES = (
    *("jax", "jaxlib", "numpy", "optax", "chex", "scipy", "scikit-learn", "torch"),
    *("jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cublas", "nvidia-cublas-cu12", "nvidia-cuda-nvcc"),
)
QUERY = ("--query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm", "--format=csv,noheader")
VARIABLES = ("JAX_", "XLA_", "NVIDIA_", "CUDA_", "TF_", "NPROC", "OMP_", "OPENBLAS_")
"""Beginnings of environment variables that can change a result."""


def describe(name: str) -> JsonObject:
    """Return what identifies the device and the software; equal in all processes of a visit."""
    device = find_device(name)
    return {
        "kind": device.device_kind,
        "platform": device.platform,
        "runtime": " ".join(str(device.client.platform_version).split()),
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "dlcore": dlcore.__version__,
    }


def describe_host(name: str) -> JsonObject:
    """Return the processor, the system, the driver, all versions and the environment."""
    device = find_device(name)
    machine = dict(describe_machine({device.platform: device}))
    keys = ("processor", "system", "python", "cores", "load", "default matmul precision")
    return {
        **{key: machine[key] for key in keys},
        "packages": {package: version for package in PACKAGES if (version := _version(package))},
        "driver": driver(),
        "devices": [str(each) for each in jax.devices()],
        "memory": (device.memory_stats() or {}).get("bytes_limit"),
        "environment": {key: value for key, value in os.environ.items() if key.startswith(VARIABLES)},
    }


def driver() -> str:
    """Return what `nvidia-smi` reports of each GPU, else the version of the driver, else an empty string."""
    command = shutil.which("nvidia-smi")
    if command:
        done = subprocess.run([command, *QUERY], text=True, capture_output=True, timeout=20, check=False)
        if done.returncode == 0:
            return "; ".join(done.stdout.strip().splitlines())
    path = Path("/proc/driver/nvidia/version")
    return path.read_text(encoding="utf-8").partition("\n")[0] if path.exists() else ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
