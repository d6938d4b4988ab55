"""Where the boxes and lines of a drawing go: layers from top to bottom, inputs above what is made from them.

A line that passes a layer takes a place in it like a box, so no line crosses a box. All lines of one source share
a trunk and part from it above the layer where they end, so an argument that is used everywhere is one line.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dlcore.graph.render.ordering import align, order_layers

GAP = 22.0
"""Free space between neighbours of a layer, in the units of the boxes."""

RISE = 34.0
"""Least free space between two layers."""


class Box(NamedTuple):
    """A rectangle by its upper left corner."""

    x: float
    y: float
    width: float
    height: float


class Line(NamedTuple):
    """A piece of a line from box `source`, downwards; `target` is the box where it ends, None where it goes on."""

    source: int
    target: int | None
    x0: float
    y0: float
    x1: float
    y1: float


class Layout(NamedTuple):
    """Where everything is, in a frame from (0, 0) to (width, height); `undrawn` counts the lines left out."""

    boxes: list[Box]
    lines: list[Line]
    width: float
    height: float
    undrawn: int


def lay_out(sizes: Sequence[tuple[float, float]], inputs: Sequence[Sequence[int]], budget: int = 60_000) -> Layout:
    """Places for boxes and for the lines between them.

    Args:
      sizes: width and height of each box.
      inputs: of each box, the boxes before it in the sequence from which lines come.
      budget: how many places lines may take as they pass layers; the longest lines beyond it are left out.

    Returns:
      A `Layout` in which no two boxes overlap and no line crosses a box.

    Source: Sugiyama, Tagawa and Toda (1981), Methods for visual understanding of hierarchical system structures.
    """
    if not sizes:
        return Layout([], [], 0.0, 0.0, 0)
    layer_of = _layers(inputs)
    users = _users(inputs)
    drawn, undrawn = _within_budget(layer_of, users, budget)
    # Items: the boxes, then the places of passing lines. `above[item]` are the items it hangs from.
    widths, item_layer = [width for width, _ in sizes], list(layer_of)
    owner = list(range(len(sizes)))
    above: list[list[int]] = [[] for _ in sizes]
    for source, targets in enumerate(drawn):
        trunk, reached = source, layer_of[source]
        for target in sorted(targets, key=layer_of.__getitem__):
            while reached < layer_of[target] - 1:
                reached += 1
                widths.append(4.0)
                item_layer.append(reached)
                owner.append(source)
                above.append([trunk])
                trunk = len(owner) - 1
            above[target].append(trunk)
    layers: list[list[int]] = [[] for _ in range(max(item_layer) + 1)]
    for item, layer in enumerate(item_layer):
        layers[layer].append(item)
    below: list[list[int]] = [[] for _ in owner]
    for item, parents in enumerate(above):
        for parent in parents:
            below[parent].append(item)
    layers = order_layers(layers, above, below)
    centres = align(layers, above, below, widths, len(sizes), GAP)
    return _draw(sizes, layers, above, owner, widths, centres, undrawn)


def _layers(inputs: Sequence[Sequence[int]]) -> list[int]:
    """The layer of each box: one below its lowest input, or, with at most one input, just above its first use.

    The second makes lines shorter: what has several inputs would draw out several lines if it went down.
    """
    layer: list[int] = []
    for sources in inputs:
        layer.append(1 + max((layer[source] for source in sources), default=-1))
    first: dict[int, int] = {}
    for box in reversed(range(len(inputs))):
        sources = set(inputs[box])
        if len(sources) <= 1 and box in first:
            layer[box] = first[box] - 1
        for source in sources:
            first[source] = min(first.get(source, layer[box]), layer[box])
    return layer


def _users(inputs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Of each box, those that a line goes to, each once."""
    users: list[list[int]] = [[] for _ in inputs]
    for target, sources in enumerate(inputs):
        for source in dict.fromkeys(sources):
            users[source].append(target)
    return users


def _within_budget(layer_of: list[int], users: list[list[int]], budget: int) -> tuple[list[list[int]], int]:
    """The lines to draw: where those that pass layers take too many places, the longest are left out."""
    spans = [
        max((layer_of[target] for target in targets), default=0) - layer_of[box]
        for box, targets in enumerate(users)
    ]
    if sum(spans) <= budget + len(spans):
        return users, 0
    left, longest = budget, 1
    for rank, span in enumerate(sorted(spans)):
        if span * (len(spans) - rank) > left:
            break
        left, longest = left - span, max(span, 1)
    drawn = [
        [target for target in targets if layer_of[target] - layer_of[box] <= longest]
        for box, targets in enumerate(users)
    ]
    return drawn, sum(map(len, users)) - sum(map(len, drawn))


def _draw(
    sizes: Sequence[tuple[float, float]],
    layers: list[list[int]],
    above: list[list[int]],
    owner: list[int],
    widths: list[float],
    centres: list[float],
    undrawn: int,
) -> Layout:
    """Heights of layers and the pieces of lines."""
    boxes = [Box(0, 0, 0, 0)] * len(sizes)
    lines: list[Line] = []
    left = min(centres[item] - widths[item] / 2 for item in range(len(owner)))
    middle = [centre - left for centre in centres]
    bottoms = [0.0] * len(owner)
    y = 0.0
    for layer in layers:
        ports = {item: _ports(item, above[item], middle, widths) for item in layer}
        reach = max((abs(middle[p] - x) for item in layer for p, x in ports[item]), default=0)
        y += (RISE + min(0.1 * reach, 90)) if y else 0
        height = max((sizes[item][1] for item in layer if item < len(sizes)), default=0)
        for item in layer:
            real = item < len(sizes)
            if real:
                boxes[item] = Box(middle[item] - widths[item] / 2, y, *sizes[item])
            end = y + (sizes[item][1] if real else 0)
            if end < y + height:
                lines.append(Line(owner[item], None, middle[item], end, middle[item], y + height))
            for parent, x in ports[item]:
                lines.append(Line(owner[parent], item if real else None, middle[parent], bottoms[parent], x, y))
        y += height
        for item in layer:
            bottoms[item] = y
    # A box that nothing hangs from needs no line down to the lower edge of its layer.
    hung = {parent for parents in above for parent in parents}
    lines = [line for line in lines if line.target is not None or line.source in hung]
    return Layout(boxes, lines, max(m + widths[i] / 2 for i, m in enumerate(middle)), y, undrawn)


def _ports(item: int, parents: list[int], middle: list[float], widths: list[float]) -> list[tuple[int, float]]:
    """Where on the upper edge of an item each line from above arrives: in the order in which they come."""
    ordered = sorted(parents, key=middle.__getitem__)
    step = min(0.7 * widths[item] / len(ordered), 40.0) if ordered else 0
    start = middle[item] - step * (len(ordered) - 1) / 2
    return [(parent, start + step * index) for index, parent in enumerate(ordered)]
