"""The record of a table that was read: features, target, weights, groups and where they come from."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Features and the columns that belong to them. Two objects are equal if they are the same object.

    Attributes:
      features: shape (n, m), any real dtype; a memory map or a view where no copy was needed.
      target: shape (n,): numbers, booleans or strings. None if no target was named.
      weight: weights of the rows, shape (n,). None if no column was named.
      groups: the group of each row, shape (n,): numbers or strings. None if no column was named.
      split: the value of the split column in each row, shape (n,). None if no column was named.
      names: the names of the m features.
      source: the path of the file, or the kind of the object, that was read.
      dropped: the numbers of the rows of the source that were dropped because a value is missing, ascending.
    """

    features: np.ndarray
    target: np.ndarray | None
    weight: np.ndarray | None
    groups: np.ndarray | None
    split: np.ndarray | None
    names: tuple[str, ...]
    source: str
    dropped: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)

    def __repr__(self) -> str:
        columns = [name for name in ("target", "weight", "groups", "split") if getattr(self, name) is not None]
        parts = [f"{len(self)} rows", f"{len(self.names)} features {self.features.dtype}", *columns]
        if len(self.dropped):
            parts.append(f"{len(self.dropped)} rows dropped")
        return f"Dataset({', '.join(parts)}, {self.source})"

    def take(self, rows: np.ndarray) -> "Dataset":
        """Return the data of some rows, which are copied.

        Args:
          rows: booleans of shape (n,), or the numbers of rows.
        """
        parts = {
            name: None if (part := getattr(self, name)) is None else part[rows]
            for name in ("features", "target", "weight", "groups", "split")
        }
        return dataclasses.replace(self, **parts)
