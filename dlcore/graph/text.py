"""A graph as a table of text."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.graph.formulas import summary
from dlcore.graph.node import Node

HEADER = ("name", "formula", "value", "derivative", "")


def to_text(nodes: Sequence[Node], output: str) -> str:
    """One line for each node, its columns aligned."""
    rows = [HEADER]
    for node, (value, derivative) in zip(nodes, summaries(nodes), strict=True):
        rows.append((node.name, label(node), value, derivative, "output" if node.name == output else ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def label(node: Node) -> str:
    """What a node is: its formula, or `argument` or `constant`."""
    return node.formula or node.op


def summaries(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """Value and derivative of each node in a few words; all arrays come from the device at once."""
    arrays = [(node.value, node.derivative) for node in nodes]
    leaves, structure = jax.tree.flatten(arrays)
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in leaves]
    fetched = iter(jax.device_get([leaf for leaf, key in zip(leaves, keys, strict=True) if not key]))
    host: list[Any] = [leaf if key else next(fetched) for leaf, key in zip(leaves, keys, strict=True)]
    pairs = jax.tree.unflatten(structure, host)
    return [
        (summary(value), f"none: {node.note}" if derivative is None else summary(derivative))
        for node, (value, derivative) in zip(nodes, pairs, strict=True)
    ]
