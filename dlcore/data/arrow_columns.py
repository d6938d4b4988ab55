"""Columns of Arrow as NumPy arrays: numbers, texts, and lists of numbers as matrices."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dlcore.data.sources import Column


def to_column(column: pa.ChunkedArray) -> Column:
    """Return a column as an array, without a copy where Arrow's memory has that form.

    Dictionaries count as the values that they stand for, decimals as float64, dates and times as text. A list
    column, or one of tensors of one shape, becomes a matrix.

    Raises:
      ValueError: if lists have different lengths.
      TypeError: if the values are neither numbers, text, dates nor lists of numbers.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    missing = column.is_null().to_numpy() if column.null_count else None
    if pa.types.is_null(kind):
        return Column(np.zeros(len(column)), np.ones(len(column), bool))
    if _is_list(kind):
        return _matrix(column, missing)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return Column(_numbers(column), missing)
    if pa.types.is_decimal(kind):
        return Column(_numbers(column.cast(pa.float64())), missing)
    if pa.types.is_temporal(kind):
        column = column.cast(pa.string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise TypeError(f"expected numbers, text or lists of numbers, got {kind}")
    texts = ["" if text is None else text for text in column.to_pylist()]
    return Column(np.array(texts, np.str_), missing)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return numbers, with 0 in place of those that are missing."""
    if column.null_count:
        column = column.fill_null(pa.scalar(False if pa.types.is_boolean(column.type) else 0, column.type))
    if column.num_chunks == 1 and not pa.types.is_boolean(column.type):
        return column.chunk(0).to_numpy(zero_copy_only=True)
    return column.to_numpy()


def _matrix(column: pa.ChunkedArray, missing: np.ndarray | None) -> Column:
    """Return a column of lists of one length as a matrix."""
    kind = column.type.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise TypeError(f"expected lists of numbers, got lists of {kind}")
    lengths = pc.call_function("list_value_length", [column]).fill_null(-1).to_numpy()
    given = lengths[lengths >= 0]
    if not len(given):
        return Column(np.zeros((len(column), 1)), np.ones(len(column), bool))
    width = int(given[0])
    other = np.flatnonzero((lengths != width) & (lengths >= 0))
    if len(other):
        row = other[0]
        raise ValueError(f"expected lists of one length, got {width} numbers and {lengths[row]} in row {row}")
    if not width:
        raise ValueError("expected lists of numbers, got empty lists")
    flat = pc.call_function("list_flatten", [column])
    values = _numbers(flat).reshape(-1, width)
    inner = flat.is_null().to_numpy().reshape(-1, width).any(1) if flat.null_count else None
    if missing is None:
        return Column(values, inner)
    whole, lacks = np.zeros((len(column), width), values.dtype), missing.copy()
    whole[~missing] = values
    if inner is not None:
        lacks[~missing] = inner
    return Column(whole, lacks)
