"""Sums of products over rows: from NumPy on a CPU, from a compiled program on other devices."""

import jax
import numpy as np
import pytest

from dlcore.heads.data.training_data import TrainingData, read_training_data
from dlcore.heads.solvers.ridge.gram import POINT_ROWS, GramAccumulator

pytestmark = pytest.mark.any_mode

ROWS, COLUMNS, TARGETS = 700, 5, 2


def ridge_inputs(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> TrainingData:
    return read_training_data(
        x,
        y,
        loss="squared",
        penalties={"l2": 0.1},
        folds=None,
        groups=None,
        sample_weight=weight,
        class_weight=None,
        validation=None,
        standardize=False,
        fit_intercept=True,
    )


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_both_sums_are_those_of_the_rows(offset):
    """Some rows weigh 0, and there are several blocks."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, COLUMNS)) + offset, rng.normal(size=(ROWS, TARGETS)) - offset
    weight = rng.integers(0, 3, ROWS).astype(float)
    inputs = ridge_inputs(x, y, weight)
    index = np.flatnonzero(weight)
    scaled = weight / weight.max() / 2  # as the weights are kept
    middle, level = np.average(x, axis=0, weights=weight), np.average(y, axis=0, weights=weight)
    with jax.enable_x64(True):
        accumulator = GramAccumulator(inputs, x, fit_intercept=True)
        assert accumulator.block < len(index)
        for sums in (accumulator.summed_on_host(index), accumulator.summed_on_device(index)):
            gram = (x - middle).T @ ((x - middle) * scaled[:, None])
            cross = (x - middle).T @ ((y - level) * scaled[:, None])
            tol = ROWS * np.finfo(float).eps * (1 + offset)
            scale = inputs.weight.sum() / scaled.sum()
            np.testing.assert_allclose(np.asarray(sums.middle), middle, rtol=tol, atol=tol)
            np.testing.assert_allclose(np.asarray(sums.level), level, rtol=tol, atol=tol)
            half = COLUMNS // 2
            np.testing.assert_allclose(sums.upper, scale * gram[:half], rtol=0, atol=tol * ROWS)
            np.testing.assert_allclose(sums.corner, scale * gram[half:, half:], rtol=0, atol=tol * ROWS)
            np.testing.assert_allclose(sums.cross, scale * cross, rtol=0, atol=tol * ROWS)
            np.testing.assert_allclose(sums.total, inputs.weight.sum(), rtol=tol)


def test_a_sample_that_is_unlike_the_other_rows_loses_no_digits():
    """Every row of the sample is far from the others: the sums are taken again about the mean."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2 * POINT_ROWS, COLUMNS)), rng.normal(size=(2 * POINT_ROWS, TARGETS))
    x[::2] += 1e6
    weight = np.where(np.arange(len(x)) % 2, 1.0, 1e-9)
    inputs = ridge_inputs(x, y, weight)
    with jax.enable_x64(True):
        sums = GramAccumulator(inputs, x, fit_intercept=True).summed_on_host(np.arange(len(x)))
    middle = np.average(x.astype(np.longdouble), axis=0, weights=weight)
    scale = inputs.weight / weight
    expected = ((x - middle).T @ ((x - middle) * (weight * scale)[:, None])).astype(float)
    half = COLUMNS // 2
    np.testing.assert_allclose(sums.upper, expected[:half], rtol=1e-9)
    np.testing.assert_allclose(sums.corner, expected[half:, half:], rtol=1e-9)
