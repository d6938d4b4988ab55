"""Commands `dlcore fit`, `predict`, `certify` and `export`: the files, the numbers and the exit status."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import jax.export
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from numpy_blas import numpy_blas
from pages import Page, drawings
from processes import call
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from dlcore import fit_heads
from dlcore.certificate import data_report
from dlcore.cli.heads.intervals import held_out_metrics
from dlcore.cli.heads.options import choose_loss, parse_grid
from dlcore.cli.main import main
from dlcore.data import read, train_test_split
from dlcore.export import load_model, load_sklearn

RNG = np.random.default_rng(0)
N, M = 120, 3
X = RNG.normal(size=(N, M))
Z = X @ [1.5, -1.0, 0.0]
LABEL = np.where(Z + RNG.logistic(size=N) > 0, "yes", "no")
GROUP = np.repeat(np.arange(24), 5)
COLUMNS = {
    "a": X[:, 0],
    "b": X[:, 1],
    "c<d>": X[:, 2],
    "label": LABEL,
    "price": Z + RNG.normal(size=N),
    "g": GROUP,
}
FEATURES = ("--features", "a", "b", "c<d>")
TEST = ("--test", "0.25", "--seed", "7")
"""The split, whose confusion matrix is not symmetric."""
GRID = ("--l2", "1e-3:1:3", "--folds", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with a table and the files of two fits."""
    root = tmp_path_factory.mktemp("fits")
    pq.write_table(pa.table(COLUMNS), root / "t.parquet")
    for name, target in (("classes", "label"), ("numbers", "price")):
        options = (*FEATURES, *GRID, *TEST, "--out", root / name)
        done = call("fit", root / "t.parquet", "--target", target, *options)
        assert done.returncode == 0, done.stderr
        assert re.search(r"held out +(accuracy|r2) [\d.]+ \([\d.]+ to [\d.]+\)", done.stdout)
    return root


def split_of(table: Path, target: str) -> Any:
    data = read(table, target, features=FEATURES[1:])
    return train_test_split(data, 0.25, seed=7, stratify=target == "label")


def test_the_files_of_a_fit(folder):
    names = {path.name for path in (folder / "classes").iterdir()}
    assert names == {"model.safetensors", "card.json", "sweep.parquet", "report.html"}
    assert {path.name for path in folder.iterdir()} == {"t.parquet", "classes", "numbers"}


def test_the_sweep_is_that_of_fit_heads(folder):
    train, _ = split_of(folder / "t.parquet", "label")
    heads = fit_heads(train.features, train.target, l2=np.geomspace(1e-3, 1, 3), folds=3)
    model = load_model(folder / "classes")
    assert heads.best is not None
    np.testing.assert_array_equal(model.coef, heads.coef[heads.best])
    assert model.feature_names == FEATURES[1:]
    table = pq.read_table(folder / "classes" / "sweep.parquet")
    np.testing.assert_array_equal(table["l2"].to_numpy(), heads.l2)
    np.testing.assert_array_equal(table["gap"].to_numpy(), heads.certificate.gap)
    assert heads.scores is not None
    np.testing.assert_array_equal(table["score_1"].to_numpy(), heads.scores[1])
    assert table["best"].to_pylist().index(True) == heads.best


def test_held_out_metrics_are_those_of_scikit_learn(folder):
    train, held = split_of(folder / "t.parquet", "label")
    card = json.loads((folder / "classes" / "card.json").read_text())
    peer = LogisticRegression(C=card["chosen"]["C"], tol=1e-10, max_iter=10_000)
    p = peer.fit(train.features, train.target).predict_proba(held.features)
    values = {name: entry["value"] for name, entry in card["held_out"].items()}
    assert values["accuracy"] == accuracy_score(held.target, peer.predict(held.features))
    # Both are optima to a gap of about 1e-7·J, where probabilities differ by less than its square root.
    assert values["log_loss"] == pytest.approx(log_loss(held.target, p), abs=1e-3)
    assert values["roc_auc"] == pytest.approx(roc_auc_score(held.target, p[:, 1]), abs=1e-3)
    for entry in card["held_out"].values():
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert card["chosen"]["gap"] <= 1e-6 * card["chosen"]["gap_tol"]
    assert card["data"]["train_rows"] == len(train) == 90


def test_intervals_have_the_width_of_the_standard_error(folder):
    """The interval of an accuracy p of n rows is about p ± 1.96·√(p(1 − p)/n)."""
    _, held = split_of(folder / "t.parquet", "label")
    interval = held_out_metrics(load_model(folder / "classes"), held, seed=0)["accuracy"]
    expected = 2 * 1.96 * (interval.value * (1 - interval.value) / len(held)) ** 0.5
    assert 0.75 * expected < interval.high - interval.low < 1.25 * expected


def test_rows_of_weight_0_count_in_no_resample(folder):
    """The value is that of the other rows, and their metric is 1 in every resample."""
    _, held = split_of(folder / "t.parquet", "label")
    model = load_model(folder / "classes")
    right = model.predict(held.features) == held.target
    assert 0 < right.sum() < len(held)
    interval = held_out_metrics(model, dataclasses.replace(held, weight=right.astype(float)), seed=0)["accuracy"]
    assert (interval.value, interval.low, interval.high) == (1, 1, 1)


def test_rows_of_one_group_have_no_interval(folder):
    _, held = split_of(folder / "t.parquet", "label")
    model = load_model(folder / "classes")
    interval = held_out_metrics(model, dataclasses.replace(held, groups=np.zeros(len(held))), seed=0)["accuracy"]
    assert interval.value == held_out_metrics(model, held, seed=0)["accuracy"].value
    assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize("name", ["classes", "numbers"])
def test_the_report_is_a_page_that_loads_nothing(name, folder):
    text = (folder / name / "report.html").read_text(encoding="utf-8")
    assert len(text) < 400_000
    page = Page(text)
    assert not {tag for tag, _, _ in page.attributes} & {"script", "link", "img", "iframe", "object"}
    assert not [value for _, key, value in page.attributes if key in ("href", "xlink:href") and value[0] != "#"]
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    pictures = drawings(text)
    assert len(pictures) == 4
    assert len({picture.get("aria-label") for picture in pictures} - {None, ""}) == 4
    ids = [value for _, key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    assert "c<d>" in page.words
    card = json.loads((folder / name / "card.json").read_text())
    cells = [cell for row in page.rows for cell in row]
    for metric, entry in card["held_out"].items():
        assert [metric, *(f"{entry[part]:.4g}" for part in ("value", "low", "high"))] in page.rows
    for row in pq.read_table(folder / name / "sweep.parquet").to_pylist():
        assert f"{row['value']:.7g}" in cells  # every number is text too
    if name == "classes":
        _, held = split_of(folder / "t.parquet", "label")
        predicted = load_model(folder / name).predict(held.features)
        counts = [
            [str(int(((held.target == i) & (predicted == j)).sum())) for j in ("no", "yes")] for i in ("no", "yes")
        ]
        assert ["no", *counts[0]] in page.rows
        assert ["yes", *counts[1]] in page.rows


def test_json_is_the_card(folder):
    done = call("fit", folder / "t.parquet", "--target", "label", *FEATURES, *GRID, *TEST, "--json")
    card = json.loads((folder / "classes" / "card.json").read_text())
    printed = json.loads(done.stdout)
    assert printed["chosen"] == card["chosen"]
    assert printed["held_out"] == card["held_out"]


@pytest.mark.parametrize(
    ("target", "options", "texts"),
    [
        ("count", ("--loss", "poisson", "--l2", "0.1", "--folds", "0"), ["No rows were held out."]),
        ("count", ("--loss", "poisson", *GRID, *TEST), ["d2_poisson", "poisson_deviance", "Residuals"]),
        (
            "label",
            ("--l2", "0,0.1,1", "--folds", "3"),
            ["Validation curve", "0 (chosen)", "penalty l2 (leftmost: 0)"],
        ),
        ("label", ("--l2", "0", "--folds", "0", "--no-fit-intercept"), ["separability of the classes"]),
    ],
)
def test_reports_of_other_fits(target, options, texts, tmp_path):
    columns = {**COLUMNS, "count": np.floor(np.exp(COLUMNS["price"] / 2))}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    done = call("fit", tmp_path / "t.parquet", "--target", target, *FEATURES, *options, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    for expected in texts:
        assert any(expected in word for word in page.words), expected


@pytest.mark.parametrize("has_report", [True, False])
def test_the_report_on_the_data_can_be_left_out(has_report, folder, tmp_path):
    options = (*FEATURES, "--l2", "0.1", "--folds", "0", "--out", tmp_path / "out")
    omitted = () if has_report else ("--no-data-report",)
    done = call("fit", folder / "t.parquet", "--target", "label", *options, *omitted)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["data_report"] is not None) == has_report
    assert ("report on the data" in card["seconds"]) == has_report
    assert ("report on the data" in done.stdout) == has_report
    words = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).words
    assert any("separability of the classes" in word for word in words) == has_report


def test_the_report_on_the_data_has_one_thread_of_blas(folder, tmp_path, monkeypatch):
    """Other commands and the caller keep theirs."""
    threads = numpy_blas()

    def report(*arguments: Any, **options: Any) -> Any:
        seen.append(threads.num_threads)
        return data_report(*arguments, **options)

    seen: list[int] = []
    monkeypatch.setattr("dlcore.cli.heads.fit.data_report", report)
    options = (*FEATURES, "--l2", "0.1", "--folds", "0", "--out", tmp_path / "out")
    with threads.limit(2):
        done = call("fit", folder / "t.parquet", "--target", "label", *options)
        assert done.returncode == 0, done.stderr
        assert threads.num_threads == 2
    assert seen == [1]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ""])
def test_predictions(suffix, folder, tmp_path):
    out = ("--out", tmp_path / f"p{suffix}") if suffix else ()
    done = call("predict", folder / "classes", folder / "t.parquet", *out)
    assert done.returncode == 0, done.stderr
    if not suffix:
        (tmp_path / "p").write_text(done.stdout)
    reader = pq.read_table if suffix == ".parquet" else pyarrow.csv.read_csv
    table = reader(tmp_path / f"p{suffix}")
    model = load_model(folder / "classes")
    assert table.column_names == ["row", "prediction", "p_no", "p_yes"]
    assert table["prediction"].to_pylist() == model.predict(X).tolist()
    np.testing.assert_array_equal(table["p_yes"].to_numpy(), model.predict_proba(X)[:, 1])


def test_predictions_leave_out_rows_with_missing_values(folder, tmp_path):
    pq.write_table(
        pa.table({"b": [1.0, None, 3.0], "c<d>": [0.0, 1.0, 2.0], "a": [1.0, 2.0, 3.0]}), tmp_path / "t.parquet"
    )
    assert call("predict", folder / "numbers", tmp_path / "t.parquet").returncode == 2
    done = call("predict", folder / "numbers", tmp_path / "t.parquet", "--drop-missing")
    rows = done.stdout.splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "2"]
    expected = load_model(folder / "numbers").predict([[1.0, 1.0, 0.0], [3.0, 3.0, 2.0]])
    assert [float(row.split(",")[1]) for row in rows[1:]] == expected.tolist()


def test_certify_accepts_the_fit_and_refuses_other_coefficients(folder, tmp_path):
    arguments = (folder / "t.parquet", "--target", "label", *FEATURES, *TEST, "--json")
    done = call("certify", folder / "classes", *arguments)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    card = json.loads((folder / "classes" / "card.json").read_text())
    assert answer["value"] == pytest.approx(card["chosen"]["value"], rel=1e-12)
    assert answer["relative_gap"] <= 1e-6
    model = load_model(folder / "classes")
    np.savez(
        tmp_path / "theirs.npz",
        coef_=1.01 * model.coef[None],
        intercept_=np.atleast_1d(np.asarray(model.intercept)),
    )
    done = call("certify", tmp_path / "theirs.npz", *arguments, "--C", card["chosen"]["C"])
    assert done.returncode == 1
    assert "dlcore certify: the model is not certified to --tol 1e-06" in done.stderr
    assert 1e-6 < json.loads(done.stdout)["relative_gap"] < 0.1
    plain = call("certify", folder / "classes", *arguments[:-1])
    assert "J − J* ≤" in plain.stdout


def test_a_chosen_head_that_is_not_certified_is_status_1(folder, tmp_path):
    arguments = ("--target", "label", *FEATURES, "--l2", "1e-3", "--folds", "0", "--tol", "1e-30")
    done = call("fit", folder / "t.parquet", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "the chosen head is not certified to --tol 1e-30: precision floor" in done.stderr
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_export_to_jax(folder, tmp_path):
    pytest.importorskip("flatbuffers")
    done = call("export", folder / "classes", "--to", "jax", "--out", tmp_path / "m.jax")
    assert done.returncode == 0, done.stderr
    program = jax.export.deserialize(bytearray((tmp_path / "m.jax").read_bytes()))
    expected = load_model(folder / "classes").predict_proba(X)
    np.testing.assert_allclose(program.call(X.astype(np.float32)), expected, atol=1e-5)


@pytest.mark.parametrize("form", ["jax", "torch", "safetensors", "sklearn"])
def test_the_lines_that_export_prints_run(form, folder, tmp_path):
    for package in {"jax": ["flatbuffers"], "torch": ["torch", "safetensors.torch"]}.get(form, []):
        pytest.importorskip(package)
    done = call("export", folder / "classes", "--to", form, "--out", tmp_path / "m.safetensors")
    path, *lines = done.stdout.splitlines()
    assert path == str(tmp_path / "m.safetensors")
    names: dict[str, Any] = {"x": X.astype(np.float32)}
    exec("\n".join(lines), names)
    loaded = {"torch": "layer", "safetensors": "model", "sklearn": "estimator"}.get(form)
    assert loaded is None or loaded in names


@pytest.mark.parametrize("form", ["torch", "safetensors", "sklearn"])
def test_export(form, folder, tmp_path):
    done = call(
        "export", folder / "classes", "--to", form, "--out", tmp_path / "m.safetensors", "--dtype", "float64"
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "m.safetensors") in done.stdout
    model = load_model(folder / "classes")
    if form == "sklearn":
        np.testing.assert_array_equal(load_sklearn(tmp_path / "m.safetensors").coef_[0], model.coef)
    else:
        again = load_model(tmp_path / "m.safetensors", l2=model.l2)
        np.testing.assert_array_equal(again.coef, model.coef)


def test_groups_weights_and_a_split_column(tmp_path):
    columns = {**COLUMNS, "w": RNG.uniform(1, 2, N), "side": np.where(GROUP < 18, "train", "test")}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    roles = ("--weight", "w", "--groups", "g", "--split", "side")
    done = call("fit", tmp_path / "t.parquet", "--target", "label", *FEATURES, *GRID, *roles, "--json")
    assert done.returncode == 0, done.stderr
    train, held = train_test_split(
        read(tmp_path / "t.parquet", "label", features=FEATURES[1:], weight="w", groups="g", split="side")
    )
    heads = fit_heads(
        train.features,
        np.asarray(train.target),
        l2=np.geomspace(1e-3, 1, 3),
        folds=3,
        groups=train.groups,
        sample_weight=train.weight,
    )
    card = json.loads(done.stdout)
    assert card["chosen"]["value"] == heads.value[heads.best]
    assert card["data"]["held_out_rows"] == len(held) == 30


def test_a_broken_fit_leaves_no_folder(folder, tmp_path, monkeypatch):
    """All files appear together or not at all."""

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dlcore.cli.heads.outputs._write_sweep", fail)
    arguments = (folder / "t.parquet", "--target", "label", *FEATURES, *GRID, "--out", tmp_path / "out")
    done = call("fit", *arguments)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert os.listdir(tmp_path) == ["out.checkpoint"]
    monkeypatch.undo()
    compiled = call("fit", *arguments)  # it goes on from the checkpoint
    assert compiled.returncode == 0
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("target", "loss"),
    [
        (["a", "b"], "logistic"),
        (["a", "b", "c"], "softmax"),
        ([0.0, 1.0], "logistic"),
        ([1, 2, 3], "softmax"),
        ([1.5, 2.0], "squared"),
        (np.arange(21), "squared"),
        ([True, False], "logistic"),
    ],
)
def test_the_loss_of_a_target(target, loss):
    assert choose_loss(np.asarray(target)) == loss


@pytest.mark.parametrize(
    "text", ["", "a", "1:2", "0:1:3", "2:1:3", "1:2:1", "1:2:x", "1:inf:3", "-1", "nan", "1:2:3:4"]
)
def test_wrong_grids(text):
    with pytest.raises(ValueError, match="--l2: expected"):
        parse_grid("--l2", text)


@pytest.mark.parametrize("command", ["fit", "predict", "certify", "export", "graph", "bench", "verify"])
def test_help_is_one_screen_with_an_example(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 40
    assert f"Example: dlcore {command} " in text
