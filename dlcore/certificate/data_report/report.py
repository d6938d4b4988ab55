"""A report on data as a value: what of it makes an optimum hard to reach, or not exist."""

import dataclasses
from typing import Any

import numpy as np

from dlcore.certificate.display import plain

NAMED = 10
"""So many columns does a report list."""


@dataclasses.dataclass(frozen=True)
class DataReport:
    """Of the rows of positive weight; columns are about their means where there is an intercept.

    Attributes:
      rows: how many have a positive weight.
      columns: m.
      dtype: of x as it came.
      rank: of the columns, as float64 sees it.
      condition: the ratio of the largest and the least singular value of the columns that vary; infinity below
        full rank, nan where none varies.
      condition_scaled: the same after each column is divided by its spread: where it is far less, the scale of the
        columns makes the data ill-conditioned.
      scale_ratio: the largest spread of a column over the least that is not 0.
      widest: the column with the largest spread; None where none varies.
      narrowest: that with the least that is not 0.
      constant: columns that hold one number.
      duplicates: groups of columns that are equal in every row.
      separability: "separable" and "not separable" are proven. "quasi-separable" is what float64 sees: a
        hyperplane touches the classes and crosses none. Else "not known"; None for numbers.
      direction: for separable classes, coefficients whose right class has the largest logit in every row; for
        quasi-separable ones, one of the largest in every row and the largest alone in some.
      direction_intercept: the intercepts that go with them.
    """

    rows: int
    columns: int
    dtype: str
    rank: int
    condition: float
    condition_scaled: float
    scale_ratio: float
    widest: int | None
    narrowest: int | None
    constant: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]
    separability: str | None
    direction: np.ndarray | None
    direction_intercept: np.ndarray | None

    def to_dict(self) -> dict[str, Any]:
        """Of lists and plain numbers; None for what is not finite."""
        return plain({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    def __str__(self) -> str:
        lines = [
            f"data: {self.rows} rows of positive weight, {self.columns} columns, {self.dtype}",
            f"rank {self.rank}, condition {self.condition:.2g}, "
            f"{self.condition_scaled:.2g} with columns of one scale",
        ]
        if self.widest is not None:
            lines.append(
                f"spreads of columns differ by {self.scale_ratio:.2g} (column {self.widest} over {self.narrowest})"
            )
        if self.constant:
            lines.append(f"constant columns: {_listed(self.constant)}")
        if self.duplicates:
            lines.append(f"equal columns: {_listed(self.duplicates)}")
        if self.separability is not None:
            lines.append(f"classes: {_WORDS[self.separability]}")
        return "\n".join(lines)


_WORDS = {
    "separable": "separable; without a penalty J has the infimum 0 and no minimum",
    "quasi-separable": "quasi-separable; without a penalty J has no minimum",
    "not separable": "not separable; without a penalty J has a minimum",
    "not known": "not known whether they are separable",
}


def _listed(items: tuple[Any, ...]) -> str:
    return ", ".join(map(str, items[:NAMED])) + (f" and {len(items) - NAMED} more" if len(items) > NAMED else "")
