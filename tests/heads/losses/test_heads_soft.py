"""Heads of soft labels: against copies of the rows with labels, against SciPy, and what is refused."""

import functools
from typing import Any, cast

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit, logsumexp, softmax
from sklearn.metrics import log_loss

from dlcore import Heads, Status, fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(0)
ROWS, FEATURES, CLASSES = 60, 4, 3
X = RNG.normal(size=(ROWS, FEATURES))
P = softmax(X @ RNG.normal(size=(FEATURES, CLASSES)) + RNG.normal(size=(ROWS, CLASSES)), axis=1)
S = RNG.uniform(0.5, 2, ROWS)
L2 = [0.01, 0.1]
Y = {"softmax": P, "logistic": P[:, 0]}


def as_table(y: np.ndarray) -> np.ndarray:
    """Return the probabilities of all classes."""
    return y if y.ndim == 2 else np.column_stack([1 - y, y])


@functools.cache
def heads(loss: str, *, fit_intercept: bool = True) -> Heads:
    return fit_heads(X, Y[loss], loss=loss, l2=L2, sample_weight=S, tol=1e-15, fit_intercept=fit_intercept)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", Y)
def test_a_row_of_probabilities_is_a_weighted_row_of_each_class(loss, fit_intercept):
    table = as_table(Y[loss])
    copies = fit_heads(
        np.repeat(X, table.shape[1], axis=0),
        np.tile(np.arange(table.shape[1]), ROWS),
        loss=loss,
        l2=L2,
        sample_weight=(S[:, None] * table).ravel(),
        tol=1e-15,
        fit_intercept=fit_intercept,
    )
    found = heads(loss, fit_intercept=fit_intercept)
    np.testing.assert_allclose(found.value, copies.value, rtol=1e-12)
    np.testing.assert_allclose(found.coef, copies.coef, rtol=0, atol=2e-8)
    np.testing.assert_allclose(found.intercept, copies.intercept, rtol=0, atol=2e-8)
    np.testing.assert_allclose(found.certificate.null_value, copies.certificate.null_value, rtol=1e-12)
    assert found.classes_ is None
    assert found.loss == loss


def objective(theta: np.ndarray, y: np.ndarray, l2: float) -> float:
    """Return J from its definition; theta is (classes or 1, m + 1), the intercept last."""
    z = X @ theta[:, :-1].T + theta[:, -1]
    z = np.column_stack([np.zeros(ROWS), z]) if theta.shape[0] == 1 else z
    losses = logsumexp(z, axis=1) - (as_table(y) * z).sum(1)
    return float(S @ losses / S.sum() + l2 / 2 * (theta[:, :-1] ** 2).sum())


@pytest.mark.parametrize("loss", Y)
def test_heads_are_those_of_scipy(loss):
    found, y = heads(loss), Y[loss]
    outputs = CLASSES if loss == "softmax" else 1

    def gradient(flat: np.ndarray) -> np.ndarray:
        theta = flat.reshape(outputs, -1)
        z = X @ theta[:, :-1].T + theta[:, -1]
        residual = softmax(z, axis=1) - y if outputs > 1 else expit(z) - y[:, None]
        ones = np.column_stack([X, np.ones(ROWS)])
        penalty = L2[0] * np.column_stack([theta[:, :-1], np.zeros(outputs)])
        return ((S[:, None] * residual).T @ ones / S.sum() + penalty).ravel()

    exact = scipy.optimize.least_squares(gradient, np.zeros(outputs * (FEATURES + 1)), xtol=1e-15, gtol=1e-15)
    optimum = exact.x.reshape(outputs, -1)
    optimum -= optimum.mean(0) if outputs > 1 else 0
    theta = np.atleast_2d(np.column_stack([np.atleast_2d(found.coef[0]), np.atleast_1d(found.intercept[0])]))
    np.testing.assert_allclose(theta, optimum, rtol=0, atol=2e-8)
    np.testing.assert_allclose(found.value[0], objective(optimum, y, L2[0]), rtol=1e-12)


def test_one_hot_probabilities_are_labels():
    labels = P.argmax(1)
    found = fit_heads(X, np.eye(CLASSES)[labels], loss="softmax", l2=L2, sample_weight=S, tol=1e-12)
    expected = fit_heads(X, labels, loss="softmax", l2=L2, sample_weight=S, tol=1e-12)
    np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-11)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


@pytest.mark.parametrize("loss", Y)
def test_folds_are_scored_by_the_cross_entropy_and_the_brier_score(loss):
    y = Y[loss]
    table = as_table(y)
    for scoring in ("log_loss", "brier"):
        found = fit_heads(X, y, loss=loss, l2=L2, sample_weight=S, folds=2, scoring=scoring, tol=1e-10)
        assert all(status == Status.CONVERGED for status in found.fold_status.flat)
        test = np.arange(ROWS) < ROWS // 2  # not stratified
        fold = fit_heads(X, y, loss=loss, l2=L2, sample_weight=S * ~test, tol=1e-10)
        p, w = fold.predict_proba(X[test]), S[test]
        losses = -(table[test] * np.log(p)).sum(2) if scoring == "log_loss" else ((p - table[test]) ** 2).sum(2)
        losses = losses / 2 if scoring == "brier" and loss == "logistic" else losses
        np.testing.assert_allclose(cast(np.ndarray, found.scores)[0], -(losses @ w) / w.sum(), rtol=1e-4)


@pytest.mark.parametrize("loss", Y)
def test_a_validation_set_and_a_function_score_soft_labels(loss):
    y = Y[loss]
    seen = []

    def cross_entropy(target: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> float:
        seen.append(target)
        return -log_loss(
            as_table(target).argmax(1),
            as_table(prediction),
            sample_weight=weight,
            labels=[0, 1, 2][: as_table(target).shape[1]],
        )

    found = fit_heads(X, y, loss=loss, l2=L2, sample_weight=S, validation=(X, y, S), scoring=cross_entropy)
    np.testing.assert_allclose(seen[0], y, rtol=1e-15)
    expected = [-log_loss(as_table(y).argmax(1), p, sample_weight=S) for p in found.predict_proba(X)]
    np.testing.assert_allclose(cast(np.ndarray, found.scores)[0], expected, rtol=1e-12)
    by_name = fit_heads(X, y, loss=loss, l2=L2, sample_weight=S, validation=(X, y, S))
    mean_loss = found.value - np.array(L2) / 2 * (found.coef**2).reshape(2, -1).sum(1)
    np.testing.assert_allclose(cast(np.ndarray, by_name.scores)[0], -mean_loss, rtol=1e-12)


def test_many_targets_of_probabilities():
    found = fit_heads(X, P[:, :2], l2=L2, sample_weight=S, tol=1e-15)
    assert found.coef.shape == (2, 2, FEATURES)
    np.testing.assert_allclose(found.coef[0], heads("logistic").coef, rtol=0, atol=2e-8)


def test_unpenalised_heads_are_proven_by_the_curvature():
    found = fit_heads(X, P[:, 0], l2=[0.0, 0.1], sample_weight=S)
    assert found.status[0] == Status.CONVERGED
    assert found.certificate.bound[0] == "curvature"


def test_hard_rows_beside_soft_ones_are_never_called_separable():
    y = np.where(X[:, 0] > 0, 1.0, 0.0)
    y[:2] = 0.4
    found = fit_heads(X, y, l2=[0.0, 0.1], sample_weight=np.where(np.arange(ROWS) < 2, 1e-9, 1.0))
    assert found.status[0] not in (Status.SEPARABLE, Status.QUASI_SEPARABLE)
    assert found.status[1] == Status.CONVERGED


def test_float32_probabilities_are_divided_by_their_sums():
    given = P.astype(np.float32)
    wide = given.astype(np.float64)
    found = fit_heads(X, given, loss="softmax", l2=L2, sample_weight=S, tol=1e-12)
    expected = fit_heads(X, wide / wide.sum(1, keepdims=True), loss="softmax", l2=L2, sample_weight=S, tol=1e-12)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-14)


def test_heads_of_soft_labels_are_saved(tmp_path):
    heads("softmax").save(tmp_path / "heads")
    loaded = Heads.load(tmp_path / "heads")
    np.testing.assert_array_equal(loaded.predict_proba(X), heads("softmax").predict_proba(X))
    assert loaded.classes_ is None
    assert set(loaded.predict(X).flat) <= {0, 1, 2}


def changed(loss: str, index: Any, value: float) -> np.ndarray:
    y = Y[loss].copy()
    y[index] = value
    return y


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a sum": ({"y": changed("softmax", (7, 1), 0.9), "loss": "softmax"}, r"^y: .* sum to 1, got 1\.\d+ in row 7"),
    "negative": ({"y": changed("softmax", (7, 1), -0.1), "loss": "softmax"}, r"^y: .*at least 0, got -0.1"),
    "nan": (
        {"y": changed("softmax", (7, 1), np.nan), "loss": "softmax"},
        r"^y: .*finite.*nan \(first at index \(7, 1\)\)",
    ),
    "nan of two": ({"y": changed("logistic", 7, np.nan)}, r"^y: .*finite.*nan"),
    "above 1": (
        {"y": changed("logistic", 7, 1.5)},
        r"^y: .*probabilities of class 1 in \[0, 1\], got 1.5 in row 7",
    ),
    "below 0": (
        {"y": changed("logistic", 7, -1.0)},
        r"^y: .*probabilities of class 1 in \[0, 1\], got -1 in row 7",
    ),
    "one column": ({"y": P[:, :1], "loss": "softmax"}, r"^y: .*at least two classes, got shape \(60, 1\)"),
    "whole numbers": (
        {"y": np.eye(3, dtype=int)[P.argmax(1)], "loss": "softmax"},
        r"^y: expected 1-D.*astype\(float\)",
    ),
    "an empty class": (
        {"y": np.column_stack([P[:, 0], 1 - P[:, 0], np.zeros(ROWS)]), "loss": "softmax"},
        "^y: expected a positive probability of every class in rows of positive weight, got none of class 2",
    ),
    "an empty class of a fold": (
        {"y": np.where(np.arange(ROWS) < 30, P[:, 0], 0.0), "folds": 2},
        "^y: expected a positive probability of every class in the training rows of fold 0, got none of class 1",
    ),
    "accuracy": (
        {"y": P[:, 0], "folds": 2, "scoring": "accuracy"},
        "^scoring: expected 'log_loss', 'brier' or a function",
    ),
    "class weights": ({"y": P[:, 0], "class_weight": "balanced"}, "^class_weight: expected None with soft labels"),
    "a validation set": (
        {"y": P, "loss": "softmax", "validation": (X, P * 1.1)},
        r"^validation y: .*sum to 1, got 1.1 in row 0",
    ),
    "labels of validation": (
        {"y": P, "loss": "softmax", "validation": (X, P.argmax(1))},
        r"^validation y: .*\(v, 3\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_named(case, compiles):
    given, message = REFUSED[case]
    first = compiles()
    with pytest.raises(ValueError, match=message):
        fit_heads(X, **{"l2": L2, **given})
    assert compiles() == first


@pytest.mark.parametrize("labels", [[0.0, 1.0], [-1.0, 1.0]])
def test_float_labels_stay_labels(labels):
    y = np.array(labels)[(P[:, 0] > 0.3).astype(int)]
    found = fit_heads(X, y, l2=L2, sample_weight=S)
    assert found.classes_.tolist() == labels
