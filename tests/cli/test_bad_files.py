"""Sixty tables that `dlcore fit` refuses: one clear line, status 2, and nothing written."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from processes import call

pytestmark = pytest.mark.any_mode

N = 40
X = np.random.default_rng(0).normal(size=(N, 2))
Y = np.arange(N) % 2
GOOD = {"a": X[:, 0].tolist(), "b": X[:, 1].tolist(), "y": Y.tolist()}


class Case(NamedTuple):
    """A table that is refused: what writes it, the message, and further arguments."""

    write: Callable[[Path], Path]
    message: str
    arguments: tuple[str, ...] = ()


def contents(name: str, data: bytes | str) -> Callable[[Path], Path]:
    """Return a writer of a file of those contents."""

    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def table(name: str = "t.parquet", **changes: Any) -> Callable[[Path], Path]:
    """Return a writer of the good table with changed columns; None removes a column."""

    def write(folder: Path) -> Path:
        columns = {name: part for name, part in {**GOOD, **changes}.items() if part is not None}
        path = folder / name
        if path.suffix == ".feather":
            pyarrow.feather.write_feather(pa.table(columns), path)
        else:
            pq.write_table(pa.table(columns), path)
        return path

    return write


def truncated(write: Callable[[Path], Path], fraction: float) -> Callable[[Path], Path]:
    """Return a writer of the first part of a file."""

    def cut(folder: Path) -> Path:
        path = write(folder)
        data = path.read_bytes()
        path.write_bytes(data[: int(fraction * len(data))])
        return path

    return cut


def numpy_file(name: str, *arrays: Any, **named: Any) -> Callable[[Path], Path]:
    """Return a writer of an .npy or .npz file, with pickles where arrays hold objects."""

    def write(folder: Path) -> Path:
        path = folder / name
        if named:
            np.savez(path, allow_pickle=True, **named)
        else:
            np.save(path, *arrays, allow_pickle=True)
        return path

    return write


def header_of_two_gigabytes(folder: Path) -> Path:
    path = folder / "t.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**25, 8)})
        file.write(bytes(800))
    return path


def header(text: str) -> Callable[[Path], Path]:
    """Return a writer of an .npy file with a header of that text."""
    data = text.encode().ljust(117) + b"\n"
    return contents("t.npy", b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + bytes(64))


def tensors(**about: Any) -> Callable[[Path], Path]:
    """Return a writer of a .safetensors file with that header and a few bytes."""
    text = json.dumps(about).encode()
    return contents("t.safetensors", len(text).to_bytes(8, "little") + text + bytes(64))


def good_tensors(folder: Path) -> Path:
    path = folder / "t.safetensors"
    safetensors.numpy.save_file({"x": X, "y": Y}, path)
    return path


def folder_of(**writers: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Return a writer of a folder of files."""

    def write(folder: Path) -> Path:
        inner = folder / "tables"
        inner.mkdir()
        for make in writers.values():
            make(inner)
        return inner

    return write


def folder_with_itself(folder: Path) -> Path:
    inner = folder / "tables"
    inner.mkdir()
    (inner / "again").symlink_to(inner, target_is_directory=True)
    return inner


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "t.parquet")
    return folder / "t.parquet"


def link_to_itself(folder: Path) -> Path:
    (folder / "t.parquet").symlink_to(folder / "t.parquet")
    return folder / "t.parquet"


def twice(folder: Path) -> Path:
    names = ["a", "a", "y"]
    pq.write_table(pa.Table.from_arrays([pa.array(part) for part in GOOD.values()], names), folder / "t.parquet")
    return folder / "t.parquet"


def with_entry(value: Any, row: int = 7) -> list[Any]:
    column: list[Any] = list(GOOD["a"])
    column[row] = value
    return column


ROWS = "".join(f"{a},{b},{y}\n" for a, b, y in zip(*GOOD.values(), strict=True))
CASES = {
    "no file": Case(lambda folder: folder / "t.parquet", "No such file"),
    "no suffix": Case(contents("table", ROWS), "expected a folder or a file that ends with"),
    "unknown suffix": Case(contents("t.xlsx", ROWS), "expected a folder or a file that ends with"),
    "pickle": Case(contents("t.pkl", b"\x80\x04."), "expected a folder or a file that ends with"),
    "a packed Parquet file": Case(contents("t.parquet.gz", b"\x1f\x8b"), "expected a folder or a file that ends"),
    "empty .parquet": Case(contents("t.parquet", ""), "the file is empty"),
    "empty .csv": Case(contents("t.csv", ""), "the file is empty"),
    "empty .npy": Case(contents("t.npy", ""), "the file is empty"),
    "blank .csv": Case(contents("t.csv", "\n\n"), "cannot be read as a CSV file"),
    "truncated .parquet": Case(truncated(table(), 0.5), "cannot be read as a Parquet file"),
    "a Parquet file without its end": Case(truncated(table(), 0.99), "cannot be read as a Parquet file"),
    "truncated .feather": Case(truncated(table("t.feather"), 0.5), "cannot be read as an Arrow or Feather file"),
    "truncated .npy": Case(
        truncated(numpy_file("t.npy", np.column_stack([X, Y])), 0.5), "its header states 960 bytes"
    ),
    "truncated .npz": Case(truncated(numpy_file("t.npz", x=X, y=Y), 0.7), "cannot be read as an .npz file"),
    "truncated .safetensors": Case(truncated(good_tensors, 0.5), "cannot be read as a .safetensors file"),
    "text in .parquet": Case(contents("t.parquet", "a,b,y\n" + ROWS), "cannot be read as a Parquet file"),
    "text in .npy": Case(contents("t.npy", "a,b,y\n" + ROWS), "cannot be read as an .npy file"),
    "text in .npz": Case(contents("t.npz", "a,b,y\n" + ROWS), "cannot be read as an .npz file"),
    "text in .arrow": Case(contents("t.arrow", "a,b,y\n" + ROWS), "cannot be read as an Arrow or Feather file"),
    "bytes in .csv": Case(contents("t.csv", b"a,y\n\xff\xfe,0\n1,1\n"), "column 'a'"),
    "a wrong column": Case(table(y=None, target=Y), "no column 'y'; there are 'a', 'b', 'target'"),
    "a column in another case": Case(table(y=None, Y=Y), "no column 'y'; did you mean 'Y'?"),
    "a wrong feature": Case(table(), "features: ", ("--features", "aa")),
    "a wrong weight": Case(table(), "weight: ", ("--weight", "w")),
    "a wrong group": Case(table(), "groups: ", ("--groups", "g")),
    "a wrong split": Case(table(), "split: ", ("--split", "s")),
    "duplicated names": Case(twice, "expected distinct names of columns, got 'a' twice"),
    "duplicated names in .csv": Case(contents("t.csv", "a,a,y\n" + ROWS), "got 'a' twice"),
    "a target alone": Case(table(a=None, b=None), "expected at least one feature, got none"),
    "no rows": Case(
        table(a=pa.array([], pa.float64()), b=pa.array([], pa.float64()), y=pa.array([], pa.int64())),
        "expected at least one row, got none",
    ),
    "a header alone": Case(contents("t.csv", "a,b,y\n"), "expected"),
    "mixed types": Case(
        contents("t.csv", "a,b,y\n1,x7,0\n2,3,1\n"), "column 'b': expected numbers, got text ('x7' in row 0)"
    ),
    "text": Case(table(b=["text"] * N), "column 'b': expected numbers, got text ('text' in row 0)"),
    "dates": Case(
        table(b=pa.array(range(N), pa.date32())), "column 'b': expected numbers, got text ('1970-01-01' in"
    ),
    "bytes": Case(table(b=pa.array([b"x"] * N)), "column 'b'"),
    "a struct": Case(table(b=[{"c": 1}] * N), "column 'b'"),
    "lists of text": Case(table(b=[["x"]] * N), "expected lists of numbers, got lists of string"),
    "lists of two lengths": Case(
        table(b=[[1.0]] * (N - 1) + [[1.0, 2.0]]), "expected lists of one length, got 1 numbers and 2 in row 39"
    ),
    "empty lists": Case(
        table(b=pa.array([[]] * N, pa.list_(pa.float64()))), "expected lists of numbers, got empty lists"
    ),
    "a null": Case(table(a=with_entry(None)), "1 row has a missing value, first row 7"),
    "nan": Case(table(a=with_entry(np.nan)), "1 row has a missing value, first row 7"),
    "NA in .csv": Case(contents("t.csv", "a,y\n1,0\nNA,1\n"), "1 row has a missing value, first row 1"),
    "infinity": Case(table(a=with_entry(np.inf)), "expected finite numbers, got infinity in row 7"),
    "all missing": Case(table(a=pa.nulls(N)), "40 rows have a missing value, first row 0"),
    "all missing and dropped": Case(table(a=pa.nulls(N)), "every row has a missing value", ("--drop-missing",)),
    "a missing target": Case(table(y=[None, *Y[1:].tolist()]), "1 row has a missing value, first row 0"),
    "one class": Case(table(y=[1] * N), "class", ("--loss", "logistic")),
    "text as numbers": Case(table(y=["x"] * N), "y: expected numbers", ("--loss", "squared")),
    "negative counts": Case(table(y=(-Y).tolist()), "y: expected", ("--loss", "poisson")),
    "half labels": Case(table(y=(Y + 0.5).tolist()), "y: expected labels", ("--loss", "logistic")),
    "negative weights": Case(
        table(w=(-X[:, 0]).tolist()), "weight: expected numbers of at least 0", ("--weight", "w")
    ),
    "weights of text": Case(table(w=["1x"] * N), "weight: expected numbers, got text", ("--weight", "w")),
    "a split of three": Case(
        table(s=(np.arange(N) % 3).tolist()), "split: expected 'train' and 'test'", ("--split", "s")
    ),
    "a split of one side": Case(
        table(s=["train"] * N), "expected rows that are held out, got none", ("--split", "s")
    ),
    "one group": Case(
        table(g=["g"] * N), "groups: expected at least two groups", ("--groups", "g", "--test", "0.5")
    ),
    "pickled .npy": Case(numpy_file("t.npy", np.array([[{}, 1]], object)), "it holds pickled Python objects"),
    "pickled .npz": Case(numpy_file("t.npz", x=np.array([{}, 1], object), y=Y), "it holds pickled Python objects"),
    "two gigabytes": Case(header_of_two_gigabytes, "states 2147483648 bytes of numbers, and the file has 800"),
    "a negative shape": Case(
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-8,)}"), "states the shape (-8,)"
    ),
    "a header of code": Case(header("__import__('os').system('true')"), "cannot be read as an .npy file"),
    "complex numbers": Case(numpy_file("t.npz", x=X + 1j, y=Y), "expected real numbers, got dtype complex128"),
    "arrays of other lengths": Case(
        numpy_file("t.npz", x=X, z=X[:5], y=Y), "expected as many rows in every column"
    ),
    "three axes": Case(numpy_file("t.npz", x=X[None], y=Y[:1]), "expected shape (n,) or (n, d), got (1, 40, 2)"),
    "one axis": Case(numpy_file("t.npy", X[:, 0]), "expected a 2-D array [n, columns], got shape (40,)"),
    "a tensor beyond the file": Case(
        tensors(x={"dtype": "F64", "shape": [2**28], "data_offsets": [0, 2**31]}),
        "cannot be read as a .safetensors file",
    ),
    "a header beyond the file": Case(
        contents("t.safetensors", (2**40).to_bytes(8, "little") + b"{}"), "cannot be read as a .safetensors file"
    ),
    "an empty folder": Case(folder_of(), "expected .parquet or .npy files in the folder, got none"),
    "a folder that holds itself": Case(
        folder_with_itself, "expected .parquet or .npy files in the folder, got none"
    ),
    "a folder of other columns": Case(
        folder_of(one=table(), two=table("u.parquet", c=Y)), "u.parquet: expected the columns of t.parquet"
    ),
    "a folder of other types": Case(
        folder_of(one=table(), two=table("u.parquet", a=["1"] * N)), "column 'a': expected one type in all files"
    ),
    "a FIFO": Case(fifo, "expected a regular file"),
    "a link to itself": Case(link_to_itself, "symbolic links"),
    "a device": Case(lambda folder: Path("/dev/null"), "expected a folder or a file that ends with"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_is_one_line(name, tmp_path):
    case = CASES[name]
    (tmp_path / "in").mkdir()
    path = case.write(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    done = call("fit", path, "--target", "y", "--out", tmp_path / "out", *case.arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("dlcore fit: ")
    assert done.stderr.count("\n") == 1
    assert case.message in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_there_are_sixty():
    assert len(CASES) >= 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--l2", "x"), "--l2: expected numbers such as"),
        (("--l2", "1", "--C", "1"), "--C: expected --l2 or --C, got both"),
        (("--folds", "1"), "--folds: expected 0 or at least 2, got 1"),
        (("--folds", "0"), "--folds: expected at least 2 to choose one of 30 penalties"),
        (("--test", "1.5"), "test: expected a fraction in (0, 1), got 1.5"),
        (("--scoring", "r3"), "scoring"),
        (
            ("--class-weight", "balance"),
            "--class-weight: expected balanced, or NAME=WEIGHT for every class, got 'b",
        ),
        (
            ("--class-weight", "balanced", "0=1"),
            "--class-weight: expected balanced, or NAME=WEIGHT for every class",
        ),
        (("--class-weight", "0=x", "1=1"), "--class-weight: expected balanced, or NAME=WEIGHT for every class"),
        (("--class-weight", "0=1"), "--class-weight: expected the weight of every class, got none of 1"),
        (("--class-weight", "0=1", "2=1"), "--class-weight: expected the classes 0, 1, got '2'"),
        (
            ("--class-weight", "0=1", "0=2", "1=1"),
            "expected one weight of every class, got two of 0",
        ),
        (("--class-weight", "0=0", "1=1"), "--class-weight: expected finite numbers above 0, got '0=0'"),
        (("--class-weight", "0=nan", "1=1"), "--class-weight: expected finite numbers above 0, got '0=nan'"),
        (
            ("--class-weight", "balanced", "--loss", "squared"),
            "--class-weight: expected none for loss 'squared', which has no classes",
        ),
        (
            ("--class-weight", "0=1", "1=2", "--loss", "poisson"),
            "--class-weight: expected none for loss 'poisson', which has no classes",
        ),
        (("--tol", "0"), "tol: expected a finite number above 0"),
        (("--device", "tpu"), "device: no tpu here"),
        (("--out", "/nowhere/out"), "--out: expected a new folder in a folder that exists, got '/nowhere/out'"),
        (("--out", __file__), "--out: expected a folder, got the file"),
        (("--out", str(Path(__file__).parent)), "--out: expected a new or an empty folder"),
        (
            ("--out", str(Path(__file__).parent), "--overwrite"),
            "--out: expected a folder with the files of a fit only",
        ),
        (("--out", __file__, "--overwrite"), "--out: expected a folder, got the file"),
        (("--overwrite",), "--overwrite: expected --out too, got none"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, message, tmp_path):
    path = table()(tmp_path)
    done = call("fit", path, "--target", "y", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", ["predict", "certify", "export"])
def test_a_bad_model_is_one_line(command, tmp_path):
    path = table()(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged, and far from a model")
    arguments = {"predict": (path,), "certify": (path, "--target", "y"), "export": ("--to", "torch")}[command]
    for model in (tmp_path / "model.safetensors", tmp_path / "nothing.npz", path):
        done = call(command, model, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"dlcore {command}: ")
        assert done.stderr.count("\n") == 1
