"""Columns as arrays of one table: a matrix of features, numbers for weights, labels for the rest."""

from collections.abc import Mapping, Sequence

import numpy as np

from dlcore._core import host_checks
from dlcore.data.sources import Column


def assemble(
    description: str, matrix: np.ndarray | None, names: Sequence[str], columns: Mapping[str, Column]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the matrix of features and the names of its columns. One block of features is not copied.

    Args:
      description: the name of the table.
      matrix: the whole table where it is one matrix, shape (n, columns), else None.
      names: the names of the features.
      columns: the columns by name, where there is no matrix.
    """
    if matrix is not None:
        _check_numeric(description, "the array", Column(matrix))
        index = [int(name) for name in names]
        consecutive = index == list(range(index[0], index[0] + len(index)))
        return matrix[:, index[0] : index[-1] + 1] if consecutive else matrix[:, index], tuple(names)
    rows = {name: len(columns[name].values) if columns[name].values.ndim else 0 for name in names}
    if len(set(rows.values())) > 1:
        first, *others = rows
        other = next(name for name in others if rows[name] != rows[first])
        raise ValueError(
            f"{description}: expected as many rows in every column, got {rows[first]} in {first!r} and "
            f"{rows[other]} in {other!r}; choose columns with features=[…] (--features)"
        )
    blocks, titles = [], []
    for name in names:
        _check_numeric(description, f"column {name!r}", columns[name])
        values = columns[name].values
        if values.ndim > 2 or not values.ndim:
            raise ValueError(f"{description}: column {name!r}: expected shape (n,) or (n, d), got {values.shape}")
        blocks.append(values.view(np.uint8) if values.dtype == bool else values)
        titles += [name] if values.ndim == 1 else [f"{name}[{j}]" for j in range(values.shape[1])]
    if len(blocks) == 1 and blocks[0].ndim == 2:
        return blocks[0], tuple(titles)
    dtype = np.result_type(*(block.dtype for block in blocks))
    x = np.empty((len(blocks[0]), len(titles)), dtype)
    start = 0
    for block in blocks:
        width = 1 if block.ndim == 1 else block.shape[1]
        x[:, start : start + width] = block.reshape(len(block), width)
        start += width
    return x, tuple(titles)


def _check_numeric(description: str, what: str, column: Column) -> None:
    """Raise a `TypeError` unless a column holds real numbers; name the first text that is none."""
    values = column.values
    if values.dtype.kind in "biuf" or values.dtype.name == "bfloat16":
        return
    if values.dtype.kind != "U":
        raise TypeError(f"{description}: {what}: expected real numbers, got dtype {values.dtype}")
    given = np.ones(len(values), bool) if column.missing is None else ~column.missing
    row = next((row for row in np.flatnonzero(given) if not _is_number(str(values[row]))), 0)
    raise TypeError(
        f"{description}: {what}: expected numbers, got text ({str(values[row])!r} in row {row}); "
        "choose columns with features=[…] (--features)"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def label_column(name: str, column: Column, rows: int) -> np.ndarray:
    """Return the labels or numbers of a column, shape (n,)."""
    values = column.values
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (rows,):
        raise ValueError(f"{name}: expected shape ({rows},), a value for each row, got {values.shape}")
    if values.dtype.kind not in "biufU":
        raise TypeError(f"{name}: expected numbers or text, got dtype {values.dtype}")
    return values


def number_column(name: str, column: Column, rows: int) -> np.ndarray:
    """Return the weights of a column, shape (n,).

    Raises:
      TypeError: if they are no real numbers.
      ValueError: if a weight is negative, or all weights are 0.
    """
    values = label_column(name, column, rows)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got text ({str(values[0])!r} in row 0)")
    given = values if column.missing is None else values[~column.missing]
    given = given[~np.isnan(given)] if given.dtype.kind == "f" else given
    if len(given):
        host_checks.check_weights(given, len(given), name)
    return values
