"""Layered layout of a drawing: positions of boxes and lines, from inputs at the top to the output at the bottom.

A line that passes through a layer occupies a place in it like a box, so no line crosses a box. All lines from one
source share a trunk and branch above the layer of their target, so a widely used argument has a single line.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

GAP = 22.0
"""Space between neighbours in a layer, in the units of the boxes."""

MIN_RISE = 34.0
"""Least space between two layers."""

Indices = Sequence[Sequence[int]]


class Box(NamedTuple):
    """A rectangle with its upper left corner."""

    x: float
    y: float
    width: float
    height: float


class Line(NamedTuple):
    """A downward segment of a line from box `source` to box `target`, or to another segment if that is None."""

    source: int
    target: int | None
    x0: float
    y0: float
    x1: float
    y1: float


class Layout(NamedTuple):
    """Boxes and lines in a frame from (0, 0) to (width, height); `undrawn` counts the omitted lines."""

    boxes: list[Box]
    lines: list[Line]
    width: float
    height: float
    undrawn: int


class _Items(NamedTuple):
    """The items of the layers: the boxes, then the places of passing lines.

    Attributes:
      widths: the width of each item.
      owner: the box of each item; for a passing line the source.
      above: the items of the layer above from which lines come.
      below: the items of the layer below to which lines go.
      layers: the items of each layer.
    """

    widths: list[float]
    owner: list[int]
    above: list[list[int]]
    below: list[list[int]]
    layers: list[list[int]]


def compute_layout(sizes: Sequence[tuple[float, float]], inputs: Indices, budget: int = 60_000) -> Layout:
    """Return positions for boxes and for the lines between them.

    Args:
      sizes: width and height of each box.
      inputs: the inputs of each box, which precede it in the sequence.
      budget: the number of places for passing lines; the longest lines beyond it are omitted.

    Returns:
      A `Layout` in which no two boxes overlap and no line crosses a box.

    Source: Sugiyama, Tagawa and Toda (1981), Methods for visual understanding of hierarchical system structures.
    """
    if not sizes:
        return Layout([], [], 0.0, 0.0, 0)
    layer_of = _assign_layers(inputs)
    users: list[list[int]] = [[] for _ in inputs]
    for target, sources in enumerate(inputs):
        for source in dict.fromkeys(sources):
            users[source].append(target)
    drawn, undrawn = _within_budget(layer_of, users, budget)
    items = _make_items([width for width, _ in sizes], layer_of, drawn)
    return _place(sizes, items, _align(items, len(sizes)))._replace(undrawn=undrawn)


def _assign_layers(inputs: Indices) -> list[int]:
    """Return the layer of each box: one below its lowest input, or just above its first use.

    The second rule applies to boxes with at most one input and shortens lines. A box with several inputs would
    lengthen several lines.
    """
    layer: list[int] = []
    for sources in inputs:
        layer.append(1 + max((layer[source] for source in sources), default=-1))
    first_use: dict[int, int] = {}
    for box in reversed(range(len(inputs))):
        sources = set(inputs[box])
        if len(sources) <= 1 and box in first_use:
            layer[box] = first_use[box] - 1
        for source in sources:
            first_use[source] = min(first_use.get(source, layer[box]), layer[box])
    return layer


def _within_budget(layer_of: list[int], users: list[list[int]], budget: int) -> tuple[list[list[int]], int]:
    """Return the lines to draw without the longest ones beyond the budget, and the number of omitted lines."""
    spans = [max(map(layer_of.__getitem__, to), default=0) - layer_of[box] for box, to in enumerate(users)]
    if sum(spans) <= budget + len(spans):
        return users, 0
    remaining, longest = budget, 1
    for rank, span in enumerate(sorted(spans)):
        if span * (len(spans) - rank) > remaining:
            break
        remaining, longest = remaining - span, max(span, 1)
    drawn = [
        [target for target in targets if layer_of[target] - layer_of[box] <= longest]
        for box, targets in enumerate(users)
    ]
    return drawn, sum(map(len, users)) - sum(map(len, drawn))


def _make_items(widths: list[float], layer_of: list[int], users: list[list[int]]) -> _Items:
    """Return the boxes and the places of passing lines, in ordered layers."""
    item_layer, owner = list(layer_of), list(range(len(widths)))
    above: list[list[int]] = [[] for _ in widths]
    for source, targets in enumerate(users):
        trunk, bottom = source, layer_of[source]
        for target in sorted(targets, key=layer_of.__getitem__):
            while bottom < layer_of[target] - 1:
                bottom += 1
                widths.append(4.0)
                item_layer.append(bottom)
                owner.append(source)
                above.append([trunk])
                trunk = len(owner) - 1
            above[target].append(trunk)
    layers: list[list[int]] = [[] for _ in range(max(item_layer) + 1)]
    below: list[list[int]] = [[] for _ in owner]
    for item, layer in enumerate(item_layer):
        layers[layer].append(item)
        for parent in above[item]:
            below[parent].append(item)
    return _Items(widths, owner, above, below, order_layers(layers, above, below))


def order_layers(layers: Indices, above: Indices, below: Indices) -> list[list[int]]:
    """Return the layers sorted by the barycenter of the neighbours, in alternating sweeps down and up.

    The result is the order with the fewest crossings among all sweeps. Large graphs have fewer sweeps.
    """
    current = [list(layer) for layer in layers]
    n_sweeps = 24 if sum(map(len, layers)) < 3000 else 4
    best, fewest = [list(layer) for layer in current], count_crossings(current, below)
    for sweep in range(n_sweeps):
        if fewest == 0:
            break
        downwards = sweep % 2 == 0
        neighbours = above if downwards else below
        position: dict[int, float] = {}
        for layer in current if downwards else current[::-1]:
            barycenter: dict[int, float] = {}
            last = -1.0
            for item in layer:  # an item without neighbours stays beside its predecessor
                if neighbours[item]:
                    last = sum(position[neighbour] for neighbour in neighbours[item]) / len(neighbours[item])
                barycenter[item] = last
            layer.sort(key=barycenter.__getitem__)
            position.update((item, float(index)) for index, item in enumerate(layer))
        n_crossings = count_crossings(current, below)
        if n_crossings < fewest:
            best, fewest = [list(layer) for layer in current], n_crossings
    return best


def count_crossings(layers: Indices, below: Indices) -> int:
    """Return the number of crossing lines between neighbouring layers: inversions, by a binary indexed tree."""
    total = 0
    for upper, lower in itertools.pairwise(layers):
        position = {item: index for index, item in enumerate(lower)}
        ends = [end for item in upper for end in sorted(position[target] for target in below[item])]
        tree = [0] * (len(lower) + 1)
        for n_previous, end in enumerate(ends):
            n_not_right, index = 0, end + 1
            while index:
                n_not_right += tree[index]
                index &= index - 1
            total += n_previous - n_not_right
            index = end + 1
            while index <= len(lower):
                tree[index] += 1
                index += index & -index
    return total


def _align(items: _Items, n_boxes: int) -> list[float]:
    """Return the center of each item: near the mean center of its neighbours, in order, without overlap.

    Lines between passing places weigh more, so that long lines are straight. Lines from boxes without inputs weigh
    less, so that these boxes stand aside.
    """
    widths, _, above, below, layers = items
    centers = [0.0] * len(widths)
    for layer in layers:
        x = 0.0
        for item in layer:
            centers[item] = x + widths[item] / 2
            x += widths[item] + GAP
        for item in layer:
            centers[item] -= (x - GAP) / 2

    def weight_of(a: int, b: int) -> float:
        return (1.0, 3.0, 12.0)[(a >= n_boxes) + (b >= n_boxes)] if above[a] and above[b] else 0.25

    n_rounds = 12 if len(widths) < 5000 else 4
    for turn in range(n_rounds):
        downwards, use_both = turn % 2 == 0, turn >= n_rounds - 2
        for layer in layers if downwards else layers[::-1]:
            targets, weights = [], []
            for item in layer:
                neighbours = above[item] if downwards else below[item]
                if use_both or not neighbours:
                    neighbours = [*above[item], *below[item]]
                shares = [weight_of(item, neighbour) for neighbour in neighbours]
                total = sum(shares)
                pull = sum(share * centers[neighbour] for share, neighbour in zip(shares, neighbours, strict=True))
                targets.append(pull / total if total else centers[item])
                weights.append(total or 0.1)
            separated = _separate(targets, weights, [widths[item] for item in layer])
            for item, center in zip(layer, separated, strict=True):
                centers[item] = center
    return centers


def _separate(targets: list[float], weights: list[float], widths: list[float]) -> list[float]:
    """Return the centers nearest to the targets, in weighted least squares, at least `GAP` apart.

    With o_k the least distance of item k from the first, c_k - o_k must not decrease: isotonic regression.
    """
    offsets = [0.0]
    for left, right in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + GAP)
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for target, weight, offset in zip(targets, weights, offsets, strict=True):
        mean, total, length = target - offset, weight, 1
        while pools and pools[-1][0] >= mean:
            pool_mean, pool_weight, pool_length = pools.pop()
            mean = (mean * total + pool_mean * pool_weight) / (total + pool_weight)
            total, length = total + pool_weight, length + pool_length
        pools.append((mean, total, length))
    levels = [mean for mean, _, length in pools for _ in range(length)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _place(sizes: Sequence[tuple[float, float]], items: _Items, centers: list[float]) -> Layout:
    """Return the boxes and the segments of lines, with the heights of the layers."""
    widths, owner, above, _, layers = items
    boxes = [Box(0, 0, 0, 0)] * len(sizes)
    lines: list[Line] = []
    left = min(center - width / 2 for center, width in zip(centers, widths, strict=True))
    middle = [center - left for center in centers]
    bottoms = [0.0] * len(owner)
    y = 0.0
    for layer in layers:
        ports = {item: _ports(above[item], middle, middle[item], widths[item]) for item in layer}
        reach = max((abs(middle[parent] - x) for item in layer for parent, x in ports[item]), default=0)
        y += (MIN_RISE + min(0.1 * reach, 90)) if y else 0
        height = max((sizes[item][1] for item in layer if item < len(sizes)), default=0)
        for item in layer:
            target = item if item < len(sizes) else None
            if target is not None:
                boxes[item] = Box(middle[item] - widths[item] / 2, y, *sizes[item])
            end = y + (0 if target is None else sizes[item][1])
            if end < y + height:
                lines.append(Line(owner[item], None, middle[item], end, middle[item], y + height))
            for parent, x in ports[item]:
                lines.append(Line(owner[parent], target, middle[parent], bottoms[parent], x, y))
        y += height
        for item in layer:
            bottoms[item] = y
    # A box without users needs no line down to the lower edge of its layer.
    sources = {parent for parents in above for parent in parents}
    lines = [line for line in lines if line.target is not None or line.source in sources]
    width = max(center + width / 2 for center, width in zip(middle, widths, strict=True))
    return Layout(boxes, lines, width, y, 0)


def _ports(parents: list[int], middle: list[float], center: float, width: float) -> list[tuple[int, float]]:
    """Return each parent and the point of the upper edge where its line arrives, from left to right."""
    ordered = sorted(parents, key=middle.__getitem__)
    step = min(0.7 * width / len(ordered), 40.0) if ordered else 0
    start = center - step * (len(ordered) - 1) / 2
    return [(parent, start + step * index) for index, parent in enumerate(ordered)]
