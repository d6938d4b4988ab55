"""`dlcore fit --protocol`: the table of `dlcore.probing`, the card, the files, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import ROOT
from processes import call, dlcore

from dlcore.cli.heads.protocols.command import PROTOCOLS, example
from dlcore.cli.heads.protocols.options import parse_integers
from dlcore.cli.main import main
from dlcore.data.split import rows_of_sets
from dlcore.probing import (
    ProbeSettings,
    ProbeTable,
    few_shot,
    label_efficiency,
    nested_cross_validation,
    select_penalty,
)

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:C. .* choices are at the edge:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(0)
N = 180
Y = RNG.choice(3, N, p=[0.5, 0.3, 0.2])
X = (RNG.normal(size=(N, 4)) + 1.2 * RNG.normal(size=(3, 4))[Y]).astype(np.float32)
LABELS = np.array(["zero", "one", "two"])[Y]
SETS = np.repeat(["train", "validation", "test"], [90, 30, 60])
GROUPS = np.arange(N) // 5
PARTS = {name: np.flatnonzero(name == SETS) for name in ("train", "validation", "test")}
GRID = [0.01, 0.1, 1.0]
C = ("--C", "0.01,0.1,1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with the table of the examples."""
    root = tmp_path_factory.mktemp("protocols")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), X.shape[1])
    columns = {"x": lists, "digit": LABELS, "set": SETS, "group": GROUPS, "number": X[:, 0] + Y}
    pq.write_table(pa.table(columns), root / "digits.parquet")
    return root


def fit(folder: Path, protocol: str, *options: Any, target: str = "digit") -> Any:
    fixed = ("fit", folder / "digits.parquet", "--target", target, "--features", "x", "--protocol", protocol)
    return call(*fixed, *options)


def part(name: str, y: np.ndarray = LABELS) -> tuple[np.ndarray, np.ndarray]:
    return X[PARTS[name]], y[PARTS[name]]


def expected_table(protocol: str) -> ProbeTable:
    """Return the table of the function that a protocol calls."""
    settings = ProbeSettings(C=GRID, metrics=("accuracy", "log_loss"), unconverged="report")
    sets: dict[str, Any] = {"validation": part("validation"), "test": part("test")}
    if protocol == "few-shot":
        return few_shot(part("train"), settings, shots=[1, 5], seeds=[0, 1, 2], **sets)
    if protocol == "label-efficiency":
        return label_efficiency(part("train"), settings, fractions=[0.5, 1.0], seeds=[0, 1, 2], **sets)
    if protocol == "nested":
        return nested_cross_validation((X, LABELS), settings, outer=3, inner=2, seed=4)
    return select_penalty(part("train"), settings, **sets)


OPTIONS = {
    "few-shot": ("--split", "set", "--shots", "1,5", "--seeds", "0:3"),
    "label-efficiency": ("--split", "set", "--fractions", "0.5,1", "--seeds", "0,1,2"),
    "nested": ("--folds", "3", "--inner", "2", "--seed", "4"),
    "select": ("--split", "set"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_table_is_that_of_the_function(protocol, folder, tmp_path):
    options = (*OPTIONS[protocol], *C, "--metrics", "accuracy,log_loss", "--out", tmp_path / "out")
    done = fit(folder, protocol, *options, "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert sorted(os.listdir(tmp_path / "out")) == ["card.json", "protocol.parquet"]
    table, expected = ProbeTable.load(tmp_path / "out" / "protocol.parquet"), expected_table(protocol)
    assert list(table.columns) == list(expected.columns)
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(table[name], column, err_msg=name)
    assert dict(table.record)["settings"] == dict(expected.record)["settings"]
    assert dict(table.record)["rows"] == dict(expected.record)["rows"]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert json.loads(done.stdout) == card
    assert card["cells"]["worst_gap"] == np.nanmax(expected["gap"])
    assert {"read", "compile", "run", "certify", "other"} == set(card["seconds"])
    assert card["seconds"]["run"] > 0
    check_sizes(card["sizes"], expected)


def check_sizes(sizes: list[dict[str, Any]], table: ProbeTable) -> None:
    """Compare the means of the card with those of NumPy."""
    column = next((name for name in ("shots", "fraction") if name in table.columns), None)
    for entry in sizes:
        rows = ~np.isnan(table["test_accuracy"])
        if column is not None:
            rows &= table[column] == entry["size"][column]
        assert entry["heads"] == rows.sum() == sum(entry["chosen"].values())
        for name in ("test_accuracy", "test_log_loss"):
            values = table[name][rows]
            assert entry["measured"][name]["mean"] == values.mean()
            assert entry["measured"][name]["sd"] == (values.std(ddof=1) if len(values) > 1 else None)
        for value, count in entry["chosen"].items():
            assert (table["C"][rows] == float(value)).sum() == count
    assert len(sizes) == (1 if column is None else 2)


def test_the_card_has_means_deviations_and_the_worst_gap(folder):
    done = fit(folder, "few-shot", *OPTIONS["few-shot"], *C)
    table = expected_table("few-shot")
    for shots in (1, 5):
        values = table.select(shots=shots, chosen=True)["test_accuracy"]
        text = f"shots {shots}        test_accuracy {values.mean():.4f} ± {values.std(ddof=1):.2g} of 3 heads"
        assert text in done.stdout
    assert f"all 18 cells, worst gap {table['gap'].max():.1e}" in done.stdout
    assert "rows 90 train, 30 validation, 60 test; 4 features" in done.stdout


def test_an_interval_of_one_head(folder):
    done = fit(folder, "select", "--split", "set", *C, "--bootstrap", "50")
    settings = ProbeSettings(C=GRID, bootstrap=50)
    table = select_penalty(part("train"), settings, validation=part("validation"), test=part("test"))
    low, high = table["test_accuracy_low"][-1], table["test_accuracy_high"][-1]
    assert f"test_accuracy {table['test_accuracy'][-1]:.4f} ({low:.4f} to {high:.4f})" in done.stdout


def test_the_examples_of_the_page_and_of_the_help(folder, monkeypatch, capsys):
    """Run the example of each help; the page has the first."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8").splitlines()
    assert f"    {example('few-shot')}" in page
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    for protocol in PROTOCOLS:
        done = call(*example(protocol).split()[1:])
        assert done.returncode == 0, done.stderr
        assert "test_accuracy" in done.stdout
        with pytest.raises(SystemExit) as ended:
            main(["fit", "--protocol", protocol, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert len(text.splitlines()) <= 40
        assert f"Example: {example(protocol)}" in text


def test_a_process(folder, tmp_path):
    options = ("--split", "set", "--shots", "2", "--seeds", "0", "--C", "1", "--out", tmp_path / "out")
    done = dlcore("fit", folder / "digits.parquet", "--target", "digit", "--protocol=few-shot", *options)
    assert done.returncode == 0, done.stderr
    assert "test_accuracy" in done.stdout
    assert len(ProbeTable.load(tmp_path / "out" / "protocol.parquet")) == 1


def test_cells_that_are_not_certified_are_status_1(folder, tmp_path):
    options = ("--split", "set", "--shots", "5", "--seeds", "0:2", "--C", "1", "--tol", "1e-30")
    done = fit(folder, "few-shot", *options, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "dlcore fit: 2 of 2 cells are not certified to --tol 1e-30" in done.stderr
    assert "not 2 of 2 cells: 2 precision floor" in done.stdout
    assert (tmp_path / "out" / "protocol.parquet").exists()


def test_numbers_random_sets_and_class_weights(folder):
    """Random sets are apart and have their fractions; class weights are in the settings."""
    options = ("--test", "0.25", "--validation", "0.15", "--l2", "0.01,0.1", "--fractions", "0.5", "--seeds", "1")
    done = fit(folder, "label-efficiency", *options, "--json", target="number")
    card = json.loads(done.stdout)
    assert card["loss"] == "squared"
    assert card["data"]["rows"] == {"train": 108, "validation": 27, "test": 45}
    assert "test_r2" in card["sizes"][0]["measured"]
    weights = ("--class-weight", "zero=1", "one=2", "two=3")
    done = fit(folder, "select", "--folds", "2", "--C", "0.1,1", *weights, "--json")
    settings = ProbeSettings(C=[0.1, 1.0], class_weight={"zero": 1.0, "one": 2.0, "two": 3.0})
    table = select_penalty((X, LABELS), settings, folds=2)
    card = json.loads(done.stdout)
    assert card["cells"]["worst_gap"] == table["gap"].max()
    assert card["sizes"][0]["measured"]["score"]["mean"] == table.select(chosen=True)["score"][0]


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("shots", (), "--protocol: expected few-shot, label-efficiency, nested, select, got 'shots'"),
        (
            "nested",
            ("--shots", "1"),
            "--shots: expected an option of --protocol nested, got one of few-shot",
        ),
        (
            "nested",
            ("--split=set",),
            "--split: expected an option of --protocol nested, got one of few-shot, label-efficiency, select",
        ),
        (
            "few-shot",
            ("--folds", "3"),
            "--folds: expected an option of --protocol few-shot, got one of nested, select",
        ),
        (
            "nested",
            ("--no-refit",),
            "--refit: expected an option of --protocol nested, got one of few-shot, label-efficiency, select",
        ),
        (
            "select",
            ("--weight", "group"),
            "--weight: expected an option of --protocol select, got one of dlcore fit without --protocol",
        ),
        ("few-shot", ("--seeds", "3:1"), "--seeds: expected integers such as 0,1,2, or FIRST:END such as 0:10"),
        ("few-shot", ("--shots", "a"), "--shots: expected integers such as 0,1,2"),
        ("few-shot", ("--shots", "90"), "shots: expected at most the rows of the smallest class, got 90"),
        ("few-shot", ("--seeds", "1,1"), "seeds: expected each seed once, got 1 twice"),
        ("label-efficiency", ("--fractions", "0.5,x"), "--fractions: expected numbers such as 0.1,1"),
        ("few-shot", (), "l2: expected one value where neither validation rows nor folds choose, got 30"),
        ("few-shot", ("--metrics", "r2", "--C", "1"), "metrics: expected names among 'accuracy'"),
        ("select", ("--split", "set", "--test", "0.2"), "--test: expected --split or fractions, got both"),
        ("select", ("--validation", "0.5", "--test", "0.5"), "--validation: expected less than 1 with --test"),
        ("select", ("--test", "1"), "--test: expected a fraction in (0, 1), got 1.0"),
        ("select", ("--overwrite",), "--overwrite: expected --out too, got none"),
        ("select", ("--split", "digit"), "split: expected 'train', 'validation' and 'test', or 0 and 1"),
    ],
)
def test_wrong_use(protocol, options, message, folder):
    done = fit(folder, protocol, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("dlcore fit: ")
    assert done.stderr.count("\n") == 1


def test_leaks_are_refused_with_the_sentence_of_probing(folder, tmp_path):
    x = X.copy()
    x[PARTS["test"][3]], y = x[PARTS["train"][7]], LABELS.copy()
    y[PARTS["test"][3]] = y[PARTS["train"][7]]
    groups = np.where(np.isin(np.arange(N), [5, 170]), "both", np.char.add("g", np.arange(N).astype(str)))
    columns = {f"x{j}": column for j, column in enumerate(x.T)} | {"y": y, "set": SETS}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    pq.write_table(pa.table({**columns, "g": groups}), tmp_path / "groups.parquet")
    fixed = ("--target", "y", "--protocol", "select", "--split", "set", "--C", "0.1,1")
    done = call("fit", tmp_path / "rows.parquet", *fixed, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "test: row 3 equals a row of train in features and label, as do 0 more" in done.stderr
    done = call("fit", tmp_path / "groups.parquet", *fixed, "--groups", "g", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "test: group 'both' is in train too, as are 0 more; rows of a group must be in one set" in done.stderr
    assert not (tmp_path / "out").exists()
    done = call("fit", tmp_path / "rows.parquet", *fixed, "--duplicates", "report", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["record"]["common_rows"]["train, test"]["equal_rows"] == 1


def test_files_are_replaced_only_if_asked_for_and_never_those_of_a_fit(folder, tmp_path, monkeypatch):
    out = ("--C", "1", "--out", tmp_path / "out")
    assert fit(folder, "select", *out).returncode == 0
    done = fit(folder, "select", *out)
    assert done.returncode == 2
    assert "--overwrite replaces those of a protocol" in done.stderr
    before = (tmp_path / "out" / "protocol.parquet").read_bytes()

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dlcore.cli.heads.protocols.command.write_json", fail)
        done = fit(folder, "select", "--C", "0.5", "--out", tmp_path / "out", "--overwrite")
        assert done.returncode == 1
        assert (tmp_path / "out" / "protocol.parquet").read_bytes() == before
        assert sorted(os.listdir(tmp_path)) == ["out"]
    assert fit(folder, "select", "--C", "0.5", "--out", tmp_path / "out", "--overwrite").returncode == 0
    assert ProbeTable.load(tmp_path / "out" / "protocol.parquet")["C"].tolist() == [0.5] * 6  # five folds
    (tmp_path / "out" / "sweep.parquet").write_bytes(b"")
    done = fit(folder, "select", *out, "--overwrite")
    assert done.returncode == 2
    assert "with the files of a protocol only" in done.stderr
    (tmp_path / "out" / "sweep.parquet").unlink()
    done = call("fit", folder / "digits.parquet", "--target", "digit", "--features", "x", *out, "--overwrite")
    assert done.returncode == 2
    assert "with the files of a fit only" in done.stderr


@pytest.mark.parametrize("text", ["", "a", "1:", "2:2", "0:100000", "1.5", "0:1:2"])
def test_wrong_lists(text):
    with pytest.raises(ValueError, match="--seeds: expected integers"):
        parse_integers("--seeds", text)


def test_the_sets_of_a_column():
    names = np.array(["Train", "val ", "TEST", "train", "dev", "heldout"])
    found = {name: rows.tolist() for name, rows in rows_of_sets(names).items()}
    assert found == {"train": [0, 3], "validation": [1, 4], "test": [2, 5]}
    found = {name: rows.tolist() for name, rows in rows_of_sets(np.array([0, 1, 0])).items()}
    assert found == {"train": [0, 2], "test": [1]}
    with pytest.raises(ValueError, match="split: expected rows that train, got none of 2"):
        rows_of_sets(np.array(["test", "val"]))
