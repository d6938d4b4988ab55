"""What a program is here: how it is lowered for a place, and within which bounds what is compiled must stay."""

from collections.abc import Callable
from typing import Any, NamedTuple

from aot.targets import Place

MEGABYTE = 2**20


class Bounds(NamedTuple):
    """What a compiled program may cost, on one device.

    Attributes:
      passes: reads of X or of a copy of it, those in a loop's body once.
      per_row: numbers of temporaries for each row, of the size of those of X.
      fixed: bytes of temporaries beside them.
      reduced: all-reduces where rows lie over several devices, those in a loop's body once; on one there are none.
      spills: bytes of registers.
    """

    passes: int
    per_row: float
    fixed: int = MEGABYTE
    reduced: int = 1
    spills: int = 0


class Lowered(NamedTuple):
    """A program before it is compiled.

    Attributes:
      lowered: what JAX hands to the compiler.
      x: the shape of X on one device.
      block: rows that are read at a time there.
    """

    lowered: Any
    x: tuple[int, int]
    block: int


class Program(NamedTuple):
    """A train or predict program of the library.

    Attributes:
      name: as the documents call it.
      lower: from a place; called where the library decides as on that place's device.
      bounds: of what is compiled, by target; it is compiled for no other.
      sharded: whether rows may lie over several devices.
      quick: whether it is one of the few that stand for all.
      wide: whether it is in float64.
    """

    name: str
    lower: Callable[[Place], Lowered]
    bounds: dict[str, Bounds]
    sharded: bool = True
    quick: bool = False
    wide: bool = False
