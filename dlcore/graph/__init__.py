"""Computation graphs of JAX functions: every intermediate with its value and its derivative, and drawings."""

from dlcore.graph.graph import Graph
from dlcore.graph.node import Node
from dlcore.graph.trace import trace

__all__ = ["Graph", "Node", "trace"]
