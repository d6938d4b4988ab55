"""The graph itself, and how it is shown."""

import dataclasses
import functools

from dlcore.graph.node import Node
from dlcore.graph.render.html import to_html
from dlcore.graph.render.svg import to_svg
from dlcore.graph.render.text import to_text


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Graph:
    """The computation graph of a function at a point.

    Attributes:
      nodes: arguments, constants, then intermediates in the order in which they are computed.
      output: the name of the node that is the function's result.
    """

    nodes: tuple[Node, ...]
    output: str

    def __getitem__(self, name: str) -> Node:
        """The node of a name."""
        return self._by_name[name]

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, output {self.output})"

    def to_text(self) -> str:
        """The graph as an aligned table, one node a line."""
        return to_text(self.nodes, self.output)

    def to_svg(self) -> str:
        """The graph as a drawing, a file of Scalable Vector Graphics: arguments above, the output below."""
        return to_svg(self.nodes, self.output)

    def to_html(self, title: str = "Computation graph") -> str:
        """The graph as a page of its own that loads nothing: the drawing, and a table to search and to fold."""
        return to_html(self.nodes, self.output, title)

    @functools.cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}
