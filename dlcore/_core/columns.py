"""Names of columns: read where data comes as a frame, and compared with those of the fit."""

from collections import Counter
from collections.abc import Iterable
from typing import Any


def feature_names(name: str, data: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a data frame of any library; None where there are none.

    Raises:
      TypeError: if some names are strings and others are not.
    """
    for attribute in ("columns", "column_names"):  # pandas and polars; pyarrow
        columns = getattr(data, attribute, None)
        if not isinstance(columns, Iterable) or isinstance(columns, str | bytes):
            continue
        names = list(columns)
        strings = [isinstance(column, str) for column in names]
        if strings and all(strings):
            return tuple(map(str, names))
        if any(strings):
            other = names[strings.index(False)]
            raise TypeError(f"{name}: expected strings as the names of all columns or of none, got {other!r} too")
    return None


def check_feature_names(
    name: str, found: tuple[str, ...] | None, expected: tuple[str, ...] | None, of: str = "heads.feature_names"
) -> None:
    """Raise a `ValueError` where columns have names and these are not the expected ones in their order.

    Columns are not put in order, as scikit-learn does not: another order may be a mistake.

    Args:
      name: of the data.
      found: the names of its columns; None where it has no names.
      expected: the names that they must have; None where there are none to compare.
      of: what the expected names are called.
    """
    if found is None or expected is None or found == expected:
        return
    lacking, unknown = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    if lacking or unknown:
        parts = [
            f"{word} {_quoted(list(names))}" for word, names in (("lack", lacking), ("add", unknown)) if names
        ]
        raise ValueError(f"{name}: expected the columns {of}, got some that {' and '.join(parts)}")
    at = next(index for index, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
    raise ValueError(
        f"{name}: expected the columns in the order of {of}, got {found[at]!r} in place of {expected[at]!r} at "
        f"{at}; select them with [list({of})]"
    )


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
