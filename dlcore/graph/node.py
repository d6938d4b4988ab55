"""Node of a computation graph."""

from typing import NamedTuple

from dlcore._core.types import Array


class Node(NamedTuple):
    """An array of a computation: an argument, a constant or the result of an operation.

    Two nodes are equal only if they are the same object, because their arrays have no single truth value.

    Attributes:
      name: the unique name in the graph. An argument has its name and its path in a tree (x, params.weight).
        Closed-over arrays are c1, c2, …, intermediates v1, v2, … in the order of computation.
      op: `argument`, `constant`, the name of JAX's primitive, or the name of the function where that has a
        derivative rule (relu, sigmoid_cross_entropy).
      value: the array.
      derivative: the derivative of the output with respect to `value`, in its shape and dtype. It is 0 where the
        output does not depend on `value`, and None where it does not exist, with the reason in `note`.
      inputs: the names of the operands, once per use.
      formula: the operation as text, such as `x · v4`; empty for arguments and constants.
      scope: the functions inside which the value is computed, outermost first.
      note: the reason for a missing derivative: the dtype, or the operation without a derivative rule.
    """

    name: str
    op: str
    value: Array
    derivative: Array | None
    inputs: tuple[str, ...]
    formula: str
    scope: tuple[str, ...]
    note: str

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__
