"""Tables that are stored sparse, and read dense a block of rows at a time. SciPy itself is not imported."""

from typing import Any

import numpy as np


def is_sparse(data: Any) -> bool:
    """Return whether it is a sparse table of SciPy's kind."""
    return hasattr(data, "toarray") and hasattr(data, "nnz")


def made_dense_by(data: Any) -> str | None:
    """Return the call that makes a sparse table of any library dense: SciPy's, torch's, JAX's or pydata's.

    None of what is dense.
    """
    if is_sparse(data):
        return "toarray()"
    if hasattr(data, "detach"):  # torch's, whose layouts are torch.sparse_coo, torch.sparse_csr, …
        return "to_dense()" if "sparse" in str(getattr(data, "layout", "")) else None
    stored = hasattr(data, "nnz") or hasattr(data, "nse")
    return "todense()" if stored and hasattr(data, "todense") else None


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
