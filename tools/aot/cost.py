"""Cost of a compiled program, and its violations of the bounds."""

import math
from typing import NamedTuple

from aot import hlo
from aot.program import Bounds
from aot.targets import Compiled

EXACT = ("highest", "float64")
"""Precisions of products that do not round their operands."""


class Cost(NamedTuple):
    """Cost of a compiled program on one device.

    Attributes:
      temporaries: bytes.
      passes: reads of X or of a copy of it, those in a loop's body once.
      traffic: bytes read and written over bytes of X, a loop's body once; None if the compiler does not report it.
      reduced: number of all-reduces, those in a loop's body once.
      moved: number of other collectives.
      products: number of products by precision; "tf32" counts instructions of PTX.
      spills: bytes of spilled registers; None if the compiler does not report them.
    """

    temporaries: int
    passes: int
    traffic: float | None
    reduced: int
    moved: int
    products: dict[str, int]
    spills: int | None


def cost_of(compiled: Compiled, shape: tuple[int, int], block: int) -> Cost:
    """Return the cost of a program that reads X of this shape in blocks of `block` rows; zero rows mean no X."""
    module = hlo.parse(compiled.text)
    rows, columns = shape
    passes = len(hlo.reads(module, shape, {rows, block})) if rows else 0
    collectives, products = hlo.collectives(module), dict(hlo.products(module))
    if compiled.tensor_cores:
        products["tf32"] = products.get("tf32", 0) + compiled.tensor_cores
    traffic = compiled.accessed / (4 * rows * columns) if compiled.accessed and rows else None
    reduced = collectives.pop("all-reduce", 0)
    return Cost(
        compiled.temporaries, passes, traffic, reduced, sum(collectives.values()), products, compiled.spills
    )


def max_temporaries(bounds: Bounds, block: int) -> int:
    """Return the largest number of bytes allowed for a program that reads `block` rows at a time."""
    return math.ceil(4 * bounds.per_row * block) + bounds.fixed


def violations(cost: Cost, bounds: Bounds, *, block: int, n_devices: int) -> list[str]:
    """Return a line for each bound that is exceeded."""
    lines = []

    def at_most(name: str, number: int, limit: int) -> None:
        if number > limit:
            lines.append(f"{name}: at most {limit}, got {number}")

    at_most("bytes of temporaries", cost.temporaries, max_temporaries(bounds, block))
    at_most("passes over X", cost.passes, bounds.passes)
    reduced = bounds.reduced if n_devices > 1 else 0
    if cost.reduced != reduced:
        lines.append(f"all-reduces: expected {reduced}, got {cost.reduced}")
    at_most("other collectives", cost.moved, 0)
    rounded = {name: count for name, count in cost.products.items() if name not in EXACT}
    if rounded:
        lines.append(f"products: expected the highest precision, got {rounded}")
    at_most("bytes of spilled registers", cost.spills or 0, bounds.spills)
    return lines
