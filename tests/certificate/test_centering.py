"""Centering of rows far from 0, for heads with an intercept."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from oracles.head_oracle import Objective, least_value, value_of

from dlcore import LinearHeads, Status, certify, fit_heads
from dlcore.certificate.centering import centered_intercept, find_center

pytestmark = pytest.mark.any_mode


def far_rows(seed: int, classes: int, offset: float = 1e6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 5))
    score = x @ rng.normal(size=(5, classes)) + rng.gumbel(size=(60, classes))
    y = score.argmax(1)
    y[:classes] = range(classes)
    return x + offset * rng.choice([-1, 0, 0.7], 5), y


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("seed", range(4))
def test_the_gap_of_far_rows_is_above_the_true_one_and_small(loss, seed):
    """The oracle works in 40 digits. Near the optimum the bound is tight."""
    classes = 2 if loss == "logistic" else 3
    x, y = far_rows(seed, classes)
    heads = fit_heads(x, y, loss=loss, l2=[1e-6, 1e-2, 1.0])
    assert set(heads.status) == {Status.CONVERGED}
    for k, l2 in enumerate(heads.l2):
        objective = Objective(loss, x, y, np.ones(len(x)), float(l2), intercept=True)
        least = least_value(objective)
        for shift in (0, 1e-9, 1e-3):
            intercept = heads.intercept[k] + shift * np.arange(1, np.size(heads.intercept[k]) + 1)
            point_heads = LinearHeads(heads.coef[k], intercept.reshape(np.shape(heads.intercept[k])), l2, loss)
            certificate = certify(point_heads, x, y)
            with mpmath.workdps(40):
                value = value_of(objective, heads.coef[k], intercept)
                assert value - least.value <= certificate.gap
                assert abs(value - certificate.value) <= 1e-13 * (1 + certificate.value)


def test_the_rounding_of_far_rows_is_that_of_near_ones():
    """The subtraction is exact here, so the two tables are the same function."""
    x, y = far_rows(0, 2, 0.0)
    x = np.round(x * 2**20) / 2**20
    head = LinearHeads(np.linspace(-1, 1, 5), 0.25, 1e-6)
    coef = np.linspace(-1, 1, 5)
    far = LinearHeads(coef, 0.25 - float(np.dot(coef, np.full(5, 2.0**20))), 1e-6)
    near, far_certificate = certify(head, x, y), certify(far, x + 2.0**20, y)
    assert far_certificate.rounding <= 10 * near.rounding
    np.testing.assert_allclose(far_certificate.value, near.value, rtol=1e-12)


def test_the_gradient_is_that_of_rows_as_they_are():
    x, y = far_rows(1, 2)
    w, b = np.full(5, 1e-6), 0.3
    z = x @ w + b
    residual = (1 / (1 + np.exp(-z)) - y) / len(x)
    expected = np.linalg.norm([*(x.T @ residual + 0.1 * w), residual.sum()])
    np.testing.assert_allclose(certify(LinearHeads(w, b, 0.1), x, y).gradient_norm, expected, rtol=1e-12)
    several = LinearHeads(np.stack([-w / 2, w / 2]), [-b / 2, b / 2], 0.2, "softmax")
    expected = np.sqrt(2) * np.linalg.norm([*(x.T @ residual + 0.1 * w), residual.sum()])
    np.testing.assert_allclose(certify(several, x, y).gradient_norm, expected, rtol=1e-12)


def test_the_moved_intercept_is_correctly_rounded():
    rng = np.random.default_rng(0)
    point = find_center(rng.normal(size=(100, 7)) + 1e9 * rng.normal(size=7))
    assert point is not None
    coef = rng.normal(size=(20, 7)) * 10.0 ** rng.integers(-9, 9, (20, 7))
    intercept = -(coef @ point)  # nearly all of it cancels
    for w, b, computed in zip(coef, intercept, centered_intercept(coef, intercept, point), strict=True):
        exact = sum((Fraction(c) * Fraction(v) for c, v in zip(point, w, strict=True)), Fraction(b))
        assert computed == float(exact)


def test_rows_about_zero_stay_where_they_are():
    assert find_center(np.random.default_rng(0).normal(size=(50, 3))) is None


def test_an_intercept_that_cancels_is_moved_without_error():
    """c·w is a million times the logits, and every row pulls the same way."""
    x, y = far_rows(2, 2)
    w = np.array([1.0, -2.0, 0.7, 3.0, 1.1])
    b = float(3 - w @ x.mean(0))
    value = value_of(Objective("logistic", x, y, np.ones(len(x)), 0.1, intercept=True), w, b)
    assert abs(value - certify(LinearHeads(w, b, 0.1), x, y).value) <= 1e-14 * value
