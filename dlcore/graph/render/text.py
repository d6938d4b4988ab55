"""Text table of a graph."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.graph.node import Node
from dlcore.graph.render.formulas import summarize

HEADER = ("name", "formula", "array", "value", "derivative", "")


class NodeText(NamedTuple):
    """The text that describes the arrays of a node.

    Attributes:
      array: dtype and shape; empty for scalars and short vectors.
      value: the content of the value.
      derivative: the content of the derivative, or the reason why it does not exist.
    """

    array: str
    value: str
    derivative: str


def to_text(nodes: Sequence[Node], output: str) -> str:
    """Return an aligned table with one line per node, without empty columns."""
    rows = [
        (node.name, label(node), *text, "output" if node.name == output else "")
        for node, text in zip(nodes, describe(nodes), strict=True)
    ]
    columns = []
    for head, *cells in zip(HEADER, *rows, strict=True):
        if any(cells):
            width = max(map(len, (head, *cells)))
            columns.append([cell.ljust(width) for cell in (head, *cells)])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def label(node: Node) -> str:
    """Return the formula of a node, or `argument` or `constant`."""
    return node.formula or node.op


def describe(nodes: Sequence[Node]) -> list[NodeText]:
    """Return the text for each node. One transfer copies all arrays from the device."""
    leaves, structure = jax.tree.flatten([(node.value, node.derivative) for node in nodes])
    are_keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in leaves]
    copies = iter(jax.device_get([leaf for leaf, is_key in zip(leaves, are_keys, strict=True) if not is_key]))
    host: list[jax.Array | np.ndarray] = [
        leaf if is_key else next(copies) for leaf, is_key in zip(leaves, are_keys, strict=True)
    ]
    texts = []
    for node, (value, derivative) in zip(nodes, jax.tree.unflatten(structure, host), strict=True):
        kind, content = summarize(value)
        slope = f"none: {node.note}" if derivative is None else summarize(derivative)[1]
        texts.append(NodeText(kind, content, slope))
    return texts
