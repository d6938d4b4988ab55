"""`--class-weight` of `dlcore fit` and `dlcore certify`: the objective, the card and the saved model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import call
from sklearn.linear_model import LogisticRegression
from sklearn.utils import compute_class_weight

from dlcore import LinearHeads, certify, fit_heads
from dlcore.cli.heads.class_weight import read_class_weight
from dlcore.data import Dataset
from dlcore.export import load_model

RNG = np.random.default_rng(3)
N, M = 120, 3
X = RNG.normal(size=(N, M))
Z = X @ [1.5, -1.0, 0.0] - 1
TARGETS = {
    "pair": np.where(Z + RNG.logistic(size=N) > 0, "a=b", "ham"),
    "three": np.digitize(Z + RNG.normal(size=N), [-1, 1]) * 10,
}
WEIGHT = RNG.uniform(1, 2, N)
FEATURES = ("--features", "x0", "x1", "x2")
GRID = ("--l2", "1e-3:1:3", "--folds", "3")
WEIGHTS = {"pair": {"a=b": 5.0, "ham": 0.5}, "three": {0: 1.0, 10: 4.0, 20: 2.5}}
"""Class weights by label. A name may contain the sign that separates it from its weight."""
BALANCED = "balanced"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Return a table with a target of two classes and another of three."""
    path = tmp_path_factory.mktemp("class_weight") / "t.parquet"
    pq.write_table(pa.table({**{f"x{j}": X[:, j] for j in range(M)}, **TARGETS, "w": WEIGHT}), path)
    return path


def pairs(weights: dict[Any, float]) -> list[str]:
    return [f"{label}={weight}" for label, weight in weights.items()]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("is_balanced", [True, False])
@pytest.mark.filterwarnings("ignore:l2. the best strength")
def test_the_objective_has_the_class_weights(target, is_balanced, table, tmp_path):
    y = TARGETS[target]
    given: Any = BALANCED if is_balanced else WEIGHTS[target]
    texts = [BALANCED] if is_balanced else pairs(WEIGHTS[target])
    roles = (table, "--target", target, *FEATURES, "--weight", "w")
    done = call("fit", *roles, *GRID, "--class-weight", *texts, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    heads = fit_heads(
        X,
        y,
        loss="logistic" if target == "pair" else "softmax",
        l2=np.geomspace(1e-3, 1, 3),
        folds=3,
        sample_weight=WEIGHT,
        class_weight=given,
    )
    model = load_model(tmp_path / "out")
    assert heads.best is not None
    assert model.class_weight is not None
    assert model.l2 == heads.l2[heads.best]
    expected = compute_class_weight(given, classes=np.unique(y), y=y, sample_weight=WEIGHT)
    np.testing.assert_allclose(model.class_weight, expected, rtol=1e-13)
    # The card and its text.
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert list(card["class_weight"]) == [str(label) for label in np.unique(y)]
    np.testing.assert_allclose(list(card["class_weight"].values()), expected, rtol=1e-13)
    line = f"classes    weights {np.unique(y)[0]} {expected[0]:.4g}, "
    assert line in done.stdout
    assert line in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert card["chosen"]["value"] == pytest.approx(heads.value[heads.best], rel=1e-12)
    # C counts the class weights.
    total = (WEIGHT * expected[np.searchsorted(np.unique(y), y)]).sum()
    assert card["chosen"]["C"] == pytest.approx(1 / (model.l2 * total), rel=1e-12)
    # The certificate of the saved model is that of the same objective.
    done = call("certify", tmp_path / "out", *roles, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["value"] == pytest.approx(card["chosen"]["value"], rel=1e-12)
    assert answer["class_weight"] == card["class_weight"]
    assert "class weights" in call("certify", tmp_path / "out", *roles).stdout


def test_a_model_of_scikit_learn_is_certified(table, tmp_path):
    y = TARGETS["pair"]
    peer = LogisticRegression(C=0.7, class_weight=WEIGHTS["pair"], tol=1e-10, max_iter=10_000).fit(X, y)
    np.savez(tmp_path / "theirs.npz", coef_=peer.coef_, intercept_=peer.intercept_)
    arguments = (tmp_path / "theirs.npz", table, "--target", "pair", *FEATURES, "--C", "0.7")
    done = call("certify", *arguments, "--class-weight", *pairs(WEIGHTS["pair"]))
    assert done.returncode == 0, done.stderr
    assert call("certify", *arguments).returncode == 1


def test_a_model_of_dlcore_refuses_other_class_weights(table, tmp_path):
    options = ("--target", "pair", *FEATURES)
    assert call("fit", table, *options, "--l2", "0.1", "--folds", "0", "--out", tmp_path / "out").returncode == 0
    assert json.loads((tmp_path / "out" / "card.json").read_text())["class_weight"] is None
    done = call("certify", tmp_path / "out", table, *options, "--class-weight", "balanced")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--class-weight: expected none, because a model of dlcore knows its objective" in done.stderr


def read(target: list[Any], *texts: str, weight: list[float] | None = None) -> Any:
    data = Dataset(
        features=np.zeros((len(target), 1)),
        target=np.array(target),
        weight=None if weight is None else np.array(weight),
        groups=None,
        split=None,
        names=("a",),
        source="",
        dropped=np.zeros(0, int),
    )
    found = read_class_weight(texts, data, "logistic")
    return None if found is None else found.tolist()


def test_labels_are_named_as_they_are_written():
    assert read(["a", "b"]) is None
    assert read(["b", "balanced"], "balanced=2", "b=1") == [1, 2]
    assert read([0.0, 1.0], "0=1", "1.0=3") == [1, 3]
    assert read([False, True], "False=1", "True=3") == [1, 3]
    assert read([1, 1, 1, 2], "balanced") == [4 / 6, 2]
    assert read([1, 1, 2], "balanced", weight=[1.0, 1.0, 6.0]) == [2, 8 / 12]


def test_a_class_without_weight_is_not_balanced():
    with pytest.raises(ValueError, match="expected rows of positive weight in every class, got none of 2"):
        read([1, 1, 2], "balanced", weight=[1.0, 1.0, 0.0])


@pytest.mark.parametrize("target", TARGETS)
def test_certify_multiplies_the_weights_of_the_rows(target):
    y = TARGETS[target]
    codes = np.unique(y, return_inverse=True)[1]
    class_weight = np.array([2.0, 0.5, 3.0])[: codes.max() + 1]
    loss, shape = ("logistic", (M,)) if target == "pair" else ("softmax", (3, M))
    heads = LinearHeads(
        0.1 * np.arange(np.prod(shape)).reshape(shape), np.zeros(shape[:-1]), 0.1, loss, class_weight=class_weight
    )
    plain = heads._replace(class_weight=None)
    found, expected = certify(heads, X, codes), certify(plain, X, codes, class_weight[codes])
    assert (found.value, found.gap) == (expected.value, expected.gap)
    assert found.value != certify(plain, X, codes).value
    found = certify(heads, X, codes, WEIGHT)
    assert found.gap == certify(plain, X, codes, WEIGHT * class_weight[codes]).gap


@pytest.mark.parametrize(
    ("changes", "y", "message"),
    [
        ({"loss": "squared"}, [0, 1, 1], "expected None for loss 'squared', which has no classes"),
        ({}, [0.0, 0.5, 1.0], "expected None with soft labels"),
        ({"class_weight": [1.0, 1.0, 1.0]}, [0, 1, 1], r"expected shape \(2,\), got \(3,\)"),
        ({"class_weight": [1.0, 0.0]}, [0, 1, 1], "expected a finite number above 0"),
    ],
)
def test_certify_refuses_class_weights(changes, y, message):
    heads = LinearHeads([0.1], 0.0, 0.1, class_weight=[1.0, 2.0])._replace(**changes)
    with pytest.raises(ValueError, match=f"heads.class_weight: {message}"):
        certify(heads, [[1.0], [2.0], [3.0]], y)
