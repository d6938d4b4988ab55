"""What the columns of a table are like: constant, equal, of what rank and condition.

Rows are read a block at a time. The factor R of the rows comes block by block, the next rows below the last R, by
Householder's QR: its singular values are those of the table, each off by a few u of the largest, where a matrix of
products would lose what is below √u of it. Each column is read in units of a power of two in which its largest
number is about 1, so that no square leaves the range of float64.
"""

from typing import Any, NamedTuple

import numpy as np

from dlcore.certificate.rows import UNIT, Weights, index_slices, weights_of


class Columns(NamedTuple):
    """Of the rows of positive weight.

    Attributes:
      constant: indices of columns that are the same number in every row.
      groups: columns that are equal in every row, by groups of at least two.
      spread: the root mean square of each column, about its mean where there is an intercept, (m,).
      rank: of the columns, about their means where there is an intercept; in float64.
      condition: the ratio of singular values, of all columns but those that are 0; infinity below full rank.
      condition_scaled: the same of columns divided by their spread.
    """

    constant: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    spread: np.ndarray
    rank: int
    condition: float
    condition_scaled: float


def columns_of(x: Any, s: Weights, *, centred: bool) -> Columns:
    """Four passes over the rows."""
    blocks = index_slices(len(x), x.shape[1])
    least, most, middle, hashes = _first_pass(x, s, blocks)
    constant = least == most
    zero = constant if centred else constant & (least == 0)
    exponent = np.frexp(np.maximum(np.abs(least), np.abs(most)))[1]
    factor = _factor(x, s, blocks, middle if centred else None, exponent)
    factor[:, zero] = 0
    size = np.sqrt(np.square(factor).sum(0))
    varies = size > 0
    tolerance = max(len(x), x.shape[1]) * 2 * UNIT
    rank, scaled = 0, np.nan
    condition = np.nan
    if varies.any():
        rank, scaled = _judged(factor[:, varies] / size[varies], tolerance)
        _, condition = _judged(np.ldexp(factor, exponent - exponent[varies].max())[:, varies], tolerance)
        condition = condition if rank == varies.sum() else np.inf
    groups = _equal_columns(x, s, blocks, hashes)
    spread = np.ldexp(size, exponent)
    return Columns(tuple(np.flatnonzero(constant).tolist()), groups, spread, rank, condition, scaled)


def _judged(factor: np.ndarray, tolerance: float) -> tuple[int, float]:
    """The rank, and the condition of all columns."""
    values = np.linalg.svd(factor, compute_uv=False)
    rank = int((values > tolerance * values[0]).sum())
    full = rank == factor.shape[1]
    with np.errstate(over="ignore"):
        return rank, float(values[0] / values[-1]) if full else np.inf


def _kept(x: Any, s: Weights, block: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    share = weights_of(s, slice(None), block).max(0)
    chosen = share > 0
    return x[block][chosen].astype(np.float64), share[chosen], chosen


def _first_pass(x: Any, s: Weights, blocks: list[slice]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The least and largest number of each column, about its mean, and what equal columns have in common."""
    features = x.shape[1]
    least, most, sums, total = np.full(features, np.inf), np.full(features, -np.inf), np.zeros(features), 0.0
    rng, hashes = np.random.default_rng(0), np.zeros((2, features), np.uint64)
    for block in blocks:
        rows, share, _ = _kept(x, s, block)
        if not len(rows):
            continue
        least, most = np.minimum(least, rows.min(0)), np.maximum(most, rows.max(0))
        with np.errstate(over="ignore"):
            sums, total = sums + share @ rows, total + share.sum()
        bits = np.ascontiguousarray(rows + 0.0).view(np.uint64)  # −0 and 0 are equal
        bits = bits ^ (bits >> np.uint64(32))
        for kind in range(2):
            hashes[kind] += (bits * rng.integers(0, 2**63, (len(rows), 1), np.uint64)).sum(0, dtype=np.uint64)
    middle = sums / total
    return least, most, np.where(np.isfinite(middle), middle, 0), hashes


def _factor(
    x: Any, s: Weights, blocks: list[slice], middle: np.ndarray | None, exponent: np.ndarray
) -> np.ndarray:
    """R of the rows times √(s/S), column j in units of 2 to the power `exponent[j]`.

    About the mean, which the first column, of ones, takes out to the last digit.
    """
    features = x.shape[1]
    width = features + (middle is not None)
    factor, total = np.zeros((0, width)), 0.0
    for block in blocks:
        rows, share, _ = _kept(x, s, block)
        rows = np.ldexp(rows, -exponent)
        if middle is not None:
            rows = np.column_stack([np.ones(len(rows)), rows - np.ldexp(middle, -exponent)])
        total += share.sum()
        factor = np.linalg.qr(np.vstack([factor, np.sqrt(share)[:, None] * rows]), mode="r")
    factor = factor / np.sqrt(total)
    return factor[1:, 1:] if middle is not None else factor


def _equal_columns(x: Any, s: Weights, blocks: list[slice], hashes: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Those whose hashes are equal, and that are: every number is compared."""
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
        rows, _, _ = _kept(x, s, block)
        equal &= (rows[:, later] == rows[:, first[later]]).all(0)
    groups: dict[int, list[int]] = {}
    for j in later[equal].tolist():
        groups.setdefault(int(first[j]), [int(first[j])]).append(j)
    return tuple(tuple(group) for _, group in sorted(groups.items()))
