"""Parts `verify-float32` and `verify-float64`: every public function against its float64 reference."""

import contextlib

from dlcore._core.compilation.compilations import Compilations
from dlcore.devices import find_device
from dlcore.verification import Outcome, Verification, VerificationError, verify
from dlcore.verification.device_facts import measure
from on_device.child import Request, Save
from on_device.document import JsonObject
from on_device.estimate import Work

SMALL = ("losses.huber", "linalg.trace", "models.linear")
"""Beginnings of names that a small run checks."""
PROGRAMS = {"float32": 138, "float64": 150}
"""Programs that a run compiles, as counted on a CPU."""
CALLS = 1_250
"""Calls of these programs. Most checks call one for each example."""
FIELDS = ("passed", "outcomes", "device", "versions", "bounds_measured", "programs", "compile_s")


def run(request: Request, save: Save) -> JsonObject:
    """Verify in the dtype that the name of the part ends with."""
    dtype = request.name.rpartition("-")[2]
    device = find_device(request.device)
    facts = measure(device)
    outcomes: list[Outcome] = []

    def result() -> JsonObject:
        verification = Verification(facts, tuple(outcomes), device.platform == "cpu")
        counted = {"programs": compilations.count, "compile_s": compilations.seconds}
        return {**verification.to_json(), **counted}

    def add(outcome: Outcome) -> None:
        outcomes.append(outcome)
        save(result())

    # The outcomes have the failures.
    with Compilations() as compilations, contextlib.suppress(VerificationError):
        verify(request.device, [dtype], only=SMALL if request.small else (), callback=add)
    return result()


def work(dtype: str) -> Work:
    """Return the work of a dtype; the arrays are small."""
    return Work(programs=PROGRAMS[dtype], calls=CALLS)
