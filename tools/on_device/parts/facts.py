"""Part `facts`: the device, its driver and software, the format of its products and its roofline peaks."""

import jax

from dlcore.benchmark.roofline_peaks import PRODUCT_SIDE, measure_peaks
from dlcore.devices import find_device
from dlcore.verification.device_facts import measure
from on_device.child import Request, Save
from on_device.document import JsonObject
from on_device.estimate import Work
from on_device.machine import describe_host

SCALE, SMALL_SCALE = 16.0, 1 / 64
"""Factors of the sizes of `measure_peaks`. A call on the default sizes is too short on a fast device."""
REPEATS = 9
FIELDS = ("host", "arithmetic", "peaks", "host_peaks")


def run(request: Request, save: Save) -> JsonObject:
    """Describe the device, then measure its peaks and those of the host."""
    device = find_device(request.device)
    result: JsonObject = {"host": describe_host(request.device), "arithmetic": measure(device)._asdict()}
    save(result)
    scale = SMALL_SCALE if request.small else SCALE
    result["peaks"] = measure_peaks(device, REPEATS, scale)._asdict()
    cpu = jax.devices("cpu")[-1]
    return result | {"host_peaks": measure_peaks(cpu, REPEATS, min(scale, 1.0))._asdict()}


def work() -> Work:
    """Return the work at full size."""
    operations = 2 * PRODUCT_SIDE**3 * (REPEATS + 1)
    return Work(float32=operations * SCALE**1.5, programs=8, tuned=3, host=3 * operations)
