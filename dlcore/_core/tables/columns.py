"""Column names: read from a data frame, and compared with those of the fit."""

from collections import Counter
from collections.abc import Iterable


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


def check_feature_names(
    name: str,
    actual: tuple[str, ...] | None,
    expected: tuple[str, ...] | None,
    expected_from: str = "heads.feature_names",
) -> None:
    """Raise a `ValueError` if the columns have names that differ from the expected names or their order.

    Columns are not reordered, as in scikit-learn: another order may be a mistake.

    Args:
      name: the name of the data.
      actual: the names of its columns. None if it has none.
      expected: the names that the columns must have. None if any will do.
      expected_from: the attribute that holds the expected names.
    """
    if actual is None or expected is None or actual == expected:
        return
    missing, unknown = Counter(expected) - Counter(actual), Counter(actual) - Counter(expected)
    if missing or unknown:
        parts = [f"{verb} {_quote(list(names))}" for verb, names in (("lack", missing), ("add", unknown)) if names]
        raise ValueError(f"{name}: expected the columns {expected_from}, got some that {' and '.join(parts)}")
    index = next(index for index, pair in enumerate(zip(actual, expected, strict=True)) if pair[0] != pair[1])
    raise ValueError(
        f"{name}: expected the columns in the order of {expected_from}, got {actual[index]!r} in place of "
        f"{expected[index]!r} at {index}; select them with [list({expected_from})]"
    )


def _quote(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
