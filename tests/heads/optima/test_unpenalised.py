"""Heads without a penalty, or with next to none: proven by curvature, or named as (quasi-)separable."""

from typing import Any

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

import dlcore
from dlcore import LinearHeads, certify, fit_heads
from dlcore.certificate import data_report
from dlcore.certificate.data_report.separation import separation_of_head
from dlcore.certificate.rows import scaled_weights

pytestmark = [pytest.mark.any_mode, pytest.mark.filterwarnings("ignore::dlcore.GridEdgeWarning")]

N = 2000
RNG = np.random.default_rng(0)
RAW = np.column_stack([RNG.normal(40, 12, N), RNG.lognormal(10, 1, N), RNG.integers(0, 2, N)])
"""Columns of sizes 10 to 10⁵, as they come."""
RARE = (RNG.random(N) < 1 / (1 + np.exp(3.6 - 0.03 * (RAW[:, 0] - 40) - 0.5 * RAW[:, 2]))).astype(int)
"""About 4 % positives."""
CATEGORY = RNG.integers(0, 5, N)
DUMMIES = np.eye(5)[CATEGORY]
DUMMY = (np.arange(N) % 50 == 0).astype(float)
LEVEL = RNG.integers(0, 11, N).astype(float)
NOISE = RNG.normal(size=N)
CLASSES = RNG.integers(0, 3, N)


def exact_optimum(x: np.ndarray, y: np.ndarray, l2: float) -> np.ndarray:
    """Return (w, b) by Newton's method in standardised columns, in extended precision."""
    middle, scale = x.mean(0).astype(np.longdouble), x.std(0).astype(np.longdouble)
    z = np.column_stack([(x - middle) / scale, np.ones(len(x))])
    penalty, theta = np.append(l2 / scale**2, 0), np.zeros(x.shape[1] + 1, np.longdouble)
    for _ in range(30):
        p = 1 / (1 + np.exp(-(z @ theta)))
        gradient = z.T @ (p - y) / len(x) + penalty * theta
        hessian = (z.T * (p * (1 - p))) @ z / len(x) + np.diag(penalty)
        theta = theta - np.linalg.solve(hessian.astype(float), gradient.astype(float))
    w = theta[:-1] / scale
    return np.append(w, theta[-1] - w @ middle).astype(float)


@pytest.mark.parametrize("l2", [0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6])
def test_raw_columns_are_proven_by_curvature(l2):
    """Duality has no bound at 0, and under a weak penalty nothing but rounding."""
    heads = fit_heads(RAW, RARE, l2=l2, tol=1e-11)
    assert heads.status[0] == "converged"
    assert heads.certificate.bound[0] == "curvature"
    expected = exact_optimum(RAW, RARE, l2)
    np.testing.assert_allclose(np.append(heads.coef[0], heads.intercept[0]), expected, rtol=1e-5)


def test_softmax_heads_of_raw_columns_are_proven_by_curvature():
    heads = fit_heads(RAW, CLASSES, loss="softmax", l2=[0.0, 1e-12])
    assert list(heads.status) == ["converged"] * 2
    assert heads.certificate.bound == ("curvature", "curvature")


def test_a_start_that_is_worse_than_a_constant_is_left():
    """A sample of rows with one or two positives led the head without a penalty to J = 8.9, and no step back."""
    x, y, _, _ = QUASI["a category that is always 0"]
    heads = fit_heads(x, y, l2=[0.0, 1e-3])
    alone = fit_heads(x, y, l2=0.0)
    np.testing.assert_allclose(heads.value[0], alone.value[0], rtol=1e-7)


def test_folds_are_proven_by_curvature():
    heads = fit_heads(RAW, RARE, l2=[0.0, 1e-10], folds=3)
    assert set(heads.fold_status.ravel()) == {"converged"}


def test_a_certificate_without_a_penalty_asks_the_curvature():
    w = exact_optimum(RAW, RARE, 0.0)
    at_optimum, off = (LinearHeads(w[:-1] * (1 + part), w[-1], 0.0) for part in (0, 1e-3))
    assert certify(at_optimum, RAW, RARE).bound == "curvature"
    assert certify(at_optimum, RAW, RARE).gap < 1e-12
    found = certify(off, RAW, RARE)
    above = found.value - certify(at_optimum, RAW, RARE).value
    assert above <= found.gap < 2 * above


DEPENDENT: dict[str, tuple[Any, ...]] = {
    # x, y, rank, options
    "all categories beside an intercept": (np.column_stack([NOISE, DUMMIES]), RARE, 5, {}),
    "a column twice, a constant one and one of zeros": (
        np.column_stack([RAW, RAW[:, 1], np.full(N, 3.0), np.zeros(N)]),
        RARE,
        3,
        {},
    ),
    "a sum of columns": (np.column_stack([RAW, RAW[:, 0] + 2 * RAW[:, 2]]), RARE, 3, {}),
    "without an intercept": (np.column_stack([NOISE, NOISE, DUMMIES]), RARE, 6, {"fit_intercept": False}),
    "softmax": (np.column_stack([NOISE, DUMMIES]), CLASSES, 5, {"loss": "softmax"}),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependent_columns_have_a_minimum_that_is_proven_by_the_others(name):
    """Dependent columns have no unique minimum. The value is that of fewer columns."""
    x, y, rank, options = DEPENDENT[name]
    heads = fit_heads(x, y, l2=0.0, **options)
    assert heads.status[0] == "converged"
    assert heads.certificate.bound[0] == f"curvature if the rank is {rank}"
    independent = [0, 2, 3, 4, 5] if "categories" in name or name == "softmax" else list(range(3))
    independent = [0, 2, 3, 4, 5, 6] if name == "without an intercept" else independent
    fewer = fit_heads(x[:, independent], y, l2=0.0, **options)
    assert fewer.certificate.bound[0] == "curvature"
    assert abs(heads.value[0] - fewer.value[0]) <= heads.certificate.gap[0] + fewer.certificate.gap[0]
    off = LinearHeads(1.01 * heads.coef, heads.intercept, 0.0, heads.loss)
    off = off._replace(intercept=None) if options.get("fit_intercept") is False else off
    found = certify(off, x, y)
    above = found.value[0] - heads.value[0]
    assert above <= found.gap[0] < 2 * above


def test_a_column_that_nearly_depends_on_others_is_not_one_that_does():
    x = np.column_stack([RAW, RAW[:, 0] + 1e-7 * NOISE])
    heads = fit_heads(x, RARE, l2=0.0)
    assert not heads.certificate.bound[0].startswith("curvature if")


QUASI: dict[str, tuple[Any, ...]] = {
    # x, y, columns of the direction (the last is the intercept), options
    "a dummy that is always 1": (np.column_stack([RAW, DUMMY]), np.where(DUMMY, 1, RARE), [3], {}),
    "in float32": (np.column_stack([RAW, DUMMY]).astype(np.float32), np.where(DUMMY, 1, RARE), [3], {}),
    "without an intercept": (
        np.column_stack([DUMMY, NOISE]),
        np.where(DUMMY, 1, RARE),
        [0],
        {"fit_intercept": False},
    ),
    "a category that is always 0": (np.column_stack([NOISE, DUMMIES[:, 1:]]), RARE * (CATEGORY != 2), [2], {}),
    "all categories, which depend on the intercept": (
        np.column_stack([NOISE, DUMMIES]),
        RARE * (CATEGORY != 2),
        [1, 2, 3, 4, 5, 6],
        {},
    ),
    "a level at which both classes are": (
        np.column_stack([LEVEL + 3 * NOISE, NOISE, RAW[:, 2]]),
        np.where(LEVEL == 5, RARE, LEVEL > 5),
        [0, 1, 3],
        {},
    ),
    "softmax, a dummy that is always class 2": (
        np.column_stack([RAW, DUMMY]),
        np.where(DUMMY, 2, CLASSES),
        [3],
        {"loss": "softmax"},
    ),
    "softmax, a category without class 0": (
        np.column_stack([NOISE, DUMMIES[:, 1:]]),
        np.where((CATEGORY == 1) & (CLASSES == 0), 1, CLASSES),
        [1],
        {"loss": "softmax"},
    ),
}


@pytest.mark.parametrize("name", QUASI)
def test_quasi_separation_is_named_with_its_columns(name):
    x, y, columns, options = QUASI[name]
    heads = fit_heads(x, y, l2=[0.0, 1e-3], **options)
    assert list(heads.status) == ["quasi-separable", "converged"]
    assert heads.certificate.gap[0] == np.inf
    features = x.shape[1]
    words = ["the intercept" if j == features else f"column {j}" for j in columns]
    assert heads.certificate.bound[0].startswith("none: quasi-separable, the infimum is not attained along")
    assert all(word in heads.certificate.bound[0] for word in words[:5])


def test_folds_are_quasi_separable_by_the_direction_of_all_rows():
    x, y, _, _ = QUASI["a dummy that is always 1"]
    heads = fit_heads(x, y, l2=[0.0, 1e-3], folds=3)
    assert set(heads.fold_status[:, 0]) == {"quasi-separable"}
    assert set(heads.fold_status[:, 1]) == {"converged"}
    # A fold without the rows of the dummy has a minimum.
    without = fit_heads(x, y, l2=0.0, folds=[(np.flatnonzero(DUMMY == 0), np.flatnonzero(DUMMY))])
    assert without.status[0] == "quasi-separable"
    assert without.fold_status[0, 0] == "converged"


@pytest.mark.parametrize("name", ["a dummy that is always 1", "softmax, a category without class 0"])
def test_the_report_has_the_direction(name):
    x, y, columns, options = QUASI[name]
    found = data_report(x, y, loss=options.get("loss", "logistic"))
    assert found.separability == "quasi-separable"
    assert "quasi-separable; without a penalty J has no minimum" in str(found)
    assert found.direction is not None
    theta = np.atleast_2d(found.direction)
    assert list(np.flatnonzero(theta.any(0))) == columns
    logits = x.astype(float) @ theta.T + found.direction_intercept
    logits = np.column_stack([np.zeros(len(x)), logits]) if len(theta) == 1 else logits
    margin = logits[np.arange(len(x)), y.astype(int)] - logits.max(1)
    assert margin.min() > -1e-9 * np.abs(logits).max()


def fits_by_linear_programming(x: np.ndarray, y: np.ndarray) -> str:
    """Return the verdict by two linear programmes over directions in a box (Konis 2007)."""
    signed = (2 * y[:, None] - 1) * np.column_stack([x, np.ones(len(x))])
    box = [(-1, 1)] * signed.shape[1]
    total = linprog(-signed.sum(0), A_ub=-signed, b_ub=np.zeros(len(x)), bounds=box)
    if -total.fun < 1e-7:
        return "not separable"
    program = np.column_stack([-signed, np.ones(len(x))])
    price = np.append(np.zeros(signed.shape[1]), -1.0)
    least = linprog(price, A_ub=program, b_ub=np.zeros(len(x)), bounds=[*box, (0, 1)])
    return "separable" if -least.fun > 1e-7 else "quasi-separable"


@pytest.mark.parametrize("seed", range(40))
def test_verdicts_are_those_of_a_linear_programme(seed):
    """Small tables of integers, of which some touch; no verdict is wrong, and the touching ones are found."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, size=(24, 3)).astype(float)
    score = x @ rng.integers(-2, 3, 3) + rng.integers(0, 2)
    y = np.where(score == 0, rng.integers(0, 2, 24), score > 0).astype(int)
    if seed % 4 == 0:
        y = np.where(rng.random(24) < 0.2, 1 - y, y)
    y[:2] = 0, 1
    expected = fits_by_linear_programming(x, y)
    found = data_report(x, y).separability
    assert found in {expected, "not known"}
    heads = fit_heads(x, y, l2=0.0)
    assert heads.status[0] in {"converged" if expected == "not separable" else expected, "unproven"}
    assert heads.status[0] != "unproven"


@pytest.mark.parametrize("seed", range(20))
def test_classes_that_overlap_have_no_direction(seed):
    """Columns that nearly depend on one another, a heavy row, and few rows for the columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 6))
    x[:, 5] = x[:, :5].sum(1) + 10.0 ** -rng.integers(2, 9) * rng.normal(size=40)
    y = (rng.random(40) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    x[:2], y[:2] = x[2], [0, 1]  # the same row in both classes, amid the others
    x[0] = x[1] = x[2:].mean(0)
    heads = fit_heads(x, y, l2=0.0)
    s = scaled_weights(np.ones((1, 40)))
    verdict = separation_of_head(heads.coef[0], heads.intercept[0], x, y, s).verdict
    if fits_by_linear_programming((x - x.mean(0)) / x.std(0), y) == "not separable":
        assert verdict == "not known"
        assert heads.status[0] in {"converged", "unproven", "out of steps"}


def test_fit_stops_by_a_certificate_without_a_penalty():
    """The curvature proves it."""
    x = (RAW - RAW.mean(0)) / RAW.std(0)
    objective = dlcore.Objective(dlcore.models.linear, dlcore.losses.sigmoid_cross_entropy)
    with jax.enable_x64(True):
        rule = dlcore.descent.nesterov(dlcore.descent.lipschitz_step(objective, (x, RARE)))
        fitted = dlcore.fit(objective, (x, RARE), rule, tol=1e-8, stop="certificate", max_steps=20_000)
    assert fitted.status == "converged"
    assert fitted.certificate is not None
    assert fitted.certificate.bound == "curvature"
    np.testing.assert_allclose(np.asarray(fitted.params.weight), exact_optimum(x, RARE, 0.0)[:-1], atol=1e-3)


SCALED = np.random.default_rng(1).normal(size=(50, 2)) * [1, 1e-10]


@pytest.mark.parametrize("folds", [None, 3, "leave-one-out"])
def test_least_squares_of_columns_of_far_scales(folds):
    """The sum of squares of the second column is 1e-20 of the first: beside it, rounding."""
    y = SCALED @ [1, 1e10] + 3
    heads = fit_heads(SCALED, y, loss="squared", l2=[0.0, 1e-3], folds=folds)
    assert heads.status[0] == "converged"
    np.testing.assert_allclose(heads.coef[0], [1, 1e10], rtol=1e-12)
    np.testing.assert_allclose(heads.intercept[0], 3, rtol=1e-12)
    if folds is not None:
        assert heads.scores is not None
        np.testing.assert_allclose(heads.scores[:, 0], 1, rtol=1e-12)


def test_least_squares_of_a_column_twice_is_the_shortest_solution():
    x = np.column_stack([SCALED[:, 0], SCALED])
    heads = fit_heads(x, SCALED @ [1, 1e10], loss="squared", l2=0.0)
    np.testing.assert_allclose(heads.coef[0], [0.5, 0.5, 1e10], rtol=1e-12)
    x = np.column_stack([RAW, RAW @ [1, 0.001, 2], np.full(N, 7.0), np.zeros(N)])
    heads = fit_heads(x, np.column_stack([NOISE, RARE]), loss="squared", l2=[0.0, 1.0])
    off = x - x.mean(0)
    scale = np.abs(off).max(0) + (off == 0).all(0)
    for coef, y in zip(heads.coef[:, 0], (NOISE, RARE), strict=True):
        shortest = np.linalg.lstsq(off, y - y.mean(), rcond=1e-12)[0]
        np.testing.assert_allclose(coef * scale, shortest * scale, atol=1e-9)


def test_a_fold_of_fewer_rows_than_columns_of_far_scales_fits_them():
    """Two directions that change nothing, of scales 10¹² apart: what made them shorter made the score −4e8."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 5)), rng.normal(size=5)
    x[:, :2] = 1e12, 1e12 / 3
    heads = fit_heads(x, y, loss="squared", l2=0.0, fit_intercept=False, folds=[[0, 0, 1, 1, 1]])
    assert heads.fold_status is not None
    assert heads.scores is not None
    assert heads.fold_status.ravel()[0] == "converged"
    assert heads.scores.ravel()[0] > -1e4


def test_columns_that_are_there_twice_are_seen_in_every_row():
    """Rows whose own number is next to nothing showed the rounding of factors that are 0: no bound was found."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 20))
    x[:, 0] *= 10.0 ** rng.uniform(-6, 0, 5000)
    y = (x[:, 1] + rng.logistic(size=5000) > 0).astype(int)
    heads = fit_heads(np.hstack([x, x]), y, l2=0.0)
    assert heads.status[0] == "converged"
    assert heads.certificate.bound[0] == "curvature if the rank is 20"


def test_a_direction_may_touch_no_row():
    """Far means keep the margins from proof, and the touching rows were none, which raised an error."""
    x = [
        [134215714734080.0, 0.0074505433440208435],
        [134217862217728.0, 0.0074506476521492004],
        [134217459564544.0, 0.007450558245182037],
        [134219070177280.0, 0.007450513541698456],
        [134217862217728.0, 0.007450610399246216],
    ]
    assert data_report(x, [4, 0, 3, 1, 2], loss="softmax").separability != "not separable"


def test_classes_of_columns_of_far_scales_are_separable_as_those_of_near_ones():
    """Lengths of rows times that of the direction hid margins: such tables were quasi-separable or not known."""
    verdicts = set()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x = rng.integers(-2, 3, (30, 4)) * np.array([1, 1, 1, 3])
        margin = x @ [2, -1, 3, 1] + 0.5
        scaled = x * 2.0 ** np.array([27, -27, 10, -20])
        verdicts.add(data_report(scaled, (margin > 0).astype(int)).separability)
    assert verdicts == {"separable"}
