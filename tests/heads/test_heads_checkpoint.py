"""A sweep of heads that is broken off goes on: the same bits, no stage made twice, nothing saved lost."""

import os
import time
from typing import Any

import jax
import numpy as np
import pytest
import scipy.sparse
from helpers import assert_same_heads

from dlcore import Heads, Objective, descent, fit, fit_heads
from dlcore.losses import squared_error
from dlcore.models import linear

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32) + 1
Y = (X @ [1.0, -1.0, 0.5, 0.0] + RNG.logistic(size=60) > 0.5).astype(int)
TARGETS = np.column_stack([Y, 1 - Y, X[:, 0] > 1, X[:, 1] > 1])
CASES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "logistic": (Y, {"l2": np.geomspace(1e-6, 1, 5), "folds": 3}),
    "logistic, targets": (TARGETS, {"l2": [1e-2, 0.0, *np.geomspace(0.1, 1, 20)], "folds": 2}),  # in two groups
    "softmax, hard": (  # below the rounding of the certificate, which sends the heads back in every round
        (X[:, 0] > 1) + (X[:, 0] > 1.5).astype(int),
        {"loss": "softmax", "l2": [1e-7, 1e-3, 1.0], "tol": 1e-30},
    ),
    "softmax": (np.arange(60) % 3, {"loss": "softmax", "l2": np.geomspace(1e-4, 1, 14), "folds": 2}),  # two again
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


class Writings:
    """Counter of the writings of the file. A Ctrl-C may come right after one of them."""

    def __init__(self) -> None:
        self.count = 0
        self.left = 10**9

    def of(self, *arguments: Any, **given: Any) -> Heads:
        """Return the heads, or raise KeyboardInterrupt after `left` writings."""
        self.count = 0
        return fit_heads(X, *arguments, **given)


@pytest.fixture
def writings(monkeypatch):
    """Return the counter. On a clock that stands still no writing takes time, so every stage is written."""
    replace, found = os.replace, Writings()

    def counted(*paths):
        replace(*paths)
        if found.count < found.left:
            found.count += 1
            if found.count == found.left:
                raise KeyboardInterrupt

    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(os, "replace", counted)
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_broken_sweep_goes_on_with_the_same_bits(name, writings, tmp_path):
    """Broken off after every second stage; the file is all that goes from one call to the next."""
    y, given = CASES[name]
    path = tmp_path / "heads.npz"
    whole = writings.of(y, checkpoint=tmp_path / "whole.npz", **given)
    assert_same_heads(fit_heads(X, y, **given), whole)
    stages = writings.count
    assert stages
    made, resumed, writings.left = 0, None, 2
    for _ in range(stages):
        try:
            resumed = writings.of(y, checkpoint=path, **given)
        except KeyboardInterrupt:
            assert path.exists()
        made += writings.count
        if resumed is not None:
            break
    assert_same_heads(resumed, whole)
    assert made == stages  # each is made once
    assert_same_heads(writings.of(y, checkpoint=path, **given), whole)
    assert writings.count == 0
    assert {entry.name for entry in tmp_path.iterdir()} == {"heads.npz", "whole.npz"}


def test_what_is_certified_in_several_rounds_has_more_stages(writings, tmp_path):
    """So does the case above that is hard."""
    y, given = CASES["softmax, hard"]
    counts = []
    for tol in (given["tol"], 0.1):
        writings.of(y, checkpoint=tmp_path / f"{tol}.npz", **(given | {"tol": tol}))
        counts.append(writings.count)
    assert counts[0] > counts[1]


def test_the_file_is_written_in_a_small_share_of_the_time(tmp_path, monkeypatch):
    """A first time and at the end, where a writing takes much longer than a stage."""
    y, given = CASES["squared"]
    replace, now, written = os.replace, [0.0], []

    def slow(*paths):
        now[0] += 1.0
        written.append(paths)
        replace(*paths)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(os, "replace", slow)
    fit_heads(X, y, checkpoint=tmp_path / "heads.npz", **given)
    assert len(written) == 2


def test_what_only_a_stage_needed_leaves_the_file_when_it_is_done(tmp_path):
    """Curvatures are large."""
    x = np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32)
    y, given = CASES["logistic"]
    path = tmp_path / "heads.npz"
    heads = fit_heads(x, y, checkpoint=path, **given)
    all_heads = heads.coef.size * 4  # three folds too
    assert path.stat().st_size < 8 * 2 * all_heads + 20_000 < 8 * 5 * 41**2


def test_another_score_of_the_same_heads_solves_nothing(writings, tmp_path):
    y, given = CASES["logistic"]
    path = tmp_path / "heads.npz"
    first = writings.of(y, checkpoint=path, **given)
    assert writings.count
    ranked = writings.of(y, checkpoint=path, scoring="roc_auc", **given)
    assert writings.count == 0
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
    assert_same_heads(fit_heads(sparse, Y, validation=(held, Y[:20]), **usual), first)
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
    with jax.enable_x64(True):
        fit(Objective(linear, squared_error), (X, X[:, 0]), descent.adam(0.01), max_steps=3, checkpoint=path)
    with pytest.raises(ValueError, match="holds 'checkpoint of dlcore', expected 'checkpoint of dlcore heads'"):
        fit_heads(X, y, checkpoint=path, **given)
    with pytest.raises(ValueError, match="holds 'checkpoint of dlcore', expected 'heads of dlcore'"):
        Heads.load(path)
