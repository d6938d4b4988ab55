r"""Centering of rows for heads with an intercept. It keeps the function and makes the numbers far smaller.

For any c, $x\cdot w + b = (x - c)\cdot w + b'$ with $b' = b + c\cdot w$. A minimum over (w, b) is a minimum over
(w, b'). The bounds on J − J* hold for either table. Rounding is measured by the norms of the rows. Rows with
columns near 10⁶ and a spread of 1 are a million times as long before centering as after it.

`dlcore.certificate.rounding` includes the rounding of centering.
"""

import dataclasses
import math

import numpy as np

from dlcore.certificate.rows import RowTable, index_slices

SAMPLE, SAMPLE_BYTES = 4096, 2**20
"""The center is the mean of at most this many rows, and of about as many bytes in float64. Any point is valid."""
FAR = 4.0
"""A column is centered if |mean| exceeds this many standard deviations."""


@dataclasses.dataclass(frozen=True)
class CenteredRows:
    """A view of a table in float64 with a center subtracted from every row.

    Attributes:
      table: rows, shape (n, m).
      center: shape (m,).
    """

    table: RowTable
    center: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the numbers of rows and columns."""
        return self.table.shape

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        found = self.table[rows].astype(np.float64)
        found -= self.center
        return found


def find_center(x: RowTable) -> np.ndarray | None:
    """Return the center of a table, shape (m,), or None if no column needs centering.

    The center of a column is its mean, rounded to 26 bits, if the mean is large compared with the spread. It is 0
    otherwise.
    """
    sample_size = max(1, min(SAMPLE, SAMPLE_BYTES // (8 * x.shape[1])))
    blocks = index_slices(len(x), x.shape[1])
    blocks = blocks[:: -(-len(blocks) // sample_size)]
    block_rows = max(1, sample_size // len(blocks))
    sample = np.concatenate([x[b.start : min(b.stop, b.start + block_rows)].astype(np.float64) for b in blocks])
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sample.mean(0)
        sample -= mean
        deviation = np.sqrt(np.einsum("ij,ij->j", sample, sample) / len(sample))
        is_far = np.abs(mean) > FAR * deviation
        center = np.where(is_far, upper_half(mean), 0.0)
    return center if center.any() and np.isfinite(center).all() else None


def centered_intercept(coef: np.ndarray, intercept: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return b + c·w, correctly rounded.

    The numbers of c have 26 bits, so that each half of w is multiplied exactly. `math.fsum` adds without error and
    rounds once.

    Args:
      coef: shape (..., m).
      intercept: shape (...).
      center: a center of `find_center`, shape (m,).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        high = upper_half(coef)
        is_moved = center != 0
        terms = np.concatenate([(high * center)[..., is_moved], ((coef - high) * center)[..., is_moved]], axis=-1)
    terms = np.concatenate([terms, intercept[..., None]], axis=-1).reshape(-1, 2 * int(is_moved.sum()) + 1)
    sums = [math.fsum(row) if np.isfinite(row).all() else math.nan for row in terms.tolist()]
    return np.reshape(sums, intercept.shape)


def upper_half(numbers: np.ndarray) -> np.ndarray:
    """Round each number to 26 bits. The remainder has 26 bits too, so that halves multiply exactly.

    Source: Veltkamp (1968).
    """
    wide = numbers * (2.0**27 + 1)
    return wide - (wide - numbers)
