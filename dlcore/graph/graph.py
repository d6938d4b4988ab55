"""Computation graph of a function at a point."""

import dataclasses
import functools

from dlcore.graph.node import Node
from dlcore.graph.render.html import to_html
from dlcore.graph.render.svg import to_svg
from dlcore.graph.render.text import to_text


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Graph:
    """The computation graph of a function at a point.

    Two graphs are equal only if they are the same object. A notebook displays a graph as its drawing.

    Attributes:
      nodes: arguments, constants, then intermediates in the order of computation.
      output: the name of the node that is the function's result.
    """

    nodes: tuple[Node, ...]
    output: str

    def __getitem__(self, name: str) -> Node:
        """Return the node with this name."""
        return self._by_name[name]

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, output {self.output} = {float(self[self.output].value):.3g})"

    def _repr_html_(self) -> str:
        return self.to_svg()

    def to_text(self) -> str:
        """Return the graph as an aligned table with one line per node."""
        return to_text(self.nodes, self.output)

    def to_svg(self) -> str:
        """Return the graph as an SVG drawing with the arguments at the top and the output at the bottom."""
        return to_svg(self.nodes, self.output)

    def to_html(self, title: str = "Computation graph") -> str:
        """Return a self-contained HTML page with the drawing and a searchable table of the nodes."""
        return to_html(self.nodes, self.output, title)

    @functools.cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}
