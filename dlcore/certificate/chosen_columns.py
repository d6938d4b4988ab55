"""Some columns of a table, read a block of rows at a time."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class ChosenColumns:
    """Columns of a table, float64.

    Attributes:
      table: rows, shape (n, m).
      columns: indices of the columns, shape (c,).
    """

    table: Any
    columns: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.table), len(self.columns)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.table[rows].astype(np.float64)[:, self.columns]
