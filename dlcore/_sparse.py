"""Tables that are stored sparse, and read dense a block of rows at a time. SciPy itself is not imported."""

from typing import Any

import numpy as np


def is_sparse(data: Any) -> bool:
    """Whether it is a sparse table of any library."""
    return hasattr(data, "toarray") and hasattr(data, "nnz")


class SparseRows:
    """Rows that are NumPy arrays once they are asked for: `rows[a:b]`, `rows[::k]`, `rows[index]`.

    Attributes:
      stored: the table, compressed by rows.
      shape: (n, m).
      dtype: of the numbers.
      nbytes: what all rows would take.
    """

    ndim = 2

    def __init__(self, name: str, table: Any) -> None:
        if len(table.shape) != 2:
            raise ValueError(f"{name}: expected 2-D [n, features], got shape {table.shape}")
        if table.dtype.kind not in "biuf":
            raise TypeError(f"{name}: expected real numbers, got a sparse table of dtype {table.dtype}")
        self.stored = table.tocsr()
        self.shape: tuple[int, int] = self.stored.shape
        self.dtype: np.dtype = self.stored.dtype
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.stored[rows].toarray()
