"""The order of items within layers, for few crossings, and their places along a layer, for straight lines."""

import itertools
from collections.abc import Sequence


def order_layers(
    layers: Sequence[Sequence[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The layers sorted, downwards and upwards in turn, by the mean place of the neighbours in the layer before.

    Of all orders met, the one with the fewest crossings. Large graphs get fewer sweeps.
    """
    current = [list(layer) for layer in layers]
    sweeps = 24 if sum(map(len, layers)) < 3000 else 4
    best, fewest = [list(layer) for layer in current], crossings(current, below)
    for sweep in range(sweeps):
        if fewest == 0:
            break
        downwards = sweep % 2 == 0
        neighbours = above if downwards else below
        place: dict[int, float] = {}
        for layer in current if downwards else current[::-1]:
            wish: dict[int, float] = {}
            last = -1.0
            for item in layer:  # an item without neighbours stays beside the one that it stands beside
                if neighbours[item]:
                    last = sum(place[other] for other in neighbours[item]) / len(neighbours[item])
                wish[item] = last
            layer.sort(key=wish.__getitem__)
            place.update((item, float(index)) for index, item in enumerate(layer))
        count = crossings(current, below)
        if count < fewest:
            best, fewest = [list(layer) for layer in current], count
    return best


def crossings(layers: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    """How many pairs of lines between neighbouring layers cross: inversions, counted by a binary indexed tree."""
    total = 0
    for upper, lower in itertools.pairwise(layers):
        place = {item: index for index, item in enumerate(lower)}
        ends = [end for item in upper for end in sorted(place[target] for target in below[item])]
        tree = [0] * (len(lower) + 1)
        for seen, end in enumerate(ends):
            not_right, index = 0, end + 1
            while index:
                not_right += tree[index]
                index &= index - 1
            total += seen - not_right
            index = end + 1
            while index <= len(lower):
                tree[index] += 1
                index += index & -index
    return total


def align(
    layers: Sequence[Sequence[int]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    widths: Sequence[float],
    boxes: int,
    gap: float,
) -> list[float]:
    """The centre of each item: near the mean of its neighbours' centres, in the given order, without overlap.

    Lines between passing places (items from `boxes` on) weigh more, so that long lines are straight; lines from
    boxes without inputs weigh less, so that these stand aside of what is computed.
    """
    centres = [0.0] * len(widths)
    for layer in layers:
        x = 0.0
        for item in layer:
            centres[item] = x + widths[item] / 2
            x += widths[item] + gap
        for item in layer:
            centres[item] -= (x - gap) / 2

    def weight(a: int, b: int) -> float:
        if not (above[a] and above[b]):
            return 0.25
        return (1.0, 3.0, 12.0)[(a >= boxes) + (b >= boxes)]

    rounds = 12 if len(widths) < 5000 else 4
    for turn in range(rounds):
        last = turn >= rounds - 2
        for layer in layers if turn % 2 == 0 else layers[::-1]:
            wishes, weights = [], []
            for item in layer:
                neighbours = above[item] if turn % 2 == 0 else below[item]
                if last or not neighbours:
                    neighbours = [*above[item], *below[item]]
                shares = [weight(item, other) for other in neighbours]
                total = sum(shares)
                pulled = sum(share * centres[other] for share, other in zip(shares, neighbours, strict=True))
                wishes.append(pulled / total if total else centres[item])
                weights.append(total or 0.1)
            for item, centre in zip(layer, _apart(wishes, weights, [widths[i] for i in layer], gap), strict=True):
                centres[item] = centre
    return centres


def _apart(wishes: list[float], weights: list[float], widths: list[float], gap: float) -> list[float]:
    """Centres nearest to the wishes, in weighted squares, at least a gap apart: isotonic regression by pooling.

    With o_k the least distance of item k from the first, c_k - o_k must not decrease.
    """
    offsets = [0.0]
    for left, right in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for wish, weight, offset in zip(wishes, weights, offsets, strict=True):
        mean, total, length = wish - offset, weight, 1
        while pools and pools[-1][0] >= mean:
            before, heavy, many = pools.pop()
            mean = (mean * total + before * heavy) / (total + heavy)
            total, length = total + heavy, length + many
        pools.append((mean, total, length))
    level = [mean for mean, _, length in pools for _ in range(length)]
    return [base + offset for base, offset in zip(level, offsets, strict=True)]
