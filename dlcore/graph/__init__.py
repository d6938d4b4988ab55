"""The computation graph of any JAX function: every intermediate, its value and its derivative, drawn."""

from dlcore.graph.graph import Graph
from dlcore.graph.node import Node
from dlcore.graph.trace import trace

__all__ = ["Graph", "Node", "trace"]
