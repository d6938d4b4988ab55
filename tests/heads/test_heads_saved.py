"""Heads on new rows and in files: predictions against NumPy's, and every bit back."""

import dataclasses
import functools
import json
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.special
from helpers import assert_same_heads

from dlcore import Heads, Objective, descent, fit, fit_heads
from dlcore.losses import squared_error
from dlcore.models import linear

BEST_AT_THE_EDGE = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(37, 4)).astype(np.float32)
Y = RNG.integers(0, 2, 37)
L2 = [0.1, 1.0, 1e-3]
CASES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "logistic": (Y, {}),
    "logistic, targets, folds": (np.column_stack([Y, 1 - Y]), {"folds": 2}),
    "softmax, folds": (np.arange(37) % 3, {"loss": "softmax", "folds": 2, "scoring": "accuracy"}),
    "squared, l2 = 0": (X[:, 0] + Y, {"loss": "squared", "l2": 0.0}),
    "squared, targets, left out": (X[:, :2] + 1, {"loss": "squared", "folds": "leave-one-out"}),
    "a class absent, standardised": (
        np.arange(37) % 3,
        {"loss": "softmax", "standardize": True, "folds": [(np.flatnonzero(np.arange(37) % 3), [0, 1, 2])]},
    ),
    "validation": (Y, {"validation": (X, Y), "standardize": True}),
    "no penalty": (Y, {"l2": [0.0, 1e-2]}),
    "a function": (Y, {"folds": 2, "scoring": lambda y, p, w: -np.mean((y - p) ** 2)}),
}


@functools.cache
def made(name: str) -> Heads:
    y, given = CASES[name]
    arguments: dict[str, Any] = {"l2": L2} | given
    return fit_heads(X, y, **arguments)


# -- predictions ---------------------------------------------------------------------------------------------


@BEST_AT_THE_EDGE
@pytest.mark.parametrize(
    "name", ["logistic", "logistic, targets, folds", "softmax, folds", "squared, targets, left out"]
)
@pytest.mark.parametrize("rows", [1, 37, 101])
def test_predictions_are_those_of_the_coefficients(name, rows):
    """Predict from NumPy, JAX and bfloat16, which float64 holds exactly."""
    heads = made(name)
    x = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    for given in (
        x,
        x.astype(np.float64),
        jnp.asarray(x),
        jnp.asarray(x).astype(jnp.bfloat16),
        x[:, ::-1][:, ::-1],
    ):
        exact = np.asarray(given).astype(np.float64)
        z = np.einsum("...m,im->...i", heads.coef, exact) + heads.intercept[..., None]
        if heads.loss == "squared":
            np.testing.assert_allclose(heads.predict(given), z, rtol=1e-12, atol=1e-12)
            continue
        if heads.loss == "softmax":
            p = scipy.special.softmax(z.swapaxes(-1, -2), axis=-1)
        else:
            p = np.stack([scipy.special.expit(-z), scipy.special.expit(z)], -1)
        found = heads.predict_proba(given)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, p, rtol=1e-12)
        np.testing.assert_array_equal(heads.predict(given), p.argmax(-1))
        assert heads.predict(given).dtype == np.int64


@pytest.mark.parametrize("kind", ["NumPy", "JAX", "sparse"])
def test_many_rows_are_read_in_blocks_of_which_the_last_overlaps(kind):
    """Read 5,001 rows of 4,000 columns, which are two blocks."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (5_001, 4_000)).astype(np.float32)
    coef = rng.normal(size=(1, 4_000))
    heads = dataclasses.replace(made("squared, l2 = 0"), coef=coef, intercept=np.full(1, 0.5))
    given = {"NumPy": np.asarray, "JAX": jnp.asarray, "sparse": scipy.sparse.csr_array}[kind](x)
    expected = (x @ coef.T)[:, 0] + 0.5
    np.testing.assert_allclose(heads.predict(given)[0], expected, rtol=0, atol=1e-3 * abs(expected).max())
    ends = [0, 2_000, 2_499, 2_500, 2_501, 5_000]
    exact = x[ends].astype(np.float64) @ coef[0] + 0.5
    np.testing.assert_allclose(heads.predict(given)[0, ends], exact, rtol=1e-12, atol=1e-9)


def test_probabilities_are_right_at_both_ends():
    heads = dataclasses.replace(made("logistic"), coef=np.eye(4)[:3] * 1000)
    heads = dataclasses.replace(heads, intercept=np.zeros(3))
    p = heads.predict_proba(np.diag([1.0, -1.0, 0.0, 2.0]))
    np.testing.assert_array_equal(p[0, 0], [0, 1])
    np.testing.assert_array_equal(p[1, 1], [1, 0])
    np.testing.assert_array_equal(p[2, 2], [0.5, 0.5])
    tiny = dataclasses.replace(heads, coef=np.eye(4)[:3] * -700).predict_proba(np.eye(4))
    np.testing.assert_allclose(tiny[0, 0, 1], np.exp(-700), rtol=1e-13)


def test_predicting_again_compiles_nothing(compiles):
    heads = made("logistic")
    x = RNG.normal(size=(53, 4))
    heads.predict(x)
    first = compiles()
    heads.predict_proba(x + 1)
    dataclasses.replace(heads, coef=2 * heads.coef).predict(x)
    assert compiles() == first
    assert jax.config.read("jax_enable_x64") == (jnp.result_type(float) == jnp.float64)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (X[:, :2], ValueError, "x: expected 4 columns, got 2"),
        (X[0], ValueError, r"x: expected 2-D \[n, features\]"),
        (X[:0], ValueError, "x: expected at least one row"),
        (np.where(X > 1, np.nan, X), ValueError, "x: expected finite numbers, got nan"),
        (X.astype(complex), TypeError, "x: complex numbers are not supported"),
        (None, ValueError, "x: expected an array, got None"),
    ],
)
def test_wrong_rows_are_named_before_anything_is_compiled(x, error, message, compiles):
    heads = made("squared, l2 = 0")
    before = compiles()
    with pytest.raises(error, match=message):
        heads.predict(x)
    assert compiles() == before


# -- files ---------------------------------------------------------------------------------------------------


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:folds. heads train in fold:UserWarning")
def test_heads_come_back_as_they_were(name, tmp_path):
    heads = made(name)
    heads.save(tmp_path / "heads")
    again = Heads.load(str(tmp_path / "heads"))
    assert_same_heads(heads, again)
    np.testing.assert_array_equal(heads.predict(X), again.predict(X))
    assert [entry.name for entry in tmp_path.iterdir()] == ["heads"]
    with np.load(tmp_path / "heads", allow_pickle=False) as archive:  # a plain archive, for any reader
        np.testing.assert_array_equal(archive["coef"], heads.coef)
        assert json.loads(bytes(archive["about"]))["format"] == 2


def test_nothing_saved_is_lost_where_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "heads.npz"
    first = made("logistic")
    first.save(path)

    def fails(*arguments, **named):
        raise OSError("no space left")

    for module, name in ((np, "savez"), (os, "fsync"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fails)
            with pytest.raises(OSError, match=r"heads\.npz cannot be written \(no space left\); what was there"):
                made("no penalty").save(path)
        assert_same_heads(Heads.load(path), first)
        assert list(tmp_path.iterdir()) == [path]
    made("no penalty").save(path)
    assert Heads.load(path).certificate.bound[0] == "curvature"


def test_what_is_no_file_of_heads_is_named(tmp_path):
    path = tmp_path / "heads.npz"
    made("logistic").save(path)
    good = path.read_bytes()
    middle = good.index(b"coef.npy") + 160
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    for bad in (b"", good[: len(good) // 2], b"weights of mine", flipped):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"path: .*heads\.npz is damaged, or no heads of dlcore"):
            Heads.load(path)
    with pytest.raises(ValueError, match=r"path: .*none is damaged, or no heads of dlcore: .*No such file"):
        Heads.load(tmp_path / "none")
    np.savez(path, coef=np.zeros(3))
    with pytest.raises(ValueError, match="is damaged, or no heads of dlcore"):
        Heads.load(path)
    path.unlink()
    fit(Objective(linear, squared_error), (X, X[:, 0]), descent.adam(0.01), max_steps=3, checkpoint=path)
    with pytest.raises(ValueError, match="holds 'checkpoint of dlcore', expected 'heads of dlcore'"):
        Heads.load(path)


@pytest.mark.parametrize("change", ["format", "missing", "status"])
def test_other_formats_and_missing_parts_are_named(change, tmp_path):
    path = tmp_path / "heads.npz"
    made("logistic").save(path)
    with np.load(path) as archive:
        parts: dict[str, Any] = dict(archive)
    about = json.loads(bytes(parts["about"]))
    del about["arrays"], about["checksum"]  # as in files of before
    about["format"] = 1
    if change == "format":
        about["format"] = 3
    elif change == "missing":
        del parts["certificate.gap"]
    else:
        parts["status"] = np.array(["perfect"])
    parts["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(path, **parts)
    expected = "is damaged, or no heads of dlcore"
    if change == "format":
        expected = "is of format 3, this version reads 2 and the older 1"
    with pytest.raises(ValueError, match=expected):
        Heads.load(path)


def test_wrong_paths_are_named(tmp_path):
    heads = made("logistic")
    for path in (tmp_path / "no folder" / "heads.npz", tmp_path):
        with pytest.raises(ValueError, match="path: expected the path of a file in a folder that exists"):
            heads.save(path)
    uses: list[Any] = [heads.save, Heads.load]
    for use in uses:
        with pytest.raises(TypeError, match="path: expected a path, got 3"):
            use(3)
