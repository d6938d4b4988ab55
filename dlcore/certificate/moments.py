r"""Sums of products over rows, shared by all sets of weights that are made of the same parts.

Folds are sets of weights that agree where they are not 0. Rows that are in the same folds form a part; each part
is multiplied once, about its own mean, and a set's sums are those of its parts. With the part p of total weight
$S_p$ about a point $a_p$, $r_p = \sum s(v - a_p)$ and $Q_p = \sum s(v - a_p)(v - a_p)^\top$, the sums about any
point b are, with $d_p = a_p - b$,

$\sum_p Q_p + r_pd_p^\top + d_pr_p^\top + S_pd_pd_p^\top$

in which nothing large cancels as $a_p$ is the mean of the part and b that of the set, however far parts are apart.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.rows import (
    Rounding,
    Weights,
    index_slices,
    rounding_over,
    scaled_weights,
    taken,
    weights_of,
)

KEPT_BYTES = 2**30
"""So much may all parts' sums take, or a quarter of the data; else each set of weights is summed alone."""


class Moments(NamedTuple):
    """Of one set of weights, divided by Σ s; x and y stand for the columns about their means.

    Attributes:
      gram: Σ s·x·xᵀ, (m, m).
      cross: Σ s·y·xᵀ, (targets, m).
      height: Σ s·y², (targets,).
      middle: the means of x and y, (m + targets,).
      squares: shape (m + targets,): no number of `gram` or `cross` is off by more than `relative` times the root
        of the product of its row's and its column's.
      relative: see `squares`.
      rounding: of sums over the rows.
    """

    gram: np.ndarray
    cross: np.ndarray
    height: np.ndarray
    middle: np.ndarray
    squares: np.ndarray
    relative: float
    rounding: Rounding


class _Part(NamedTuple):
    """S, a, r, the rows of Q that belong to x, its diagonal, and the blocks that were summed."""

    total: float
    point: np.ndarray
    rest: np.ndarray
    products: np.ndarray
    squares: np.ndarray
    blocks: list[slice]


class RowSums:
    """The moments of each of some sets of weights, summed when they are asked for, parts once for all sets."""

    def __init__(self, x: np.ndarray, y: np.ndarray, s: Weights) -> None:
        """`y` is (n, targets), `s` has a set of weights in each row."""
        self.x, self.y, self.s = x, y, s
        self._shared = _parts(
            s.numbers, x.shape[1] * (x.shape[1] + y.shape[1]) * 8, max(KEPT_BYTES, x.nbytes // 4)
        )
        self._sums: list[_Part] | None = None

    def of(self, k: int) -> Moments:
        """Of set k."""
        if self._shared is None:
            alone = Weights(self.s.numbers[k : k + 1], self.s.exponent[k : k + 1])
            return _merged([self._sum(alone, np.flatnonzero(alone.numbers[0]))])
        parts, members = self._shared
        if self._sums is None:
            base = scaled_weights(self.s.numbers.max(0, keepdims=True))
            self._sums = [self._sum(base, rows) for rows in parts]
        return _merged([part for part, chosen in zip(self._sums, members[k], strict=True) if chosen])

    def _sum(self, s: Weights, index: np.ndarray) -> _Part:
        x, y = self.x, self.y
        features, columns = x.shape[1], x.shape[1] + y.shape[1]
        blocks = index_slices(len(index), columns)
        longest = blocks[0].stop
        room = np.empty(longest * features), np.empty(longest * y.shape[1])

        def block(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            rows = index[part]
            weight = weights_of(s, slice(None), rows)[0]
            v = [
                space[: len(rows) * a.shape[1]].reshape(len(rows), -1)
                for space, a in zip(room, (x, y), strict=True)
            ]
            v[0][...], v[1][...] = taken(x, rows), taken(y, rows)
            return weight, v[0], v[1]

        total, point, rest = 0.0, np.zeros(columns), np.zeros(columns)
        for part in blocks:
            weight, rows, aims = block(part)
            total += weight.sum()
            point[:features] += weight @ rows
            point[features:] += weight @ aims
        point /= total
        products, squares = np.zeros((features, columns)), np.zeros(columns)
        for part in blocks:
            weight, rows, aims = block(part)
            root = np.sqrt(weight)
            for v, a in ((rows, point[:features]), (aims, point[features:])):
                v -= a
                v *= root[:, None]
            products[:, :features] += rows.T @ rows
            products[:, features:] += rows.T @ aims
            squares[features:] += np.einsum("ij,ij->j", aims, aims)
            rest[:features] += root @ rows
            rest[features:] += root @ aims
        squares[:features] = np.diag(products)
        return _Part(float(total), point, rest, products, squares, blocks)


def _parts(numbers: np.ndarray, size: int, room: int) -> tuple[list[np.ndarray], np.ndarray] | None:
    """The rows of each part, and (sets, parts): which of them a set is made of; None where sets share nothing."""
    chosen = numbers > 0
    base = numbers.max(0)
    largest = numbers.max(1).astype(np.float64)
    alike = all(((row == base) | ~mine).all() for row, mine in zip(numbers, chosen, strict=True))
    # Weights of a set that are all tiny beside another's would lose digits on the scale of all.
    if not alike or np.ldexp(float(largest.max()), -500) > largest.min():
        return None
    codes, part = np.unique(np.packbits(chosen, axis=0), axis=1, return_inverse=True)
    members = np.array(np.unpackbits(codes, axis=0, count=len(numbers)), bool)
    used = np.logical_or.reduce(members)
    if used.sum() > 2 * len(numbers) or used.sum() * size > room:
        return None
    order = np.argsort(part.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(part.reshape(-1), minlength=len(used)))
    rows = np.split(order, ends[:-1])
    return [group for group, kept in zip(rows, used, strict=True) if kept], members[:, used]


def _merged(parts: list[_Part]) -> Moments:
    total = sum(part.total for part in parts)
    features = len(parts[0].products)
    middle = np.sum([part.total / total * part.point for part in parts], axis=0)
    shifts = [part.point - middle for part in parts]
    products = parts[0].products.copy()
    for part in parts[1:]:
        products += part.products
    left = np.stack([part.rest + part.total * d for part, d in zip(parts, shifts, strict=True)])
    right, rest = np.stack(shifts), np.stack([part.rest for part in parts])
    if len(parts) > 1:
        products += left[:, :features].T @ right
        products += right[:, :features].T @ rest
    products /= total
    own = np.stack([part.squares for part in parts])
    weight = np.array([[part.total] for part in parts])
    squares = ((np.sqrt(own) + np.sqrt(weight) * abs(right)) ** 2).sum(0) / total
    height = (own + left * right + right * rest).sum(0)[features:] / total
    # The points are means up to rounding; what is left of the mean goes too.
    away = left.sum(0) / total
    products -= np.outer(away[:features], away)
    height -= away[features:] ** 2
    middle = middle + away
    blocks = sorted((block for part in parts for block in part.blocks), key=lambda block: block.start - block.stop)
    rounding = rounding_over(blocks)
    # Twice what the sums and the factors of their terms are off by: what is merged and taken off rounds less.
    relative = 2 * (rounding.products + 3 * rounding.sums)
    return Moments(
        products[:, :features],
        products[:, features:].T.copy(),
        np.maximum(height, 0),
        middle,
        squares,
        relative,
        rounding,
    )
