"""Passes over the rows by NumPy: on a CPU they are the fastest for small tables, and compile nothing."""

import functools
from collections.abc import Iterator

import numpy as np

from dlcore._core.blas_threads import one_blas_thread
from dlcore._core.threads import core_count, map_on_threads
from dlcore.certificate.rows import HostTable
from dlcore.heads.data.centering import Centering, center_rows
from dlcore.heads.losses import row_loss
from dlcore.heads.passes.evaluate import ABSENT, HeadBatch, Sums, row_scale
from dlcore.heads.passes.products import sum_of_rows, times_rows

COPIED = 2**22
"""The most entries of a table that has a centered copy. A larger table is centered block by block."""
NEAR = 4.0
"""Columns whose means are within so many deviations of 0 need no centering in float32."""
BLOCK_BYTES = 2**22
"""Bytes of a block of rows, and of its logits. The block stays in the cache between its two products."""
LEAST_NUMBERS = 2**20
"""The least work of a core, in entries of rows. Below it, starting a thread costs more than it saves."""
NUMBERS_OF_LOGIT = 32
"""The cost of a logit of a row, in entries of the row."""
LOGITS_OF_READING = 3.5
"""The logits of a row whose products take as long as reading the row."""


class HostRows:
    """Rows, targets and weights on the host.

    Attributes:
      train: whether each row is in the training set of each fit, shape (n, fits), booleans.
      targets: shape (n, targets).
      weight: shape (n,), float64.
      centering: the centering of the rows.
    """

    def __init__(
        self, x: HostTable, train: np.ndarray, targets: np.ndarray, weight: np.ndarray, centering: Centering
    ) -> None:
        self._x, self.train, self.targets, self.weight, self.centering = x, train, targets, weight, centering
        self.is_small = x.shape[0] * x.shape[1] <= COPIED
        is_float32 = isinstance(x, np.ndarray) and x.dtype == np.float32 and x.strides[1] == x.itemsize
        self.is_read_in_place = not self.is_small and is_float32 and bool(centering.offset <= NEAR)
        self._copies: dict[str, np.ndarray] = {}

    def take(self, index: np.ndarray) -> "HostRows":
        """Return a copy of the rows of ascending numbers."""
        x = np.ascontiguousarray(self._x[index])
        return HostRows(x, self.train[index], self.targets[index], self.weight[index], self.centering)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return self._x.shape

    def __len__(self) -> int:
        return len(self._x)

    def scales(self, batch: HeadBatch) -> tuple[np.ndarray, np.ndarray]:
        """Return the targets, and the weight of each row in each head: shape (B, n), or (1, n) if all agree."""
        is_shared = (batch.fit == batch.fit[0]).all() and batch.target is None
        own = batch._replace(fit=batch.fit[:1]) if is_shared else batch
        targets, scale = row_scale((self.train, self.targets), self.weight, own, np)
        return np.asarray(targets), np.asarray(scale)

    def prepare(self, dtype: str) -> None:
        """Make the centered copy of a small table. Any thread may read it afterwards."""
        if self.is_small and dtype not in self._copies:
            self._copies[dtype] = self._centered(self._x[:], dtype)

    def block(self, part: slice, dtype: str) -> np.ndarray:
        """Return centered rows, or in float32 the rows as they are if they are read in place."""
        if self.is_small:
            return self._copies[dtype][part]
        if dtype == "float32" and self.is_read_in_place:
            return self._x[part]
        return self._centered(self._x[part], dtype)

    def parts(self, numbers_of_row: int, size: int = BLOCK_BYTES, of: slice | None = None) -> Iterator[slice]:
        """Return slices that cover the rows, or those of a slice, in blocks of about `size` bytes of float32."""
        first, last, _ = (of or slice(None)).indices(len(self))
        count = round((last - first) * 4 * max(numbers_of_row, self._x.shape[1]) / size)
        step = -(-(last - first) // max(1, count))
        return (slice(start, min(start + step, last)) for start in range(first, last, max(1, step)))

    def _centered(self, x: np.ndarray, dtype: str) -> np.ndarray:
        return np.ascontiguousarray(center_rows(x, self.centering, dtype, np))


class HostPass:
    """Passes over the rows for one batch of heads. Blocks are summed in float64.

    The rows are divided among the cores, one thread each. Threads are joined once per pass; BLAS would join its
    threads in every product.
    """

    def __init__(self, rows: HostRows, batch: HeadBatch, loss: str, dtype: str) -> None:
        self._rows, self._batch, self._dtype = rows, batch, dtype
        self._targets, self._scale = rows.scales(batch)
        self._rounded_scale = self._scale.astype(dtype)
        self._terms = row_loss(loss).terms
        rows.prepare(dtype)

    def __call__(self, theta: np.ndarray) -> Sums:
        """Return the sums at these coefficients and, last, intercepts about the centre, shape (B, K, m + 1)."""
        heads, outputs, columns = theta.shape
        centre, unit, has_intercept = self._rows.centering[:3]
        is_raw = self._rows.is_read_in_place and self._dtype == "float32"
        coef, intercept = theta[..., :-1].reshape(-1, columns - 1), has_intercept * theta[..., -1]
        if outputs > 1:
            intercept = np.where(self._batch.spread > 0, intercept, ABSENT)
        if is_raw:  # Rows are not centered: the intercepts here and the gradient below are corrected instead.
            coef = coef if unit is None else coef * unit
            intercept = intercept - (coef @ centre).reshape(heads, outputs)
        coef, intercept = coef.astype(self._dtype), intercept.astype(self._dtype)[..., None]
        with one_blas_thread() as is_limited:
            rows = len(self._rows)
            numbers = rows * (columns * max(1, len(coef) / LOGITS_OF_READING) + NUMBERS_OF_LOGIT * len(coef))
            cores = max(1, min(core_count(), int(numbers / LEAST_NUMBERS))) if is_limited else 1
            shards = [slice(k * rows // cores, (k + 1) * rows // cores) for k in range(cores)]
            sums = map_on_threads(lambda shard: self._sums(coef, np.asarray(intercept), shard), shards)
        value, gradient, residuals, misclassified = (
            functools.reduce(np.add, parts) for parts in zip(*sums, strict=True)
        )
        if is_raw:
            gradient = gradient - np.outer(residuals, centre)
            gradient = gradient if unit is None else gradient * unit
        return Sums(value, gradient, residuals.reshape(heads, outputs), misclassified)

    def _sums(self, coef: np.ndarray, intercept: np.ndarray, shard: slice) -> Sums:
        """Return the sums over some of the rows, with the residuals of all logits in one axis."""
        heads, outputs, _ = intercept.shape
        value, misclassified = np.zeros(heads), np.zeros(heads, np.int32)
        gradient, residuals = np.zeros(coef.shape), np.zeros(len(coef))
        with np.errstate(all="ignore"):  # which is local to a thread
            for part in self._rows.parts(len(coef), of=shard):
                x, scale = self._rows.block(part, self._dtype), self._scale[:, part]
                logits = times_rows(coef, x).reshape(heads, outputs, -1)
                logits += intercept
                terms = self._terms(logits, self._targets[:, part], np)
                residual = np.asarray(terms.residual * self._rounded_scale[:, None, part]).reshape(len(coef), -1)
                value += (scale * terms.value).sum(1)
                gradient += sum_of_rows(residual, x)
                residuals += residual.sum(1, dtype=np.float64)
                misclassified += ((scale > 0) & terms.misclassified).sum(1, dtype=np.int32)
        return Sums(value, gradient, residuals, misclassified)
