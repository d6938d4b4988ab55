"""Parts: rows that belong to the same sets."""

import numpy as np


def parts_of(membership: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the rows of each part, ascending, and the sets that each part belongs to.

    Parts are ordered by their sets, as binary numbers. Rows without a set are a part too.

    Args:
      membership: whether a set holds a row, shape (sets, n).

    Returns:
      The numbers of the rows of each part, and a table of shape (sets, parts).

    >>> parts, members = parts_of(np.array([[True, True, False], [True, True, True]]))
    >>> print([rows.tolist() for rows in parts], members.tolist())
    [[2], [0, 1]] [[False, True], [True, True]]
    """
    code = np.zeros(membership.shape[1], np.int64)
    for byte in np.packbits(membership, axis=0):
        code = (code << 8) | byte
        is_there = np.bincount(code) > 0
        code = (np.cumsum(is_there) - 1)[code]
    counts = np.bincount(code)
    narrow = code.astype(np.uint16) if len(counts) <= 2**16 else code  # NumPy sorts 16 bits by radix
    parts = np.split(np.argsort(narrow, kind="stable"), np.cumsum(counts)[:-1])
    return parts, membership[:, [rows[0] for rows in parts]]
