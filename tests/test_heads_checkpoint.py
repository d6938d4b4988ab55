"""A sweep of heads that is broken off goes on: the same bits, no stage made twice, nothing saved lost."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from helpers import same_heads

from dlcore import Heads, Objective, _archive, descent, fit, fit_heads
from dlcore.heads import logistic, softmax, stages
from dlcore.losses import squared_error
from dlcore.models import linear

pytestmark = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32) + 1
Y = (X @ [1.0, -1.0, 0.5, 0.0] + RNG.logistic(size=60) > 0.5).astype(int)
CASES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "logistic": (Y, {"l2": np.geomspace(1e-6, 1, 5), "folds": 3}),
    "logistic, targets": (np.column_stack([Y, 1 - Y, X[:, 0] > 1]), {"l2": [1e-2, 0.0, 1.0], "folds": 2}),
    "logistic, hard": (X[:, 0] > 1, {"l2": [1e-7, 1e-3, 1.0], "tol": 1e-11}),  # not certified at once
    "softmax": (np.arange(60) % 3, {"loss": "softmax", "l2": np.geomspace(1e-4, 1, 5), "folds": 2}),
    "squared": (X[:, :2] + RNG.normal(size=(60, 2)), {"loss": "squared", "l2": 0.1, "folds": 4}),
    "left out": (X[:, 0] + Y, {"loss": "squared", "l2": [1e-3, 1.0], "folds": "leave-one-out"}),
    "squared, standardised": (
        X[:, 0] + Y,
        {"loss": "squared", "l2": [[1e-3, 1.0], [1e-2, 0.5]], "folds": 2, "standardize": True},
    ),
    "logistic, of every kind": (
        Y,
        {"l2": [[1e-3, 1.0], [1e-2, 0.5]], "folds": 2, "standardize": True, "class_weight": "balanced"},
    ),
    "softmax, validation": (
        np.arange(60) % 3,
        {"loss": "softmax", "l2": [1e-2, 1.0], "validation": (X[:9], np.arange(9) % 3), "standardize": True},
    ),
}


@pytest.fixture
def made(monkeypatch):
    """The names of the stages that are made; where `made.room` is used up, the next one is broken off."""

    class Made(list):
        room = 10**9

    names = Made()
    once = stages.Stages.once

    def counted(self, name, make):
        def breakable():
            if names.room == 0:
                raise KeyboardInterrupt
            found = make()
            names.room -= 1
            names.append(name)
            return found

        return once(self, name, breakable)

    monkeypatch.setattr(stages.Stages, "once", counted)
    return names


def few_slots(monkeypatch) -> None:
    """So that heads come in several groups."""
    monkeypatch.setattr(logistic, "SLOTS", 4)
    monkeypatch.setattr(softmax, "SLOTS", 2)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_sweep_goes_on_with_the_same_bits(name, made, tmp_path, monkeypatch):
    """Broken off after every second stage; the file is all that goes from one call to the next."""
    few_slots(monkeypatch)
    y, given = CASES[name]
    path = tmp_path / "heads.npz"
    whole = fit_heads(X, y, **given)
    stages_of_all = list(made)
    assert len(stages_of_all) == len(set(stages_of_all))
    made.clear()
    for _ in range(len(stages_of_all) // 2):
        made.room = 2
        try:
            resumed = fit_heads(X, y, checkpoint=path, **given)
        except KeyboardInterrupt:
            assert path.exists()
    made.room = 2
    resumed = fit_heads(X, y, checkpoint=path, **given)
    same_heads(resumed, whole)
    assert made == stages_of_all  # each once, in order
    made.room = 0
    same_heads(fit_heads(X, y, checkpoint=path, **given), whole)
    assert [entry.name for entry in tmp_path.iterdir()] == ["heads.npz"]


def test_what_is_certified_in_several_rounds_is_among_them(made):
    y, given = CASES["logistic, hard"]
    fit_heads(X, y, **given)
    assert {"round 1", "proof 1 of 0"} <= set(made)


def test_ctrl_c_within_a_program(tmp_path, monkeypatch):
    """The second group of targets is broken off; the first is not solved again."""
    few_slots(monkeypatch)
    y, given = CASES["logistic, targets"]
    path, calls = tmp_path / "heads.npz", []
    whole = fit_heads(X, y, **given)
    run = logistic.run

    def broken(method, given, parts):
        calls.append(int(given.slots.target[0]))
        if given.slots.target[0] == 2 and given.slots.bit[0] == 1:
            raise KeyboardInterrupt
        return run(method, given, parts)

    monkeypatch.setattr(logistic, "run", broken)
    with pytest.raises(KeyboardInterrupt):
        fit_heads(X, y, checkpoint=path, **given)
    assert {0, 1} <= set(calls)
    calls.clear()

    def counted(method, given, parts):
        calls.append(int(given.slots.target[0]))
        return run(method, given, parts)

    monkeypatch.setattr(logistic, "run", counted)
    same_heads(fit_heads(X, y, checkpoint=path, **given), whole)
    assert set(calls) == {2}


def test_the_file_is_written_in_a_small_share_of_the_time(tmp_path, monkeypatch):
    """At nothing after every stage; else where the stages took long enough, and at the end."""
    y, given = CASES["squared"]
    written = []
    real = _archive.write
    monkeypatch.setattr(_archive, "write", lambda *arguments: written.append(1) or real(*arguments))
    monkeypatch.setattr(stages, "SHARE", 1e9)
    fit_heads(X, y, checkpoint=tmp_path / "one.npz", **given)
    assert len(written) == 2
    monkeypatch.setattr(stages, "SHARE", 0)
    fit_heads(X, y, checkpoint=tmp_path / "two.npz", **given)
    assert len(written) == 2 + 5


def test_stages_within_one_that_is_done_leave_the_file(tmp_path):
    """Curvatures are large."""
    y, given = CASES["logistic"]
    path = tmp_path / "heads.npz"
    fit_heads(X, y, checkpoint=path, **given)
    about, _ = _archive.read("checkpoint", path, stages.KIND, stages.FORMAT)
    assert about["stages"] == ["targets from 0", *(f"proof 0 of {p}" for p in range(4))]


def test_another_score_of_the_same_heads_solves_nothing(made, tmp_path):
    y, given = CASES["logistic"]
    path = tmp_path / "heads.npz"
    first = fit_heads(X, y, checkpoint=path, **given)
    made.room = 0
    ranked = fit_heads(X, y, checkpoint=path, scoring="roc_auc", **given)
    np.testing.assert_array_equal(first.coef, ranked.coef)
    assert ranked.scoring == "roc_auc"


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "x": ({"x": X + 1}, "contents of x was"),
    "shape of x": ({"x": X[:, :3]}, r"shape of x was \(60, 4\) float32, is \(60, 3\)"),
    "y": ({"y": X[:, 0]}, "y was"),
    "l2": ({"l2": 0.2}, "l2 was"),
    "folds": ({"folds": 3}, "folds was 4 .*, is 3"),
    "weights": ({"sample_weight": np.arange(60)}, "weights was"),
    "tol": ({"tol": 1e-3}, "tol was 1e-06, is 0.001"),
    "intercept": ({"fit_intercept": False}, "fit_intercept was True, is False"),
    "l2 of a fold": ({"l2": [[0.1]] * 3 + [[0.2]]}, "l2 was"),
    "standardize": ({"standardize": True}, "standardize was False, is True"),
    "validation": ({"folds": None, "validation": (X, CASES["squared"][0])}, "validation was None, is"),
    "left out": ({"folds": "leave-one-out"}, "left_out was False, is True"),
    "scoring": ({"scoring": lambda y, p, w: 0.0}, "scoring was 'r2', is '<lambda>'"),
    "loss": ({"loss": "logistic", "y": Y}, "loss was 'squared', is 'logistic'"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_problem_is_refused_and_kept(name, tmp_path):
    y, given = CASES["squared"]
    path = tmp_path / "heads.npz"
    usual: dict[str, Any] = {"x": X, "y": y, **given, "checkpoint": path}
    fit_heads(**usual)
    before = path.read_bytes()
    changed, message = OTHERS[name]
    with pytest.raises(ValueError, match=f"heads.npz is of another problem: .*{message}.*; pass another path"):
        fit_heads(**{**usual, **changed})
    assert path.read_bytes() == before


def test_class_weights_and_the_validation_set_are_of_the_problem(tmp_path):
    """Sparse rows are told apart by their numbers too."""
    path = tmp_path / "heads.npz"
    targets = np.column_stack([Y, X[:, 0] > 1])
    for y in (Y, targets):
        path.unlink(missing_ok=True)
        fit_heads(X, y, l2=0.1, class_weight="balanced", checkpoint=path)
        with pytest.raises(ValueError, match="another problem: weights was"):
            fit_heads(X, y, l2=0.1, checkpoint=path)
    path.unlink()
    sparse, held = scipy.sparse.csr_array(X), scipy.sparse.csr_array(X[:20])
    usual: dict[str, Any] = {"l2": 0.1, "checkpoint": path}
    first = fit_heads(sparse, Y, validation=(held, Y[:20]), **usual)
    same_heads(fit_heads(sparse, Y, validation=(held, Y[:20]), **usual), first)
    for changed in ((2 * held, Y[:20]), (held, 1 - Y[:20]), (held, Y[:20], np.arange(20))):
        with pytest.raises(ValueError, match="another problem: validation was"):
            fit_heads(sparse, Y, validation=changed, **usual)
    with pytest.raises(ValueError, match="another problem: contents of x was"):
        fit_heads(2 * sparse, Y, validation=(held, Y[:20]), **usual)


def test_damaged_files_and_wrong_paths_are_named_before_anything_is_compiled(tmp_path, compiles):
    y, given = CASES["logistic"]
    path = tmp_path / "heads.npz"
    path.write_bytes(b"weights of mine")
    with pytest.raises(ValueError, match=r"checkpoint: .*heads\.npz is damaged, or no checkpoint of dlcore heads"):
        fit_heads(X, y, checkpoint=path, **given)
    with pytest.raises(ValueError, match="checkpoint: expected the path of a file in a folder that exists"):
        fit_heads(X, y, checkpoint=tmp_path, **given)
    with pytest.raises(TypeError, match="checkpoint: expected a path, got 3"):
        fit_heads(X, y, checkpoint=3, **given)  # pyright: ignore[reportArgumentType]
    assert compiles() == 0
    path.unlink()
    fit(Objective(linear, squared_error), (X, X[:, 0]), descent.adam(0.01), max_steps=3, checkpoint=path)
    with pytest.raises(ValueError, match="holds 'checkpoint of dlcore', expected 'checkpoint of dlcore heads'"):
        fit_heads(X, y, checkpoint=path, **given)
    with pytest.raises(ValueError, match="holds 'checkpoint of dlcore', expected 'heads of dlcore'"):
        Heads.load(path)
