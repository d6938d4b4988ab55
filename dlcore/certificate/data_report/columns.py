"""Properties of the columns of a table: constant and equal columns, rank and condition.

Rows are read a block at a time. The factor R of a QR factorization of the rows is updated block by block: each
block is stacked below R, and Householder's QR of the stack gives the next R. The singular values of R are those of
the table, and each has an error of a few u of the largest. A Gram matrix would lose the singular values below √u
of the largest. Each column is read in units of a power of two in which its largest number is about 1, so that no
square overflows or underflows.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.rounding.base import UNIT
from dlcore.certificate.rows import RowTable, RowWeights, index_slices, weighted_rows


class Columns(NamedTuple):
    """Properties of the columns in the rows of positive weight.

    Attributes:
      constant: indices of columns that are the same number in every row.
      duplicates: columns that are equal in every row, in groups of at least two.
      spread: the root mean square of each column, centered if heads have an intercept, shape (m,).
      rank: the rank in float64 of the columns, centered if heads have an intercept.
      condition: the ratio of the largest and the smallest singular value of the columns that are not 0, or
        infinity below full rank.
      condition_scaled: the condition after each column is divided by its spread.
    """

    constant: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]
    spread: np.ndarray
    rank: int
    condition: float
    condition_scaled: float


class _Range(NamedTuple):
    """The smallest and the largest number of each column, its mean, shape (m,), and hashes, shape (2, m)."""

    smallest: np.ndarray
    largest: np.ndarray
    mean: np.ndarray
    hashes: np.ndarray


def describe_columns(x: RowTable, weights: RowWeights, *, centered: bool) -> Columns:
    """Return the properties of the columns, in two passes over the rows, or in three if columns may be equal."""
    blocks = index_slices(len(x), x.shape[1])
    smallest, largest, mean, hashes = _read_range(x, weights, blocks)
    constant = smallest == largest
    is_zero = constant if centered else constant & (smallest == 0)
    exponent = np.frexp(np.maximum(np.abs(smallest), np.abs(largest)))[1]
    factor = _factor(x, weights, blocks, mean if centered else None, exponent)
    factor[:, is_zero] = 0
    norms = np.sqrt(np.square(factor).sum(0))
    varies = norms > 0
    tol = max(len(x), x.shape[1]) * 2 * UNIT
    rank, condition, condition_scaled = 0, np.nan, np.nan
    if varies.any():
        rank, condition_scaled = _rank_and_condition(factor[:, varies] / norms[varies], tol)
        _, condition = _rank_and_condition(np.ldexp(factor, exponent - exponent[varies].max())[:, varies], tol)
        condition = condition if rank == varies.sum() else np.inf
    groups = _equal_columns(x, weights, blocks, hashes)
    spread = np.ldexp(norms, exponent)
    return Columns(tuple(np.flatnonzero(constant).tolist()), groups, spread, rank, condition, condition_scaled)


def _rank_and_condition(factor: np.ndarray, tol: float) -> tuple[int, float]:
    """Return the rank, and the condition of all columns, infinite below full rank."""
    values = np.linalg.svd(factor, compute_uv=False)
    rank = int((values > tol * values[0]).sum())
    with np.errstate(over="ignore"):
        return rank, float(values[0] / values[-1]) if rank == factor.shape[1] else np.inf


def _read_range(x: RowTable, weights: RowWeights, blocks: list[slice]) -> _Range:
    """Return the range and the mean of each column, and hashes that are the same for equal columns."""
    features = x.shape[1]
    smallest, largest = np.full(features, np.inf), np.full(features, -np.inf)
    sums, total = np.zeros(features), 0.0
    rng, hashes = np.random.default_rng(0), np.zeros((2, features), np.uint64)
    for block in blocks:
        rows, weight, _ = weighted_rows(x, weights, block)
        if not len(rows):
            continue
        smallest, largest = np.minimum(smallest, rows.min(0)), np.maximum(largest, rows.max(0))
        with np.errstate(over="ignore"):
            sums, total = sums + weight @ rows, total + weight.sum()
        bits = np.ascontiguousarray(rows + 0.0).view(np.uint64)  # −0 and 0 are equal
        bits = bits ^ (bits >> np.uint64(32))
        for kind in range(2):
            hashes[kind] += (bits * rng.integers(0, 2**63, (len(rows), 1), np.uint64)).sum(0, dtype=np.uint64)
    mean = sums / total
    return _Range(smallest, largest, np.where(np.isfinite(mean), mean, 0), hashes)


def _factor(
    x: RowTable, weights: RowWeights, blocks: list[slice], mean: np.ndarray | None, exponent: np.ndarray
) -> np.ndarray:
    """Return R of the rows times √(s/S), column j in units of 2 to the power `exponent[j]`.

    Rows are centered at `mean`. A first column of ones removes the rest of the mean.
    """
    features = x.shape[1]
    factor, total = np.zeros((0, features + (mean is not None))), 0.0
    for block in blocks:
        rows, weight, _ = weighted_rows(x, weights, block)
        rows = np.ldexp(rows, -exponent)
        if mean is not None:
            rows = np.column_stack([np.ones(len(rows)), rows - np.ldexp(mean, -exponent)])
        total += weight.sum()
        factor = np.linalg.qr(np.vstack([factor, np.sqrt(weight)[:, None] * rows]), mode="r")
    factor = factor / np.sqrt(total)
    return factor[1:, 1:] if mean is not None else factor


def _equal_columns(
    x: RowTable, weights: RowWeights, blocks: list[slice], hashes: np.ndarray
) -> tuple[tuple[int, ...], ...]:
    """Return groups of equal columns. If two hashes are equal, every number is compared."""
    _, kind = np.unique(hashes, axis=1, return_inverse=True)
    kind = kind.reshape(-1)
    first = np.full(kind.max() + 1, -1)
    first[kind[::-1]] = np.arange(len(kind))[::-1]
    first = first[kind]  # the first column with that hash
    later = np.flatnonzero(first != np.arange(len(first)))
    if not len(later):
        return ()
    equal = np.full(len(later), fill_value=True)
    for block in blocks:
        rows, _, _ = weighted_rows(x, weights, block)
        equal &= (rows[:, later] == rows[:, first[later]]).all(0)
    groups: dict[int, list[int]] = {}
    for j in later[equal].tolist():
        groups.setdefault(int(first[j]), [int(first[j])]).append(j)
    return tuple(tuple(group) for _, group in sorted(groups.items()))
