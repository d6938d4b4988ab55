r"""Sums of products over rows, on the device. Each row is multiplied once, in any number of folds.

Rows in the same training and test sets form a part. Rows are read in blocks; X is not copied. Sums of each part
are about the mean of the part. Two parts are merged by the update of Chan, Golub and LeVeque: with the difference
d of their means, $G = G_a + G_b + \frac{S_aS_b}{S_a + S_b}dd^\top$. All terms are positive semidefinite, so that
no digits cancel, even if columns are far from 0.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.tables.parts import parts_of
from dlcore._core.types import Array
from dlcore.certificate.rows import HostTable, read_rows, take_rows
from dlcore.heads.data.column_scales import CONSTANT
from dlcore.heads.data.device_rows import on_device
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.quick_jit import quick_jit
from dlcore.linalg import matmul, outer

ROWS_AT_LEAST, ROWS_AT_MOST = 256, 4096
"""Rows per block: enough for products at full speed, few compared with the rows of a part."""
BLOCK_BYTES = 2**24
"""Bytes of a block of rows in float64, unless it would be shorter than `ROWS_AT_LEAST`."""
HOST_BYTES = 2**22
"""Bytes of a block of rows in float64 that NumPy multiplies."""
POINT_ROWS = 256
"""NumPy takes rows about the mean of a sample of this many rows, or up to twice as many."""
KEPT_BYTES = 2**30
"""The sums of parts are kept if they take at most this or a quarter of X. Otherwise each fit sums its rows."""


class Products(NamedTuple):
    """Sums over some rows; X and y are about their means over these rows.

    Attributes:
      total: shape (), Σ s.
      middle: shape (m,), the mean of x.
      level: shape (targets,), the mean of y.
      upper: shape (m // 2, m), the first rows of the Gram matrix XᵀsX.
      corner: the last m − m//2 rows and columns. With `upper` it determines the symmetric matrix.
      cross: shape (m, targets), Xᵀsy.
      height: shape (targets,), Σ s·y².
    """

    total: Array
    middle: Array
    level: Array
    upper: Array
    corner: Array
    cross: Array
    height: Array


class GramAccumulator:
    """Accumulator of sums of products over sets of rows, with access to blocks of rows on the device.

    Attributes:
      has_intercept: 1 or 0, on the device.
      scaling_mode: 0 for columns as they are, 1 if standard deviations divide them, on the device. A spectrum may
        use the mode `EQUILIBRATED`, powers of two.
    """

    def __init__(self, inputs: TrainingData, x: object, *, fit_intercept: bool) -> None:
        """Prepare the sums.

        Args:
          inputs: the checked arguments.
          x: the rows as the caller gave them. Rows of a JAX array are read on its device.
          fit_intercept: whether the intercept is fitted.
        """
        self.inputs = inputs
        self.x = x if isinstance(x, jax.Array) else inputs.x
        self.y = inputs.y.reshape(len(inputs.y), -1)
        self.device = next(iter(x.devices())) if isinstance(x, jax.Array) else jax.devices()[0]
        self.fit_intercept = fit_intercept
        self.has_intercept = self.put(np.float64(fit_intercept))
        self.scaling_mode = self.put(np.float64(inputs.standardize))
        rows, columns = inputs.x.shape
        most = max(ROWS_AT_LEAST, BLOCK_BYTES // (8 * columns))
        self.block = min(rows, most, max(ROWS_AT_LEAST, min(ROWS_AT_MOST, rows // 32)))
        self._parts = self._find_parts()
        self._sums: list[Products] | None = None

    def put(self, array: np.ndarray | np.generic) -> Array:
        """Copy an array to the device."""
        return jax.device_put(array, self.device)

    def all_on_device(self) -> tuple[Array, Array]:
        """Return all of x and y on the device."""
        return on_device(self.x, self.device), self.put(self.y)

    def train_gram(self, fit: int) -> Products:
        """Return the sums over the rows that train a fit."""
        return self._of(self.inputs.train, fit)

    def test_gram(self, fit: int) -> Products:
        """Return the sums over the rows that a fit is scored on."""
        return self._of(self.inputs.test, fit)

    def blocks(self, index: np.ndarray) -> Iterator[tuple[Array, Array, Array, np.ndarray]]:
        """Yield (x, y, weights, row indices) in blocks of equal length. A repeated row has weight 0."""
        size = self.block
        for start in range(0, len(index), size):
            first = max(0, min(start, len(index) - size))
            rows = index[first : first + size]
            rows = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
            weight = self.inputs.weight[rows]
            weight[: start - first] = 0
            weight[len(index) - first :] = 0
            yield self.rows_on_device(rows), self.put(take_rows(self.y, rows)), self.put(weight), rows

    def rows_on_device(self, rows: np.ndarray) -> Array:
        """Return rows of x by index, on the device."""
        if isinstance(self.x, jax.Array):
            return rows_at(self.x, self.put(rows))
        return self.put(take_rows(self.x, rows))

    def _of(self, chosen: np.ndarray, fit: int) -> Products:
        if self._parts is None:
            return self.summed(np.flatnonzero(chosen[fit] & (self.inputs.weight > 0)))
        if self._sums is None:
            self._sums = [self.summed(rows) for rows in self._parts]
        parts = zip(self._parts, self._sums, strict=True)
        return functools.reduce(_merge, [sums for rows, sums in parts if chosen[fit, rows[0]]])

    def summed(self, index: np.ndarray) -> Products:
        """Return the sums over rows by index."""
        if self.device.platform == "cpu":
            return jax.device_put(self.summed_on_host(index), self.device)
        return self.summed_on_device(index)

    def summed_on_device(self, index: np.ndarray) -> Products:
        """Return the sums over rows by index from a compiled program."""
        features, targets = self.inputs.x.shape[1], self.y.shape[1]
        half = features // 2
        shapes = (
            (),
            (features,),
            (targets,),
            (half, features),
            (features - half,) * 2,
            (features, targets),
            (targets,),
        )
        sums = Products(*(self.put(np.zeros(shape)) for shape in shapes))
        for x, y, weight, _ in self.blocks(index):
            # Blocks would queue up, all in memory, if the host ran ahead by more than one.
            sums = _add_rows(jax.block_until_ready(sums), x, y, weight)
        return sums

    def summed_on_host(self, index: np.ndarray) -> Products:
        """Return the sums over rows by index from NumPy, whose float64 products are faster than XLA's on a CPU."""
        tables = (np.asarray(self.x) if isinstance(self.x, jax.Array) else self.x), self.y
        few = index[:: max(1, len(index) // POINT_ROWS)]
        points = [take_rows(table, few).astype(np.float64).mean(0) for table in tables]
        sums = self._summed_about(tables, index, points)
        middle = np.asarray(sums.middle)
        squares = np.concatenate([np.diagonal(sums.upper), np.diagonal(sums.corner)]) / sums.total
        shift = (middle - points[0]) ** 2
        if (shift > np.maximum(squares, (CONSTANT * middle) ** 2)).any():
            # The sample is unlike the other rows, and differences of large squares would lose digits.
            sums = self._summed_about(tables, index, [middle, np.asarray(sums.level)])
        return sums

    def _summed_about(self, tables: tuple[HostTable, np.ndarray], index: np.ndarray, points: Any) -> Products:
        """Return the sums about the means, from one pass over the rows about points near the means."""
        columns, half = tables[0].shape[1], tables[0].shape[1] // 2
        step = max(HOST_BYTES // (8 * columns), 2 * columns)  # with fewer rows adding Gram matrices takes as long
        total, firsts = 0.0, [np.zeros(table.shape[1]) for table in tables]
        gram, cross = np.zeros((columns, columns)), np.zeros((columns, self.y.shape[1]))
        height = np.zeros(self.y.shape[1])
        buffers = [np.empty((min(step, len(index)), table.shape[1])) for table in tables]
        for start in range(0, len(index), step):
            rows = index[start : start + step]
            weight = self.inputs.weight[rows]
            total += weight.sum()
            z, t = (read_rows(table, rows, buffer) for table, buffer in zip(tables, buffers, strict=True))
            root = None if (weight == 1).all() else np.sqrt(weight)
            for array, point, first in zip((z, t), points, firsts, strict=True):
                array -= point
                first += weight @ array
                if root is not None:
                    array *= root[:, None]
            gram += z.T @ z
            cross += z.T @ t
            height += (t * t).sum(0)
        (x, y), (middle, level) = firsts, [first / total for first in firsts]
        gram -= np.outer(x, middle)
        cross -= np.outer(x, level)
        height -= y * level
        parts: Any = total, points[0] + middle, points[1] + level, gram[:half], gram[half:, half:], cross, height
        return Products(*parts)

    def _find_parts(self) -> list[np.ndarray] | None:
        """Return the ascending row indices of each part.

        Return None if parts outnumber the training and test sets, or if their sums exceed the memory limit.
        """
        inputs, columns = self.inputs, self.inputs.x.shape[1]
        folds = np.concatenate([inputs.train[1:], inputs.test[1:]])
        index = np.flatnonzero(inputs.weight > 0)
        parts, _ = parts_of(folds[:, index])
        count, most = len(parts), max(KEPT_BYTES, inputs.x.nbytes // 4)
        if count > 2 * len(inputs.train) or 8 * count * columns * (columns + self.y.shape[1]) > most:
            return None
        return [index[rows] for rows in parts]


def gram_of(sums: Products) -> Array:
    """Return the whole Gram matrix."""
    half = len(sums.upper)
    lower = jnp.concatenate([sums.upper[:, half:].T, sums.corner], axis=1)
    return jnp.concatenate([sums.upper, lower])


@quick_jit()
def rows_at(x: Array, rows: Array) -> Array:
    """Return rows by index."""
    return x[rows]


@quick_jit(donate_argnums=0)
def _add_rows(sums: Products, x: Array, y: Array, weight: Array) -> Products:
    """Return the sums with one more block of rows."""
    rows, aims = x.astype(jnp.float64), y.astype(jnp.float64)
    total = weight.sum()
    middle, level = matmul(weight, rows) / total, matmul(weight, aims) / total
    root = jnp.sqrt(weight)[:, None]
    z, t = root * (rows - middle[None]), root * (aims - level[None])
    half = z.shape[1] // 2
    upper, corner = matmul(z[:, :half].T, z), matmul(z[:, half:].T, z[:, half:])
    return _merged(sums, Products(total, middle, level, upper, corner, matmul(z.T, t), (t * t).sum(0)))


@quick_jit()
def _merge(a: Products, b: Products) -> Products:
    return _merged(a, b)


def _merged(a: Products, b: Products) -> Products:
    total = a.total + b.total
    x, y, share = b.middle - a.middle, b.level - a.level, a.total * b.total / total
    half = len(a.upper)
    return Products(
        total,
        a.middle + x * (b.total / total),
        a.level + y * (b.total / total),
        a.upper + b.upper + share * outer(x[:half], x),
        a.corner + b.corner + share * outer(x[half:], x[half:]),
        a.cross + b.cross + share * outer(x, y),
        a.height + b.height + share * y**2,
    )
