"""Ridge scored row by row: against fits without each row, and scikit-learn's search."""

from typing import Any

import mpmath
import numpy as np
import pytest
from helpers import scores_of
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
    assert scores_of(heads).shape == (2, 1, 8)
    assert heads.fold_status.shape == heads.fold_gap.shape == (2, 0, 8)
    assert heads.ties is None
    assert set(heads.status.ravel()) == {"converged"}
    for k, l2 in enumerate(L2):
        predicted = without_each(x, y, s, l2 * s.sum() / 2, intercept=intercept)
        expected = r2_score(y, predicted, sample_weight=s, multioutput="raw_values")
        np.testing.assert_allclose(1 - scores_of(heads)[:, 0, k], 1 - expected, rtol=1e-7)


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("shape", [(60, 5), (20, 30)])
def test_the_search_is_scikit_learns(shape):
    x, y, _ = rows(*shape, targets=1)
    y = y[:, 0]
    alphas = L2 * len(x) / 2
    peer: Any = RidgeCV(alphas, store_cv_results=True).fit(x, y)
    heads = fit_heads(x, y, loss="squared", l2=L2, folds="leave-one-out")
    assert alphas[heads.best] == peer.alpha_
    errors = (1 - scores_of(heads)[0]) * y.var()
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
    np.testing.assert_allclose(scores_of(heads), -(1 - scores_of(ranked)) * height[:, None, None], rtol=1e-9)


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
    np.testing.assert_allclose(1 - scores_of(heads), 1 - scores_of(fit_heads(x, y, **given)), rtol=1e-6)


def test_without_a_penalty():
    """At λ = 0 each row is predicted by the least squares of the others, the shortest solution of several."""
    for shape in ((30, 4), (9, 14)):
        x, y, _ = rows(*shape, targets=1)
        heads = fit_heads(x, y[:, 0], loss="squared", l2=0.0, folds="leave-one-out")
        predicted = np.empty(len(x))
        for i in range(len(x)):
            k = np.arange(len(x)) != i
            middle = x[k].mean(0)
            w = np.linalg.lstsq(x[k] - middle, y[k, 0] - y[k, 0].mean(), rcond=None)[0]
            predicted[i] = y[k, 0].mean() + (x[i] - middle) @ w
        np.testing.assert_allclose(1 - scores_of(heads)[0, 0], 1 - r2_score(y[:, 0], predicted), rtol=1e-7)
    x, y, _ = rows(300, 4, 1)
    x[:, 3] = np.arange(300) == 50  # a column that one row alone shows, and that row stands in both blocks
    heads = fit_heads(x, y[:, 0], loss="squared", l2=[0.0, 1e-3], folds="leave-one-out")
    predicted = without_each(x, y, np.ones(300), 1e-12, intercept=True)
    np.testing.assert_allclose(1 - scores_of(heads)[0, 0], 1 - r2_score(y, predicted), rtol=1e-9)


def test_rows_that_repeat_and_targets_that_do_not_change():
    x, y, _ = rows(8, 20, 1)
    x, y = np.tile(x, (2, 1)), np.tile(y[:, 0], 2)
    heads = fit_heads(x, y, loss="squared", l2=[1e-12, 1e-1], folds="leave-one-out")
    predicted = without_each(x, y[:, None], np.ones(16), 1e-1 * 8, intercept=True)
    assert scores_of(heads)[0, 0] > 1 - 1e-9  # each row is predicted by its double
    np.testing.assert_allclose(scores_of(heads)[0, 1], r2_score(y, predicted), rtol=1e-9)
    flat = fit_heads(x, np.full(16, 3.0), loss="squared", l2=0.1, folds="leave-one-out")
    assert scores_of(flat)[0, 0] in (0.0, 1.0)
    nothing = fit_heads(np.zeros((6, 9)), np.arange(6), loss="squared", l2=0.1, folds="leave-one-out")
    mean = (15 - np.arange(6)) / 5  # of the others
    np.testing.assert_allclose(scores_of(nothing)[0, 0], r2_score(np.arange(6), mean), rtol=1e-12)


@BEST_AT_THE_EDGE
def test_one_pass_in_blocks_and_nothing_compiled_again(compiles):
    """Blocks of 256 rows, the last one overlapping; other strengths and weights run the same programs."""
    x, y, s = rows(1003, 3)
    heads = fit_heads(x, y, loss="squared", l2=L2, folds="leave-one-out", sample_weight=s)
    first = compiles()
    assert first <= 8
    peer = RidgeCV([L2[4] * s.sum() / 2], store_cv_results=True).fit(x, y, s)
    off = y - np.average(y, axis=0, weights=s)
    mean = (1 - scores_of(heads)[:, 0, 4]) * (s @ off**2) / len(s)
    np.testing.assert_allclose(mean, peer.cv_results_[..., 0].mean(0), rtol=1e-8)
    fit_heads(x + 1, y, loss="squared", l2=2 * L2, folds="leave-one-out", sample_weight=s[::-1].copy())
    assert compiles() == first
    whole = Ridge(alpha=L2[4] * s.sum() / 2).fit(x, y, s)
    np.testing.assert_allclose(heads.coef[:, 4], whole.coef_, rtol=1e-9)


def exact_error(x, y, s, alpha: float, *, intercept: bool, standardize: bool = False) -> float:
    """Return 1 − R² of the rows left out, by the normal equations of the others with 60 digits."""
    with mpmath.workdps(60):
        n, m = x.shape
        x, y = mpmath.matrix(x.tolist()), mpmath.matrix(y.tolist())
        total, root = mpmath.fsum(s.tolist()), [mpmath.sqrt(mpmath.mpf(float(a))) for a in s]

        def mean(values):
            return mpmath.fsum(r**2 * a for r, a in zip(root, values, strict=True)) / total

        for j in range(m if standardize else 0):
            middle = mean(x[:, j])
            x[:, j] /= mpmath.sqrt(mean([(a - middle) ** 2 for a in x[:, j]]))
        wide = mpmath.ones(n, m + 1) * int(intercept)
        wide[:, :m] = x
        penalty = mpmath.diag([mpmath.mpf(alpha)] * m + [mpmath.mpf(not intercept)])
        errors = []
        for i in range(n):
            others = mpmath.diag([0 if k == i else root[k] for k in range(n)])
            rows, aims = others * wide, others * y
            w = mpmath.lu_solve(rows.T * rows + penalty, rows.T * aims)
            errors.append((y[i] - mpmath.fdot(wide[i, :], w)) ** 2)
        middle = mean(y)
        return float(mean(errors) / mean([(a - middle) ** 2 for a in y]))


def one_hot(categories: list[int]) -> np.ndarray:
    return np.eye(max(categories) + 1)[categories]


WEAK = [1e-16, 1e-14, 1e-12, 1e-6, 1e-4, 1.0]
NORMAL = np.random.default_rng(3)
MIXED = NORMAL.normal(size=(12, 5)) + 3
MIXED[:, 0], MIXED[:, 1] = np.arange(12) == 0, 100 * (np.arange(12) == 1)
WEIGHTS = np.where(np.arange(12) == 2, 1e9, NORMAL.uniform(0.1, 3, 12))
CATEGORIES = np.column_stack([one_hot([0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]), NORMAL.normal(size=(12, 2))])
Y = NORMAL.normal(size=12)
SQUARE, SQUARE_Y = (lambda rng: (rng.normal(size=(5, 5)), rng.normal(size=5)))(np.random.default_rng(7))


@pytest.mark.parametrize(
    ("x", "y", "s", "changed"),
    [
        pytest.param(SQUARE, SQUARE_Y, np.ones(5), {}, id="as many rows as columns"),
        pytest.param(SQUARE, SQUARE_Y, np.ones(5), {"fit_intercept": False}, id="as many rows, no intercept"),
        pytest.param(
            1e4 * one_hot([0, 0, 0, 1, 1, 1, 2]),
            np.arange(7) ** 1.5,
            np.ones(7),
            {"fit_intercept": False},
            id="a category that occurs once",
        ),
        pytest.param(CATEGORIES, Y, np.ones(12), {}, id="categories beside numbers"),
        pytest.param(CATEGORIES, Y, np.ones(12), {"standardize": True}, id="standardised categories"),
        pytest.param(MIXED, Y, np.ones(12), {}, id="two columns of one row each"),
        pytest.param(MIXED, Y, WEIGHTS, {}, id="and a heavy row"),
        pytest.param(MIXED[:9], Y[:9], WEIGHTS[:9], {"fit_intercept": False}, id="fewer rows, no intercept"),
        pytest.param(MIXED[:6], Y[:6], np.ones(6), {}, id="a row more than columns"),
        pytest.param(MIXED[:6], Y[:6], np.ones(6), {"fit_intercept": False}, id="a row more, no intercept"),
        pytest.param(MIXED[:4], Y[:4], np.ones(4), {}, id="fewer rows than columns"),
        pytest.param(MIXED[[0, 1, 2, 2, 3, 4]], Y[:6], np.ones(6), {}, id="a row twice"),
    ],
)
@pytest.mark.filterwarnings("ignore::dlcore.GridEdgeWarning")
def test_rows_of_leverage_near_1(x, y, s, changed):
    """1 − leverage cancels in these tables; alpha 1e-14 gave −inf, 1e-12 two digits."""
    s = s.astype(float)
    l2 = 2 * np.array(WEAK) / s.sum()
    heads = fit_heads(x, y, loss="squared", l2=l2, folds="leave-one-out", sample_weight=s, **changed)
    given = {"intercept": changed.get("fit_intercept", True), "standardize": changed.get("standardize", False)}
    expected = [exact_error(x, y, s, strength * s.sum() / 2, **given) for strength in l2]
    # The largest eigenvalue is up to 1e9 of the least: of 16 digits 8 are left at worst.
    np.testing.assert_allclose(1 - scores_of(heads).ravel(), expected, rtol=1e-8)


@pytest.mark.parametrize("alpha", [1e-4, 1e-6, 1e-12, 1e-14])
def test_rows_of_leverage_near_1_by_known_values(alpha):
    heads = fit_heads(SQUARE, SQUARE_Y, loss="squared", l2=2 * alpha / 5, folds="leave-one-out")
    np.testing.assert_allclose(scores_of(heads)[0, 0], -0.16398343, atol=1e-8 + 10 * alpha)
    x = 1e4 * one_hot([0, 0, 0, 1, 1, 1, 2])
    given: Any = {"loss": "squared", "folds": "leave-one-out", "fit_intercept": False}
    heads = fit_heads(x, np.arange(7) ** 1.5, l2=2 * alpha / 7, **given)
    np.testing.assert_allclose(scores_of(heads)[0, 0], -0.4916043, atol=1e-7)


def test_a_block_of_rows_of_leverage_near_1():
    """200 categories that occur once among 1,300 rows: several blocks, a kernel of 200 rows, two targets."""
    rng = np.random.default_rng(0)
    single = np.concatenate([np.arange(200), rng.integers(200, 220, 1100)])
    order = rng.permutation(1300)
    x, y = one_hot(list(single))[order], rng.normal(size=(1300, 2))
    l2 = np.array([1e-13, 1e-3])
    heads = fit_heads(x, y, loss="squared", l2=l2, folds="leave-one-out")
    # A row of its own category is predicted by the intercept of the others, the others by their categories.
    predicted = without_each(x, y, np.ones(1300), l2[1] * 650, intercept=True)
    expected = r2_score(y, predicted, multioutput="raw_values")
    np.testing.assert_allclose(1 - scores_of(heads)[:, 0, 1], 1 - expected, rtol=1e-9)
    limit = fit_heads(x, y, loss="squared", l2=0.0, folds="leave-one-out")
    np.testing.assert_allclose(scores_of(heads)[:, 0, 0], scores_of(limit)[:, 0, 0], rtol=1e-8)


@pytest.mark.parametrize("l2", [0.0, 1e-14])
def test_rows_that_are_equal_leave_the_null_space_of_the_kernel_to_them(l2):
    """Rounding turned the null space of rows 0 and 2 towards row 1: its error was 7e14 at λ = 0."""
    x = np.array([[0.0, 0, 1], [1, 0, 1], [0, 0, 1]])
    y = np.array([0.011182375385816694, 1.5056201023426707, 1.1108114313787987])
    heads = fit_heads(x, y, loss="squared", l2=l2, folds="leave-one-out")
    others = np.array([y[2], (y[0] + y[2]) / 2, y[0]])
    np.testing.assert_allclose(scores_of(heads).ravel(), r2_score(y, others), rtol=1e-9)


@pytest.mark.parametrize("number", [1.0, 0.1, 1e5 / 7])
def test_constant_columns_leave_the_mean_of_the_others(number):
    """The kernel is 0; what rounds in its lift, or in the means, is not a kernel."""
    y = np.arange(6) ** 1.5
    heads = fit_heads(np.full((6, 9), number), y, loss="squared", l2=[0.0, 1e-9], folds="leave-one-out")
    expected = r2_score(y, (y.sum() - y) / 5)
    np.testing.assert_allclose(scores_of(heads).ravel(), [expected] * 2, rtol=1e-9)


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
