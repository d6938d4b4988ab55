"""What a graph is made of."""

from typing import NamedTuple

from dlcore._core.types import Array


class Node(NamedTuple):
    """One array of a computation: an argument, a constant or what an operation makes.

    Attributes:
      name: unique in its graph: the argument's own name with its path in a tree (x, params.weight), c1, c2, … for
        closed-over arrays, v1, v2, … for intermediates, in the order in which they are computed.
      op: `argument`, `constant`, the name of JAX's operation, or of the function where it has a derivative rule
        of its own (relu, sigmoid_cross_entropy).
      value: the array itself.
      derivative: of the output with respect to `value`, in its shape and dtype; 0 where the output does not depend
        on it, None where there is none: `note` says why.
      inputs: the names of the nodes it is made from, each as often as it is used.
      formula: what it is, for a reader: `x · v4`; empty for arguments and constants.
      scope: the functions inside which it is computed, outermost first.
      note: why there is no derivative: the dtype, or the operation behind which it stands.
    """

    name: str
    op: str
    value: Array
    derivative: Array | None
    inputs: tuple[str, ...]
    formula: str
    scope: tuple[str, ...]
    note: str
