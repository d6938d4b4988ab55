"""Softmax heads of every strength and fold: against other solvers, proofs, compilations, wrong input."""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import newton_with_line_search
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import ShuffleSplit, StratifiedKFold

from dlcore import fit_heads

pytestmark = pytest.mark.any_mode

KINDS = ("plain", "weighted", "ill-conditioned", "collinear", "nearly separable", "a class of one", "wide")
STRENGTHS = np.array([1e-5, 1e-3, 0.3])
CLASSES = 4

BEST_AT_THE_EDGE = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")
"""The data of these tests wants a strength beyond their grids, which they do not ask about."""


class Table(NamedTuple):
    """A weighted softmax regression in float64."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: float


def table(seed: int) -> Table:
    """One of seven kinds in two shapes, so that few programs are compiled."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    n, m = (14, 20) if kind == "wide" else (120, 6)
    x = rng.normal(size=(n, m))
    if kind == "ill-conditioned":
        x = x @ np.diag(np.geomspace(1, 1e-8, m)) @ np.linalg.qr(rng.normal(size=(m, m)))[0] + 3
    if kind == "collinear":
        x[:, 3:5], x[:, 5] = x[:, :2], x[:, 0] - x[:, 1]
    slope = rng.normal(size=(m, CLASSES)) * (20 if kind == "nearly separable" else 1)
    y = (x @ slope + rng.gumbel(size=(n, CLASSES))).argmax(1)
    if kind == "a class of one":
        y[y == 3] = 0
    y[:CLASSES] = range(CLASSES)
    s = 10 ** rng.uniform(-3, 3, n) if kind == "weighted" else np.ones(n)
    return Table(x, y, s, 0.0)


def exact_value(problem: Table, theta: np.ndarray) -> np.longdouble:
    """J at (K, m + 1), the intercept last, in extended precision."""
    x, s, theta = (part.astype(np.longdouble) for part in (problem.x, problem.s, theta))
    z = (x[:, None] * theta[None, :, :-1]).sum(-1) + theta[:, -1]
    top = z.max(1)
    losses = np.log(np.exp(z - top[:, None]).sum(1)) + top - z[np.arange(len(z)), problem.y]
    return (s * losses).sum() / s.sum() + np.longdouble(problem.l2) / 2 * (theta[:, :-1] ** 2).sum()


def least_value(problem: Table) -> np.longdouble:
    """Return the least J, by Newton's method with the whole Hessian over all classes at once."""
    x, y, s, l2 = problem
    rows = np.concatenate([x, np.ones((len(x), 1))], 1)
    shape = (y.max() + 1, rows.shape[1])
    penalty = np.broadcast_to(np.append(np.full(x.shape[1], l2), 0), shape).ravel()

    def direction(theta: np.ndarray) -> np.ndarray:
        z = (rows[:, None] * theta.reshape(shape)[None]).sum(-1)
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        residual = (p - np.eye(shape[0])[y]) * (s / s.sum())[:, None]
        gradient = (residual[:, :, None] * rows[:, None]).sum(0).ravel() + penalty * theta
        q = p.astype(float)
        weights = np.einsum("i,ik,kl->ikl", s, q, np.eye(shape[0])) - np.einsum("i,ik,il->ikl", s, q, q)
        hessian = np.einsum("ikl,ia,ib->kalb", weights / s.sum(), rows, rows).reshape(theta.size, -1)
        # Adding a number to all intercepts changes nothing: the shortest of the solutions.
        return np.linalg.lstsq(hessian + np.diag(penalty), gradient.astype(float), rcond=1e-15)[0]

    start = np.zeros(np.prod(shape), np.longdouble)
    found = newton_with_line_search(lambda theta: exact_value(problem, theta.reshape(shape)), direction, start)
    return exact_value(problem, found.reshape(shape))


@pytest.mark.parametrize("seed", range(28))
def test_every_head_is_optimal_within_its_proof(seed):
    """Against an independent Newton, J in extended precision: the gap is never below the true one, and small."""
    problem = table(seed)
    heads = fit_heads(problem.x, problem.y, loss="softmax", l2=STRENGTHS, sample_weight=problem.s)
    share = np.bincount(problem.y, problem.s) / problem.s.sum()
    entropy = -(share * np.log(share)).sum()
    for k, l2 in enumerate(STRENGTHS):
        one = problem._replace(l2=l2)
        value = exact_value(one, np.concatenate([heads.coef[k], heads.intercept[k][:, None]], 1))
        true = value - least_value(one)
        assert heads.status[k] == "converged"
        assert true <= heads.certificate.gap[k] <= 1e-6 * max(heads.value[k], 1e-3 * entropy)
        assert abs(heads.value[k] - value) <= 1e-13 * (1 + value)
    np.testing.assert_allclose(heads.coef.sum(1), 0, atol=1e-12 * abs(heads.coef).max())
    np.testing.assert_allclose(heads.intercept.sum(1), 0, atol=1e-12 * (1 + abs(heads.intercept).max()))


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = (np.asarray(part) for part in load_digits(return_X_y=True))
    return (x / 16).astype(np.float32)[:600], y[:600], np.random.default_rng(1).uniform(0.5, 2, 600)


@pytest.mark.parametrize("intercept", [True, False])
def test_twenty_strengths_equal_scikit_learns(intercept):
    """More strengths than slots."""
    x, y, s = digits()
    l2 = np.geomspace(1e-3, 1, 20)[::-1]
    heads = fit_heads(x, y, loss="softmax", l2=l2, sample_weight=s, fit_intercept=intercept, tol=1e-10)
    assert heads.coef.shape == (20, 10, 64)
    assert set(heads.status) == {"converged"}
    assert set(fit_heads(x, y, loss="softmax", l2=l2).status) == {"converged"}
    for k in range(0, 20, 6):
        peer = LogisticRegression(C=1 / (l2[k] * s.sum()), fit_intercept=intercept, tol=1e-8, max_iter=5000)
        peer.fit(x.astype(float), y, s)
        np.testing.assert_allclose(heads.coef[k], peer.coef_, atol=2e-5 * abs(peer.coef_).max())
        shift = peer.intercept_ - np.mean(peer.intercept_)
        np.testing.assert_allclose(heads.intercept[k], shift if intercept else 0, atol=1e-4)
        np.testing.assert_allclose(heads.predict_proba(x)[k], peer.predict_proba(x), atol=1e-4)
        assert (heads.predict(x)[k] == peer.predict(x)).mean() > 0.99


@BEST_AT_THE_EDGE
def test_a_fold_is_a_fit_of_its_rows():
    """Overlapping folds from a splitter: scores on held-out rows with weights, as separate fits give them."""
    x, y, s = digits()
    l2 = np.geomspace(1e-3, 1, 4)
    splitter = ShuffleSplit(3, test_size=0.3, random_state=0)
    given: dict[str, Any] = {"loss": "softmax", "tol": 1e-10}
    heads = fit_heads(x, y, l2=l2, folds=splitter, sample_weight=s, **given)
    right = fit_heads(x, y, l2=l2, folds=splitter, sample_weight=s, scoring="accuracy", **given)
    assert heads.scores is not None
    assert right.scores is not None
    for fold, (train, test) in enumerate(splitter.split(x)):
        weight = s * np.isin(np.arange(len(x)), train)  # of one shape with the rest: nothing is compiled again
        alone = fit_heads(x, y, l2=l2[[0, 3]], sample_weight=weight, **given)
        assert (heads.fold_gap[fold] <= 1e-10 * heads.value.max()).all()
        for index, k in enumerate((0, 3)):
            p = alone.predict_proba(x[test])[index]
            expected = -log_loss(y[test], p, sample_weight=s[test])
            np.testing.assert_allclose(heads.scores[fold, k], expected, rtol=1e-5)
            expected = accuracy_score(y[test], alone.predict(x[test])[index], sample_weight=s[test])
            np.testing.assert_allclose(right.scores[fold, k], expected)
    assert heads.best == heads.scores.mean(0).argmax()
    assert (heads.fold_status == "converged").all()


def test_integer_folds_are_stratified():
    x, y, _ = digits()
    train = np.zeros((4, len(x)))
    for fold, (rows, _) in enumerate(StratifiedKFold(4).split(x, y)):
        train[fold, rows] = 1
    given, counted = (fit_heads(x, y, loss="softmax", l2=0.1, folds=folds) for folds in (train, 4))
    np.testing.assert_array_equal(given.scores, counted.scores)


def large(seed: int, rows: int = 6_000) -> tuple[np.ndarray, np.ndarray]:
    """Enough rows for fewer slots at the end; one class has a single row."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, 24)) @ np.diag(np.geomspace(3, 0.1, 24)) + 1).astype(np.float32)
    y = (x @ rng.normal(size=(24, 10)) + rng.gumbel(size=(rows, 10))).argmax(1)
    y[y == 9] = 8
    y[:10] = range(10)
    return x, y


@pytest.mark.slow
def test_many_rows_and_any_sweep_of_a_shape_runs_the_same_programs(compiles):
    """All sizes and folds: at most 11 programs, none for other data, strengths and folds, as many as before."""
    x, y = large(0)
    folds = np.random.default_rng(0).uniform(size=(2, len(x))) < 0.8
    folds[:, 9] = True
    heads = fit_heads(x, y, loss="softmax", l2=np.geomspace(1e-5, 0.1, 7), folds=folds)
    first = compiles()
    assert first <= 11
    assert set(heads.status) | set(heads.fold_status.ravel()) == {"converged"}
    x, y = large(1)
    mask = 1 - folds * (np.arange(len(x)) > 50)
    other = fit_heads(x, y, loss="softmax", l2=np.geomspace(1e-5, 0.2, 7), folds=mask)
    assert compiles() == first
    assert set(other.status) | set(other.fold_status.ravel()) == {"converged"}


@pytest.mark.slow
def test_a_thousand_classes():
    rng = np.random.default_rng(0)
    y = np.append(np.arange(1000), rng.integers(0, 1000, 500))
    x = rng.normal(size=(1000, 12))[y] + rng.normal(size=(1500, 12))
    heads = fit_heads(x, y, loss="softmax", l2=1e-3)
    assert heads.coef.shape == (1, 1000, 12)
    assert set(heads.status) == {"converged"}


@pytest.mark.slow
def test_columns_beyond_the_whole_basis():
    """More columns than `FULL`, fewer rows: the leading eigenvectors alone are found."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 40)) @ np.diag(np.geomspace(10, 1, 40)) @ rng.normal(size=(40, 1100))
    heads = fit_heads(x.astype(np.float32), np.arange(150) % 3, loss="softmax", l2=[1.0, 100.0])
    assert set(heads.status) == {"converged"}
    assert heads.steps.max() <= 60


def test_without_a_penalty():
    x, y, _ = digits()
    rng = np.random.default_rng(0)
    apart = fit_heads(x, y, loss="softmax", l2=[0.0, 1e-3])
    assert list(apart.status) == ["separable", "converged"]
    assert apart.certificate.gap[0] == np.inf
    assert (apart.predict(x)[0] == y).all()
    mixed = rng.integers(0, 10, len(y))
    free = fit_heads(x[:, :64], mixed, loss="softmax", l2=[0.0, 1e-3])
    assert list(free.status) == ["quasi-separable", "converged"]  # some pixels are 0 in all rows but one


def test_an_offset_of_the_features_is_the_intercepts_affair():
    """Rows are read about a centre: 1,000 more in every column changes neither passes nor weights."""
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 8, (120, 6)) / 8.0
    y = (x @ rng.normal(size=(6, 4)) + rng.gumbel(size=(120, 4))).argmax(1)
    plain, moved = (fit_heads(x + by, y, loss="softmax", l2=[1e-3, 0.3], tol=1e-8) for by in (0, 1000))
    assert set(moved.status) == {"converged"}
    np.testing.assert_allclose(moved.coef, plain.coef, atol=1e-3 * abs(plain.coef).max())
    np.testing.assert_allclose(moved.value, plain.value, rtol=1e-8)
    assert (abs(moved.steps - plain.steps) <= 20).all()


def test_passes_that_float32_cannot_use_are_left_to_float64():
    """A column of 1,000 times the size of the others: rounding lets J rise and fall again for ever."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(120, 8)), np.full(120, -1000.1)])
    y = (x[:, :8] @ rng.normal(size=(8, 8)) + rng.gumbel(size=(120, 8))).argmax(1)
    heads = fit_heads(x, y, loss="softmax", l2=[2e-6, 1e-7], fit_intercept=False)
    assert set(heads.status) == {"converged"}


@pytest.mark.slow
def test_nearly_separable_classes_of_correlated_features_take_few_passes():
    """Few rows hold all the curvature: the preconditioner as the only first guess would take 626 passes."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(120, 120)))[0]
    x = rng.normal(size=(150, 120)) @ (np.geomspace(1, 1e-3, 120)[:, None] * turn)
    x = (x / x.std(0)).astype(np.float32)
    y = (x @ rng.normal(size=(120, 5))).argmax(1)
    heads = fit_heads(x, y, loss="softmax", l2=[1e-4])
    assert heads.status[0] == "converged"
    assert heads.steps[0] <= 250


def test_out_of_steps_says_so():
    x, y, _ = digits()
    heads = fit_heads(x, y, loss="softmax", l2=[1e-3, 1e-2], max_steps=2)
    assert list(heads.status) == ["out of steps"] * 2
    assert (heads.steps == 2).all()
    assert (heads.certificate.gap > 1e-6 * heads.value).all()


@pytest.mark.slow  # test_heads has dtypes of logistic heads in every run
@pytest.mark.parametrize(
    "dtype",
    ["bfloat16", "float16", "uint8"],
)
def test_features_in_any_dtype(dtype):
    """Certified on the data as given."""
    x, y, _ = digits()
    with jax.enable_x64(True):
        given = jnp.asarray(np.round(4 * x)).astype(dtype)
    heads = fit_heads(given, y, loss="softmax", l2=[1e-3])
    exact = fit_heads(np.asarray(given).astype(np.float32), y, loss="softmax", l2=[1e-3])
    assert heads.status[0] == "converged"
    np.testing.assert_allclose(heads.coef, exact.coef, atol=1e-3 * abs(exact.coef).max())


def test_features_on_disk(tmp_path):
    x, y, _ = digits()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    heads = fit_heads(mapped, y, loss="softmax", l2=[1e-2])
    np.testing.assert_array_equal(heads.coef, fit_heads(x, y, loss="softmax", l2=[1e-2]).coef)


X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 3


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"y": Y + 0.5}, ValueError, "y: expected labels, whole numbers or strings, got 0.5"),
        (
            {"y": np.zeros(12)},
            ValueError,
            "y: expected at least two classes .* got only 0",
        ),
        ({"y": np.eye(3, dtype=int)[Y]}, ValueError, r"y: expected 1-D \[n\]"),
        (
            {"sample_weight": Y < 2},
            ValueError,
            "y: expected every class in rows of positive weight, got none of 2",
        ),
        ({"folds": 5}, ValueError, "folds: expected at most as many as rows of the largest class, got 5"),
        (
            {"folds": [Y < 2], "fit_intercept": False},
            ValueError,
            "folds: expected every class .* where there is no intercept, got none of 2 in fold 0",
        ),
        (
            {"folds": [Y < 1]},
            ValueError,
            "folds: expected two classes in the training rows of every fold, got one class in fold 0",
        ),
        (
            {"scoring": "r2"},
            ValueError,
            "scoring: expected 'log_loss', 'accuracy', .*'roc_auc_ovr', .* for loss 'softmax', got 'r2'",
        ),
        ({"max_steps": 1.5}, TypeError, "max_steps: expected an integer"),
        ({"x": X[:, 0]}, ValueError, r"x: expected 2-D \[n, features\]"),
    ],
)
def test_wrong_input_is_named_before_anything_is_compiled(changed, error, message, compiles):
    arguments: dict[str, Any] = {"x": X, "y": Y, "l2": 0.1, "loss": "softmax"} | changed
    with pytest.raises(error, match=message):
        fit_heads(cast(Any, arguments.pop("x")), arguments.pop("y"), **arguments)
    assert compiles() == 0
