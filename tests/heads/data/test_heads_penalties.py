"""C and alpha in place of l2, as scikit-learn has them."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import KFold

from dlcore import fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

ROWS = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 3))
LABELS = (X @ [1, 2, -1] + RNG.logistic(size=ROWS) > 0).astype(int)
CLASSES = np.concatenate([np.arange(3), RNG.integers(0, 3, ROWS - 3)])
NUMBERS = X @ [1, 2, -1] + RNG.normal(size=ROWS)
COUNTS = RNG.poisson(np.exp(X[:, 0]))
WEIGHTS = RNG.uniform(0.5, 3, ROWS)
STRENGTHS = np.array([0.3, 1.0, 20.0])

SKLEARN = {
    "logistic": ("C", LABELS, lambda c: LogisticRegression(C=c, tol=1e-10, max_iter=10_000)),
    "softmax": ("C", CLASSES, lambda c: LogisticRegression(C=c, tol=1e-10, max_iter=10_000)),
    "squared": ("alpha", NUMBERS, lambda alpha: Ridge(alpha=alpha)),
    "poisson": ("alpha", COUNTS, lambda alpha: PoissonRegressor(alpha=alpha, tol=1e-10, max_iter=10_000)),
}


def penalties(name) -> dict[str, Any]:
    return {name: STRENGTHS}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("loss", SKLEARN)
def test_heads_are_those_of_scikit_learn(loss, weights):
    name, y, estimator = SKLEARN[loss]
    heads = fit_heads(X, y, loss=loss, **penalties(name), sample_weight=weights, tol=1e-12)
    for k, strength in enumerate(STRENGTHS):
        expected = estimator(strength).fit(X, y, sample_weight=weights)
        np.testing.assert_allclose(heads.coef[k], np.squeeze(expected.coef_), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(heads.intercept[k], np.squeeze(expected.intercept_), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", SKLEARN)
def test_the_penalty_of_a_fold_is_that_of_a_fit_of_its_rows(loss):
    name, y, estimator = SKLEARN[loss]
    folds = KFold(3)
    heads = fit_heads(X, y, loss=loss, **penalties(name), folds=folds, scoring=mean_error, tol=1e-12)
    assert heads.scores is not None
    for fold, (train, test) in enumerate(folds.split(X)):
        for k, strength in enumerate(STRENGTHS):
            model = estimator(strength).fit(X[train], y[train])
            found = model.predict_proba(X[test]) if name == "C" else model.predict(X[test])
            found = found[:, 1] if loss == "logistic" else found
            expected = mean_error(y[test], found, np.ones(len(test)))
            np.testing.assert_allclose(heads.scores[fold, k], expected, rtol=1e-4)


def mean_error(y, prediction, weights):
    """Return the mean error, negative; of classes that of the probability of the row's own."""
    if prediction.ndim == 2:
        prediction, y = prediction[np.arange(len(y)), y.astype(int)], 1.0
    return -float(np.average(np.abs(prediction - y), weights=weights))


@pytest.mark.parametrize("weight", ["balanced", {0: 1.0, 1: 3.0}])
def test_c_counts_the_weights_of_classes(weight):
    heads = fit_heads(X, LABELS, C=2.0, class_weight=weight, sample_weight=WEIGHTS, tol=1e-12)
    given = weight
    if weight == "balanced":
        mass = np.array([WEIGHTS[k == LABELS].sum() for k in (0, 1)])
        given = dict(enumerate(WEIGHTS.sum() / 2 / mass))
    expected = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000, class_weight=given)
    expected.fit(X, LABELS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(heads.coef[0], expected.coef_[0], rtol=1e-4)
    total = (WEIGHTS * np.array([given[k] for k in LABELS])).sum()
    np.testing.assert_allclose(heads.l2, 1 / (2 * total), rtol=1e-12)


def test_an_infinite_c_is_no_penalty():
    heads = fit_heads(X, LABELS, C=[1.0, np.inf])
    assert heads.l2.tolist() == [1 / ROWS, 0.0]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, TypeError, r"fit_heads\(\) needs l2"),
        ({"l2": 0.1, "C": 1.0}, TypeError, r"fit_heads\(\) takes one of l2, C and alpha, got l2 and C"),
        ({"alpha": 1.0}, TypeError, "alpha: expected None for loss 'logistic', which takes l2 or C"),
        ({"loss": "squared", "C": 1.0}, TypeError, "C: expected None for loss 'squared', which takes l2 or alpha"),
        ({"C": 0.0}, ValueError, "C: expected numbers above 0, got 0"),
        ({"C": [1.0, -2.0]}, ValueError, "C: expected numbers above 0, got -2"),
        ({"C": np.nan}, ValueError, "C: expected numbers above 0, got nan"),
        ({"C": []}, ValueError, "C: expected a number or a list of at least one"),
        ({"C": [[1.0]]}, ValueError, "C: expected a number or a list of at least one"),
        ({"C": "a"}, TypeError, "C: expected numbers"),
        ({"loss": "squared", "alpha": -1.0}, ValueError, "alpha: expected numbers of at least 0, got -1"),
        ({"loss": "squared", "alpha": np.inf}, ValueError, "alpha: expected numbers of at least 0, got inf"),
    ],
)
def test_wrong_penalties(given, error, message, compiles):
    with pytest.raises(error, match=message):
        fit_heads(X, LABELS, **given)
    assert compiles() == 0


def test_targets_of_different_class_weights_take_l2():
    y = np.stack([LABELS, LABELS[::-1]], axis=1)
    y[:5, 1] = 1
    with pytest.raises(ValueError, match="C: expected l2 in its place where class weights differ by target"):
        fit_heads(X, y, C=1.0, class_weight="balanced")
