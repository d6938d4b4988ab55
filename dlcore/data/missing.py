"""Rows with a missing value: nan, or a null of Arrow."""

from collections.abc import Sequence

import numpy as np

from dlcore.data.sources import Column

BLOCK_BYTES = 2**25
"""Size of the rows that are searched at a time. A memory map is not read whole."""


def missing_rows(
    description: str, x: np.ndarray, labels: Sequence[np.ndarray], columns: Sequence[Column]
) -> np.ndarray:
    """Return the numbers of the rows that lack a value, ascending.

    Args:
      description: the name of the table.
      x: features, shape (n, m).
      labels: the target and other columns, shape (n,) each.
      columns: the columns of the table that know which of their rows are missing.

    Raises:
      ValueError: if there are no rows, or a feature, a target or a weight is infinite.
    """
    if not len(x):
        raise ValueError(f"{description}: expected at least one row, got none")
    lacks = np.zeros(len(x), bool)
    for column in columns:
        if column.missing is not None:
            lacks |= column.missing
    if x.dtype.kind not in "biu":
        step = max(1, BLOCK_BYTES // max(1, x.shape[1] * x.dtype.itemsize))
        for start in range(0, len(x), step):
            lacks[start : start + step] |= _nan_rows(description, x[start : start + step], start)
    for values in labels:
        if values.dtype.kind == "f":
            lacks |= _nan_rows(description, values[:, None], 0)
    return np.flatnonzero(lacks)


def _nan_rows(description: str, block: np.ndarray, start: int) -> np.ndarray:
    """Return which rows hold nan, shape (rows,). `start` is the number of the first row."""
    finite = np.isfinite(block)
    if finite.all():
        return np.zeros(len(block), bool)
    nan = np.isnan(block)
    infinite = np.flatnonzero((~finite & ~nan).any(1))
    if len(infinite):
        raise ValueError(f"{description}: expected finite numbers, got infinity in row {start + infinite[0]}")
    return np.asarray(nan.any(1))
