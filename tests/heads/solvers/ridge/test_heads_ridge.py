"""Ridge heads: which bound proves them."""

import numpy as np
import pytest

from dlcore import certify, fit_heads
from dlcore.certificate.bounds.squared import RowSums, bounds_of_set
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.rows import scaled_weights

pytestmark = pytest.mark.any_mode

ROWS, COLUMNS, TARGETS = 60, 9, 2


def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, COLUMNS)) + 3
    return x, x @ rng.normal(size=(COLUMNS, TARGETS)) + rng.normal(size=(ROWS, TARGETS))


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_few_heads_are_proven_by_duality(intercept, standardize):
    x, y = problem()
    weight = np.linspace(0, 2, ROWS)
    heads = fit_heads(
        x, y, loss="squared", l2=0.1, sample_weight=weight, fit_intercept=intercept, standardize=standardize
    )
    assert set(heads.certificate.bound) == {"duality"}
    assert set(heads.status.flat) == {"converged"}
    exact = certify(heads[0.1], x, y, weight)
    assert set(exact.bound) == {"exact"}
    for name in ("value", "null_value", "improvement"):
        actual, expected = getattr(heads.certificate, name)[:, 0], getattr(exact, name)
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_of_duality_is_no_smaller_than_the_gap(seed):
    """Compare the bounds at any point, about the mean or 0, with and without scales, and far from 0."""
    rng = np.random.default_rng(seed)
    x, y = problem()
    x += 10.0 ** rng.integers(-3, 4)
    weights = scaled_weights(rng.uniform(0, 1, (1, ROWS)) * rng.integers(0, 2, ROWS))
    heads = HeadArrays(
        coef=rng.normal(size=(TARGETS, COLUMNS)),
        intercept=rng.normal(size=TARGETS) if seed % 2 else None,
        l2=10.0 ** rng.uniform(-3, 3, TARGETS),
        scale=rng.uniform(0.5, 2, COLUMNS) if seed % 4 > 1 else None,
    )
    sums = RowSums(x, y, weights)
    loose, exact = (bounds_of_set(sums, 0, heads, tol) for tol in (np.inf, 0.0))
    assert loose.bound == ["duality"] * TARGETS
    assert exact.bound == ["exact"] * TARGETS
    assert (loose.gap >= exact.gap).all()
    np.testing.assert_allclose(loose.value, exact.value, rtol=1e-9)
    np.testing.assert_allclose(loose.gradient_norm, exact.gradient_norm, rtol=1e-9)
    curved = 2 * np.square(x).sum()  # no eigenvalue of A is larger
    assert (loose.gap <= exact.gap * (1 + curved / heads.l2.min())).all()


def test_what_duality_proves_too_loosely_is_exact():
    """A small penalty beside large columns makes its bound larger than rounding allows."""
    x, y = problem()
    heads = fit_heads(x * 1e4, y[:, 0], loss="squared", l2=1e-9)
    assert heads.certificate.bound == ("exact",)
    assert heads.status.tolist() == ["converged"]


def test_many_heads_are_proven_exactly():
    x, y = problem()
    heads = fit_heads(x, y[:, 0], loss="squared", l2=np.geomspace(0.01, 1, 30))
    assert set(heads.certificate.bound) == {"exact"}
