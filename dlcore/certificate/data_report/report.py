"""The report on data: properties that make an optimum hard to reach, or that leave J without a minimum."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.certificate.data_report.columns import describe_columns
from dlcore.certificate.data_report.separation import SEPARABLE, Separation, find_separation, is_separable_by
from dlcore.certificate.display import Plain, equal_fields, html_table, to_plain
from dlcore.certificate.losses import certified_loss
from dlcore.certificate.rows import DataLike, HostTable, RowWeights, TrainingData, scaled_weights

SHOWN = 10
"""Maximum number of columns that a report lists."""
_SEPARABILITY = {
    "separable": "separable; without a penalty J has the infimum 0 and no minimum",
    "quasi-separable": "quasi-separable; without a penalty J has no minimum",
    "not separable": "not separable; without a penalty J has a minimum",
    "not known": "not known whether they are separable",
}


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class DataReport:
    """A report on the rows of positive weight. The columns are centered if heads have an intercept.

    `str` returns a short card. Reports are equal if all their fields are, array by array. nan equals nan.

    Attributes:
      rows: the number of rows of positive weight.
      columns: m.
      dtype: the dtype of x as given.
      rank: the rank of the columns in float64.
      condition: the ratio of the largest and the smallest singular value of the columns that are not 0, after
        centering if heads have an intercept. It is infinity below full rank, and nan if all columns are 0.
      condition_scaled: the condition after each column is divided by its spread. If it is far smaller than
        `condition`, the scale of the columns makes the data ill-conditioned.
      scale_ratio: the largest spread of a column over the smallest that is not 0. The spread is the root mean
        square of a column, after centering if heads have an intercept.
      widest: the column with the largest spread, or None if all spreads are 0.
      narrowest: the column with the smallest spread that is not 0.
      constant: columns that are a single number.
      duplicates: groups of columns that are equal in every row.
      separability: "separable", "not separable", "quasi-separable" or "not known", or None for regression losses.
        The first two are proven. Quasi-separable means that a hyperplane touches the classes and crosses none, up
        to rounding in float64.
      direction: coefficients that show the separation. For separable classes the true class has the largest logit
        in every row. For quasi-separable classes the true class has one of the largest logits in every row, and
        the only largest in some row.
      direction_intercept: the intercepts that belong to `direction`.
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

    def to_dict(self) -> dict[str, Plain]:
        """Return the fields as lists and plain numbers. Numbers that are not finite are None."""
        return {field.name: to_plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

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
            lines.append(f"classes: {_SEPARABILITY[self.separability]}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        classes = "" if self.separability is None else f", classes {self.separability}"
        return f"DataReport({self.rows} rows, {self.columns} columns, {self.dtype}, rank {self.rank}{classes})"

    def _repr_html_(self) -> str:
        """Return a small table for notebooks."""
        spread = (
            "" if self.widest is None else f"{self.scale_ratio:.2g} (column {self.widest} over {self.narrowest})"
        )
        rows = [
            ("rank", str(self.rank)),
            ("condition", f"{self.condition:.2g}"),
            ("condition with columns of one scale", f"{self.condition_scaled:.2g}"),
            ("ratio of spreads", spread),
            ("constant columns", _listed(self.constant)),
            ("equal columns", _listed(self.duplicates)),
            ("classes", _SEPARABILITY.get(self.separability or "", "")),
        ]
        caption = f"data: {self.rows} rows of positive weight, {self.columns} columns, {self.dtype}"
        return html_table(caption, ("property", "value"), [row for row in rows if row[1]])

    def __eq__(self, other: object) -> bool:
        return equal_fields(self, other) if isinstance(other, DataReport) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.rows, self.columns, self.dtype, self.rank, self.separability))


def _listed(items: tuple[object, ...]) -> str:
    """Return the first items and the number of the rest."""
    return ", ".join(map(str, items[:SHOWN])) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")


def data_report(
    x: DataLike,
    y: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    *,
    loss: Literal["logistic", "softmax", "squared", "poisson"] = "logistic",
    fit_intercept: bool = True,
) -> DataReport:
    """Return a report on data, before any head is fitted.

    Rows are read a block at a time, from disk too, and never copied whole. Memory has a few blocks and a matrix of
    shape (m, m). The search for a proof of inseparability needs a few matrices of size coefficients². It runs for
    at most 2,000 coefficients.

    Args:
      x: shape (n, m), as `certify` takes it.
      y: shape (n,): labels 0 and 1, or with the loss "softmax" 0, 1, …. Unused with "squared" and "poisson".
      weights: shape (n,). Rows of weight 0 are omitted.
      loss: "logistic", "softmax", "squared" or "poisson".
      fit_intercept: whether heads have an intercept. If they have, the columns are centered.

    Returns:
      A `DataReport`. Its `str` is a short card.

    Raises:
      ValueError: if shapes do not fit, a value is not finite, labels are not class indices, a weight is negative
        or all weights are 0, or the loss is unknown.
      TypeError: if an input is not an array of real numbers, or `fit_intercept` is not True or False.

    >>> x = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [2.0, 1.0, 2.0], [3.0, 1.0, 3.0]])
    >>> print(data_report(x, [0, 0, 1, 1]))
    data: 4 rows of positive weight, 3 columns, float64
    rank 1, condition inf, inf with columns of one scale
    spreads of columns differ by 1 (column 0 over 0)
    constant columns: 1
    equal columns: (0, 2)
    classes: separable; without a penalty J has the infimum 0 and no minimum
    """
    check_labels_and_count_logits = certified_loss("loss", loss).check_labels_and_count_logits
    if not isinstance(fit_intercept, bool):
        raise TypeError(f"fit_intercept: expected True or False, got {fit_intercept!r}")
    table = host_checks.as_numpy_or_sparse("x", x)
    host_checks.check_matrix("x", table)
    host_checks.check_finite("x", table)
    values = np.broadcast_to(np.float64(1), (1, len(table)))
    if weights is not None:
        values = host_checks.as_numpy("weights", weights)
        host_checks.check_weights(values, len(table))
        values = values[None]
    scaled = scaled_weights(values)
    if check_labels_and_count_logits is None:
        return report_on(table, None, scaled, fit_intercept=fit_intercept)
    labels = host_checks.as_numpy("y", y)
    host_checks.check_same_length(x=table, y=labels)
    host_checks.check_rank("y", labels, 1, "[n]")
    host_checks.check_finite("y", labels)
    logits = check_labels_and_count_logits(labels, values[0])
    return report_on(table, labels, scaled, logits, fit_intercept=fit_intercept)


def report_on(
    x: HostTable,
    y: np.ndarray | None,
    weights: RowWeights,
    logits: int = 1,
    heads: Iterable[tuple[np.ndarray, np.ndarray]] = (),
    *,
    fit_intercept: bool,
) -> DataReport:
    """Return the report on checked data.

    Args:
      x: rows, shape (n, m).
      y: classes, shape (n,), or None for regression losses.
      weights: sets of weights. A row is used if its weight is positive in any set.
      logits: the number of logits of a row: the number of classes, or 1 for the sigmoid.
      heads: coefficients and intercepts that may separate the classes.
      fit_intercept: whether heads have an intercept.
    """
    weights = scaled_weights(weights.values.max(0, keepdims=True))
    columns = describe_columns(x, weights, centered=fit_intercept)
    separation = None
    if y is not None:
        data = TrainingData(x, y, weights)
        distinct = np.ones(x.shape[1], bool)
        for group in columns.duplicates:
            distinct[list(group[1:])] = False
        distinct[[j for j in columns.constant if columns.spread[j] == 0]] = False
        with np.errstate(over="ignore", invalid="ignore"):  # if a number overflows, nothing is proven
            witnesses = (
                Separation(SEPARABLE, coef, intercept)
                for coef, intercept in heads
                if is_separable_by(np.atleast_2d(coef), np.atleast_1d(intercept), data)
            )
            separation = next(witnesses, None) or find_separation(
                data, logits, np.flatnonzero(distinct), fit_intercept=fit_intercept
            )
    spread = np.where(columns.spread > 0, columns.spread, np.nan)
    varies = bool((columns.spread > 0).any())
    with np.errstate(over="ignore"):
        scale_ratio = float(np.nanmax(spread) / np.nanmin(spread)) if varies else np.nan
    return DataReport(
        rows=int((weights.values > 0).sum()),
        columns=x.shape[1],
        dtype=str(x.dtype),
        rank=columns.rank,
        condition=columns.condition,
        condition_scaled=columns.condition_scaled,
        scale_ratio=scale_ratio,
        widest=int(np.nanargmax(spread)) if varies else None,
        narrowest=int(np.nanargmin(spread)) if varies else None,
        constant=columns.constant,
        duplicates=columns.duplicates,
        separability=None if separation is None else separation.verdict,
        direction=None if separation is None else separation.coef,
        direction_intercept=None if separation is None else separation.intercept,
    )
