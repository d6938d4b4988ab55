"""Poisson heads of counts: scikit-learn's optimum, scores, folds, weights and what is refused."""

import numpy as np
import pytest
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import d2_tweedie_score, mean_poisson_deviance

from dlcore import Heads, fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)) * np.array([1, 0.1, 3, 1]) + np.array([0, 2, 0, -1])
Y = RNG.poisson(np.exp(0.4 * X @ np.array([1, 3, 0.2, -1]) - 2)).astype(float)
WEIGHTS = RNG.uniform(0.5, 2, 300)
L2 = np.array([1e-4, 1e-2, 1.0])


def peer(x, y, l2, weights=None, *, fit_intercept=True):
    """Return scikit-learn's head."""
    model = PoissonRegressor(alpha=l2, tol=1e-9, max_iter=1000, fit_intercept=fit_intercept)
    return model.set_params(solver="newton-cholesky").fit(x, y, weights)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_heads_equal_scikit_learns(weights, fit_intercept):
    heads = fit_heads(X, Y, loss="poisson", l2=L2, sample_weight=weights, fit_intercept=fit_intercept, tol=1e-11)
    assert set(heads.status) == {"converged"}
    for k, l2 in enumerate(L2):
        expected = peer(X, Y, l2, weights, fit_intercept=fit_intercept)
        np.testing.assert_allclose(heads.coef[k], expected.coef_, atol=1e-5 * abs(expected.coef_).max())
        np.testing.assert_allclose(heads.intercept[k], expected.intercept_, atol=1e-5)
        np.testing.assert_allclose(heads.predict(X)[k], expected.predict(X), rtol=1e-4)


def scores_of(heads):
    """Return the scores."""
    assert heads.scores is not None
    return heads.scores


SCORES = [(None, d2_tweedie_score), ("poisson_deviance", mean_poisson_deviance)]


@pytest.mark.parametrize(("scoring", "score"), SCORES)
def test_a_fold_is_a_fit_of_its_rows_and_is_scored_by_the_others(scoring, score):
    train = RNG.integers(0, 2, (2, 300)).astype(bool)
    heads = fit_heads(X, Y, loss="poisson", l2=L2, folds=train, sample_weight=WEIGHTS, scoring=scoring, tol=1e-11)
    assert heads.scoring == (scoring or "d2")
    power = {"power": 1} if scoring is None else {}
    sign = 1 if scoring is None else -1
    for fold, rows in enumerate(train):
        for k, l2 in enumerate(L2):
            model = peer(X[rows], Y[rows], l2, WEIGHTS[rows])
            expected = score(Y[~rows], model.predict(X[~rows]), sample_weight=WEIGHTS[~rows], **power)
            np.testing.assert_allclose(scores_of(heads)[fold, k], sign * expected, rtol=1e-4, atol=1e-6)


def test_targets_are_as_many_fits_and_a_function_is_given_rates():
    y = np.column_stack([Y, Y[::-1] / 2])
    validation = X[:50], y[:50]

    def mean_rate(target, rate, weight):
        del target
        return rate @ weight / weight.sum()

    heads = fit_heads(X, y, loss="poisson", l2=L2, validation=validation, scoring=mean_rate, standardize=True)
    for target in range(2):
        alone = fit_heads(X, y[:, target], loss="poisson", l2=L2, standardize=True)
        np.testing.assert_allclose(heads.coef[target], alone.coef, atol=1e-3)
    np.testing.assert_allclose(scores_of(heads)[:, 0], heads.predict(X[:50]).mean(-1), rtol=1e-12)


def test_counts_of_every_size_and_almost_none():
    large = fit_heads(X, 1e6 * (Y + 1), loss="poisson", l2=L2)
    rare = fit_heads(X, np.arange(300) == 7, loss="poisson", l2=L2)
    free = fit_heads(X, Y, loss="poisson", l2=0.0)
    assert set(large.status) | set(rare.status) | set(free.status) == {"converged"}


def test_a_file_keeps_them(tmp_path):
    heads = fit_heads(X, Y, loss="poisson", l2=L2, folds=3)
    heads.save(tmp_path / "heads.npz")
    again = Heads.load(tmp_path / "heads.npz")
    assert (again.loss, again.scoring) == ("poisson", "d2")
    np.testing.assert_array_equal(again.predict(X), heads.predict(X))


def test_counts_that_are_all_the_same_are_scored_0():
    """Rows that are held out with one count, in a fold and in a validation set: their spread is rounding."""
    y = np.array([3, 3, 3, 1, 2, 4, 0, 5, 2.0])
    heads = fit_heads(X[:9], y, loss="poisson", l2=[0.1, 1.0], folds=3)
    np.testing.assert_array_equal(scores_of(heads)[0], np.zeros(2))
    validation = X[:7], np.full(7, 7.7), np.random.default_rng(2).random(7)
    validated = fit_heads(X, Y, loss="poisson", l2=[0.1], validation=validation)
    np.testing.assert_array_equal(scores_of(validated), [[0.0]])


def test_a_step_whose_decrease_is_rounding_is_taken():
    """A column is positive only where the count is 0, with almost no penalty: J rounds by more than it falls."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(90, 4))
    y = rng.poisson(np.exp(x @ (rng.normal(size=4) * 0.4))).astype(float)
    x[:, 0] = np.where(y == 0, abs(x[:, 0]), 0)
    heads = fit_heads(x, y, loss="poisson", l2=[1e-12, 1e-8, 1e-4])
    assert set(heads.status) == {"converged"}


def test_one_count_for_all_rows_ends_soon():
    heads = fit_heads(X, np.full(300, 7.7), loss="poisson", l2=[0.1])
    assert heads.steps[0] < 500
    np.testing.assert_allclose(heads.predict(X), 7.7, rtol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y": -Y}, "y: expected counts or rates of at least 0"),
        ({"y": 1e21 * Y}, "y: expected counts or rates of at most 1e\\+20, got .*; divide y and l2"),
        ({"y": 0 * Y}, "y: expected a positive number in rows of positive weight, got only zeros"),
        ({"class_weight": "balanced"}, "class_weight: expected None for loss 'poisson'"),
        (
            {"scoring": "r2"},
            "scoring: expected 'd2', 'poisson_deviance' or a function for loss 'poisson'",
        ),
        (
            {"folds": [Y == 0]},
            "folds: expected a positive y in the training rows of every fold",
        ),
        ({"folds": "leave-one-out"}, "'leave-one-out' is for the loss 'squared', got loss 'poisson'"),
        ({"validation": (X, -Y)}, "validation y: expected counts or rates of at least 0"),
    ],
)
def test_wrong_input_is_named_before_anything_is_compiled(changed, message, compiles):
    with pytest.raises(ValueError, match=message):
        fit_heads(X, changed.pop("y", Y), **({"loss": "poisson", "l2": 0.1} | changed))
    assert compiles() == 0


def test_probabilities_are_refused():
    with pytest.raises(ValueError, match="predict_proba: expected heads with loss 'logistic' or 'softmax'"):
        fit_heads(X, Y, loss="poisson", l2=1.0).predict_proba(X)


def test_forty_folds():
    """More than the bits of an integer."""
    heads = fit_heads(X, Y > 1, l2=[1e-2], folds=40)
    assert scores_of(heads).shape == (40, 1)
    assert set(heads.fold_status.ravel()) == {"converged"}
    held_out = np.arange(300) % 40 == 7
    folds = [np.arange(300) % 40 != fold for fold in range(40)]
    chosen = fit_heads(X, Y > 1, l2=[1e-2], folds=folds, tol=1e-10)
    alone = fit_heads(X, Y > 1, l2=[1e-2], sample_weight=~held_out, tol=1e-10)
    logits = X[held_out] @ alone.coef[0] + alone.intercept[0]
    expected = -np.logaddexp(0, np.where(Y[held_out] > 1, -1, 1) * logits).mean()
    np.testing.assert_allclose(scores_of(chosen)[7], expected, rtol=1e-4)
