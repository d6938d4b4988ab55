"""Metrics of numbers against scikit-learn and NumPy, and their edges."""

import math

import numpy as np
import pytest
from metric_problems import PROBLEMS, regression
from sklearn.metrics import d2_tweedie_score, mean_poisson_deviance, r2_score

from dlcore import metrics
from dlcore.metrics import regression as kernels

pytestmark = pytest.mark.any_mode
SEEDS = range(PROBLEMS)


@pytest.mark.parametrize("multioutput", ["uniform_average", "raw_values"])
def test_r2_is_scikit_learns(multioutput):
    """Constant targets too. The errors, 1 − R², agree to 1e-12 of their size."""
    for seed in SEEDS:
        y, prediction, s = regression(seed)
        expected = r2_score(y, prediction, multioutput=multioutput, sample_weight=s)
        found = metrics.r2(y, prediction, multioutput=multioutput, sample_weight=s)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        expected = r2_score(y[:, -1], prediction[:, -1], sample_weight=s)
        found = metrics.r2(y[:, -1], prediction[:, -1], sample_weight=s)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def pearson_by_loops(y, prediction, weight):
    """Return the correlation from exact sums of the products about the means."""
    total = math.fsum(weight)
    offsets = []
    for values in (y, prediction):
        mean = math.fsum(w * v for w, v in zip(weight, values, strict=True)) / total
        offsets.append([v - mean for v in values])
    products = [
        math.fsum(w * a * b for w, a, b in zip(weight, *pair, strict=True))
        for pair in ((offsets[0], offsets[1]), (offsets[0], offsets[0]), (offsets[1], offsets[1]))
    ]
    return products[0] / math.sqrt(products[1] * products[2])


@pytest.mark.filterwarnings("ignore::dlcore.metrics.UndefinedMetricWarning")
def test_pearson_r_is_that_of_loops_and_of_numpy():
    for seed in SEEDS:
        y, prediction, s = regression(seed)
        found = metrics.pearson_r(y, prediction, multioutput="raw_values", sample_weight=s)
        assert found.shape == y.shape[1:]
        weight = np.ones(len(y)) if s is None else s
        for target in range(y.shape[1]):
            if np.ptp(y[:, target]) == 0:
                assert np.isnan(found[target])
                continue
            expected = pearson_by_loops(y[:, target], prediction[:, target], weight)
            np.testing.assert_allclose(found[target], expected, rtol=0, atol=1e-12)
            both = np.column_stack([y[:, target], prediction[:, target]])
            covariance = np.cov(both.T, aweights=weight)
            expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
            np.testing.assert_allclose(found[target], expected, rtol=0, atol=1e-12)
        mean = metrics.pearson_r(y, prediction, sample_weight=s)
        np.testing.assert_allclose(mean, found.mean(), rtol=1e-14)


def test_poisson_deviance_and_d2_are_scikit_learns():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        s = regression(seed).weight
        n = int(rng.integers(2, 61)) if s is None else len(s)
        rate = np.exp(rng.normal(size=n))
        y = rng.poisson(rate).astype(float) if seed % 2 else rng.gamma(1, size=n)
        y[0] = 1.0
        expected = mean_poisson_deviance(y, rate, sample_weight=s)
        np.testing.assert_allclose(metrics.poisson_deviance(y, rate, sample_weight=s), expected, rtol=1e-12)
        if np.ptp(y if s is None else y[s > 0]) == 0:  # scikit-learn divides by 0
            assert metrics.d2_poisson(y, rate, sample_weight=s) == 0.0
            continue
        expected = d2_tweedie_score(y, rate, power=1, sample_weight=s)
        np.testing.assert_allclose(metrics.d2_poisson(y, rate, sample_weight=s), expected, rtol=1e-12, atol=1e-12)


def test_many_predictions_have_the_metrics_of_each():
    rng = np.random.default_rng(0)
    y, z, weight = rng.poisson(2.0, (4, 30)).astype(float), rng.normal(size=(4, 30)), rng.uniform(0.5, 1, 30)
    found = {
        "r2": kernels.batched_r2(y, z, weight),
        "pearson_r": kernels.batched_pearson_r(y, z, weight),
        "poisson_deviance": kernels.batched_poisson_deviance(y, z, weight),
        "d2_poisson": kernels.batched_d2_poisson(y, z, weight),
    }
    for name, values in found.items():
        for h in range(4):
            said = np.exp(z[h]) if "poisson" in name else z[h]
            alone = getattr(metrics, name)(y[h], said, sample_weight=weight)
            np.testing.assert_allclose(values[h], alone, rtol=1e-12)


# -- edges -----------------------------------------------------------------------------------------------------


def test_constant_targets_have_an_r2_of_1_or_0():
    """Their mean may round: 0.1 three times has one that is not 0.1."""
    y = np.full(3, 0.1)
    assert metrics.r2(y, y) == 1.0
    assert metrics.r2(y, [0.1, 0.1, 0.2]) == 0.0
    assert metrics.d2_poisson(y, [0.1, 0.1, 0.2]) == 0.0
    assert metrics.r2([1.0, 1.0, 5.0], [1.0, 1.0, 2.0], sample_weight=[1, 1, 0]) == 1.0


def test_correlations_of_any_size_are_within_the_range():
    y = np.array([1.0, 2.0, 4.0])
    for scale in (1e-300, 1.0, 1e150):
        assert abs(metrics.pearson_r(y, scale * y) - 1) < 1e-15
        assert abs(metrics.pearson_r(scale * y, -y) + 1) < 1e-15


def test_undefined_values_are_said():
    for call in (
        lambda: metrics.r2([1.0], [2.0]),
        lambda: metrics.r2([1.0, 2.0], [2.0, 3.0], sample_weight=[0, 1]),
        lambda: metrics.d2_poisson([1.0], [2.0]),
    ):
        with pytest.warns(metrics.UndefinedMetricWarning, match="one row has a positive weight") as seen:
            assert np.isnan(call())
        assert seen[0].filename == __file__
    y = np.array([1.0, 2.0, 3.0])
    for given in ((y, np.full(3, 0.1)), (np.full(3, 0.1), y), (y[:1], y[:1])):
        with pytest.warns(
            metrics.UndefinedMetricWarning, match="pearson_r: a target or its prediction is constant"
        ):
            assert np.isnan(metrics.pearson_r(*given))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics.r2([1.0, 2.0], [[1.0], [2.0]]),
            r"y_pred: expected the shape of y_true, \(2,\), got \(2, 1\)",
        ),
        (
            lambda: metrics.r2(np.ones((2, 0)), np.ones((2, 0))),
            r"y_true: expected 1-D \[n\] or 2-D \[n, targets\]",
        ),
        (lambda: metrics.r2([1.0, np.nan], [1.0, 2.0]), "y_true: expected finite numbers, got nan"),
        (
            lambda: metrics.r2([1.0, 2.0], [1.0, 1e200]),
            "y_pred: expected numbers whose squares add up in the range",
        ),
        (
            lambda: metrics.r2([1.0, 2.0], [1.0, 2.0], multioutput="variance_weighted"),  # pyright: ignore
            "multioutput: expected 'uniform_average' or 'raw_values', got 'variance_weighted'",
        ),
        (lambda: metrics.pearson_r([1.0, 2.0], [1.0, 2.0, 3.0]), "y_true has 2, y_pred has 3"),
        (
            lambda: metrics.poisson_deviance([-1.0, 2.0], [1.0, 2.0]),
            "y_true: expected counts .* at least 0, got -1",
        ),
        (lambda: metrics.poisson_deviance([1.0, 2.0], [0.0, 2.0]), "y_pred: expected positive rates, got 0"),
        (
            lambda: metrics.d2_poisson(np.ones((2, 2)), np.ones((2, 2))),
            r"y_true: expected 1-D \[n\], got shape \(2, 2\)",
        ),
        (lambda: metrics.d2_poisson([0.0, 0.0], [1.0, 2.0]), "y_true: expected a positive number in rows"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
