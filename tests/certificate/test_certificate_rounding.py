"""Rounding that a certificate must not miss, in the cases that are far from the usual ones."""

import math

import mpmath
import numpy as np
import pytest
from helpers import newton, random_problem

from dlcore import LinearHeads, certify
from dlcore.certificate.bounds import softmax
from dlcore.certificate.bounds.curvature import HeadParams
from dlcore.certificate.bounds.quadratic_form import Spectrum, quadratic_form
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.newton import value_and_error
from dlcore.certificate.rounding.base import PAIRWISE, UNIT
from dlcore.certificate.rounding.logistic import logistic_intercept_distance
from dlcore.certificate.rounding.poisson import poisson_sums
from dlcore.certificate.rounding.squared import errors_from_moments
from dlcore.certificate.rows import TrainingData, scaled_weights

pytestmark = pytest.mark.any_mode


@pytest.mark.parametrize("sets", [1, 2, 5])
def test_weights_of_a_class_are_added_pairwise_in_every_set(sets):
    """A large weight followed by thousands that a running sum would lose."""
    n = 20_000
    one_set = np.full(n, 2.0**-54)
    one_set[0] = 0.5
    x, y = np.zeros((n, 2)), np.zeros(n, int)
    heads = HeadArrays(np.zeros((sets, 3, 2)), np.zeros((sets, 3)), np.ones(sets))
    data = TrainingData(x, y, scaled_weights(np.tile(one_set, (sets, 1))))
    found = softmax._softmax_sums(heads, np.zeros((sets, 3)), data).weight[:, 0]
    exact = math.fsum(one_set)
    assert (np.abs(found / exact - 1) <= PAIRWISE * UNIT).all()


@pytest.mark.parametrize("whole", [1.0, 50.0])
@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
def test_gains_of_tiny_probabilities_are_not_below_the_exact_ones(ratio, whole):
    shifted = np.full((1, 1, 1), -670.0)  # p is about 1e-291
    p = np.exp(shifted) / whole
    gain = ratio * p
    found = softmax._gains(p, gain, shifted, np.full((1, 1, 1), whole))[0, 0, 0]
    with mpmath.workdps(50):
        small, large = mpmath.mpf(float(p[0, 0, 0])), mpmath.mpf(float(gain[0, 0, 0]))
        exact = (small + large) * mpmath.log(1 + large / small) - large
    assert found >= float(exact) * (1 - 1e-6)
    assert found <= float(exact) * (1 + 1e-6)


@pytest.mark.parametrize("offset", [1e-4, 0.3, -0.8])
def test_the_distance_of_the_intercepts_is_within_its_bound_where_the_penalty_is_strong(offset):
    """Start at the optimal coefficients, where the bound on their distance says nothing of the intercept."""
    problem = random_problem(3)._replace(l2=1e4)
    w, b = np.split(newton(problem).astype(np.float64), [-1])
    fraction = problem.s / problem.s.sum()

    def mean_residual(intercept):
        return fraction @ (1 / (1 + np.exp(-problem.x @ w - intercept)) - problem.y)

    def value(intercept):
        logits = problem.x @ w + intercept
        return fraction @ (np.logaddexp(0, logits) - problem.y * logits)

    p = 1 / (1 + np.exp(-problem.x @ w - b - offset))
    bound = logistic_intercept_distance(
        np.atleast_1d(value(b + offset) - value(b)),
        np.array([problem.l2]),
        np.array([np.linalg.norm(problem.x, axis=1).max()]),
        np.atleast_1d(abs(mean_residual(b + offset))),
        np.atleast_1d(fraction @ (p * (1 - p))),
    )
    assert bound >= abs(offset)


@pytest.mark.parametrize("penalty", [0.0, 0.05, 2.0])
def test_a_quadratic_form_of_eigenvalues_that_are_smaller_by_their_error_is_within_its_bound(penalty):
    values, err, h = np.array([0.5, 1.0, 3.0]), 0.1, np.array([[1.0, -2.0, 0.5]])
    spectrum = Spectrum(values, None, np.ones(3), err, 0.0)
    computed, err_root, _ = quadratic_form(spectrum, h, np.array([penalty]), np.zeros(1))
    exact = (h**2 / (values - err + penalty)).sum() / 2
    if penalty != 0.05:  # where two eigenvalues are uncertain beside the penalty, and have their part in the error
        np.testing.assert_allclose(computed, (h**2 / (values + penalty)).sum() / 2, rtol=1e-14)
    assert err_root >= np.sqrt(exact) - np.sqrt(computed)


def test_the_error_of_poisson_sums_counts_every_term():
    """Sums of n rows and logits of m columns have errors of at least n·u by blocks, and m·u."""
    for blocks, features in (
        ([slice(0, 1)], 1000),
        ([slice(0, 1000)], 1),
        ([slice(k, k + 1) for k in range(500)], 1),
    ):
        longest = max(block.stop - block.start for block in blocks)
        assert poisson_sums(blocks, features) >= 2 * (max(longest, len(blocks)) + features) * UNIT


def test_products_round_even_with_exact_moments():
    """A product of m terms has an error of up to m·u of the magnitude of its terms."""
    reach = np.array([1.0, 3.0])
    errors = errors_from_moments(100, 0.0, np.zeros(2), reach, np.zeros(2))
    assert (errors.err_grad >= 100 * UNIT * reach).all()
    assert (errors.err_value >= 100 * UNIT * reach**2).all()


def test_the_error_of_a_value_includes_those_of_its_rows():
    """Logits near 0 are differences of large numbers here, and so are their errors."""
    rng = np.random.default_rng(0)
    x, y, fraction = rng.normal(size=(40, 3)) / 3 + 1, rng.integers(0, 2, 40), 1 / 40
    coef = np.array([[1e7, 1e7 + 0.1, -2e7, 0.3]])
    x[:, 2] = (x[:, 0] * coef[0, 0] + x[:, 1] * coef[0, 1] - rng.normal(size=40)) / 2e7
    params = HeadParams(coef, np.zeros(4), np.ones(4, bool), has_intercept=True)
    value, err = value_and_error(params, TrainingData(x, y, scaled_weights(np.full((1, 40), fraction))))
    with mpmath.workdps(40):
        exact = mpmath.mpf(0)
        for row, label in zip(x, y, strict=True):
            logit = mpmath.fsum(mpmath.mpf(a) * mpmath.mpf(b) for a, b in zip([*row, 1.0], coef[0], strict=True))
            exact += mpmath.log1p(mpmath.exp(logit)) - int(label) * logit
        actual = float(abs(exact * mpmath.mpf(fraction) - mpmath.mpf(value)))
    assert actual <= err


@pytest.mark.parametrize("loss", ["logistic", "softmax", "poisson"])
def test_the_bound_of_a_head_does_not_depend_on_the_number_of_heads(loss):
    """All rows are in one block. The squared loss is left out: it is evaluated otherwise for many heads."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 2))
    y = np.arange(50) % (3 if loss == "softmax" else 2)
    coef = rng.normal(size=(3, 2) if loss == "softmax" else 2)
    one = certify(LinearHeads(coef[None], np.zeros((1, *coef.shape[:-1])), 0.1, loss), x, y)
    many = certify(LinearHeads(np.repeat(coef[None], 40, 0), np.zeros((40, *coef.shape[:-1])), 0.1, loss), x, y)
    tolerance = 10 * x.size * UNIT  # sums of 50 rows of two columns in another order
    for name in ("gap", "rounding", "value"):
        expected = np.repeat(getattr(one, name), 40)
        np.testing.assert_allclose(getattr(many, name), expected, rtol=tolerance, err_msg=name)
