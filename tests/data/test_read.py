"""`dlcore.data.read`: every format gives the numbers, names and missing rows that were written."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from dlcore.data import read

pytestmark = pytest.mark.any_mode

RNG = np.random.default_rng(0)
N = 24
X = RNG.normal(size=(N, 3))
Y = np.array(["cat", "dog"])[RNG.integers(0, 2, N)]
W = RNG.uniform(1, 2, N)
G = np.repeat(np.arange(6), 4)
FLAT = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "label": Y, "w": W, "g": G}
ROLES = {"target": "label", "weight": "w", "groups": "g"}


def write_table(path: Path, table: pa.Table) -> Path:
    suffix = path.suffix
    if suffix == ".parquet":
        pq.write_table(table, path, row_group_size=7)
    elif suffix == ".feather":
        pyarrow.feather.write_feather(table, path)
    elif suffix == ".arrow":
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    else:
        pyarrow.csv.write_csv(table, path)
    return path


def write_folder(folder: Path, table: pa.Table) -> Path:
    (folder / "more").mkdir(parents=True)
    pq.write_table(table[:10], folder / "0.parquet")
    pq.write_table(table[10:], folder / "more" / "1.parquet")
    return folder


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.arrow", "t.csv", "folder", "npz", "frame", "dict"])
def test_flat_tables(name, tmp_path):
    table = pa.table(FLAT)
    source: Any = {"frame": table, "dict": FLAT}.get(name)
    if name == "folder":
        source = write_folder(tmp_path / name, table)
    elif name == "npz":
        np.savez(tmp_path / "t.npz", **FLAT)
        source = tmp_path / "t.npz"
    elif source is None:
        source = write_table(tmp_path / name, table)
    data = read(source, "label", weight="w", groups="g")
    np.testing.assert_array_equal(data.features, X)
    np.testing.assert_array_equal(data.target, Y)
    np.testing.assert_array_equal(data.weight, W)
    np.testing.assert_array_equal(data.groups, G)
    assert data.names == ("a", "b", "c")
    assert len(data.dropped) == 0
    assert data.split is None


def test_linked_folders_are_not_followed(tmp_path):
    folder = write_folder(tmp_path / "folder", pa.table(FLAT))
    (folder / "again").symlink_to(folder, target_is_directory=True)
    assert len(read(folder, "label")) == N


@pytest.mark.parametrize("kind", ["fixed", "list", "large", "tensor"])
@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_lists_become_matrices(kind, suffix, tmp_path):
    flat = pa.array(X.astype(np.float32).reshape(-1))
    if kind == "fixed":
        column = pa.FixedSizeListArray.from_arrays(flat, 3)
    elif kind == "tensor":
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(X.astype(np.float32))
    else:
        offsets = pa.array(np.arange(0, 3 * N + 1, 3), pa.int32() if kind == "list" else pa.int64())
        column = (pa.ListArray if kind == "list" else pa.LargeListArray).from_arrays(offsets, flat)
    path = write_table(tmp_path / f"t{suffix}", pa.table({"embedding": column, "label": Y}))
    data = read(path, "label")
    assert data.features.dtype == np.float32
    np.testing.assert_array_equal(data.features, X.astype(np.float32))
    assert data.names == ("embedding[0]", "embedding[1]", "embedding[2]")


def test_a_sliced_table_keeps_its_rows():
    column = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), 3)
    data = read(pa.table({"x": column, "y": W}).slice(5, 9), "y")
    np.testing.assert_array_equal(data.features, X[5:14])
    np.testing.assert_array_equal(data.target, W[5:14])


def test_matrices_in_a_folder_and_in_npz(tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", Y)
    np.savez(tmp_path / "stored.npz", X=X, y=Y)
    np.savez_compressed(tmp_path / "packed.npz", X=X, y=Y)
    safetensors.numpy.save_file({"X": X, "y": G}, tmp_path / "t.safetensors")
    for source in (folder, tmp_path / "stored.npz", tmp_path / "packed.npz", tmp_path / "t.safetensors"):
        data = read(source, "y")
        np.testing.assert_array_equal(data.features, X)
        np.testing.assert_array_equal(data.target, G if source.suffix == ".safetensors" else Y)
        assert data.names == ("X[0]", "X[1]", "X[2]")


def is_mapped(array: np.ndarray) -> bool:
    """Return whether the memory of an array is that of a memory map."""
    base: Any = array
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    return base is not None


def test_arrays_stay_on_disk(tmp_path):
    np.save(tmp_path / "t.npy", np.column_stack([X, G]))
    np.save(tmp_path / "f.npy", np.asfortranarray(X))
    np.savez(tmp_path / "t.npz", X=X, y=G)
    first = read(tmp_path / "t.npy", "3")
    np.testing.assert_array_equal(first.features, X)
    np.testing.assert_array_equal(first.target, G)
    assert first.names == ("0", "1", "2")
    second = read(tmp_path / "t.npz", "y")
    np.testing.assert_array_equal(second.features, X)
    third = read(tmp_path / "f.npy")
    np.testing.assert_array_equal(third.features, X)
    assert third.target is None
    assert all(map(is_mapped, (first.features, second.features, third.features)))


def test_a_structured_array_is_a_table(tmp_path):
    table = np.zeros(4, [("a", "f4"), ("b", "i2"), ("label", "U3")])
    table["a"], table["b"], table["label"] = [1, 2, 3, 4], [5, 6, 7, 8], "cat"
    np.save(tmp_path / "t.npy", table)
    data = read(tmp_path / "t.npy", "label")
    assert data.names == ("a", "b")
    assert data.features.dtype == np.float32
    np.testing.assert_array_equal(data.features[:, 1], [5, 6, 7, 8])


def test_arrays_of_other_libraries_are_shared():
    array = jax.device_put(X.astype(np.float32), jax.devices("cpu")[0])
    data = read(array, target=G)
    assert data.features.__array_interface__["data"][0] == array.unsafe_buffer_pointer()
    np.testing.assert_array_equal(data.target, G)
    half = read(jax.device_put(X.astype(jax.numpy.bfloat16)), target=Y.tolist())
    assert half.features.dtype.name == "bfloat16"
    assert half.target is not None
    assert half.target.tolist() == Y.tolist()


def test_tensors_of_torch_are_shared():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(X, requires_grad=True)
    data = read(tensor, target=torch.tensor(G))
    assert data.features.__array_interface__["data"][0] == tensor.data_ptr()
    np.testing.assert_array_equal(data.target, G)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(library):
    frames: Any = {"pandas": pandas, "polars": polars}[library]
    frame = frames.DataFrame({"a": X[:, 0], "b": [*X[1:, 1], None], "kind": Y})
    if library == "pandas":
        frame.index = np.arange(N) * 7  # not a column
    data = read(frame, "kind", drop_missing=True)
    assert data.names == ("a", "b")
    assert data.dropped.tolist() == [N - 1]
    np.testing.assert_array_equal(data.features, np.column_stack([X[:-1, 0], X[1:, 1]]))
    np.testing.assert_array_equal(data.target, Y[:-1])


def test_types_of_columns():
    table = pa.table(
        {
            "flag": pa.array([True, False, True]),
            "small": pa.array([1, 2, 3], pa.int16()),
            "price": pa.array(["1.50", "2.25", "3.00"]).cast(pa.decimal128(10, 2)),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            "day": pa.array([0, 1, 2], pa.date32()),
        }
    )
    data = read(table, "kind", groups="day")
    np.testing.assert_array_equal(data.features, [[1, 1, 1.5], [0, 2, 2.25], [1, 3, 3]])
    assert data.features.dtype == np.float64
    assert data.target is not None
    assert data.groups is not None
    assert data.target.tolist() == ["x", "y", "x"]
    assert data.groups.tolist() == ["1970-01-01", "1970-01-02", "1970-01-03"]
    assert read(table, features=["flag", "small"]).features.dtype == np.int16


@pytest.mark.parametrize("where", ["a", "label", "w", "embedding"])
def test_rows_with_missing_values(where, tmp_path):
    columns: dict[str, Any] = {name: [*values.tolist()] for name, values in FLAT.items()}
    columns["embedding"] = X.tolist()
    expected = [3, 11]
    columns[where][3] = None
    columns[where][11] = [1.0, None, 2.0] if where == "embedding" else None
    path = write_table(tmp_path / "t.parquet", pa.table(columns))
    with pytest.raises(ValueError, match="2 rows have a missing value, first row 3"):
        read(path, "label", weight="w", groups="g")
    data = read(path, "label", weight="w", groups="g", drop_missing=True)
    kept = np.setdiff1d(np.arange(N), expected)
    assert data.dropped.tolist() == expected
    np.testing.assert_array_equal(data.features, np.column_stack([X, X])[kept])
    np.testing.assert_array_equal(data.target, Y[kept])
    np.testing.assert_array_equal(data.weight, W[kept])


def test_integers_with_missing_values_stay_integers():
    data = read(pa.table({"a": pa.array([2**62 + 1, None, 5]), "y": [1.0, 2.0, 3.0]}), "y", drop_missing=True)
    assert data.features.tolist() == [[2**62 + 1], [5]]


def test_nan_is_missing_in_every_block(monkeypatch):
    monkeypatch.setattr("dlcore.data.missing.BLOCK_BYTES", 64)
    x = X.copy()
    x[[0, 13, 23], 1] = np.nan
    assert read(x, drop_missing=True).dropped.tolist() == [0, 13, 23]


def test_csv_with_missing_fields_and_tabs(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,kind\n1,2,x\nNA,3,y\n4,,x\n5,6,\n7,8,y\n")
    data = read(tmp_path / "t.csv", "kind", drop_missing=True)
    assert data.dropped.tolist() == [1, 2, 3]
    assert data.features.tolist() == [[1, 2], [7, 8]]
    (tmp_path / "t.tsv").write_text("a\tkind\n1.5\tx\n2.5\ty\n")
    assert read(tmp_path / "t.tsv", "kind").features.tolist() == [[1.5], [2.5]]


def test_chosen_features_are_the_only_columns_read(tmp_path):
    path = write_table(tmp_path / "t.parquet", pa.table({**FLAT, "notes": ["long"] * N}))
    data = read(path, "label", features=["c", "a"])
    assert data.names == ("c", "a")
    np.testing.assert_array_equal(data.features, X[:, [2, 0]])
    with pytest.raises(TypeError, match=r"column 'notes': expected numbers, got text \('long' in row 0\)"):
        read(path, "label", groups="g", weight="w")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "labels"}, r"target: dict has no column 'labels'; did you mean 'label'\?"),
        ({"target": "LABEL"}, r"did you mean 'label'\?"),
        ({"target": "zzz"}, "no column 'zzz'; there are 'a', 'b', 'c', 'label', 'w', 'g'"),
        ({"target": "label", "features": ["a", "label"]}, "features: 'label' is the column of target"),
        ({"target": "label", "features": []}, "expected at least one feature, got none"),
        (
            {"target": Y[:5], "features": ["a"]},
            r"target: expected shape \(24,\), .* got \(5,\)",
        ),
        ({"target": X, "features": ["a"]}, r"target: expected the name of a column or values of shape \(n,\)"),
        ({"weight": -W, "features": ["a"]}, "weight: expected numbers of at least 0"),
    ],
)
def test_wrong_names_and_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        read(FLAT, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": "a"}, "features: expected a list of names, got 'a'"),
        ({"drop_missing": 1}, "drop_missing: expected True or False, got 1"),
        ({"weight": "label", "features": ["a"]}, "weight: expected numbers, got text"),
    ],
)
def test_wrong_types(arguments, message):
    with pytest.raises(TypeError, match=message):
        read(FLAT, **arguments)


def test_no_reader_unpickles(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    objects = np.array([Trap(), 1.0], object)
    np.save(tmp_path / "t.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "t.npz", allow_pickle=True, X=objects)
    for name in ("t.npy", "t.npz"):
        with pytest.raises(ValueError, match="pickled Python objects, which dlcore never reads"):
            read(tmp_path / name)
    with pytest.raises(TypeError, match="x: expected numbers"):
        read({"x": objects})
    assert not (tmp_path / "executed").exists()


def test_sizes_of_headers_are_not_believed(tmp_path):
    """A header of a few bytes states two gigabytes; nothing is allocated for it."""
    path = tmp_path / "t.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**25, 8)})
        file.write(bytes(80))
    with pytest.raises(ValueError, match="states 2147483648 bytes of numbers, and the file has 80"):
        read(path)
    header = json.dumps({"x": {"dtype": "F64", "shape": [2**25, 8], "data_offsets": [0, 2**31]}}).encode()
    tensors = tmp_path / "t.safetensors"
    tensors.write_bytes(len(header).to_bytes(8, "little") + header + bytes(80))
    with pytest.raises(ValueError, match=r"cannot be read as a \.safetensors file"):
        read(tensors)
