"""Readers of Parquet, Arrow, Feather and CSV files, and of data frames, by pyarrow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypeGuard, runtime_checkable

from dlcore.data.sources import Column, Source, files_in, regular_file
from dlcore.data.sources import unreadable_as_value_error as readable

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")
"""Suffixes of the files that are read from a folder."""


@runtime_checkable
class Frame(Protocol):
    """A data frame that lends its columns: of pandas, polars, pyarrow or another library of Arrow's streams."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a stream of record batches."""
        ...


def arrow() -> ModuleType:
    """Return pyarrow, or raise an error that names the extra."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "dlcore.data: Parquet, Arrow, Feather and CSV files and data frames need pyarrow: "
            "pip install 'dlcore-jax[cli]'",
            name="pyarrow",
        ) from error
    return pyarrow


def is_frame(data: object) -> TypeGuard[Frame]:
    """Return whether an object is a data frame with named columns."""
    return isinstance(data, Frame) and hasattr(data, "columns")


def frame_source(frame: Frame) -> Source:
    """Return the columns of a data frame. The index of pandas is not a column."""
    pa, kind = arrow(), f"{type(frame).__module__.partition('.')[0]}.{type(frame).__name__}"
    with readable(Path(kind), "a data frame"):
        if hasattr(frame, "set_index"):
            table = pa.Table.from_pandas(frame, preserve_index=False)
        else:
            table = pa.table(frame)
    return _source_of_table(kind, table)


def parquet_source(path: Path) -> Source:
    """Return the columns of a Parquet file. Only those that are named are read."""
    return _source_of_parquet(str(path), [path])


def parquet_folder_source(folder: Path) -> Source | None:
    """Return the columns of all Parquet files of a folder, in the order of their names; None if it has none."""
    paths = files_in(folder, PARQUET)
    return _source_of_parquet(str(folder), paths) if paths else None


def _source_of_parquet(description: str, paths: Sequence[Path]) -> Source:
    arrow()
    import pyarrow.parquet as pq

    names: tuple[str, ...] = ()
    for path in paths:
        with readable(regular_file(path), "a Parquet file"):
            schema = pq.read_schema(path)
        if path != paths[0] and tuple(schema.names) != names:
            raise ValueError(
                f"{path}: expected the columns of {paths[0].name}, {_listed(names)}, got {_listed(schema.names)}"
            )
        names = tuple(schema.names)

    def load(chosen: Sequence[str]) -> Mapping[str, Column]:
        tables = []
        for path in paths:
            with readable(path, "a Parquet file"):
                tables.append(pq.ParquetFile(path, memory_map=True).read(columns=list(chosen)))
        return _columns_of(description, tables, chosen)

    return Source(description, names, load)


def ipc_source(path: Path) -> Source:
    """Return the columns of an Arrow or Feather file, or of a file with a stream of Arrow. It is mapped."""
    pa = arrow()
    import pyarrow.ipc

    with readable(regular_file(path), "an Arrow or Feather file"):
        with open(path, "rb") as file:
            is_file = file.read(6) == b"ARROW1"
        opened = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
        table = opened(pa.memory_map(str(path))).read_all()
        table.validate(full=True)  # wrong offsets in the file would point outside of it
    return _source_of_table(str(path), table)


def csv_source(path: Path) -> Source:
    """Return the columns of a CSV file with a header, or of a .tsv file. Empty fields and NA are missing."""
    arrow()
    import pyarrow.csv as csv

    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    with readable(regular_file(path), "a CSV file"):
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(delimiter=delimiter),
            convert_options=csv.ConvertOptions(strings_can_be_null=True),
        )
    return _source_of_table(str(path), table)


def _source_of_table(description: str, table: "pa.Table") -> Source:
    # Select by position: a name may stand twice, which is refused later.
    def load(names: Sequence[str]) -> Mapping[str, Column]:
        return _columns_of(description, [table.select([table.column_names.index(name) for name in names])], names)

    return Source(description, tuple(table.column_names), load)


def _columns_of(description: str, tables: Sequence["pa.Table"], names: Sequence[str]) -> dict[str, Column]:
    from dlcore.data.arrow_columns import to_column

    pa = arrow()
    columns = {}
    for name in names:
        parts = [table.column(name) for table in tables]
        kinds = list(dict.fromkeys(str(part.type) for part in parts))
        if len(kinds) > 1:
            raise ValueError(
                f"{description}: column {name!r}: expected one type in all files, got {kinds[0]} and {kinds[1]}"
            )
        chunks = [chunk for part in parts for chunk in part.chunks]
        with readable(Path(description), f"column {name!r}"):
            columns[name] = to_column(pa.chunked_array(chunks, parts[0].type))
    return columns


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
