"""Programs to compile: how each is lowered, and the bounds on its cost."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax.stages

from aot.targets import Placement

MEGABYTE = 2**20


class Jitted(Protocol):
    """A jitted function."""

    def trace(self, *args: Any, **kwargs: Any) -> jax.stages.Traced:
        """Trace the function for arguments."""
        ...


class Bounds(NamedTuple):
    """Bounds on the cost of a compiled program on one device.

    Attributes:
      passes: reads of X or of a copy of it, those in a loop's body once.
      per_row: temporaries for each row, in numbers of the size of those of X.
      fixed: bytes of other temporaries.
      reduced: all-reduces when rows are on several devices, those in a loop's body once; one device needs none.
      spills: bytes of spilled registers.
    """

    passes: int
    per_row: float
    fixed: int = MEGABYTE
    reduced: int = 1
    spills: int = 0


class Lowered(NamedTuple):
    """A program before it is compiled.

    Attributes:
      lowered: the input of the compiler.
      x: shape of X on one device.
      block: number of rows that are read at a time.
    """

    lowered: jax.stages.Lowered
    x: tuple[int, int]
    block: int


Lower = Callable[[Placement], Lowered]
"""Function that lowers a program for a placement."""


class Program(NamedTuple):
    """A program of the library that trains or predicts.

    Attributes:
      name: its name in the documentation.
      lower: lowers it for a placement. It is called with the placement's device as the default one, because the
        library's decisions depend on that.
      bounds: bounds by target; the program is compiled for these targets only.
      sharded: whether its rows may be on several devices.
      quick: whether it belongs to the small selection of `--quick`.
      wide: whether it computes in float64.
    """

    name: str
    lower: Lower
    bounds: dict[str, Bounds]
    sharded: bool = True
    quick: bool = False
    wide: bool = False
