"""A graph as a table of text."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.graph.node import Node
from dlcore.graph.render.formulas import summary

HEADER = ("name", "formula", "array", "value", "derivative", "")


class Words(NamedTuple):
    """What is told of a node's arrays.

    Attributes:
      array: dtype and shape; empty for numbers and short vectors.
      value: what is in the value.
      derivative: what is in the derivative, or why there is none.
    """

    array: str
    value: str
    derivative: str


def to_text(nodes: Sequence[Node], output: str) -> str:
    """One line for each node, its columns aligned; a column of which there is nothing to tell is left out."""
    rows = []
    for node, words in zip(nodes, summaries(nodes), strict=True):
        rows.append((node.name, label(node), *words, "output" if node.name == output else ""))
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    heads = [head for head, column in zip(HEADER, zip(*rows, strict=True), strict=True) if any(column)]
    for place, (head, column) in enumerate(zip(heads, columns, strict=True)):
        width = max(map(len, (head, *column)))
        columns[place] = tuple(cell.ljust(width) for cell in (head, *column))
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def label(node: Node) -> str:
    """What a node is: its formula, or `argument` or `constant`."""
    return node.formula or node.op


def summaries(nodes: Sequence[Node]) -> list[Words]:
    """The words for each node; all arrays come from the device at once."""
    leaves, structure = jax.tree.flatten([(node.value, node.derivative) for node in nodes])
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in leaves]
    fetched = iter(jax.device_get([leaf for leaf, key in zip(leaves, keys, strict=True) if not key]))
    host: list[Any] = [leaf if key else next(fetched) for leaf, key in zip(leaves, keys, strict=True)]
    told = []
    for node, (value, derivative) in zip(nodes, jax.tree.unflatten(structure, host), strict=True):
        kind, text = summary(value)
        told.append(Words(kind, text, f"none: {node.note}" if derivative is None else summary(derivative)[1]))
    return told
