"""The table of a protocol: immutable, with its record, as Arrow and in a file."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from pages import Page

from dlcore.probing import ProbeTable

pytestmark = pytest.mark.any_mode

COLUMNS = {
    "shots": np.array([1, 1, 2]),
    "name": np.array(["a", "ü<b>", ""]),
    "chosen": np.array([True, False, True]),
    "test_accuracy": np.array([0.25, np.nan, 1 / 3]),
}
TABLE = ProbeTable(COLUMNS, {"protocol": "example", "seeds": [0, 1], "rows": {"train": {"sha256": "00"}}})


def assert_same(actual, expected):
    assert list(actual.columns) == list(expected.columns)
    for name, values in expected.columns.items():
        assert actual[name].dtype.kind == values.dtype.kind
        np.testing.assert_array_equal(actual[name], values)
    assert dict(actual.record) == dict(expected.record)


def test_a_file_keeps_every_bit_and_the_record(tmp_path):
    TABLE.save(tmp_path / "table.parquet")
    assert_same(ProbeTable.load(tmp_path / "table.parquet"), TABLE)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]
    assert parquet.read_table(tmp_path / "table.parquet").to_pydict()["name"] == ["a", "ü<b>", ""]


def test_arrow_has_the_columns_and_the_record():
    arrow = TABLE.to_arrow()
    assert arrow.column_names == list(COLUMNS)
    assert arrow.schema.field("shots").type == pa.int64()
    assert json.loads(arrow.schema.metadata[b"dlcore.probing"]) == dict(TABLE.record)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    TABLE.save(path)
    before = path.read_bytes()

    def fail(table, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", fail)
    with pytest.raises(OSError, match="what was there is unchanged"):
        TABLE.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_another_file_has_no_record(tmp_path):
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"expected a file of .*, got .* without a record"):
        ProbeTable.load(tmp_path / "other.parquet")


def test_without_pyarrow_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for call in (TABLE.to_arrow, lambda: TABLE.save(tmp_path / "a"), lambda: ProbeTable.load(tmp_path / "a")):
        with pytest.raises(ImportError, match=r"needs pyarrow: pip install 'dlcore-jax\[cli\]'"):
            call()


def test_nothing_can_be_changed():
    values = np.array([1.0, 2.0])
    table = ProbeTable({"a": values}, {"seeds": [0]})
    values[0] = 9
    assert table["a"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        table["a"][0] = 3
    with pytest.raises(TypeError):
        table.columns["b"] = values  # pyright: ignore[reportIndexIssue]
    with pytest.raises(AttributeError):
        table.record = {}  # pyright: ignore[reportAttributeAccessIssue]


def test_wrong_columns_and_names():
    with pytest.raises(ValueError, match="columns: expected 1-D arrays of equal length"):
        ProbeTable({"a": np.zeros(2), "b": np.zeros(3)}, {})
    with pytest.raises(KeyError, match="'b' is no column; the columns are shots, name"):
        TABLE["b"]


def test_means_are_over_the_numbers_of_each_key():
    table = ProbeTable({"k": np.array([2, 1, 2, 2]), "s": np.array([1.0, 0.5, np.nan, 2.0])}, {})
    mean = table.mean("s", by="k")
    np.testing.assert_array_equal(mean["k"], [1, 2])
    np.testing.assert_array_equal(mean["s_mean"], [0.5, 1.5])
    np.testing.assert_allclose(mean["s_sd"], np.array([np.nan, np.std([1, 2], ddof=1)]))
    np.testing.assert_array_equal(mean["count"], [1, 2])


def test_short_text_and_html():
    assert repr(TABLE) == "ProbeTable(example, 3 rows: shots, name, chosen, test_accuracy)"
    page = Page(TABLE._repr_html_())
    assert page.rows[0] == list(COLUMNS)
    assert page.rows[2] == ["1", "ü<b>", "False", "nan"]
    long = ProbeTable({"a": np.arange(1000)}, {})
    assert len(long._repr_html_()) < 3000
    assert "970 more" in long._repr_html_()


def test_select_keeps_the_heads_of_its_rows():
    table = ProbeTable({"a": np.array([1, 2, 3])}, {}, {2: "head"})  # pyright: ignore[reportArgumentType]
    assert dict(table.select(a=3).heads) == {0: "head"}
    assert dict(table.select(a=1).heads) == {}
