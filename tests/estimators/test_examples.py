"""Scripts as scikit-learn's public examples have them, with one import changed: the same figures."""

import importlib
import types
import warnings
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.linalg import hilbert
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits, load_iris, make_blobs, make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import brier_score_loss, median_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:.*failed to converge:sklearn.exceptions.ConvergenceWarning"),
]

OURS, THEIRS = "dlcore.sklearn", "sklearn.linear_model"


def both(script: Any) -> tuple[Any, Any]:
    """Return what a script finds with each library."""
    return tuple(script(importlib.import_module(module)) for module in (OURS, THEIRS))


def test_sparsity_of_digits_has_the_same_l2_coefficients():
    x, y = load_digits(return_X_y=True)
    x, y = StandardScaler().fit_transform(x)[:600], (y[:600] > 4).astype(int)

    def script(linear_model: types.ModuleType) -> np.ndarray:
        models = [
            linear_model.LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(x, y) for C in (1.0, 0.1, 0.01)
        ]
        return np.stack([model.coef_.ravel() for model in models])

    ours, theirs = both(script)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_iris_has_the_same_decision_regions():
    x, y = load_iris(return_X_y=True)
    mesh = np.stack(np.meshgrid(np.arange(3.5, 8.5, 0.02), np.arange(1.5, 5.0, 0.02)), axis=-1).reshape(-1, 2)
    ours, theirs = both(
        lambda lm: lm.LogisticRegression(C=1e5, tol=1e-8, max_iter=5000).fit(x[:, :2], y).predict(mesh)
    )
    assert (ours != theirs).mean() < 1e-3  # scikit-learn's L-BFGS leaves the boundary off by less than a cell


def test_the_path_of_ridge_on_a_hilbert_matrix_is_the_exact_one():
    x, y = hilbert(10), np.ones(10)
    alphas = np.logspace(-10, -2, 9)
    with mpmath.workdps(60):
        wide = mpmath.matrix(x.tolist())
        exact = [
            [
                float(entry)
                for entry in mpmath.lu_solve(
                    wide.T * wide + mpmath.mpf(alpha) * mpmath.eye(10), wide.T * mpmath.matrix(y)
                )
            ]
            for alpha in alphas
        ]

    def script(linear_model: types.ModuleType) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an ill-conditioned matrix
            return np.array([linear_model.Ridge(alpha=a, fit_intercept=False).fit(x, y).coef_ for a in alphas])

    ours, theirs = both(script)
    size = np.abs(exact).max(axis=1, keepdims=True)
    # The eigenvalues of XᵀX have errors of eps, and alpha is the least of the matrix.
    limit = 100 * np.finfo(float).eps / alphas[:, None]
    assert (np.abs(ours - exact) <= limit * size).all()
    assert (np.abs(theirs - exact) <= limit * size).all()


def test_multinomial_and_one_against_the_rest_have_the_same_scores():
    x, y, *_ = make_blobs(n_samples=1000, centers=[[-5, 0], [0, 1.5], [5, -1]], random_state=40)
    x = x @ np.array([[0.4, 0.2], [-0.4, 1.2]])

    def script(linear_model: types.ModuleType) -> list[float]:
        model = linear_model.LogisticRegression()
        return [model.fit(x, y).score(x, y), OneVsRestClassifier(model).fit(x, y).score(x, y)]

    ours, theirs = both(script)
    assert ours == theirs


def test_calibration_has_the_same_brier_scores():
    x, y = make_classification(n_samples=1200, n_features=20, n_informative=2, n_redundant=2, random_state=42)

    def script(linear_model: types.ModuleType) -> list[float]:
        model = linear_model.LogisticRegression(tol=1e-8, max_iter=1000)
        calibrated = CalibratedClassifierCV(model, method="sigmoid", cv=2)
        return [
            brier_score_loss(y[800:], one.fit(x[:800], y[:800]).predict_proba(x[800:])[:, 1])
            for one in (model, calibrated)
        ]

    ours, theirs = both(script)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_a_transformed_target_has_the_same_errors():
    x, y, *_ = make_regression(n_samples=2_000, noise=100, random_state=0)
    y = np.expm1((y + abs(y.min())) / 200)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)

    def script(linear_model: types.ModuleType) -> list[float]:
        plain = linear_model.RidgeCV()
        transformed = TransformedTargetRegressor(regressor=plain, func=np.log1p, inverse_func=np.expm1)
        predicted = [model.fit(x_train, y_train).predict(x_test) for model in (plain, transformed)]
        return [score(y_test, p) for score in (r2_score, median_absolute_error) for p in predicted]

    ours, theirs = both(script)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_a_grid_search_over_components_and_strengths_has_the_same_best():
    x, y = load_digits(return_X_y=True, n_class=4)
    grid = {"pca__n_components": [5, 15], "logisticregression__C": [1e-4, 1.0]}

    def script(linear_model: types.ModuleType) -> GridSearchCV:
        steps = make_pipeline(
            StandardScaler(), PCA(random_state=0), linear_model.LogisticRegression(max_iter=1000)
        )
        return GridSearchCV(steps, grid, cv=2).fit(x[:400], y[:400])

    ours, theirs = both(script)
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=0.006
    )


def test_sparse_text_has_the_same_labels():
    rng = np.random.default_rng(0)
    topics = [
        [f"{topic}{word}" for word in range(30)] + [f"common{word}" for word in range(40)]
        for topic in ("space", "car", "faith")
    ]
    y = rng.integers(0, 3, 300)
    texts = [" ".join(rng.choice(topics[topic], 12)) for topic in y]
    x = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(texts)

    def script(linear_model: types.ModuleType) -> list[np.ndarray]:
        models = (
            linear_model.LogisticRegression(C=5, tol=1e-8, max_iter=1000),
            linear_model.RidgeClassifier(alpha=1.0, solver="sparse_cg"),
        )
        return [model.fit(x[:200], y[:200]).decision_function(x[200:]) for model in models]

    ours, theirs = both(script)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-3)
        np.testing.assert_array_equal(mine.argmax(1), other.argmax(1))
