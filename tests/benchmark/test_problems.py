"""Tests of the data of the benchmark: rows like embeddings have the means and the noise that they state."""

import numpy as np
import pytest

from dlcore.benchmark.suites import problems

pytestmark = pytest.mark.any_mode

ROWS, FEATURES, CLASSES = 20_000, 30, 4


def within_and_between(signal: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the deviations of rows from the mean of their class, and the means, both times √j."""
    x, label = problems.embeddings(0, ROWS, FEATURES, CLASSES, signal)
    means = np.stack([x[label == k].mean(0, dtype=np.float64) for k in range(CLASSES)])
    scale = np.sqrt(np.arange(1, FEATURES + 1))
    return (x - means[label]) * scale, means * scale


def test_noise_falls_as_the_root_of_the_column():
    noise, _ = within_and_between(0.35)
    # The standard deviation of n normal numbers has a relative standard error of 1/√(2n).
    assert np.abs(noise.std(0) - 1).max() < 5 / np.sqrt(2 * ROWS)
    correlation = np.corrcoef(noise.T)[~np.eye(FEATURES, dtype=bool)]
    assert np.abs(correlation).max() < 5 / np.sqrt(ROWS)


@pytest.mark.parametrize("signal", [0.05, 0.35, 2.0])
def test_means_of_classes_deviate_by_the_signal(signal):
    _, means = within_and_between(signal)
    error_of_means = np.sqrt(CLASSES / ROWS)
    expected = np.hypot(signal, error_of_means)
    assert means.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * means.size))


def test_every_class_has_a_row():
    x, label = problems.embeddings(0, 7, 3, 7)
    assert sorted(label) == list(range(7))
    assert (x.dtype, label.dtype) == (np.float32, np.int64)
    again, _ = problems.embeddings(0, 7, 3, 7)
    np.testing.assert_array_equal(x, again)
