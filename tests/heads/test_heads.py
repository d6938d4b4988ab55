"""Heads of every strength and fold: against other solvers, their proofs, wrong input."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Problem, exact_value, newton
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold

from dlcore import fit_heads
from dlcore.heads.solve_heads import fit_with_folds

KINDS = ("plain", "weighted", "ill-conditioned", "collinear", "nearly separable", "wide")
STRENGTHS = np.array([1e-6, 1e-3, 0.3])

BEST_AT_THE_EDGE = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")
"""The data of these tests wants a strength beyond their grids, which they do not ask about."""


def table(seed: int) -> Problem:
    """One of six kinds in two shapes, so that few programs are compiled."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    n, m = (14, 20) if kind == "wide" else (120, 9)
    x = rng.normal(size=(n, m))
    if kind == "ill-conditioned":
        x = x @ np.diag(np.geomspace(1, 1e-8, m)) @ np.linalg.qr(rng.normal(size=(m, m)))[0] + 3
    if kind == "collinear":
        x[:, 3:6], x[:, 8] = x[:, :3], x[:, 0] - x[:, 1]
    slope = rng.normal(size=m) * (20 if kind == "nearly separable" else 1)
    y = (x @ slope + rng.logistic(size=n) > np.median(x @ slope)).astype(np.float64)
    y[:2] = 0, 1
    s = 10 ** rng.uniform(-3, 3, n) if kind == "weighted" else np.ones(n)
    return Problem(x, y, s, 0.0)


@pytest.mark.parametrize("seed", range(36))
def test_every_logistic_head_is_optimal_within_its_proof(seed):
    """Against an independent Newton in extended precision: the gap is never below the true one, and small."""
    problem = table(seed)
    heads = fit_heads(problem.x, problem.y, l2=STRENGTHS, sample_weight=problem.s)
    share = problem.s @ problem.y / problem.s.sum()
    entropy = -share * np.log(share) - (1 - share) * np.log1p(-share)
    for k, l2 in enumerate(STRENGTHS):
        one = problem._replace(l2=l2)
        value = exact_value(one, np.append(heads.coef[k], heads.intercept[k]))
        true = value - exact_value(one, newton(one))
        assert heads.status[k] == "converged"
        blur = 32 * np.finfo(np.longdouble).eps * (1 + value)  # of sums in extended precision
        assert true - blur <= heads.certificate.gap[k] <= 1e-6 * max(heads.value[k], 1e-3 * entropy)
        assert abs(heads.value[k] - value) <= 1e-13 * (1 + value)


@functools.cache
def regular() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 6)) @ (np.eye(6) + 0.3)
    y = (x @ [1.0, -2.0, 0.5, 0.0, 0.0, 1.0] + rng.logistic(size=300) > 0.4).astype(int)
    return x.astype(np.float32), y, rng.uniform(0.5, 2, 300)


@pytest.mark.parametrize("intercept", [True, False])
def test_forty_strengths_equal_scikit_learns(intercept):
    x, y, s = regular()
    l2 = np.geomspace(1e-4, 10, 40)[::-1]
    heads = fit_heads(x, y, l2=l2, sample_weight=s, fit_intercept=intercept, tol=1e-12)
    assert set(heads.status) == {"converged"}
    assert heads.steps.mean() <= 30
    for k in range(0, 40, 3):
        peer = LogisticRegression(
            C=1 / (l2[k] * s.sum()), fit_intercept=intercept, tol=1e-12, solver="newton-cholesky"
        )
        peer.fit(x.astype(float), y, s)
        np.testing.assert_allclose(heads.coef[k], peer.coef_[0], atol=2e-6 * abs(peer.coef_).max())
        np.testing.assert_allclose(heads.intercept[k], np.ravel(peer.intercept_)[0] if intercept else 0, atol=2e-6)
        np.testing.assert_allclose(heads.predict_proba(x)[k], peer.predict_proba(x), atol=1e-5)
        assert (heads.predict(x)[k] == peer.predict(x)).mean() > 0.99


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_a_fold_is_a_fit_of_its_rows(loss):
    """Overlapping folds from a splitter: scores on held-out rows with weights, as separate fits give them."""
    x, y, s = regular()
    l2 = np.geomspace(1e-4, 1, 12)
    splitter = ShuffleSplit(3, test_size=0.3, random_state=0)
    target = y if loss == "logistic" else x[:, 0] + y
    heads = fit_heads(x, target, loss=loss, l2=l2, folds=splitter, sample_weight=s, tol=1e-10)
    assert heads.scores is not None
    for fold, (train, test) in enumerate(splitter.split(x)):
        weight = s * np.isin(np.arange(len(x)), train)  # of one shape with the rest: nothing is compiled again
        alone = fit_heads(x, target, loss=loss, l2=l2[[0, 7]], sample_weight=weight, tol=1e-10)
        assert (heads.fold_gap[fold] <= 1e-10 * heads.value.max()).all()
        for index, k in enumerate((0, 7)):
            if loss == "logistic":
                p = alone.predict_proba(x[test])[index]
                expected = -log_loss(target[test], p, sample_weight=s[test])
            else:
                expected = r2_score(target[test], alone.predict(x[test])[index], sample_weight=s[test])
            np.testing.assert_allclose(heads.scores[fold, k], expected, rtol=1e-5)
    assert heads.best == heads.scores.mean(0).argmax()
    assert (heads.fold_status == "converged").all()


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_integer_folds_are_scikit_learns(loss):
    x, y, _ = regular()
    splitter = StratifiedKFold(4) if loss == "logistic" else KFold(4)
    train = np.zeros((4, len(x)))
    for fold, (rows, _) in enumerate(splitter.split(x, y)):
        train[fold, rows] = 1
    given, counted = (fit_heads(x, y, loss=loss, l2=0.1, folds=folds) for folds in (train, 4))
    np.testing.assert_array_equal(given.scores, counted.scores)
    if loss == "logistic":
        right = fit_heads(x, y, l2=0.1, folds=4, scoring="accuracy")
        assert right.scores is not None
        chosen, held = next(iter(splitter.split(x, y)))
        alone = fit_heads(x, y, l2=0.1, sample_weight=np.isin(np.arange(len(x)), chosen))
        np.testing.assert_allclose(right.scores[0, 0], accuracy_score(y[held], alone.predict(x[held])[0]))


@pytest.mark.parametrize("shape", [(60, 8), (8, 20)])
@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_equals_scikit_learns(shape, intercept):
    rng = np.random.default_rng(0)
    x, y, s = rng.normal(size=shape) + 3, rng.normal(size=(shape[0], 3)), rng.uniform(0.1, 3, shape[0])
    l2 = np.geomspace(1e-8, 100, 11)
    heads = fit_heads(x, y, loss="squared", l2=l2, sample_weight=s, fit_intercept=intercept)
    assert heads.coef.shape == (3, 11, shape[1])
    assert set(heads.status.ravel()) == {"converged"}
    for k, strength in enumerate(l2):
        peer = Ridge(alpha=strength * s.sum() / 2, fit_intercept=intercept, solver="svd").fit(x, y, s)
        np.testing.assert_allclose(heads.coef[:, k], peer.coef_, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(heads.intercept[:, k], peer.intercept_, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(heads.predict(x)[:, k].T, peer.predict(x), rtol=1e-6, atol=1e-6)
    assert heads.value.shape == heads.certificate.gap.shape == (3, 11)
    one = fit_heads(x, y[:, 1], loss="squared", l2=l2, sample_weight=s, fit_intercept=intercept)
    np.testing.assert_allclose(one.coef, heads.coef[1], rtol=1e-9, atol=1e-12)


def test_ridge_of_hard_tables():
    """Offsets of 1e6, duplicate columns, a condition of 1e8: proven all the same."""
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(100, 5))
    hard = plain @ np.diag(np.geomspace(1, 1e-8, 5)) @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
    for x in (plain + 1e6, np.concatenate([plain, plain], axis=1), hard):
        heads = fit_heads(x, plain[:, 0] + 1, loss="squared", l2=[1e-8, 1e-3, 1.0])
        assert set(heads.status) == {"converged"}


def test_ridge_of_more_rows_than_a_block():
    """The last block begins early: what it repeats weighs nothing."""
    rng = np.random.default_rng(0)
    x, y, s = rng.normal(size=(700, 4)), rng.normal(size=700), rng.uniform(0.1, 3, 700)
    heads = fit_heads(x, y, loss="squared", l2=1e-2, sample_weight=s)
    peer = Ridge(alpha=1e-2 * s.sum() / 2, solver="svd").fit(x, y, s)
    np.testing.assert_allclose(heads.coef[0], peer.coef_, rtol=1e-10)
    assert list(heads.status) == ["converged"]


def test_a_constant_target_is_scored_0():
    """Rows held out that all say 0.1, with weights: their spread is nothing but rounding."""
    rng = np.random.default_rng(0)
    x, y, s = rng.normal(size=(60, 3)), rng.normal(size=60), rng.uniform(0.1, 1, 60)
    y[:20] = 0.1
    heads = fit_heads(x, y, loss="squared", l2=[1e-3, 1.0], folds=[np.arange(60) >= 20], sample_weight=s)
    np.testing.assert_array_equal(heads.scores, np.zeros((1, 2)))


def test_a_constant_validation_set_is_scored_0():
    x, weights = np.random.default_rng(1).normal(size=(60, 3)), np.random.default_rng(2).random(7)
    for number in (7.7, 1 / 3):
        validation = x[:7], np.full(7, number), weights
        heads = fit_heads(x, x[:, 0], loss="squared", l2=[0.1], validation=validation)
        np.testing.assert_array_equal(heads.scores, [[0.0]])


@pytest.mark.parametrize("small", [1e-15, 1e-20])
def test_a_class_of_small_weights_is_as_good_as_the_other(small):
    x = np.random.default_rng(1).normal(size=(120, 4))
    y = (x[:, 0] > 0).astype(int)
    heads = fit_heads(x, y, l2=[0.1], sample_weight=np.where(y == 1, 1.0, small))
    mirrored = fit_heads(x, 1 - y, l2=[0.1], sample_weight=np.where(y == 1, 1.0, small))
    np.testing.assert_allclose(heads.coef, -mirrored.coef, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(heads.intercept, -mirrored.intercept, rtol=1e-6)


def test_without_a_penalty():
    x, y, _ = regular()
    free = fit_heads(x, y, l2=[0.0, 1e-3], tol=1e-11)
    peer = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky").fit(x.astype(float), y)
    assert list(free.status) == ["converged", "converged"]
    assert free.certificate.bound[0] == "curvature"
    np.testing.assert_allclose(free.coef[0], peer.coef_[0], atol=1e-6)
    apart = fit_heads(x, (x[:, 0] > 0.1).astype(int), l2=[0.0, 1e-3])
    assert list(apart.status) == ["separable", "converged"]
    assert apart.certificate.gap[0] == np.inf


def test_out_of_steps_says_so():
    x, y, _ = regular()
    heads = fit_heads(x, y, l2=[1e-4, 1e-2], max_steps=1)
    assert list(heads.status) == ["out of steps"] * 2
    assert (heads.steps == 1).all()
    assert (heads.certificate.gap > 1e-6 * heads.value).all()


def test_many_targets_are_as_many_fits():
    """Every target alone gives the same heads within what both prove, and the same scores."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    y = (x @ rng.normal(size=(6, 3)) + rng.logistic(size=(300, 3)) > [0.0, 1.0, -2.0]).astype(int)
    folds, l2 = KFold(3), np.array([1e-4, 1e-2, 0.0, 1.0])
    together = fit_heads(x, y, l2=l2, folds=folds, tol=1e-9)
    assert together.coef.shape == (3, 4, 6)
    assert together.scores is not None
    assert together.fold_gap.shape == together.scores.shape == (3, 3, 4)
    for t in range(3):
        alone = fit_heads(x, y[:, t], l2=l2, folds=folds, tol=1e-9)
        np.testing.assert_allclose(together.coef[t], alone.coef, rtol=0, atol=1e-4)
        np.testing.assert_allclose(together.intercept[t], alone.intercept, rtol=0, atol=1e-4)
        np.testing.assert_allclose(together.value[t], alone.value, rtol=1e-8)
        assert alone.scores is not None
        np.testing.assert_allclose(together.scores[t], alone.scores, rtol=0, atol=1e-4)
        assert list(together.status[t]) == list(alone.status)
        assert together.best[t] == alone.best
        np.testing.assert_array_equal(together.predict(x)[t], alone.predict(x))


@pytest.mark.parametrize(
    "dtype",
    [
        "bfloat16",
        "float64",
        pytest.param("float16", marks=pytest.mark.slow),
        pytest.param("int8", marks=pytest.mark.slow),
    ],
)
def test_features_in_any_dtype(dtype):
    """Certified on the data as given, which is not changed and not cast as a whole."""
    x, y, _ = regular()
    given = jnp.asarray(np.round(4 * x)).astype(dtype) if dtype != "float64" else np.round(4 * x).astype(dtype)
    heads = fit_heads(given, y, l2=[1e-3], tol=1e-11)
    exact = fit_heads(np.asarray(given).astype(np.float64), y, l2=[1e-3], tol=1e-11)
    assert heads.coef.dtype == np.float64
    np.testing.assert_allclose(heads.coef, exact.coef, rtol=1e-6)


X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 2


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": X[:, 0]}, ValueError, r"x: expected 2-D \[n, features\]"),
        ({"x": np.where(X > 1, np.nan, X)}, ValueError, "x: expected finite numbers, got nan"),
        ({"y": Y[:-1]}, ValueError, "x has 12, y has 11"),
        (
            {"y": np.arange(12) % 3},
            ValueError,
            "y: expected two classes for loss='logistic', got 3: 0, 1, 2",
        ),
        ({"y": np.ones(12)}, ValueError, "y: expected two classes in rows of positive weight, got only 1"),
        ({"y": X, "loss": "logistic"}, ValueError, "y: expected labels, whole numbers or strings, or probab"),
        (
            {"loss": "hinge"},
            ValueError,
            "loss: expected one of 'logistic', 'squared', 'softmax', 'poisson', got 'h",
        ),
        ({"l2": -1.0}, ValueError, "l2: expected finite numbers of at least 0"),
        ({"l2": []}, ValueError, "l2: expected a number or a list of at least one"),
        ({"l2": None}, TypeError, r"fit_heads\(\) needs l2, the strength"),
        ({"l2": "a"}, TypeError, "l2: expected numbers"),
        ({"folds": 1}, ValueError, "folds: expected an integer of at least 2, got 1"),
        ({"folds": 7}, ValueError, "folds: expected at most as many as rows of the largest class, got 7"),
        (
            {"folds": np.full((2, 12), 0.5)},
            ValueError,
            "folds: expected 0/1 weights, 1 where a row trains, got 0.5",
        ),
        (
            {"folds": np.ones((2, 12))},
            ValueError,
            "folds: expected rows of positive weight to score every fold on",
        ),
        (
            {"folds": [Y]},
            ValueError,
            "folds: expected both classes in the training rows of every fold, got one class in fold 0",
        ),
        ({"folds": [([0, 1, 12], [3])]}, ValueError, "folds: expected the numbers of rows, 0 to 11"),
        ({"folds": "five"}, TypeError, "folds: expected None, an integer"),
        ({"sample_weight": -np.ones(12)}, ValueError, "sample_weight: expected numbers of at least 0"),
        ({"sample_weight": np.ones(11)}, ValueError, "sample_weight: expected shape"),
        (
            {"scoring": "r2"},
            ValueError,
            "scoring: expected 'log_loss', 'accuracy', .*'roc_auc', .* for loss 'logistic', got 'r2'",
        ),
        ({"tol": 0}, ValueError, "tol: expected a finite number above 0"),
        ({"max_steps": 1.5}, TypeError, "max_steps: expected an integer"),
        ({"fit_intercept": "yes"}, TypeError, "fit_intercept: expected True or False"),
    ],
)
def test_wrong_input_is_named_before_anything_is_compiled(changed, error, message, compiles):
    arguments: dict[str, Any] = {"x": X, "y": Y, "l2": 0.1} | changed
    with pytest.raises(error, match=message):
        fit_heads(cast(Any, arguments.pop("x")), arguments.pop("y"), **arguments)
    assert compiles() == 0


def test_predicting_other_columns_is_refused():
    heads = fit_heads(X, X[:, 0], loss="squared", l2=0.1)
    with pytest.raises(ValueError, match="x: expected 3 columns, got 2"):
        heads.predict(X[:, :2])
    with pytest.raises(ValueError, match="expected heads with loss 'logistic' or 'softmax', got 'squared'"):
        heads.predict_proba(X)
    assert jax.config.read("jax_enable_x64") == (jnp.result_type(float) == jnp.float64)


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
def test_heads_of_folds_are_those_of_their_rows(loss):
    """Coefficients and intercepts, which the calls for scikit-learn ask for."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 3)) + 2, random.integers(0, 2 if loss == "logistic" else 3, 40)
    train = np.arange(40) % 2 == np.arange(2)[:, None]
    l2 = np.tile([0.1, 0.01], (3, 1))
    given = {"loss": loss, "fit_intercept": True, "tol": 1e-12}
    _, folds = fit_with_folds(x, y, l2=l2, train=train, sample_weight=np.ones(40), max_steps=1000, **given)
    assert len(folds) == 2
    for fold, rows in zip(folds, train, strict=True):
        alone = fit_heads(x[rows], y[rows], l2=[0.1, 0.01], loss=loss, tol=1e-12)
        np.testing.assert_allclose(fold.coef, alone.coef, rtol=0, atol=1e-5)
        np.testing.assert_allclose(fold.intercept, alone.intercept, rtol=0, atol=1e-5)
        assert fold.intercept.shape == alone.intercept.shape
