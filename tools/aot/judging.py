"""What a compiled program costs, and what of it is beyond its bounds."""

from typing import Any, NamedTuple

import numpy as np

from aot import hlo
from aot.program import Bounds
from aot.targets import Compiled

STATED = ("highest", "float64")
"""Precisions that round nothing away."""


class Cost(NamedTuple):
    """What a compiled program tells of itself, on one device.

    Attributes:
      temporaries: bytes.
      passes: reads of X or of a copy of it, those in a loop's body once.
      traffic: bytes read and written over bytes of X, a loop's body once; None if the compiler does not say.
      reduced: all-reduces, those in a loop's body once.
      moved: collectives of other kinds.
      products: how many there are by their precision; "tf32" are instructions of PTX.
      spills: bytes; None where the compiler does not tell.
    """

    temporaries: int
    passes: int
    traffic: float | None
    reduced: int
    moved: int
    products: dict[str, int]
    spills: int | None


def cost_of(compiled: Compiled, x: tuple[int, int], block: int) -> Cost:
    """Of a program that reads X of that shape, so many rows at a time; of no rows where it reads none."""
    program = hlo.parse(compiled.text)
    passes = len(hlo.reads(program, x, {x[0], block})) if x[0] else 0
    collectives, products = hlo.collectives(program), dict(hlo.products(program))
    if compiled.tensor_cores:
        products["tf32"] = products.get("tf32", 0) + compiled.tensor_cores
    traffic = compiled.accessed / (4 * x[0] * x[1]) if compiled.accessed and x[0] else None
    reduced = collectives.pop("all-reduce", 0)
    return Cost(
        compiled.temporaries, passes, traffic, reduced, sum(collectives.values()), products, compiled.spills
    )


def most_temporaries(bounds: Bounds, block: int) -> int:
    """Bytes, of a program that reads so many rows at a time."""
    return int(np.ceil(4 * bounds.per_row * block)) + bounds.fixed


def faults(cost: Cost, bounds: Bounds, *, block: int, devices: int) -> list[str]:
    """Every bound that does not hold, as a line each; none where all do."""
    found = []

    def most(what: str, number: Any, bound: Any) -> None:
        if number > bound:
            found.append(f"{what}: at most {bound}, got {number}")

    most("bytes of temporaries", cost.temporaries, most_temporaries(bounds, block))
    most("passes over X", cost.passes, bounds.passes)
    expected = bounds.reduced if devices > 1 else 0
    if cost.reduced != expected:
        found.append(f"all-reduces: expected {expected}, got {cost.reduced}")
    most("other collectives", cost.moved, 0)
    vague = {name: count for name, count in cost.products.items() if name not in STATED}
    if vague:
        found.append(f"products: expected the highest precision, got {vague}")
    most("bytes of spilled registers", cost.spills or 0, bounds.spills)
    return found
