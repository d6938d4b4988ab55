r"""Rows about a point, where heads have an intercept: the same function, with far smaller numbers.

For any c, $x\cdot w + b = (x - c)\cdot w + b'$ with $b' = b + c\cdot w$, and minima over (w, b) are minima over
(w, b'). The bounds on J − J* hold for every such table, and what rounds in them is measured by the lengths of its
rows: of columns at 10⁶ with a spread of 1 those about 0 are a million times as long.

What is added by it. 1. A number of x − c is off by u of itself: so is a product with it. 2. b' is off by u of
itself: the numbers of c have 26 digits and are multiplied with each half of w exactly, and `math.fsum` adds
without error and rounds once. (Underflow is left out, here as elsewhere.) Both are errors of the logits and of
the slope like those that the bounds count in any case; each of them has room for one u more.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from dlcore.certificate.rows import BLOCK_BYTES, index_slices

SAMPLE = 4096
"""The point is a mean of at most so many rows: any point would do."""
FAR = 4.0
"""A column is moved where its mean is this many times its spread."""


@dataclasses.dataclass(frozen=True)
class Centred:
    """A table of which a point is subtracted from every row that is read, in float64."""

    table: Any
    point: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.table.shape

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.table[rows].astype(np.float64) - self.point


def far_point(x: Any) -> np.ndarray | None:
    """The means, to 26 digits, of columns that are far from 0 for their spread, 0 for others; None for none."""
    most = max(1, min(SAMPLE, BLOCK_BYTES // (8 * x.shape[1])))
    blocks = index_slices(len(x), x.shape[1])
    blocks = blocks[:: -(-len(blocks) // most)]
    kept = max(1, most // len(blocks))
    sample = np.concatenate([x[b.start : min(b.stop, b.start + kept)].astype(np.float64) for b in blocks])
    with np.errstate(over="ignore", invalid="ignore"):
        middle = sample.mean(0)
        far = np.abs(middle) > FAR * np.sqrt(np.square(sample - middle).mean(0))
        point = np.where(far, upper_half(middle), 0.0)
    return point if point.any() and np.isfinite(point).all() else None


def moved_intercept(coef: np.ndarray, intercept: np.ndarray, point: np.ndarray) -> np.ndarray:
    """B + c·w, correctly rounded; `coef` is (..., m), `intercept` (...)."""
    with np.errstate(over="ignore", invalid="ignore"):
        high = upper_half(coef)
        moved = point != 0
        parts = np.concatenate([(high * point)[..., moved], ((coef - high) * point)[..., moved]], axis=-1)
    parts = np.concatenate([parts, intercept[..., None]], axis=-1).reshape(-1, 2 * int(moved.sum()) + 1)
    sums = [math.fsum(row) if np.isfinite(row).all() else math.nan for row in parts.tolist()]
    return np.reshape(sums, intercept.shape)


def upper_half(numbers: np.ndarray) -> np.ndarray:
    """Each number to 26 digits, so that what is left has 26 too (Veltkamp 1968): halves multiply exactly."""
    wide = numbers * (2.0**27 + 1)
    return wide - (wide - numbers)
