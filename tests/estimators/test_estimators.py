"""Estimators beside scikit-learn's: the same numbers, and clear refusals."""

import inspect
import pickle
import subprocess
import sys
import typing
import warnings
from typing import Any

import jax
import numpy as np
import pandas
import polars
import pyarrow
import pytest
from scipy import sparse
from sklearn import linear_model
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils._param_validation import Hidden, StrOptions

import dlcore.sklearn as ours
from dlcore import certify
from dlcore.certificate import LinearHeads
from dlcore.sklearn.fits import classes, squared

pytestmark = pytest.mark.any_mode

NEW = {"l1_ratios": (0,), "use_legacy_attributes": False}


def problem(classes: int = 3, n: int = 90, m: int = 4):
    """Return rows, string labels, numbers for two targets, and weights."""
    rng = np.random.default_rng(classes)
    X = rng.normal(size=(n, m)) @ np.diag(np.geomspace(2, 0.3, m)) + 1
    logits = X @ rng.normal(size=(m, classes)) + rng.gumbel(size=(n, classes))
    names = np.array(["ape", "bat", "cat", "dog"])[logits.argmax(1)]
    Y = X @ rng.normal(size=(m, 2)) + rng.normal(size=(n, 2))
    return X, names, Y, rng.uniform(0.2, 3, n)


def fitted(name: str, *data, weight=None, **params):
    """Return dlcore's and scikit-learn's estimator of a name, fitted."""
    return tuple(
        getattr(module, name)(**params).fit(*data, sample_weight=weight) for module in (ours, linear_model)
    )


def assert_same_heads(mine, peer, rtol=1e-5):
    assert mine.coef_.shape == peer.coef_.shape
    assert np.shape(mine.intercept_) == np.shape(peer.intercept_)
    np.testing.assert_allclose(mine.coef_, peer.coef_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(mine.intercept_, peer.intercept_, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced", {"ape": 2.0, "bat": 0.5}])
@pytest.mark.parametrize("intercept", [True, False])
def test_logistic_regression(classes, class_weight, intercept):
    X, y, _, weight = problem(classes)
    params = {"C": 0.3, "class_weight": class_weight, "fit_intercept": intercept, "tol": 1e-9, "max_iter": 2000}
    mine, peer = fitted("LogisticRegression", X, y, weight=weight, **params)
    assert_same_heads(mine, peer)
    assert mine.classes_.tolist() == peer.classes_.tolist()
    np.testing.assert_array_equal(mine.predict(X), peer.predict(X))
    np.testing.assert_allclose(mine.predict_proba(X), peer.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(mine.decision_function(X), peer.decision_function(X), atol=1e-4)
    assert mine.score(X, y, sample_weight=weight) == peer.score(X, y, sample_weight=weight)


def test_the_certificate_is_that_of_the_heads():
    """C = 1/(λS): the proof made again from the attributes is the same."""
    X, y, _, weight = problem(2)
    model = ours.LogisticRegression(C=0.3).fit(X, y, sample_weight=weight)
    l2 = 1 / (0.3 * weight.sum())
    heads = LinearHeads(model.coef_[0], model.intercept_[0], l2)
    again = certify(heads, X, (y == model.classes_[1]).astype(int), weight)
    np.testing.assert_allclose(model.certificate_.value, again.value, rtol=1e-12)
    assert model.certificate_.gap <= 1e-6 * model.certificate_.value
    assert again.gap <= 1e-6 * again.value
    assert model.certificate_.heads_device


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_ridge_and_least_squares(several, intercept, weighted):
    X, _, Y, weight = problem()
    y, weight = (Y if several else Y[:, 0]), (weight if weighted else None)
    for name, params in (("LinearRegression", {}), ("Ridge", {"alpha": [3.0, 0.1] if several else 3.0})):
        mine, peer = fitted(name, X, y, weight=weight, fit_intercept=intercept, **params)
        assert_same_heads(mine, peer, rtol=1e-9)
        np.testing.assert_allclose(mine.predict(X), peer.predict(X), rtol=1e-9)
        assert np.max(mine.certificate_.gap) < 1e-12
        if name == "LinearRegression":
            assert mine.rank_ == peer.rank_
            np.testing.assert_allclose(mine.singular_, peer.singular_, rtol=1e-9)


def test_least_squares_of_dependent_columns_is_the_shortest():
    X, _, Y, _ = problem()
    X = np.column_stack([X, X[:, 0]])
    mine, peer = fitted("LinearRegression", X, Y[:, 0])
    assert_same_heads(mine, peer, rtol=1e-7)
    assert mine.rank_ == 4
    assert mine.coef_[0] == pytest.approx(mine.coef_[-1])


@pytest.mark.parametrize("classes", [2, 4])
def test_ridge_classifier(classes):
    X, y, _, weight = problem(classes)
    mine, peer = fitted("RidgeClassifier", X, y, weight=weight, class_weight="balanced")
    assert_same_heads(mine, peer, rtol=1e-9)
    np.testing.assert_array_equal(mine.predict(X), peer.predict(X))


@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error"])
@pytest.mark.parametrize("cv", [None, 4])
@pytest.mark.parametrize("shape", [(60, 4), (12, 20)])
def test_ridge_cv(scoring, cv, shape):
    X, _, Y, weight = problem(3, *shape)
    params = {"alphas": [0.1, 1.0, 30.0], "scoring": scoring, "cv": cv, "store_cv_results": cv is None}
    for y in (Y[:, 0], Y):
        mine, peer = fitted("RidgeCV", X, y, weight=weight, **params)
        assert mine.alpha_ == peer.alpha_
        assert mine.best_score_ == pytest.approx(peer.best_score_, rel=1e-8)
        assert_same_heads(mine, peer, rtol=1e-8)
        if cv is None:
            np.testing.assert_allclose(mine.cv_results_, peer.cv_results_, rtol=1e-7)


def test_ridge_cv_with_an_alpha_for_each_target_and_rows_without_weight():
    X, _, Y, weight = problem()
    weight[::7] = 0
    mine, peer = fitted("RidgeCV", X, Y, weight=weight, alphas=[0.1, 5.0, 50.0], alpha_per_target=True)
    np.testing.assert_array_equal(mine.alpha_, peer.alpha_)
    np.testing.assert_allclose(mine.best_score_, peer.best_score_, rtol=1e-9)
    assert_same_heads(mine, peer, rtol=1e-9)
    assert mine.certificate_.gap.shape == (2,)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("refit", [True, False])
def test_logistic_regression_cv(classes, legacy, refit):
    """C is kept across folds of different weights."""
    X, y, _, weight = problem(classes)
    params = {"Cs": [0.01, 1.0, 5.0], "cv": KFold(3), "scoring": "neg_log_loss", "refit": refit}
    params |= {"tol": 1e-8, "max_iter": 2000, "class_weight": "balanced"}
    params |= {"l1_ratios": (0,), "use_legacy_attributes": legacy}
    mine, peer = fitted("LogisticRegressionCV", X, y, weight=weight, **params)
    assert_same_heads(mine, peer, rtol=1e-4)
    for name in ("C_", "Cs_", "l1_ratio_", "l1_ratios_"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(peer, name))
    assert mine.n_iter_.shape == peer.n_iter_.shape
    for name in ("coefs_paths_", "scores_"):
        found, expected = getattr(mine, name), getattr(peer, name)
        assert not legacy or list(found) == list(expected)
        for key in list(found) if legacy else [...]:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-4)
    assert (mine.certificate_ is not None) == refit


def test_a_class_that_a_fold_does_not_train_has_probability_0():
    X, y, _, _ = problem()
    order = np.argsort(y, kind="stable")
    search = ours.LogisticRegressionCV(Cs=[1.0], cv=KFold(3), scoring="accuracy", **NEW).fit(X[order], y[order])
    assert np.isneginf(search.coefs_paths_[..., -1]).any()
    assert np.isfinite(search.intercept_).all()


def test_tools_of_scikit_learn_take_them():
    X, y, _, weight = problem()
    pipe = make_pipeline(StandardScaler(), ours.LogisticRegression())
    search = GridSearchCV(pipe, {"logisticregression__C": [0.01, 1.0]}, cv=2).fit(X, y)
    peer = make_pipeline(StandardScaler(), linear_model.LogisticRegression())
    assert search.best_params_ == GridSearchCV(peer, search.param_grid, cv=2).fit(X, y).best_params_
    model = search.best_estimator_[-1]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.coef_, model.coef_)
    assert again.certificate_ == model.certificate_
    copy: Any = clone(ours.LogisticRegression(C=2.0, device="cpu", dtype="float32"))
    assert (copy.C, copy.device, copy.dtype) == (2.0, "cpu", "float32")
    assert repr(copy) == "LogisticRegression(C=2.0, device='cpu', dtype='float32')"
    assert "LogisticRegression" in estimator_html_repr(copy)
    assert cross_val_score(ours.Ridge(), X, weight, cv=2).shape == (2,)
    with pytest.raises(NotFittedError):
        ours.Ridge().predict(X)


def kinds(X):
    names = [f"c{i}" for i in range(X.shape[1])]
    yield "fortran", np.asfortranarray(X)
    yield "jax", jax.device_put(X.astype(np.float32))
    yield "csr", sparse.csr_array(X)
    yield "csc", sparse.csc_matrix(X)
    yield "lists", X.tolist()
    yield "arrow", pyarrow.table(dict(zip(names, X.T, strict=True)))
    yield "pandas", pandas.DataFrame(X, columns=names, index=np.arange(len(X))[::-1])
    yield "polars", polars.DataFrame(X, schema=names)


@pytest.mark.parametrize("name", ["LogisticRegression", "Ridge", "RidgeCV", "RidgeClassifier", "LinearRegression"])
def test_rows_of_other_libraries(name):
    X, labels, Y, _ = problem()
    X = np.round(X, 1).astype(np.float32).astype(np.float64)
    y = labels if name in ("LogisticRegression", "RidgeClassifier") else Y[:, 0]
    expected = getattr(ours, name)().fit(X, y)
    for kind, rows in kinds(X):
        model = getattr(ours, name)().fit(rows, y)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=2e-4, atol=1e-6, err_msg=kind)
        assert model.predict(rows).shape == y.shape
        if kind in ("arrow", "pandas", "polars"):
            assert model.feature_names_in_.tolist() == ["c0", "c1", "c2", "c3"]


def test_features_are_kept_in_the_dtype_that_is_asked_for():
    X, y, _, _ = problem()
    assert ours.LogisticRegression().fit(X.astype(np.float32), y).coef_.dtype == np.float32
    assert ours.LogisticRegression(dtype="float32").fit(X, y).coef_.dtype == np.float32
    assert ours.RidgeClassifier(dtype="float64", device="cpu").fit(X.astype(np.float32), y).coef_.dtype == float
    unknown: Any = "abacus"
    with pytest.raises(ValueError, match="device"):
        ours.LogisticRegression(device=unknown).fit(X, y)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("LogisticRegression", {"solver": "liblinear"}, "liblinear"),
        ("LogisticRegression", {"solver": "saga", "l1_ratio": 1}, "l1_ratio=1"),
        ("LogisticRegression", {"solver": "saga", "l1_ratio": 0.5}, "elasticnet"),
        ("LogisticRegression", {"solver": "liblinear", "dual": True}, "dual=True"),
        ("LogisticRegressionCV", {"solver": "saga", **NEW, "l1_ratios": (0, 0.5)}, "l1_ratios"),
        ("LogisticRegressionCV", {"Cs": [0.0, 1.0], **NEW}, "Cs"),
        ("LinearRegression", {"positive": True}, "positive=True"),
        ("Ridge", {"positive": True}, "positive=True"),
        ("RidgeClassifier", {"positive": True, "solver": "lbfgs"}, "positive=True"),
        ("Ridge", {"alpha": -1.0}, "'alpha' parameter"),
        ("LogisticRegression", {"C": 0.0}, "'C' parameter"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(name, params, message):
    X, _, _, _ = problem()
    if name == "LogisticRegressionCV":
        params = {"scoring": "accuracy", **params}
    with pytest.raises(ValueError, match=message):
        getattr(ours, name)(**params).fit(X, np.arange(len(X)) % 2)


@pytest.mark.parametrize("name", ours.__all__)
def test_negative_weights_are_refused(name):
    X, _, _, weight = problem()
    params = NEW | {"scoring": "accuracy"} if name == "LogisticRegressionCV" else {}
    with pytest.raises(ValueError, match=r"[Nn]egative values in data passed to `sample_weight`"):
        getattr(ours, name)(**params).fit(X, np.arange(len(X)) % 2, sample_weight=weight - 1)


def test_a_fit_that_has_not_converged_warns():
    X, y, _, _ = problem()
    with pytest.warns(ConvergenceWarning, match=r"lbfgs failed to converge after 2 iteration.*certified gap"):
        model = ours.LogisticRegression(max_iter=2, tol=1e-8).fit(X, y)
    assert model.n_iter_.tolist() == [2]
    with pytest.warns(ConvergenceWarning, match="separable"):
        ours.LogisticRegression(C=np.inf).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.LogisticRegression().fit(X, y)


def test_warm_start_keeps_heads_that_are_proven():
    X, y, _, _ = problem()
    model = ours.LogisticRegression(warm_start=True).fit(X, y)
    before = model.coef_
    assert model.fit(X, y).n_iter_.tolist() == [0]
    np.testing.assert_array_equal(model.coef_, before)
    assert model.set_params(C=0.01).fit(X, y).n_iter_[0] > 0


def names_in(hint: Any) -> set[str]:
    """Return the strings of the literals in a type."""
    if typing.get_origin(hint) is typing.Literal:
        return {name for name in typing.get_args(hint) if isinstance(name, str)}
    return set().union(*map(names_in, typing.get_args(hint)))


@pytest.mark.parametrize("name", ours.__all__)
def test_every_parameter_has_a_type_with_the_names_that_scikit_learn_takes(name):
    estimator = getattr(ours, name)
    for function in (estimator.__init__, estimator.fit):
        hints = typing.get_type_hints(function)
        assert set(inspect.signature(function).parameters) - {"self"} == set(hints) - {"return"}
        assert Any not in hints.values()
    hints = typing.get_type_hints(estimator.__init__)
    for parameter, constraints in estimator._parameter_constraints.items():
        options = [entry.constraint if isinstance(entry, Hidden) else entry for entry in constraints]
        expected = set().union(*(entry.options for entry in options if isinstance(entry, StrOptions)))
        # Scorers and "balanced" are any strings.
        assert parameter in ("scoring", "class_weight") or names_in(hints[parameter]) == expected, parameter


def test_without_scikit_learn_the_error_says_how_to_install_it():
    code = "import sys; sys.modules['sklearn'] = None\nimport dlcore\nimport dlcore.sklearn"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert "pip install 'dlcore-jax[sklearn]'" in done.stderr.splitlines()[-1]


def test_dependent_columns_are_named_where_least_squares_is_not_proven():
    rng = np.random.default_rng(0)
    x = np.sort(rng.random(50))[:, None]
    powers = x ** np.arange(1, 16)
    model = ours.LinearRegression()
    with pytest.warns(
        ConvergenceWarning, match=r"^The least-squares .*of 15 columns only \d+ are independent.*penalty"
    ):
        model.fit(powers, np.cos(5 * x[:, 0]) + rng.normal(0, 0.1, 50))
    assert np.isinf(model.certificate_.gap)


@pytest.mark.parametrize("kind", ["folds", "a fold without a class", "rows that train twice"])
@pytest.mark.parametrize("name", ["LogisticRegressionCV", "RidgeCV"])
def test_a_search_is_one_call_with_all_folds(name, kind, monkeypatch):
    calls = []

    def counted(function):
        return lambda *data, **options: calls.append(function) or function(*data, **options)

    for module in (classes, squared):
        for function in ("fit_heads", "fit_with_folds"):
            monkeypatch.setattr(module, function, counted(getattr(module, function)))
    X, labels, Y, weight = problem()
    y = labels if name == "LogisticRegressionCV" else Y
    folds = list(KFold(3).split(X))
    if kind == "a fold without a class":
        folds[1] = (np.flatnonzero(labels != "ape"), np.flatnonzero(labels == "ape"))
    if kind == "rows that train twice":
        folds[1] = (np.repeat(folds[1][0], np.arange(60) % 2 + 1), folds[1][1])
    params = (
        {"Cs": [0.1, 1.0], "scoring": "accuracy", **NEW} if name == "LogisticRegressionCV" else {"alphas": [1, 9]}
    )
    getattr(ours, name)(cv=folds, **params).fit(X, y, sample_weight=weight)
    is_apart = kind != "folds" and (name == "LogisticRegressionCV" or kind == "rows that train twice")
    assert len(calls) == 1 + is_apart


@pytest.mark.parametrize("classes", [2, 3])
def test_the_heads_of_a_search_are_those_of_each_fold(classes):
    X, y, _, weight = problem(classes)
    weight[::9] = 0
    folds = list(KFold(3).split(X))
    folds.append((np.repeat(folds[0][0], 2)[:90], folds[0][1]))
    Cs = [0.1, 20.0]
    search: Any = ours.LogisticRegressionCV(Cs=Cs, cv=folds, scoring="accuracy", **NEW)
    search.fit(X, y, sample_weight=weight)
    for fold, (train, _) in enumerate(folds):
        for index, C in enumerate(Cs):
            model = ours.LogisticRegression(C=C).fit(X[train], y[train], sample_weight=weight[train])
            found = search.coefs_paths_[fold, 0, index]
            np.testing.assert_allclose(found[:, :-1], model.coef_, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(found[:, -1], model.intercept_, rtol=1e-10, atol=1e-12)
    model = ours.LogisticRegression(C=search.C_).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(search.coef_, model.coef_, rtol=1e-10, atol=1e-12)
    assert search.certificate_.value == pytest.approx(model.certificate_.value, rel=1e-12)
