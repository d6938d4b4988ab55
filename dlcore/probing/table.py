"""The result of a protocol: a small immutable table with its record."""

import dataclasses
import json
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from dlcore._core.files import atomic_writer, check_path
from dlcore._core.html import escape
from dlcore.certificate import LinearHeads

if TYPE_CHECKING:
    import pyarrow

MAX_ROWS = 30
"""The number of rows that the table in HTML shows."""
METADATA = b"dlcore.probing"
"""The key of the record in the metadata of an Arrow table."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ProbeTable:
    """Table of named columns of equal length, with the record of how it was made.

    The columns are read-only NumPy arrays. Two tables are equal if they are the same object.

    Attributes:
      columns: arrays of shape (rows,) by name.
      record: values that JSON can hold: protocol, settings, seeds, SHA-256 of the rows, versions and device.
      heads: the fitted heads that are kept, by the number of their row. A file does not keep them.
      seconds: the time of all fits in the parts "compile", "run" and "certify". A file and a selection of rows do
        not keep it.

    >>> columns = {"k": np.array([1, 2]), "test_accuracy": np.array([0.5, 0.75])}
    >>> table = ProbeTable(columns, {"protocol": "example"})
    >>> table
    ProbeTable(example, 2 rows: k, test_accuracy)
    >>> table["test_accuracy"].mean()
    np.float64(0.625)
    """

    columns: Mapping[str, np.ndarray]
    record: Mapping[str, object]
    heads: Mapping[int, LinearHeads] = dataclasses.field(default_factory=dict)
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = {}
        for name, values in self.columns.items():
            array = np.array(values)
            array.flags.writeable = False
            columns[name] = array
        lengths = {name: array.shape for name, array in columns.items()}
        if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
            raise ValueError(f"columns: expected 1-D arrays of equal length, got the shapes {lengths}")
        object.__setattr__(self, "columns", MappingProxyType(columns))
        object.__setattr__(self, "record", MappingProxyType(json.loads(json.dumps(dict(self.record)))))
        object.__setattr__(self, "heads", MappingProxyType(dict(self.heads)))
        object.__setattr__(self, "seconds", MappingProxyType(dict(self.seconds)))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column.

        Raises:
          KeyError: if there is no such column. The error lists the names.
        """
        if name not in self.columns:
            raise KeyError(f"{name!r} is no column; the columns are {', '.join(self.columns)}")
        return self.columns[name]

    def __repr__(self) -> str:
        count = len(self)
        rows = f"{count} row{'' if count == 1 else 's'}"
        return f"ProbeTable({self.record.get('protocol', 'table')}, {rows}: {', '.join(self.columns)})"

    def _repr_html_(self) -> str:
        """Return the first rows as a table in HTML."""
        titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.columns)
        body = []
        for row in range(min(len(self), MAX_ROWS)):
            cells = "".join(f"<td>{escape(_shown(values[row]))}</td>" for values in self.columns.values())
            body.append(f"<tr>{cells}</tr>")
        if len(self) > MAX_ROWS:
            body.append(f'<tr><td colspan="{len(self.columns)}">… {len(self) - MAX_ROWS} more</td></tr>')
        caption = escape(str(self.record.get("protocol", "table")))
        return (
            f"<table><caption>{caption}</caption><thead><tr>{titles}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table>"
        )

    def select(self, **values: object) -> "ProbeTable":
        """Return the rows whose columns have these values.

        Args:
          values: a value for each column of the condition.

        >>> ProbeTable({"k": np.array([1, 2])}, {}).select(k=2)["k"]
        array([2])
        """
        chosen = np.ones(len(self), bool)
        for name, value in values.items():
            chosen &= self[name] == value
        rows = np.flatnonzero(chosen)
        heads = {new: self.heads[int(old)] for new, old in enumerate(rows) if int(old) in self.heads}
        return ProbeTable({name: array[rows] for name, array in self.columns.items()}, self.record, heads)

    def mean(self, column: str, by: str) -> "ProbeTable":
        """Return the mean of a column for each value of another one, over the rows where it is a number.

        Args:
          column: the column that is averaged.
          by: the column whose values are kept apart.

        Returns:
          A table with `by`, the mean, the standard deviation with n − 1 (nan for one row), and the number of rows.

        >>> table = ProbeTable({"k": np.array([1, 1, 2]), "score": np.array([0.0, 1.0, 0.5])}, {})
        >>> table.mean("score", by="k")["score_mean"]
        array([0.5, 0.5])
        """
        numbers, keys = self[column].astype(np.float64), self[by]
        known = ~np.isnan(numbers)
        groups = [numbers[known & (keys == key)] for key in np.unique(keys[known])]
        deviations = [values.std(ddof=1) if len(values) > 1 else np.nan for values in groups]
        columns = {
            by: np.unique(keys[known]),
            f"{column}_mean": np.array([values.mean() for values in groups]),
            f"{column}_sd": np.array(deviations),
            "count": np.array([len(values) for values in groups]),
        }
        return ProbeTable(columns, self.record)

    def to_arrow(self) -> "pyarrow.Table":
        """Return a table of pyarrow. Its metadata holds the record as JSON.

        Raises:
          ImportError: if pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError as error:
            raise ImportError("ProbeTable.to_arrow needs pyarrow: pip install 'dlcore-jax[cli]'") from error
        arrays = {
            name: pa.array(values.tolist() if values.dtype.kind in "UO" else values)
            for name, values in self.columns.items()
        }
        return pa.table(arrays).replace_schema_metadata({METADATA: json.dumps(dict(self.record)).encode()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a Parquet file, whole or not at all, with the record in its metadata.

        Args:
          path: the path of a file in a folder that exists.

        Raises:
          ImportError: if pyarrow is not installed.
          OSError: if the file cannot be written.
        """
        target = check_path("path", path)
        table = self.to_arrow()
        import pyarrow.parquet as parquet

        with atomic_writer(target) as file:
            parquet.write_table(table, file)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "ProbeTable":
        """Return the table of a file that `save` wrote, without its heads.

        Args:
          path: the path of the file.

        Raises:
          ImportError: if pyarrow is not installed.
          ValueError: if the file has no record.
        """
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise ImportError("ProbeTable.load needs pyarrow: pip install 'dlcore-jax[cli]'") from error
        table = parquet.read_table(check_path("path", path))
        metadata = table.schema.metadata or {}
        if METADATA not in metadata:
            raise ValueError(f"path: expected a file of ProbeTable.save, got {os.fspath(path)!r} without a record")
        columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        columns = {
            name: array.astype(np.str_) if array.dtype == object else array for name, array in columns.items()
        }
        return ProbeTable(columns, json.loads(metadata[METADATA]))


def _shown(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float | np.floating) else str(value)


def table_of(rows: list[dict[str, object]]) -> dict[str, np.ndarray]:
    """Return columns from rows with the same keys. A missing number is nan, a missing text is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        known = [row[name] for row in rows if row.get(name) is not None]
        is_text = any(isinstance(value, str) for value in known)
        if len(known) == len(rows) and not is_text:
            columns[name] = np.array(known)
        else:
            missing = "" if is_text else np.nan
            values = [missing if row.get(name) is None else row[name] for row in rows]
            columns[name] = np.array([str(value) for value in values] if is_text else values)
    return columns
