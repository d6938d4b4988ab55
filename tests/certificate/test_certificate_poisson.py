"""Certificates of Poisson regression against exact numbers and scikit-learn, and their errors."""

import mpmath
import numpy as np
import pytest
from oracles.poisson_oracle import (
    DIGITS,
    PoissonProblem,
    PoissonResults,
    poisson_optimum,
    poisson_problem,
    poisson_results,
)

from dlcore import Certificate, LinearHeads, certify
from dlcore.certificate import data_report
from dlcore.certificate.losses import CERTIFIED_LOSSES
from dlcore.certificate.rounding.poisson import poisson_intercept_distance

pytestmark = pytest.mark.any_mode
SHIFTS = (0.0, 1e-8, 1e-5, 1e-2, 1.0)
UNIT = 2.0**-53


def head_of(problem: PoissonProblem, theta: np.ndarray) -> LinearHeads:
    """Return the head of float64 numbers with the intercept last, if the problem has one."""
    intercept = float(theta[-1]) if problem.intercept else None
    return LinearHeads(theta[:-1].astype(float), intercept, problem.l2, "poisson", problem.scale)


def certificate_of(problem: PoissonProblem, theta: np.ndarray, *, tight: bool = False) -> Certificate:
    return certify(head_of(problem, theta), problem.x, problem.y, problem.s, tight=tight)


def exact_results(problem: PoissonProblem, theta: np.ndarray) -> PoissonResults:
    return poisson_results(problem, theta[:-1].astype(float), float(theta[-1]))


def moved(problem: PoissonProblem, theta: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Return a point off θ by `shift` in the logits, in float64."""
    direction = rng.normal(size=theta.shape) / np.append(np.abs(problem.x).max(0), 1)
    direction[-1] *= problem.intercept
    return (theta + shift * direction).astype(float)


def condition_of(problem: PoissonProblem, theta: np.ndarray) -> float:
    """Return 1 + L/λ, where L is no less than the curvature in the coefficients σw."""
    used = problem.s > 0
    share = problem.s[used] / problem.s.sum()
    rates = np.exp(problem.x[used] @ theta[:-1] + theta[-1])
    center = (share * rates) @ problem.x[used] / (share @ rates) if problem.intercept else 0
    rows = (problem.x[used] - center) / problem.scale * np.sqrt(share * rates)[:, None]
    return 1 + float(np.linalg.norm(rows, 2)) ** 2 / problem.l2


def logit_effect(problem: PoissonProblem, theta: np.ndarray) -> float:
    """Return what errors of the logits in float64 may move the gradient for q by."""
    norms = np.linalg.norm(problem.x / problem.scale, axis=1)
    reach = norms * np.linalg.norm(theta[:-1] * problem.scale) + abs(theta[-1]) + 1
    rates = np.exp(problem.x @ theta[:-1] + theta[-1])
    return float(2 * (len(theta) + 12) * UNIT * (problem.s @ (rates * reach * norms)) / problem.s.sum())


@pytest.mark.parametrize("seed", range(200))
def test_bounds_and_numbers_of_random_problems(seed):
    """The oracle has 50 digits. Counts are up to 10⁶, l2 is from 10⁻⁶ to 10²."""
    problem = poisson_problem(seed)
    optimum, rng = poisson_optimum(problem), np.random.default_rng(seed)
    least = poisson_results(problem, optimum[:-1], optimum[-1]).value
    for shift in SHIFTS:
        theta = moved(problem, optimum, shift, rng)
        plain, tight = certificate_of(problem, theta), certificate_of(problem, theta, tight=True)
        exact = exact_results(problem, theta)
        with mpmath.workdps(DIGITS):
            true = exact.value - least
            assert plain.bound == "duality"
            assert true <= tight.gap <= plain.gap
            # The computed gap is that of q made of the computed rates, so that errors of logits count in q.
            effect, norm = logit_effect(problem, theta), np.sqrt(2 * problem.l2 * float(exact.gap))
            allowed = plain.rounding + effect * (2 * norm + effect) / (2 * problem.l2)
            assert abs(plain.gap - plain.rounding - exact.gap) <= allowed
            improvement = max(exact.null_value - exact.value, exact.penalty)
            assert plain.improvement <= improvement * (1 + 8 * UNIT)
            assert plain.improvement >= improvement - 1e-11 * (exact.null_value + exact.value)
        np.testing.assert_allclose(plain.value, float(exact.value), rtol=1e-12)
        np.testing.assert_allclose(plain.null_value, float(exact.null_value), rtol=1e-12)
        size = problem.s @ (np.exp(problem.x @ theta[:-1] + theta[-1]) * (1 + np.linalg.norm(problem.x, axis=1)))
        atol = 1e-12 * (size / problem.s.sum() + problem.l2 * np.linalg.norm(problem.scale**2 * theta[:-1]))
        np.testing.assert_allclose(plain.gradient_norm, float(exact.gradient_norm), rtol=1e-12, atol=atol)
        if shift in (1e-8, 1e-5):  # where J is a parabola
            assert plain.gap - plain.rounding <= 1.2 * condition_of(problem, theta) * float(true) + plain.rounding


@pytest.mark.parametrize("seed", range(0, 200, 5))
def test_an_optimum_rounded_to_float64_is_within_the_tolerance(seed):
    problem = poisson_problem(seed)
    certificate = certificate_of(problem, poisson_optimum(problem))
    assert certificate.gap <= certificate.gap_tol(1e-6)
    assert certificate.gap <= 2 * certificate.rounding + 1e-20 * certificate.value * condition_of(
        problem, poisson_optimum(problem).astype(float)
    )


def test_the_gap_is_that_of_the_docstring():
    """A table of two rows by hand: w = 0, b = 0, so that the rates are 1 and the mean target is 2."""
    x, y = np.array([[1.0], [-1.0]]), np.array([1.0, 3.0])
    certificate = certify(LinearHeads([0.0], 0.0, 0.5, "poisson"), x, y)
    # The rates times 2 leave the residuals 1 and -1, so that the gradient is 1: D = 2 ln 2 − 1, and 1²/(2·½) = 1.
    np.testing.assert_allclose(certificate.gap - certificate.rounding, 2 * np.log(2) - 1 + 1, rtol=1e-14)
    np.testing.assert_allclose(certificate.value, (3 * np.log(3) - 2) / 2, rtol=1e-13)
    np.testing.assert_allclose(certificate.null_value, np.log(1 / 2) / 2 + 3 / 2 * np.log(3 / 2), rtol=1e-13)
    without = certify(LinearHeads([0.0], None, 0.5, "poisson"), x, y)
    np.testing.assert_allclose(without.gap - without.rounding, 1.0, rtol=1e-14)  # Σ(μ − y)x/2 = (0·1 + 2·1)/2
    np.testing.assert_allclose(without.null_value, without.value, rtol=1e-13)


@pytest.mark.parametrize("seed", [0, 2, 7, 8])
def test_without_a_penalty_the_curvature_bounds(seed):
    """Equal columns are combinations of others. The bound is valid, and tight near the optimum."""
    problem = poisson_problem(seed)._replace(l2=0.0)
    optimum, rng = poisson_optimum(problem), np.random.default_rng(seed)
    least = poisson_results(problem, optimum[:-1], optimum[-1]).value
    for shift in (0.0, 1e-6, 1e-3):
        theta = moved(problem, optimum, shift, rng)
        certificate = certificate_of(problem, theta)
        true = exact_results(problem, theta).value - least
        assert str(certificate.bound).startswith("curvature")
        assert true <= certificate.gap
        assert certificate.gap - 2 * certificate.rounding <= 1.2 * true


def test_the_bound_by_curvature_far_from_the_optimum():
    problem = poisson_problem(0)._replace(l2=0.0)
    optimum = poisson_optimum(problem)
    theta = moved(problem, optimum, 3.0, np.random.default_rng(0))
    assert certificate_of(problem, theta).gap == np.inf
    certificate = certificate_of(problem, theta, tight=True)
    true = exact_results(problem, theta).value - exact_results(problem, optimum.astype(float)).value
    assert certificate.bound == "curvature further down"
    assert true <= certificate.gap <= 1.3 * true


def test_rows_of_counts_0_alone_leave_no_minimum_without_a_penalty():
    """Counts are 0 wherever the column is 1: J falls forever along its coefficient."""
    x, y = np.repeat([[0.0], [1.0]], 10, axis=0), np.repeat([2, 0], 10)
    for coef in (0.0, -5.0, -30.0):
        head = LinearHeads([coef], np.log(2), 0.0, "poisson")
        for tight in (False, True):
            certificate = certify(head, x, y, tight=tight, report=True)
            assert certificate.gap == np.inf
            assert certificate.bound == "none: the duality bound needs l2 > 0"


def test_several_heads_folds_and_scales():
    """Each head has its own bound, with its own weights and the penalty of scaled columns."""
    problem = poisson_problem(8)
    rng = np.random.default_rng(3)
    m = problem.x.shape[1]
    coef, intercept, l2 = 0.1 * rng.normal(size=(3, m)), 0.1 * rng.normal(size=3), np.array([0.1, 1.0, 10.0])
    weights, scale = problem.s * (rng.random((3, len(problem.x))) < 0.8), rng.uniform(0.1, 10, m)
    for tight in (False, True):
        together = certify(
            LinearHeads(coef, intercept, l2, "poisson", scale), problem.x, problem.y, weights, tight=tight
        )
        for k in range(3):
            head = LinearHeads(coef[k] * scale, intercept[k], l2[k], "poisson")
            used = weights[k] > 0
            alone = certify(head, problem.x[used] / scale, problem.y[used], weights[k][used], tight=tight)
            np.testing.assert_allclose(together.gap[k], alone.gap, rtol=1e-9)
            np.testing.assert_allclose(together.value[k], alone.value, rtol=1e-13)
            np.testing.assert_allclose(together.null_value[k], alone.null_value, rtol=1e-13)
            assert together.bound[k] == alone.bound


def test_blocks_of_rows_and_of_heads_change_nothing():
    rng = np.random.default_rng(0)
    rows, count = 5_000, 600
    x, s = rng.normal(size=(rows, 3)), rng.uniform(0.5, 2, rows)
    y = rng.poisson(np.exp(x[:, 0] / 2))
    coef, intercept = rng.normal(size=(count, 3)) / 3, rng.normal(size=count)
    together = certify(LinearHeads(coef, intercept, 0.1, "poisson"), x, y, s)
    for k in (0, 299, count - 1):
        alone = certify(LinearHeads(coef[k], intercept[k], 0.1, "poisson"), x, y, s)
        gap = together.gap[k] - together.rounding[k]
        np.testing.assert_allclose(gap, alone.gap - alone.rounding, rtol=1e-12)
        np.testing.assert_allclose(together.value[k], alone.value, rtol=1e-13)


def test_weights_count_rows_and_the_unit_of_the_counts_is_that_of_j():
    """Counts times k, and rates with them, multiply J and the gap at a penalty times k."""
    problem = poisson_problem(16)
    rng = np.random.default_rng(0)
    s = rng.integers(0, 4, len(problem.x))
    head = LinearHeads(0.1 * rng.normal(size=problem.x.shape[1]), 0.3, 0.2, "poisson")
    weighted = certify(head, problem.x, problem.y, s)
    repeated = certify(head, np.repeat(problem.x, s, 0), np.repeat(problem.y, s))
    np.testing.assert_allclose(weighted.gap, repeated.gap, rtol=1e-10)
    scaled = certify(
        head._replace(intercept=0.3 - 40 * np.log(2), l2=0.2 * 2.0**-40), problem.x, problem.y * 2.0**-40, s
    )
    for name in ("value", "gap", "null_value", "improvement"):
        np.testing.assert_allclose(getattr(scaled, name) * 2.0**40, getattr(weighted, name), rtol=1e-10)


def test_what_overflows_has_no_bound_and_says_so():
    """A row of weight 0 may overflow."""
    x, y = np.array([[1.0], [2.0], [800.0]]), np.array([1, 2, 3])
    head = LinearHeads([1.0], 0.0, 0.1, "poisson")
    for intercept in (0.0, None):
        for tight in (False, True):
            certificate = certify(head._replace(intercept=intercept), x, y, tight=tight)
            assert certificate.gap == np.inf
            assert certificate.value == np.inf
            assert certificate.bound == "none: overflow"
            finite = certify(head._replace(intercept=intercept), x, y, [1, 1, 0], tight=tight)
            alone = certify(head._replace(intercept=intercept), x[:2], y[:2], tight=tight)
            np.testing.assert_allclose([finite.gap, finite.value], [alone.gap, alone.value], rtol=1e-12)
    several = certify(LinearHeads([[1.0], [0.1]], [0.0, 0.0], 0.1, "poisson"), x, y, [[1, 1, 0], [1, 1, 1]])
    assert np.isfinite(several.gap).all()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, -2, 3, 0], "y: expected counts or rates of at least 0, got -2"),
        ([1, np.nan, 3, 0], "y: .*nan"),
        ([1, np.inf, 3, 0], "y: .*inf"),
        ([0, 0, 0, 5], "y: expected at least one positive target in rows of positive weight, got only zeros"),
        ([[1], [2], [3], [4]], r"y: expected 1-D \[n\]"),
    ],
)
def test_wrong_targets_are_named(y, message):
    head = LinearHeads([0.1], 0.0, 0.1, "poisson")
    with pytest.raises(ValueError, match=message):
        certify(head, np.arange(4.0)[:, None], y, [1, 1, 1, 0])


def test_targets_of_0_alone():
    """They have a minimum without an intercept. In one set of weights of several they have no bound."""
    x, y = np.arange(1.0, 5)[:, None], np.array([0, 0, 3, 1])
    certificate = certify(LinearHeads([-0.1], None, 0.1, "poisson"), x, 0 * y)
    np.testing.assert_allclose(certificate.null_value, 1.0)
    assert certificate.bound == "duality"
    folds = certify(LinearHeads([[0.1], [0.1]], 0.0, 0.1, "poisson"), x, y, [[1, 1, 0, 0], [1, 0, 1, 1]])
    assert folds.bound == ("none: targets of 0 alone have no finite intercept", "duality")
    assert folds.gap[0] == np.inf


def test_heads_predict_rates():
    head = LinearHeads([[1.0, -1.0], [0.0, 2.0]], [0.5, 0.0], 0.1, "poisson")
    x = np.array([[2.0, 1.0], [0.0, 0.0], [1.0, 3.0]])
    np.testing.assert_allclose(head.predict(x), np.exp(np.array([[1.5, 0.5, -1.5], [2.0, 0.0, 6.0]])))
    with pytest.raises(ValueError, match="expected heads with loss 'logistic' or 'softmax', got 'poisson'"):
        head.predict_proba(x)
    with pytest.raises(
        ValueError, match="loss: expected 'logistic', 'softmax', 'squared' or 'poisson', got 'hinge'"
    ):
        head._replace(loss="hinge").predict(x)


def test_a_report_on_counts_has_no_classes():
    x, y = np.arange(8.0).reshape(4, 2), [0, 1, 2, 7]
    report = data_report(x, y, loss="poisson")
    assert report.separability is None
    assert report == data_report(x, loss="squared")
    assert certify(LinearHeads([0.1, 0.0], 0.0, 0.1, "poisson"), x, y, report=True).report == report


def test_the_names_of_the_losses_are_those_of_the_records():
    assert all(name == loss.name for name, loss in CERTIFIED_LOSSES.items())


@pytest.mark.parametrize("seed", range(20))
def test_the_distance_of_the_intercept_is_a_bound(seed):
    """It is the distance to the best intercept, where the coefficients move by at most √(2·gap/λ)."""
    problem = poisson_problem(8 * seed)._replace(
        intercept=True, scale=np.ones(poisson_problem(8 * seed).x.shape[1])
    )
    optimum = poisson_optimum(problem)
    theta = moved(problem, optimum, 0.5, np.random.default_rng(seed))
    gap = float(exact_results(problem, theta).value - exact_results(problem, optimum.astype(float)).value)
    used = problem.s > 0
    means = [problem.s @ part for part in (problem.y, np.exp(problem.x @ theta[:-1] + theta[-1]))]
    longest = np.linalg.norm(problem.x[used], axis=1).max()
    numbers = (np.array([part]) for part in (gap, problem.l2, longest, abs(np.log(means[0] / means[1]))))
    assert abs(float(optimum[-1]) - theta[-1]) <= poisson_intercept_distance(*numbers)[0]


@pytest.mark.parametrize("l2", [1e-6, 1e-2, 1.0])
def test_scikit_learn_agrees(l2):
    """Its alpha is l2, and its objective is half the mean deviance with half the penalty."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    y, s = rng.poisson(np.exp(x @ [0.3, -0.2, 0.1, 0.0] + 1)), rng.uniform(0.1, 2, 200)
    for fit_intercept in (True, False):
        model = linear_model.PoissonRegressor(
            alpha=l2, fit_intercept=fit_intercept, solver="newton-cholesky", tol=1e-10, max_iter=1000
        ).fit(x, y, sample_weight=s)
        head = LinearHeads(model.coef_, model.intercept_ if fit_intercept else None, l2, "poisson")
        certificate = certify(head, x, y, s)
        assert certificate.gap <= certificate.gap_tol(1e-6)
        deviance = metrics.mean_poisson_deviance(y, model.predict(x), sample_weight=s)
        np.testing.assert_allclose(
            certificate.value, deviance / 2 + l2 / 2 * model.coef_ @ model.coef_, rtol=1e-12
        )
        np.testing.assert_allclose(head.predict(x), model.predict(x), rtol=1e-13)
