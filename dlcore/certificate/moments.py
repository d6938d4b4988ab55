r"""Sums of products over rows, computed once for all sets of weights that are made of the same parts.

Folds are sets of weights that agree where they are not 0. Rows that are in the same folds form a part. Each part
is multiplied once, about its own mean, and the sums of a set are those of its parts. Let v be a row of x and y, s
its weight, and $S_p$ the total weight of the part p. About a point $a_p$, let $r_p = \sum s(v - a_p)$ and
$Q_p = \sum s(v - a_p)(v - a_p)^\top$. With $d_p = a_p - b$, the sums about any point b are

$\sum_p Q_p + r_pd_p^\top + d_pr_p^\top + S_pd_pd_p^\top$

If $a_p$ is the mean of the part and b the mean of the set, nothing large cancels, however far parts are apart.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from dlcore._core.tables.parts import parts_of
from dlcore.certificate.rounding.base import SumRounding, sum_rounding
from dlcore.certificate.rounding.squared import err_moments
from dlcore.certificate.rows import HostTable, RowWeights, index_slices, scaled_weights, take_rows

KEPT_BYTES = 2**30
"""Limit on the memory of the sums of all parts.

If a quarter of the data is larger, that quarter is the limit. Above the limit, each set is summed separately.
"""


@dataclasses.dataclass(frozen=True)
class ColumnMoments:
    """Moments of the columns under a set of weights, divided by Σ s.

    Below, x and y are the columns about their means.

    Attributes:
      variance: Σ s·y², shape (targets,).
      mean: the means of x and y as given, shape (m + targets,).
      error_scale: an upper bound on the mean square of each column, shape (m + targets,).
      relative_error: the error of a column's mean square is at most `relative_error`·`error_scale`.
      rounding: the errors of sums over the rows.
    """

    variance: np.ndarray
    mean: np.ndarray
    error_scale: np.ndarray
    relative_error: float
    rounding: SumRounding

    @property
    def features(self) -> int:
        """Return the number of the columns of x, m."""
        return len(self.mean) - len(self.variance)

    @property
    def x_mean(self) -> np.ndarray:
        """Return the means of the columns of x, shape (m,)."""
        return self.mean[: self.features]

    @property
    def y_mean(self) -> np.ndarray:
        """Return the means of the targets, shape (targets,)."""
        return self.mean[self.features :]


@dataclasses.dataclass(frozen=True)
class Moments(ColumnMoments):
    """Moments of the columns and of their products.

    Attributes:
      gram: G = Σ s·x·xᵀ, shape (m, m).
      cross: c = Σ s·y·xᵀ, shape (targets, m).

    An entry (j, k) of G or c has an error of at most `relative_error`·√(`error_scale`ⱼ·`error_scale`ₖ).
    """

    gram: np.ndarray
    cross: np.ndarray


class _Part(NamedTuple):
    """Sums over a part: S, a, r, the rows of Q that belong to x, the diagonal of Q, and the blocks of rows."""

    total: float
    point: np.ndarray
    first_moment: np.ndarray
    products: np.ndarray
    squares: np.ndarray
    blocks: list[slice]


class RowSums:
    """Moments of several sets of weights, summed on demand. Parts that sets share are summed once."""

    def __init__(self, x: HostTable, y: np.ndarray, weights: RowWeights) -> None:
        """Split the rows into parts.

        Args:
          x: features, shape (n, m).
          y: targets, shape (n, targets).
          weights: a set of weights in each row.
        """
        self.x, self.y, self.weights = x, y, weights
        part_bytes = x.shape[1] * (x.shape[1] + y.shape[1]) * 8
        self._shared = _shared_parts(weights.values, part_bytes, max(KEPT_BYTES, x.nbytes // 4))
        self._sums: list[_Part] | None = None
        self._last: tuple[int, Moments] | None = None

    def moments(self, k: int) -> Moments:
        """Return the moments of set k. The moments of the last set are cached."""
        if self._last is None or self._last[0] != k:
            self._last = k, self._moments(k)
        return self._last[1]

    def _moments(self, k: int) -> Moments:
        if self._shared is None:
            alone = self.weights.subset(k)
            return _merge([self._sum(alone, np.flatnonzero(alone.values[0]))])
        parts, members = self._shared
        if self._sums is None:
            base = scaled_weights(self.weights.values.max(0, keepdims=True))
            self._sums = [self._sum(base, rows) for rows in parts]
        return _merge([part for part, is_member in zip(self._sums, members[k], strict=True) if is_member])

    def _sum(self, weights: RowWeights, index: np.ndarray) -> _Part:
        """Sum the rows of a part in two passes: the mean, then the products about it."""
        x, y = self.x, self.y
        features, columns = x.shape[1], x.shape[1] + y.shape[1]
        blocks = index_slices(len(index), columns)
        buffers = [np.empty(blocks[0].stop * width) for width in (features, y.shape[1])]

        def read(block: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            rows = index[block]
            x_rows, y_rows = (
                buffer[: len(rows) * table.shape[1]].reshape(len(rows), -1)
                for buffer, table in zip(buffers, (x, y), strict=True)
            )
            x_rows[...], y_rows[...] = take_rows(x, rows), take_rows(y, rows)
            return weights.block(rows)[0], x_rows, y_rows

        total, point, first = 0.0, np.zeros(columns), np.zeros(columns)
        for block in blocks:
            weight, x_rows, y_rows = read(block)
            total += weight.sum()
            point[:features] += weight @ x_rows
            point[features:] += weight @ y_rows
        point /= total
        products, squares = np.zeros((features, columns)), np.zeros(columns)
        for block in blocks:
            weight, x_rows, y_rows = read(block)
            root = np.sqrt(weight)
            for rows, center in ((x_rows, point[:features]), (y_rows, point[features:])):
                rows -= center
                rows *= root[:, None]
            products[:, :features] += x_rows.T @ x_rows
            products[:, features:] += x_rows.T @ y_rows
            squares[features:] += np.einsum("ij,ij->j", y_rows, y_rows)
            first[:features] += root @ x_rows
            first[features:] += root @ y_rows
        squares[:features] = np.diag(products)
        return _Part(float(total), point, first, products, squares, blocks)


def _shared_parts(
    values: np.ndarray, part_bytes: int, max_bytes: int
) -> tuple[list[np.ndarray], np.ndarray] | None:
    """Return the rows of each part and the parts of each set, or None if separate sums are better.

    Separate sums are better if positive weights differ between sets, or if the parts are too many or too large.

    Args:
      values: weights, shape (sets, n).
      part_bytes: the size of the sums of a part.
      max_bytes: the limit on the size of the sums of all parts.

    Returns:
      The indices of the rows of each part, and whether a set contains a part, shape (sets, parts).
    """
    is_used = values > 0
    base = values.max(0)
    largest = values.max(1).astype(np.float64)
    agree = all(((row == base) | ~used).all() for row, used in zip(values, is_used, strict=True))
    # If all weights of a set are tiny beside those of another set, they lose digits on the common scale.
    if not agree or np.ldexp(float(largest.max()), -500) > largest.min():
        return None
    parts, members = parts_of(is_used)
    nonempty = np.any(members, axis=0)
    if nonempty.sum() > 2 * len(values) or nonempty.sum() * part_bytes > max_bytes:
        return None
    return [parts[k] for k in np.flatnonzero(nonempty)], members[:, nonempty]


def _merge(parts: list[_Part]) -> Moments:
    """Merge the sums of parts about the mean of their union."""
    total = sum(part.total for part in parts)
    features = len(parts[0].products)
    mean = np.sum([part.total / total * part.point for part in parts], axis=0)
    shifts = [part.point - mean for part in parts]
    products = parts[0].products.copy()
    for part in parts[1:]:
        products += part.products
    left = np.stack([part.first_moment + part.total * d for part, d in zip(parts, shifts, strict=True)])
    right, first = np.stack(shifts), np.stack([part.first_moment for part in parts])
    if len(parts) > 1:
        products += left[:, :features].T @ right
        products += right[:, :features].T @ first
    products /= total
    part_squares = np.stack([part.squares for part in parts])
    weight = np.array([[part.total] for part in parts])
    squares = ((np.sqrt(part_squares) + np.sqrt(weight) * abs(right)) ** 2).sum(0) / total
    variance = (part_squares + left * right + right * first).sum(0)[features:] / total
    # The points are means up to rounding. The rest of the mean is subtracted too.
    rest = left.sum(0) / total
    products -= np.outer(rest[:features], rest)
    variance -= rest[features:] ** 2
    blocks = sorted((block for part in parts for block in part.blocks), key=lambda block: block.start - block.stop)
    rounding = sum_rounding(blocks)
    return Moments(
        variance=np.maximum(variance, 0),
        mean=mean + rest,
        error_scale=squares,
        relative_error=err_moments(rounding),
        rounding=rounding,
        gram=products[:, :features],
        cross=products[:, features:].T.copy(),
    )
