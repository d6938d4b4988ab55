"""Temperature scaling against a minimiser in 40 digits; the gap is a bound."""

from typing import Any, cast

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from dlcore.probing import temperature_scaling

pytestmark = pytest.mark.any_mode


def problem(seed):
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(5, 60)), int(rng.integers(2, 6))
    z = rng.normal(size=(n, classes)) * 10 ** rng.uniform(-2, 3)
    y = np.where(rng.random(n) < 0.7, z.argmax(1), rng.integers(0, classes, n))
    weight = rng.choice([0.0, 0.5, 2.0], n) if seed % 2 else None
    if weight is not None:
        weight[0] = 1
    return z, y, weight


def exact_loss(z, y, weight, beta):
    """Return the mean log loss at β in 40 digits."""
    with mpmath.workdps(40):
        s = [mpmath.mpf(1)] * len(y) if weight is None else [mpmath.mpf(w) for w in weight]
        losses = []
        for row, label in zip(z.tolist(), y.tolist(), strict=True):
            d = [mpmath.mpf(beta) * (mpmath.mpf(entry) - mpmath.mpf(row[label])) for entry in row]
            top = max(d)
            losses.append(top + mpmath.log(mpmath.fsum(mpmath.exp(entry - top) for entry in d)))
        return mpmath.fdot(s, losses) / mpmath.fsum(s)


def exact_slope(z, y, weight, beta):
    """Return the derivative of the mean log loss at β in 40 digits."""
    with mpmath.workdps(40):
        s = [mpmath.mpf(1)] * len(y) if weight is None else [mpmath.mpf(w) for w in weight]
        slopes = []
        for row, label in zip(z.tolist(), y.tolist(), strict=True):
            d = [mpmath.mpf(entry) - mpmath.mpf(row[label]) for entry in row]
            top = max(d)
            powers = [mpmath.exp(mpmath.mpf(beta) * (entry - top)) for entry in d]
            slopes.append(mpmath.fdot(powers, d) / mpmath.fsum(powers))
        return mpmath.fdot(s, slopes) / mpmath.fsum(s)


def float_loss(z, y, weight, beta):
    d = beta * (z - np.take_along_axis(z, y[:, None], 1))
    losses = np.logaddexp.reduce(d, axis=1)
    return np.average(losses, weights=weight)


@pytest.mark.parametrize("seed", range(40))
def test_the_gap_bounds_the_distance_from_the_minimum(seed):
    z, y, weight = problem(seed)
    table = temperature_scaling(z, y, sample_weight=weight)
    beta, gap, status = (table[name][0] for name in ("inverse_temperature", "gap", "status"))
    if status == "separable":
        counted = np.ones(len(y), bool) if weight is None else weight > 0
        assert (z[counted].argmax(1) == y[counted]).all()
        return
    assert status == "converged"
    scale = np.abs(z).max()
    best = cast(Any, minimize_scalar)(
        lambda b: float_loss(z, y, weight, b), bounds=(0, 1e4 / scale), method="bounded", options={"xatol": 1e-12}
    ).x
    with mpmath.workdps(40):
        found, least = exact_loss(z, y, weight, beta), exact_loss(z, y, weight, max(best, 0.0))
        assert found - least <= gap
        assert gap <= 1e-10 * found
    if beta > 0:
        lower, upper = float(table["lower"][0]), float(table["upper"][0])
        assert lower <= beta <= upper
        assert lower == 0 or exact_slope(z, y, weight, lower) < 0
        assert exact_slope(z, y, weight, upper) > 0
        assert gap >= abs(exact_slope(z, y, weight, beta)) * (upper - lower)
        np.testing.assert_allclose(beta, best, rtol=1e-4)
    np.testing.assert_allclose(table["log_loss"][0], float(found), rtol=1e-12)
    np.testing.assert_allclose(table["log_loss_before"][0], float(exact_loss(z, y, weight, 1.0)), rtol=1e-12)


def test_newton_steps_are_few():
    """Bisection alone makes 840 evaluations of these problems."""
    assert sum(temperature_scaling(*problem(seed)[:2])["steps"][0] for seed in range(40)) < 700


def test_known_temperature_is_found():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, 4)) * 2
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    y = (p.cumsum(1) < rng.random(20_000)[:, None]).sum(1).clip(max=3)
    table = temperature_scaling(3 * z, y)
    assert abs(table["temperature"][0] - 3) < 0.1
    assert table["log_loss"][0] < table["log_loss_before"][0]


def test_one_logit_is_that_of_class_one():
    z, y = np.array([2.0, -1.0, 0.5, -3.0, 1.0]), np.array([1, 1, 0, 0, 1])
    one = temperature_scaling(z, y)
    two = temperature_scaling(np.stack([0 * z, z], axis=1), y)
    assert one["inverse_temperature"] == two["inverse_temperature"]


def test_useless_logits_have_the_temperature_infinity():
    table = temperature_scaling([[3.0, 0.0], [0.0, 3.0]], [1, 0])
    assert table["temperature"][0] == np.inf
    assert table["gap"][0] == 0
    np.testing.assert_allclose(table["log_loss"][0], np.log(2))
    assert temperature_scaling(np.ones((2, 3)), [1, 0])["temperature"][0] == np.inf


def test_separable_logits_have_no_minimum():
    table = temperature_scaling([[3.0, 0.0], [0.0, 3.0]], [0, 1])
    assert (table["status"][0], table["temperature"][0], table["gap"][0]) == ("separable", 0, np.inf)


@pytest.mark.parametrize("factor", [2.0**-30, 1.0, 2.0**30])
def test_the_fit_does_not_depend_on_the_unit_of_the_logits(factor):
    z, y, weight = problem(2)
    one, other = (temperature_scaling(z * f, y, sample_weight=weight) for f in (1.0, factor))
    np.testing.assert_allclose(other["inverse_temperature"][0] * factor, one["inverse_temperature"][0], rtol=1e-4)
    assert other["status"] == "converged"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]], [2]), "y: expected class numbers from 0 to 1, got 2"),
        (([[1.0, np.nan]], [1]), "logits: expected finite numbers, got nan"),
        (([[1.0, 2.0]], [0, 1]), "logits has 1, y has 2"),
        (([[1.0]], [0]), "logits: expected at least two classes"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        temperature_scaling(*arguments)
