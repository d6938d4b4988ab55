"""Sparse tables, read as dense blocks of rows. SciPy itself is not imported."""

from typing import Protocol, TypeGuard

import numpy as np


class SparseTable(Protocol):
    """A sparse matrix or array of SciPy."""

    shape: tuple[int, ...]
    dtype: np.dtype
    data: np.ndarray
    """The stored numbers, if the table is compressed by rows."""

    def tocsr(self) -> "SparseTable":
        """Return the table compressed by rows."""
        ...

    def toarray(self) -> np.ndarray:
        """Return the table as a dense array."""
        ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> "SparseTable": ...


def is_sparse(data: object) -> TypeGuard[SparseTable]:
    """Return whether the data is a sparse table of SciPy."""
    return hasattr(data, "toarray") and hasattr(data, "nnz")


def to_dense_call(data: object) -> str | None:
    """Return the call that makes a sparse table of SciPy, torch, JAX or pydata dense; None if it is dense."""
    if is_sparse(data):
        return "toarray()"
    if hasattr(data, "detach"):  # torch's, whose layouts are torch.sparse_coo, torch.sparse_csr, …
        return "to_dense()" if "sparse" in str(getattr(data, "layout", "")) else None
    has_sparse_size = hasattr(data, "nnz") or hasattr(data, "nse")
    return "todense()" if has_sparse_size and hasattr(data, "todense") else None


class SparseRows:
    """Rows of a sparse table that become dense when indexed: `rows[a:b]`, `rows[::k]`, `rows[index]`.

    Attributes:
      csr: the table, compressed by rows.
      shape: (n, m).
      dtype: the dtype of the numbers.
      nbytes: the size of all rows as one dense array.
    """

    ndim = 2

    def __init__(self, name: str, table: SparseTable) -> None:
        if len(table.shape) != 2:
            raise ValueError(f"{name}: expected 2-D [n, features], got shape {table.shape}")
        if table.dtype.kind not in "biuf":
            raise TypeError(f"{name}: expected real numbers, got a sparse table of dtype {table.dtype}")
        self.csr = table.tocsr()
        self.shape: tuple[int, int] = (self.csr.shape[0], self.csr.shape[1])
        self.dtype = self.csr.dtype
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.csr[rows].toarray()
