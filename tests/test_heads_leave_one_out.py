"""Ridge scored row by row: against fits without each row, and scikit-learn's search."""

from typing import Any

import numpy as np
import pytest
from helpers import scored
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import mean_squared_error, r2_score

import dlcore
from dlcore import fit_heads

pytestmark = pytest.mark.any_mode

BEST_AT_THE_EDGE = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")
L2 = np.geomspace(1e-6, 10, 8)


def rows(n: int, m: int, targets: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, m)) @ np.diag(np.geomspace(3, 0.3, m)) + 2
    y = x @ rng.normal(size=(m, targets)) + 3 + rng.normal(size=(n, targets))
    s = rng.uniform(0.2, 3, n)
    return x, y, s


def without_each(x, y, s, alpha: float, *, intercept: bool) -> np.ndarray:
    """Predictions of each row, (n, targets), by a solve of the normal equations of the others."""
    found = np.empty(y.shape)
    for i in range(len(x)):
        k = np.arange(len(x)) != i
        wide = np.column_stack([x, np.full(len(x), float(intercept))])
        penalty = np.diag(np.append(np.full(x.shape[1], alpha), 0.0 if intercept else 1.0))
        gram = wide[k].T @ (s[k, None] * wide[k]) + penalty
        found[i] = wide[i] @ np.linalg.solve(gram, wide[k].T @ (s[k, None] * y[k]))
    return found


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("shape", [(40, 6), (15, 25), (13, 12), (12, 12)])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_each_row_is_predicted_by_the_fit_of_the_others(shape, intercept, weighted):
    """More rows than columns, fewer, and as many; alpha stays λS/2 when a row goes."""
    x, y, s = rows(*shape)
    s = s if weighted else np.ones(len(s))
    heads = fit_heads(x, y, loss="squared", l2=L2, folds="leave-one-out", sample_weight=s, fit_intercept=intercept)
    assert scored(heads).shape == (2, 1, 8)
    assert heads.fold_status.shape == heads.fold_gap.shape == (2, 0, 8)
    assert heads.ties is None
    assert set(heads.status.ravel()) == {"converged"}
    for k, l2 in enumerate(L2):
        predicted = without_each(x, y, s, l2 * s.sum() / 2, intercept=intercept)
        expected = r2_score(y, predicted, sample_weight=s, multioutput="raw_values")
        np.testing.assert_allclose(1 - scored(heads)[:, 0, k], 1 - expected, rtol=1e-7)


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("shape", [(60, 5), (20, 30)])
def test_the_search_is_scikit_learns(shape):
    x, y, _ = rows(*shape, targets=1)
    y = y[:, 0]
    alphas = L2 * len(x) / 2
    peer: Any = RidgeCV(alphas, store_cv_results=True).fit(x, y)
    heads = fit_heads(x, y, loss="squared", l2=L2, folds="leave-one-out")
    assert alphas[heads.best] == peer.alpha_
    errors = (1 - scored(heads)[0]) * y.var()
    np.testing.assert_allclose(errors, peer.cv_results_.mean(0), rtol=1e-8)
    np.testing.assert_allclose(heads.coef[heads.best], peer.coef_, rtol=1e-8)


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("shape", [(40, 6), (15, 25)])
def test_a_function_is_asked_of_all_rows_left_out(shape):
    """Rows without weight are not among them."""
    x, y, s = rows(*shape)
    s[[0, 7]] = 0
    seen: list[tuple[np.ndarray, ...]] = []

    def score(y, prediction, weights):
        seen.append((y, prediction, weights))
        return -mean_squared_error(y, prediction, sample_weight=weights)

    given: Any = {"loss": "squared", "l2": L2, "folds": "leave-one-out", "sample_weight": s}
    heads = fit_heads(x, y, scoring=score, **given)
    assert len(seen) == 2 * len(L2)
    there = s > 0
    predicted = without_each(x[there], y[there], s[there], L2[3] * s.sum() / 2, intercept=True)
    for t in range(2):
        np.testing.assert_array_equal(seen[6 + t][0], y[there, t])
        np.testing.assert_allclose(seen[6 + t][1], predicted[:, t], rtol=1e-7)
        np.testing.assert_array_equal(seen[6 + t][2], s[there])
    ranked = fit_heads(x, y, **given)
    mean = np.average(y, axis=0, weights=s)
    height = np.average((y - mean) ** 2, axis=0, weights=s)
    np.testing.assert_allclose(scored(heads), -(1 - scored(ranked)) * height[:, None, None], rtol=1e-9)


@BEST_AT_THE_EDGE
def test_the_pieces_of_strengths_do_not_matter():
    """300 MB of predictions are made in two pieces; r2 comes from sums of squares."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(190_000, 1)).astype(np.float32)
    y = x[:, 0] + rng.normal(size=len(x)).astype(np.float32)
    given: Any = {"loss": "squared", "l2": np.geomspace(1e-3, 10, 200), "folds": "leave-one-out"}
    heads = fit_heads(
        x, y, scoring=lambda y, prediction, weights: 1 - np.mean((y - prediction) ** 2) / y.var(), **given
    )
    np.testing.assert_allclose(1 - scored(heads), 1 - scored(fit_heads(x, y, **given)), rtol=1e-6)


def test_without_a_penalty():
    """At λ = 0 by the least squares of the others, the shortest of few rows; −inf where they know nothing."""
    for shape in ((30, 4), (9, 14)):
        x, y, _ = rows(*shape, targets=1)
        heads = fit_heads(x, y[:, 0], loss="squared", l2=0.0, folds="leave-one-out")
        predicted = np.empty(len(x))
        for i in range(len(x)):
            k = np.arange(len(x)) != i
            middle = x[k].mean(0)
            w = np.linalg.lstsq(x[k] - middle, y[k, 0] - y[k, 0].mean(), rcond=None)[0]
            predicted[i] = y[k, 0].mean() + (x[i] - middle) @ w
        np.testing.assert_allclose(1 - scored(heads)[0, 0], 1 - r2_score(y[:, 0], predicted), rtol=1e-7)
    x, y, _ = rows(300, 4, 1)
    x[:, 3] = np.arange(300) == 50  # a column that one row alone shows, and that row stands in both blocks
    heads = fit_heads(x, y[:, 0], loss="squared", l2=[0.0, 1e-3], folds="leave-one-out")
    assert scored(heads)[0, 0] == -np.inf
    assert heads.best == 1


def test_rows_that_repeat_and_targets_that_do_not_change():
    x, y, _ = rows(8, 20, 1)
    x, y = np.tile(x, (2, 1)), np.tile(y[:, 0], 2)
    heads = fit_heads(x, y, loss="squared", l2=[1e-12, 1e-1], folds="leave-one-out")
    predicted = without_each(x, y[:, None], np.ones(16), 1e-1 * 8, intercept=True)
    assert scored(heads)[0, 0] > 1 - 1e-9  # each row is predicted by its double
    np.testing.assert_allclose(scored(heads)[0, 1], r2_score(y, predicted), rtol=1e-9)
    flat = fit_heads(x, np.full(16, 3.0), loss="squared", l2=0.1, folds="leave-one-out")
    assert scored(flat)[0, 0] in (0.0, 1.0)
    nothing = fit_heads(np.zeros((6, 9)), np.arange(6), loss="squared", l2=0.1, folds="leave-one-out")
    mean = (15 - np.arange(6)) / 5  # of the others
    np.testing.assert_allclose(scored(nothing)[0, 0], r2_score(np.arange(6), mean), rtol=1e-12)


@BEST_AT_THE_EDGE
def test_one_pass_in_blocks_and_nothing_compiled_again(compiles):
    """Blocks of 256 rows, the last one overlapping; other strengths and weights run the same programs."""
    x, y, s = rows(1003, 3)
    heads = fit_heads(x, y, loss="squared", l2=L2, folds="leave-one-out", sample_weight=s)
    first = compiles()
    assert first <= 8
    peer = RidgeCV([L2[4] * s.sum() / 2], store_cv_results=True).fit(x, y, s)
    off = y - np.average(y, axis=0, weights=s)
    mean = (1 - scored(heads)[:, 0, 4]) * (s @ off**2) / len(s)
    np.testing.assert_allclose(mean, peer.cv_results_[..., 0].mean(0), rtol=1e-8)
    fit_heads(x + 1, y, loss="squared", l2=2 * L2, folds="leave-one-out", sample_weight=s[::-1].copy())
    assert compiles() == first
    whole = Ridge(alpha=L2[4] * s.sum() / 2).fit(x, y, s)
    np.testing.assert_allclose(heads.coef[:, 4], whole.coef_, rtol=1e-9)


X = np.random.default_rng(0).normal(size=(12, 3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": "logistic", "y": np.arange(12) % 2}, "folds: 'leave-one-out' is for the loss 'squared', got"),
        ({"loss": "softmax", "y": np.arange(12) % 2}, "folds: 'leave-one-out' is for the loss 'squared', got"),
        (
            {"sample_weight": np.arange(12) == 3},
            "folds: expected at least two rows of positive weight for 'leave-one-out', got 1",
        ),
    ],
)
def test_wrong_input_is_named_before_anything_is_compiled(changed, message, compiles):
    arguments: dict[str, Any] = {"y": X[:, 0], "loss": "squared", "l2": 0.1, "folds": "leave-one-out"} | changed
    with pytest.raises(ValueError, match=message):
        fit_heads(X, arguments.pop("y"), **arguments)
    assert compiles() == 0


def test_the_edge_of_the_grid_is_named():
    x, y, _ = rows(40, 6, 1)
    with pytest.warns(dlcore.GridEdgeWarning, match="the weakest of the grid; extend it to smaller ones"):
        fit_heads(x, y[:, 0], loss="squared", l2=[1, 10, 100], folds="leave-one-out")
