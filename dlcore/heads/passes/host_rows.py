"""Passes over the rows by NumPy: on a CPU they are the fastest for small tables, and compile nothing."""

from collections.abc import Iterator

import numpy as np

from dlcore.certificate.rows import HostTable
from dlcore.heads.data.centering import Centering, center_rows
from dlcore.heads.losses import row_loss
from dlcore.heads.passes.evaluate import ABSENT, HeadBatch, Sums, row_scale

COPIED = 2**22
"""Numbers of a table up to which it has a centered copy. A larger one is centered block by block."""
NEAR = 4.0
"""Columns whose means are within so many deviations of 0 need no centering in float32."""
BLOCK_BYTES = 2**22
"""Size of a block of rows, and of its logits. It stays in the cache between its two products."""


class HostRows:
    """Rows, targets and weights on the host.

    Attributes:
      train: which fits a row trains, shape (n, fits), booleans.
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

    def __len__(self) -> int:
        return len(self._x)

    def scales(self, batch: HeadBatch) -> tuple[np.ndarray, np.ndarray]:
        """Return the targets, and what each row weighs in each head, shape (B, n), or (1, n) where all agree."""
        is_shared = (batch.fit == batch.fit[0]).all() and batch.target is None
        own = batch._replace(fit=batch.fit[:1]) if is_shared else batch
        targets, scale = row_scale((self.train, self.targets), self.weight, own, np)
        return np.asarray(targets), np.asarray(scale)

    def block(self, part: slice, dtype: str) -> np.ndarray:
        """Return centered rows, or in float32 the rows as they are if they are read in place."""
        if dtype == "float32" and self.is_read_in_place:
            return self._x[part]
        if not self.is_small:
            return self._centered(self._x[part], dtype)
        if dtype not in self._copies:
            self._copies[dtype] = self._centered(self._x[:], dtype)
        return self._copies[dtype][part]

    def parts(self, numbers_of_row: int, size: int = BLOCK_BYTES) -> Iterator[slice]:
        """Return slices of the rows, so that a block has so many bytes in float32."""
        step = max(1, size // (4 * max(numbers_of_row, self._x.shape[1])))
        return (slice(start, start + step) for start in range(0, len(self), step))

    def _centered(self, x: np.ndarray, dtype: str) -> np.ndarray:
        return np.ascontiguousarray(center_rows(x, self.centering, dtype, np))


class HostPass:
    """Passes over the rows for one batch of heads. Blocks are summed in float64."""

    def __init__(self, rows: HostRows, batch: HeadBatch, loss: str, dtype: str) -> None:
        self._rows, self._batch, self._dtype = rows, batch, dtype
        self._targets, self._scale = rows.scales(batch)
        self._rounded_scale = self._scale.astype(dtype)
        self._terms = row_loss(loss).terms

    def __call__(self, theta: np.ndarray) -> Sums:
        """Return the sums at these coefficients and, last, intercepts about the centre, shape (B, K, m + 1)."""
        heads, outputs, columns = theta.shape
        centre, unit, has_intercept = self._rows.centering[:3]
        is_raw = self._rows.is_read_in_place and self._dtype == "float32"
        coef, intercept = theta[..., :-1].reshape(-1, columns - 1), has_intercept * theta[..., -1]
        if outputs > 1:
            intercept = np.where(self._batch.spread > 0, intercept, ABSENT)
        if is_raw:  # what centering would do is in the intercepts here, and in the gradient below
            coef = coef if unit is None else coef * unit
            intercept = intercept - (coef @ centre).reshape(heads, outputs)
        coef, intercept = coef.astype(self._dtype), intercept.astype(self._dtype)[..., None]
        value, misclassified = np.zeros(heads), np.zeros(heads, np.int32)
        gradient, residuals = np.zeros(coef.shape), np.zeros(len(coef))
        for part in self._rows.parts(len(coef)):
            x, scale = self._rows.block(part, self._dtype), self._scale[:, part]
            logits = np.matmul(coef, x.T).reshape(heads, outputs, -1)
            logits += intercept
            terms = self._terms(logits, self._targets[:, part], np)
            residual = (terms.residual * self._rounded_scale[:, None, part]).reshape(len(coef), -1)
            value += (scale * terms.value).sum(1)
            gradient += np.matmul(residual, x)
            residuals += residual.sum(1, dtype=np.float64)
            misclassified += ((scale > 0) & terms.misclassified).sum(1, dtype=np.int32)
        if is_raw:
            gradient -= np.outer(residuals, centre)
            gradient = gradient if unit is None else gradient * unit
        return Sums(value, gradient, residuals.reshape(heads, outputs), misclassified)
