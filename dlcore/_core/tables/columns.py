"""Column names: read from a data frame, and brought into the order of the fit."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from dlcore._core.tables.sparse import SparseRows


def feature_names(name: str, data: object) -> tuple[str, ...] | None:
    """Return the column names of a data frame of any library, or None if it has none.

    Raises:
      TypeError: if some names are strings and others are not.
    """
    for attribute in ("columns", "column_names"):  # pandas and polars; pyarrow
        columns = getattr(data, attribute, None)
        if not isinstance(columns, Iterable) or isinstance(columns, str | bytes):
            continue
        names = list(columns)
        is_string = [isinstance(column, str) for column in names]
        if is_string and all(is_string):
            return tuple(map(str, names))
        if any(is_string):
            invalid = names[is_string.index(False)]
            raise TypeError(
                f"{name}: expected strings as the names of all columns or of none, got {invalid!r} too"
            )
    return None


def column_order(
    name: str,
    actual: tuple[str, ...] | None,
    expected: tuple[str, ...] | None,
    expected_from: str = "heads.feature_names",
) -> np.ndarray | None:
    """Return where each expected column stands in a table, or None if the table is used as it is.

    Columns without names are used as they are.

    Args:
      name: the name of the data, for messages.
      actual: the names of its columns. None if it has none.
      expected: the names that the columns must have, in any order. None if any will do.
      expected_from: the attribute that holds the expected names, for messages.

    Raises:
      ValueError: if the names differ from those expected, or the order differs and a name occurs twice.

    >>> print(column_order("x", ("b", "a"), ("a", "b")), column_order("x", ("a", "b"), ("a", "b")))
    [1 0] None
    """
    if actual is None or expected is None or actual == expected:
        return None
    missing, unknown = Counter(expected) - Counter(actual), Counter(actual) - Counter(expected)
    if missing or unknown:
        parts = [f"{verb} {_quote(list(names))}" for verb, names in (("lack", missing), ("add", unknown)) if names]
        raise ValueError(f"{name}: expected the columns {expected_from}, got some that {' and '.join(parts)}")
    position = {column: index for index, column in enumerate(actual)}
    if len(position) < len(actual):
        twice = next(column for column, count in Counter(actual).items() if count > 1)
        raise ValueError(
            f"{name}: expected the columns in the order of {expected_from}, because {twice!r} occurs twice; "
            "got another order"
        )
    return np.array([position[column] for column in expected])


def take_columns(rows: np.ndarray | SparseRows, order: np.ndarray | None) -> np.ndarray | SparseRows:
    """Return the rows with their columns in an order that `column_order` gives.

    A table that is reordered is a new array, stored by row.
    """
    if order is None or isinstance(rows, SparseRows):  # a sparse table has no names
        return rows
    return np.ascontiguousarray(rows[:, order])


def _quote(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
