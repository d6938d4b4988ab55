"""Log loss, Brier score and calibration: against scikit-learn or loops over rows, and their edges."""

from typing import Any

import numpy as np
import pytest
from metric_problems import PROBLEMS, problem
from sklearn.metrics import brier_score_loss, log_loss

from dlcore import metrics
from dlcore.metrics import calibration, probabilities

pytestmark = pytest.mark.any_mode
SEEDS = range(PROBLEMS)
AGREES: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def test_log_loss_is_scikit_learns():
    """Probabilities of 0 and 1 are clipped as there."""
    for seed in SEEDS:
        y, _, p, s = problem(seed)
        expected = log_loss(y, y_proba=p, labels=np.arange(p.shape[1]), sample_weight=s)
        np.testing.assert_allclose(metrics.log_loss(y, p, sample_weight=s), expected, **AGREES)
        y, _, p, s = problem(seed, classes=2)
        expected = log_loss(y, y_proba=p[:, 1], labels=[0, 1], sample_weight=s)
        np.testing.assert_allclose(metrics.log_loss(y, p[:, 1], sample_weight=s), expected, **AGREES)
        np.testing.assert_allclose(metrics.log_loss(y, p, sample_weight=s), expected, **AGREES)


def test_log_loss_of_logits_is_that_of_their_probabilities():
    for seed in SEEDS:
        y, _, p, s = problem(seed)
        logits = np.random.default_rng(seed).normal(size=p.shape) * 5
        powers = np.exp(logits)
        expected = metrics.log_loss(y, powers / powers.sum(1, keepdims=True), sample_weight=s)
        np.testing.assert_allclose(
            metrics.log_loss(y, logits, from_logits=True, sample_weight=s), expected, **AGREES
        )
        y, logit = np.minimum(y, 1), logits[:, 0]
        expected = metrics.log_loss(y, 1 / (1 + np.exp(-logit)), sample_weight=s)
        found = metrics.log_loss(y, logit, from_logits=True, sample_weight=s)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        both = np.column_stack([np.zeros(len(y)), logit])
        np.testing.assert_allclose(metrics.log_loss(y, both, from_logits=True, sample_weight=s), found, rtol=1e-12)


def test_brier_is_scikit_learns():
    for seed in SEEDS:
        y, _, p, s = problem(seed)
        expected = brier_score_loss(y, p, labels=np.arange(p.shape[1]), sample_weight=s)
        np.testing.assert_allclose(metrics.brier(y, p, sample_weight=s), expected, **AGREES)
        y, _, p, s = problem(seed, classes=2)
        expected = brier_score_loss(y, p, labels=[0, 1], sample_weight=s)
        np.testing.assert_allclose(metrics.brier(y, p, sample_weight=s), expected, **AGREES)
        np.testing.assert_allclose(metrics.brier(y, p[:, 1], sample_weight=s), expected, **AGREES)
        if len(np.unique(y)) == 2:
            expected = brier_score_loss(y, p[:, 1], pos_label=1, sample_weight=s)
            np.testing.assert_allclose(metrics.brier(y, p[:, 1], sample_weight=s), expected, **AGREES)


def calibration_by_loops(correct, confidence, weight, bins):
    """Return the error from the definition: bins [b/B, (b + 1)/B), and one of confidence 1."""
    total = 0.0
    for b in range(bins + 1):
        rows = [i for i, c in enumerate(confidence) if (c == 1 if b == bins else b / bins <= c < (b + 1) / bins)]
        mass = sum(weight[i] for i in rows)
        if mass:
            accuracy = sum(weight[i] * correct[i] for i in rows) / mass
            mean = sum(weight[i] * confidence[i] for i in rows) / mass
            total += mass * abs(accuracy - mean)
    return total / sum(weight)


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_is_that_of_loops(bins):
    """Confidences on the edges of bins too: torchmetrics puts them into the upper bin."""
    for seed in SEEDS:
        y, _, p, s = problem(seed)
        s = np.ones(len(y)) if s is None else s
        top = [list(row).index(max(row)) for row in p]
        expected = calibration_by_loops([k == label for k, label in zip(top, y, strict=True)], p.max(1), s, bins)
        found = metrics.expected_calibration_error(y, p, bins=bins, sample_weight=s)
        np.testing.assert_allclose(found, expected, **AGREES)
        y, p, s = np.minimum(y, 1), p[:, 0], None if seed % 4 == 0 else s
        weight = np.ones(len(y)) if s is None else s
        expected = calibration_by_loops(y == 1, p, weight, bins)
        found = metrics.expected_calibration_error(y, p, bins=bins, sample_weight=s)
        np.testing.assert_allclose(found, expected, **AGREES)


def test_many_predictions_have_the_metrics_of_each():
    rng = np.random.default_rng(0)
    labels, logits, weight = rng.integers(0, 3, (5, 40)), rng.normal(size=(5, 3, 40)), rng.uniform(0.5, 1, 40)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = probabilities.batched_softmax_log_loss(labels, logits, weight)
    briers = probabilities.batched_brier(labels, p, weight)
    errors = calibration.batched_calibration_error(p.argmax(1) == labels, p.max(1), weight)
    binary = probabilities.batched_sigmoid_log_loss(labels // 2, logits[:, 0], weight)
    for h in range(5):
        given = labels[h], p[h].T
        np.testing.assert_allclose(losses[h], metrics.log_loss(*given, sample_weight=weight), rtol=1e-13)
        np.testing.assert_allclose(briers[h], metrics.brier(*given, sample_weight=weight), rtol=1e-13)
        alone = metrics.expected_calibration_error(*given, sample_weight=weight)
        np.testing.assert_allclose(errors[h], alone, rtol=1e-13)
        alone = metrics.log_loss(labels[h] // 2, logits[h, 0], from_logits=True, sample_weight=weight)
        np.testing.assert_allclose(binary[h], alone, rtol=1e-13)


# -- edges -----------------------------------------------------------------------------------------------------


def test_logits_lose_no_digits_at_the_ends():
    """The loss of a confident right row is the probability of the other classes."""
    np.testing.assert_allclose(metrics.log_loss([1, 0], [50.0, -50.0], from_logits=True), np.exp(-50), rtol=1e-14)
    assert metrics.log_loss([0], [1e4], from_logits=True) == 1e4
    assert metrics.log_loss([0], [[0.0, 1e4]], from_logits=True) == 1e4
    right = metrics.log_loss([0], [[0.0, -30.0, -30.0]], from_logits=True)
    np.testing.assert_allclose(right, 2 * np.exp(-30), rtol=1e-12)
    assert (
        probabilities.batched_softmax_log_loss(np.array([1]), np.array([[0.0], [-np.inf]]), np.ones(1)) == np.inf
    )  # of a class that no row trains


def test_narrow_probabilities_may_sum_to_1_by_their_own_rounding():
    p = np.full((2, 3), 1 / 3, np.float16)
    assert abs(metrics.log_loss([0, 1], p) - np.log(3)) < 1e-3
    assert metrics.brier([0, 1], [[True, False], [False, True]]) == 0.0


@pytest.mark.parametrize("metric", [metrics.log_loss, metrics.brier, metrics.expected_calibration_error])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0, 1], [0.5, 1.5]), "y_prob: expected probabilities from 0 to 1, got 1.5"),
        (([0, 1], [-0.25, 0.5]), "y_prob: expected probabilities from 0 to 1, got -0.25"),
        (
            ([0, 1], [[0.5, 0.5], [0.5, 0.25]]),
            "y_prob: expected the probabilities of each row to sum to 1, got 0.75",
        ),
        (([0, 1], [[0.5, 0.5], [1.5, -0.5]]), "y_prob: expected probabilities of at least 0, got -0.5"),
        (([0, 2], [0.5, 0.5]), r"y_true: expected the classes 0 and 1, as y_prob has shape \(2,\), got 2"),
        (([0, -1], np.full((2, 4), 0.25)), "y_true: expected the classes 0 to 3, .*, got -1"),
        (([0, 1], [[1.0], [1.0]]), r"y_prob: expected 2-D \[n, classes\] of at least two .*; pass y_prob\[:, 0\]"),
        (([0, 1], np.ones((2, 1, 1))), r"y_prob: expected 1-D \[n\] or 2-D \[n, classes\], got shape \(2, 1, 1\)"),
        (([[0, 1]], [[0.5, 0.5]]), r"y_true: expected 1-D \[n\], the class of each row, got 2-D"),
        (([0, 1], [0.5, np.nan]), "y_prob: expected finite numbers, got nan"),
        (([0, 1], [0.5]), "y_true has 2, y_prob has 1"),
    ],
)
def test_wrong_input_is_named(metric, given, message):
    with pytest.raises(ValueError, match=message):
        metric(*given)


def test_numbers_of_bins_are_checked():
    with pytest.raises(ValueError, match="bins: expected an integer of at least 1, got 0"):
        metrics.expected_calibration_error([0, 1], [0.5, 0.5], bins=0)
