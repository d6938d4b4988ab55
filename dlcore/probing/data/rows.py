"""Rows of a data set with their labels, identifiers and groups."""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.labels import labels_as_numpy


class Rows(NamedTuple):
    """Rows of a data set, such as the training set.

    Attributes:
      x: features, shape (n, m), any real dtype.
      y: labels or targets, shape (n,) or (n, targets).
      ids: the identifier of each row in the whole data set, such as its number, shape (n,). Two sets with an
        identifier in common are refused.
      groups: the group of each row, such as its subject, shape (n,). Two sets with a group in common are refused.

    >>> rows = Rows(np.zeros((2, 3)), [0, 1], groups=["a", "b"])
    >>> rows.x.shape
    (2, 3)
    """

    x: npt.ArrayLike
    y: npt.ArrayLike
    ids: npt.ArrayLike | None = None
    groups: npt.ArrayLike | None = None


RowsLike: TypeAlias = Rows | tuple[npt.ArrayLike, npt.ArrayLike]
"""`Rows`, or a pair (x, y)."""


class CheckedRows(NamedTuple):
    """Rows that are checked, as NumPy arrays.

    Attributes:
      name: the name of the set in messages, such as "train".
      x: shape (n, m), in its own dtype.
      y: shape (n,) or (n, targets).
      ids: shape (n,), or None.
      groups: shape (n,), or None.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    ids: np.ndarray | None
    groups: np.ndarray | None

    def take(self, index: np.ndarray, name: str | None = None) -> "CheckedRows":
        """Return some of the rows.

        Args:
          index: row numbers, shape (k,).
          name: the name of the new set. None keeps the name.
        """
        ids, groups = (None if part is None else part[index] for part in (self.ids, self.groups))
        return CheckedRows(name or self.name, self.x[index], self.y[index], ids, groups)


def read_rows(name: str, given: RowsLike) -> CheckedRows:
    """Return checked rows.

    Args:
      name: the name of the set, for messages.
      given: `Rows`, or a pair (x, y).

    Raises:
      TypeError: if `given` is neither, or x or y is no array of numbers or labels.
      ValueError: if shapes do not fit, a number is not finite, or an identifier occurs twice.
    """
    if not isinstance(given, tuple) or not (isinstance(given, Rows) or len(given) == 2):
        raise TypeError(f"{name}: expected Rows or a pair (x, y), got {type(given).__name__}")
    rows = given if isinstance(given, Rows) else Rows(given[0], given[1])
    x = host_checks.as_numpy(f"{name} x", rows.x)
    host_checks.check_matrix(f"{name} x", x)
    host_checks.check_finite(f"{name} x", x)
    y = read_targets(f"{name} y", rows.y)
    host_checks.check_same_length(**{f"{name} x": x, f"{name} y": y})
    ids, groups = (
        None if part is None else read_names(f"{name} {kind}", part, len(x))
        for kind, part in (("ids", rows.ids), ("groups", rows.groups))
    )
    if ids is not None:
        values, counts = np.unique(ids, return_counts=True)
        if counts.max() > 1:
            repeated = values[counts.argmax()].item()
            raise ValueError(f"{name} ids: expected each identifier once, got {repeated!r} {counts.max()} times")
    return CheckedRows(name, x, y, ids, groups)


def read_targets(name: str, y: npt.ArrayLike) -> np.ndarray:
    """Return labels, which may be strings, or finite numbers, shape (n,) or (n, targets)."""
    try:
        target = labels_as_numpy(name, y)
    except ValueError:
        target = host_checks.as_numpy(name, y)
    host_checks.check_finite(name, target) if target.dtype.kind == "f" else None
    if target.ndim not in (1, 2):
        raise ValueError(f"{name}: expected shape (n,) or (n, targets), got {target.shape}")
    return target


def read_names(name: str, given: npt.ArrayLike, rows: int) -> np.ndarray:
    """Return numbers or strings, one for each row."""
    names = np.asarray(given)
    if names.shape != (rows,):
        raise ValueError(f"{name}: expected shape ({rows},), got {names.shape}")
    if names.dtype.kind == "O" and all(isinstance(entry, str) for entry in names):
        names = names.astype(np.str_)
    if names.dtype.kind not in "biuU":
        raise TypeError(f"{name}: expected integers or strings, got dtype {names.dtype}")
    return names


def check_same_form(rows: CheckedRows, train: CheckedRows) -> None:
    """Raise unless rows have the columns and the kind of target of the training rows."""
    if rows.x.shape[1] != train.x.shape[1]:
        raise ValueError(
            f"{rows.name} x: expected {train.x.shape[1]} columns, as {train.name} x has, got {rows.x.shape[1]}"
        )
    if rows.y.shape[1:] != train.y.shape[1:]:
        expected = ", ".join(map(str, ("n", *train.y.shape[1:])))
        raise ValueError(f"{rows.name} y: expected shape ({expected}), as {train.name} y has, got {rows.y.shape}")
