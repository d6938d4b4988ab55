"""Leakage: rows and groups that are in two sets of a protocol."""

import hashlib
from collections.abc import Sequence
from itertools import combinations
from typing import Literal, TypeAlias

import numpy as np

from dlcore.probing.data.rows import CheckedRows

Duplicates: TypeAlias = Literal["refuse", "report"]
"""What a protocol does with equal rows of two sets."""
BLOCK_ROWS = 4096
"""Rows that are compared at a time."""


class LeakageError(ValueError):
    """Error of a protocol whose sets have rows or groups in common.

    >>> issubclass(LeakageError, ValueError)
    True
    """


def check_duplicates_choice(duplicates: str) -> None:
    """Raise unless the choice is "refuse" or "report"."""
    if duplicates not in ("refuse", "report"):
        raise ValueError(f"duplicates: expected 'refuse' or 'report', got {duplicates!r}")


def check_apart(parts: Sequence[CheckedRows], duplicates: Duplicates = "refuse") -> dict[str, dict[str, int]]:
    """Check that no two sets have a row or a group in common, and count equal features.

    Two rows are the same if their identifiers are equal. They are equal if the bytes of their features and labels
    are. Sets of which one lies wholly within the other are refused whatever `duplicates` says.

    Args:
      parts: the sets, such as training, validation and test rows.
      duplicates: "refuse" raises an error for equal rows. "report" counts them.

    Returns:
      For each pair of sets the number of `equal_rows` and of `equal_features` in the second set. The latter have
      the features of a row of the first set and another label.

    Raises:
      LeakageError: that names the sets and the first row or group.
    """
    check_duplicates_choice(duplicates)
    dtypes = np.result_type(*(part.x.dtype for part in parts)), _label_dtype(parts)
    digests = [_digests(part, dtypes) for part in parts]
    counts = {}
    for (i, first), (j, second) in combinations(enumerate(parts), 2):
        _check_common(first, second, "ids", "identifier", "a row must be in one set only")
        _check_common(first, second, "groups", "group", "rows of a group must be in one set only")
        rows, features = set(digests[i][0]), set(digests[i][1])
        equal = [row for row, digest in enumerate(digests[j][0]) if digest in rows]
        if equal:
            _refuse_equal_rows(first, second, equal, len(rows & set(digests[j][0])) == len(rows), duplicates)
        same = sum(digest in features for digest in digests[j][1])
        counts[f"{first.name}, {second.name}"] = {"equal_rows": len(equal), "equal_features": same - len(equal)}
    return counts


def _label_dtype(parts: Sequence[CheckedRows]) -> np.dtype:
    """Return the dtype in which labels are compared. Numbers are compared in float64 if one set has fractions."""
    kinds = {part.y.dtype.kind for part in parts}
    if "U" in kinds:
        return np.dtype(np.str_)
    return np.dtype(np.float64) if "f" in kinds else np.dtype(np.int64)


def _check_common(first: CheckedRows, second: CheckedRows, field: str, what: str, reason: str) -> None:
    names, others = getattr(first, field), getattr(second, field)
    if names is None or others is None:
        return
    if (names.dtype.kind == "U") != (others.dtype.kind == "U"):
        raise TypeError(
            f"{second.name} {field}: expected the kind of {first.name} {field}, {names.dtype}, got {others.dtype}"
        )
    common = np.intersect1d(names, others)
    if len(common):
        raise LeakageError(
            f"{second.name}: {what} {common[0].item()!r} is in {first.name} too, as are {len(common) - 1} more; "
            f"{reason}"
        )


def _refuse_equal_rows(
    first: CheckedRows, second: CheckedRows, equal: list[int], covers_first: bool, duplicates: str
) -> None:
    whole = len(equal) == len(second.x)
    if whole and covers_first:
        reason = "; C would be chosen on the test set" if first.name == "validation" else ""
        raise LeakageError(f"{second.name}: expected rows apart from {first.name}, got the same rows{reason}")
    if whole or covers_first:
        inner, outer = (second, first) if whole else (first, second)
        raise LeakageError(
            f"{second.name}: expected rows apart from {first.name}, got sets of which {inner.name} lies wholly "
            f"within {outer.name}"
        )
    if duplicates == "refuse":
        raise LeakageError(
            f"{second.name}: row {equal[0]} equals a row of {first.name} in features and label, as do "
            f"{len(equal) - 1} more; drop them, or pass duplicates='report' if they are different examples"
        )


def _digests(part: CheckedRows, dtypes: "tuple[np.dtype, np.dtype]") -> tuple[list[bytes], list[bytes]]:
    """Return a digest of features and label, and one of the features, for each row. The zeros −0 and 0 are equal.

    Args:
      part: the rows.
      dtypes: those in which the features and the labels of all sets are compared.
    """
    features, rows = [], []
    labels = part.y.astype(dtypes[1]).tolist()
    for start in range(0, len(part.x), BLOCK_ROWS):
        block = np.ascontiguousarray(part.x[start : start + BLOCK_ROWS], dtypes[0])
        block = block if block.dtype.kind in "biu" else block + block.dtype.type(0)
        for x, label in zip(block, labels[start : start + BLOCK_ROWS], strict=True):
            digest = hashlib.blake2b(x.tobytes(), digest_size=16)
            features.append(digest.digest())
            digest.update(repr(label).encode())
            rows.append(digest.digest())
    return rows, features
