"""Metrics of labels against scikit-learn, and their edges."""

import warnings
from typing import Any, cast

import numpy as np
import pytest
from metric_problems import PROBLEMS, problem
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    recall_score,
    top_k_accuracy_score,
)

from dlcore import metrics
from dlcore.metrics import classification

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore::dlcore.metrics.UndefinedMetricWarning"),
    pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
]
SEEDS = range(PROBLEMS)
AGREES: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
EACH_CLASS: Any = {"average": None, "zero_division": np.nan}
ABSENT_IS_0: Any = {"zero_division": 0.0}


def test_accuracies_are_scikit_learns():
    for seed in SEEDS:
        y, predicted, p, s = problem(seed)
        classes = np.arange(p.shape[1])
        np.testing.assert_allclose(
            metrics.accuracy(y, predicted, sample_weight=s),
            accuracy_score(y, predicted, sample_weight=s),
            **AGREES,
        )
        np.testing.assert_allclose(
            metrics.balanced_accuracy(y, predicted, sample_weight=s),
            balanced_accuracy_score(y, predicted, sample_weight=s),
            **AGREES,
        )
        np.testing.assert_allclose(
            metrics.per_class_accuracy(y, predicted, labels=classes, sample_weight=s),
            recall_score(y, predicted, labels=classes, sample_weight=s, **EACH_CLASS),
            **AGREES,
        )


@pytest.mark.parametrize("average", ["macro", "micro", None])
def test_f1_is_scikit_learns(average):
    for seed in SEEDS:
        drawn = problem(seed)
        y, predicted, p, s = drawn
        classes = np.arange(p.shape[1])
        expected = f1_score(y, predicted, labels=classes, average=average, sample_weight=s, **ABSENT_IS_0)
        found = metrics.f1(y, predicted, average=average, labels=classes, sample_weight=s)
        np.testing.assert_allclose(found, expected, **AGREES)
        # Classes are those of the rows of positive weight.
        y, predicted = y[drawn.counted], predicted[drawn.counted]
        s = None if s is None else s[drawn.counted]
        expected = f1_score(y, predicted, average=average, sample_weight=s)
        np.testing.assert_allclose(
            metrics.f1(*drawn[:2], average=average, sample_weight=drawn.weight), expected, **AGREES
        )


@pytest.mark.parametrize("average", ["macro", "micro", None])
def test_f1_of_several_labels_per_row_is_scikit_learns(average):
    for seed in SEEDS:
        p, s = problem(seed)[2:]
        rng = np.random.default_rng(seed)
        y, predicted = (p > rng.random(p.shape)).astype(int), (p > rng.random(p.shape)).astype(int)
        expected = f1_score(y, predicted, average=average, sample_weight=s, **ABSENT_IS_0)
        np.testing.assert_allclose(metrics.f1(y, predicted, average=average, sample_weight=s), expected, **AGREES)


@pytest.mark.parametrize("k", [1, 2])
def test_top_k_accuracy_is_scikit_learns(k):
    """Ties too: of equal scores the one of the higher class is chosen first."""
    for seed in SEEDS:
        y, _, p, s = problem(seed)
        expected = top_k_accuracy_score(y, p, k=k, labels=np.arange(p.shape[1]), sample_weight=s)
        np.testing.assert_allclose(metrics.top_k_accuracy(y, p, k=k, sample_weight=s), expected, **AGREES)


def test_many_predictions_have_the_metrics_of_each():
    drawn = [problem(seed, classes=4) for seed in range(200)]
    rows = [d for d in drawn if len(d.labels) >= 20][:6]
    labels = np.stack([d.labels[:20] for d in rows])
    predicted, scores = np.stack([d.predicted[:20] for d in rows]), np.stack([d.p[:20].T for d in rows])
    weight = np.random.default_rng(0).uniform(0.5, 1, 20)
    found = {
        "balanced_accuracy": classification.batched_balanced_accuracy(labels, predicted, weight, 4),
        "f1": classification.batched_f1_macro(labels, predicted, weight, 4),
    }
    for name, values in found.items():
        alone = [
            getattr(metrics, name)(y, z, sample_weight=weight) for y, z in zip(labels, predicted, strict=True)
        ]
        np.testing.assert_allclose(values, alone, rtol=1e-14)
    top = classification.batched_top_k_accuracy(labels, scores, weight, 2)
    alone = [
        metrics.top_k_accuracy(y, z.T, k=2, sample_weight=weight) for y, z in zip(labels, scores, strict=True)
    ]
    np.testing.assert_allclose(top, alone, rtol=1e-14)


# -- edges -----------------------------------------------------------------------------------------------------


def test_right_predictions_have_exactly_1():
    """Sums of weights round; their quotients do not."""
    y = np.arange(49) % 3
    for s in (None, np.random.default_rng(0).uniform(size=49), np.full(49, 1e308)):
        assert metrics.accuracy(y, y, sample_weight=s) == 1.0
        assert metrics.balanced_accuracy(y, y, sample_weight=s) == 1.0
        assert metrics.f1(y, y, average="micro", sample_weight=s) == 1.0


def test_labels_are_strings_or_whole_numbers_in_any_order():
    y, predicted = np.array([-1, 7, 7, -1]), [-1.0, -1.0, 7.0, -1.0]
    assert metrics.accuracy(y, predicted) == 0.75
    np.testing.assert_array_equal(metrics.per_class_accuracy(y, predicted, labels=[7, -1]), [0.5, 1.0])
    np.testing.assert_array_equal(metrics.per_class_accuracy([True, False], [True, True]), [0.0, 1.0])
    names = np.array(["dog", "cat"])
    np.testing.assert_array_equal(metrics.per_class_accuracy(names, ["dog", "dog"], labels=names), [1.0, 0.0])
    assert metrics.f1(names, names[::-1]) == 0.0


def test_undefined_values_are_said():
    with pytest.warns(metrics.UndefinedMetricWarning, match="per_class_accuracy: a class has no rows") as seen:
        np.testing.assert_array_equal(metrics.per_class_accuracy([0, 1], [0, 2]), [1.0, 0.0, np.nan])
    assert seen[0].filename == __file__
    with pytest.warns(metrics.UndefinedMetricWarning, match="f1: a class is neither in y_true nor in y_pred"):
        np.testing.assert_array_equal(metrics.f1([0, 1], [0, 1], average=None, labels=[0, 1, 2]), [1.0, 1.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.balanced_accuracy([0, 1], [0, 2]) == 0.5  # a class without rows is left out
        metrics.f1([0, 1], [0, 2])


def test_a_row_of_weight_0_may_have_any_label():
    assert metrics.top_k_accuracy([0, -1, 2], np.eye(3), k=1, sample_weight=[1, 0, 1]) == 1.0
    assert metrics.f1([0, 5], [0, 4], average="macro", sample_weight=[1, 0]) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy([0, 1], [0]), "one row per example in each of y_true, y_pred, but y_true has 2"),
        (lambda: metrics.accuracy([], []), "y_true: expected at least one row, got none"),
        (lambda: metrics.accuracy([0, np.nan], [0, 1]), "y_true: expected finite numbers, got nan"),
        (lambda: metrics.accuracy([0, 1], [0, np.inf]), "y_pred: expected finite numbers, got infinity"),
        (lambda: metrics.accuracy([0, 0.5], [0, 1]), "y_true: expected labels, whole numbers or strings, got 0.5"),
        (
            lambda: metrics.accuracy([0, 1e300], [0, 1]),
            r"y_true: expected labels, whole numbers or strings, got 1e\+300",
        ),
        (lambda: metrics.accuracy([[0, 1]], [[0, 1]]), r"y_true: expected 1-D \[n\], got shape \(1, 2\)"),
        (
            lambda: metrics.accuracy([0, 1], [[0], [1]]),
            r"y_pred: expected the shape of y_true, \(2,\), got \(2, 1\)",
        ),
        (
            lambda: metrics.accuracy([0, 1], [0, 1], sample_weight=[1, 2, 3]),
            r"sample_weight: expected shape \(2,\), one per row of y_true, got \(3,\)",
        ),
        (
            lambda: metrics.accuracy([0, 1], [0, 1], sample_weight=[1, -2]),
            "sample_weight: expected numbers of at least 0, got -2",
        ),
        (
            lambda: metrics.accuracy([0, 1], [0, 1], sample_weight=[0, 0]),
            "sample_weight: expected at least one positive number, got only zeros",
        ),
        (
            lambda: metrics.accuracy([0, 1], [0, 1], sample_weight=[0, np.nan]),
            "sample_weight: expected finite numbers, got nan",
        ),
        (
            lambda: metrics.per_class_accuracy([0, 3], [0, 1], labels=[0, 1]),
            "y_true: expected labels among 0, 1, got 3",
        ),
        (lambda: metrics.f1([0, 1], [0, 3], labels=[0, 1]), "y_pred: expected labels among 0, 1, got 3"),
        (
            lambda: metrics.accuracy(["a", "b"], [0, 1]),
            "y_pred: expected labels as y_true has, such as 'a', got 0",
        ),
        (
            lambda: metrics.accuracy(np.array(["a", None]), ["a", "a"]),
            "y_true: expected a label in every row, got none",
        ),
        (
            lambda: metrics.per_class_accuracy(["a"], ["a"], labels=[0]),
            "labels: expected labels as y_true has, such as 'a', got 0",
        ),
        (lambda: metrics.f1([0, 1], [0, 1], labels=[1, 0, 1]), "labels: expected each class once, got 1 twice"),
        (lambda: metrics.f1([0, 1], [0, 1], labels=[]), r"labels: expected 1-D \[classes\], not empty"),
        (lambda: metrics.f1([0, 1], [0, 1], labels=[0, np.inf]), "labels: expected finite numbers"),
        (lambda: metrics.f1([[0, 1]], [[0, 1]], labels=[0, 1]), "labels: expected None for indicators"),
        (lambda: metrics.f1([[0, 1]], [[0, 2]]), "y_pred: expected 0 and 1, which labels a row has, got 2"),
        (lambda: metrics.f1([[]], [[]]), r"y_true: expected 1-D \[n\] or 2-D \[n, labels\], got shape \(1, 0\)"),
        (
            lambda: metrics.f1([0, 1], [0, 1], average="binary"),  # pyright: ignore
            "average: expected 'macro' or 'micro' or None, got 'binary'",
        ),
        (lambda: metrics.top_k_accuracy([0, 1], [0.1, 0.2], k=1), r"y_score: expected 2-D \[n, classes\]"),
        (
            lambda: metrics.top_k_accuracy([0, 3], np.eye(3)[:2], k=1),
            r"y_true: expected the classes 0 to 2, .* got 3",
        ),
        (lambda: metrics.top_k_accuracy([0, 1], np.eye(3)[:2], k=3), "k: expected an integer of at most 2, got 3"),
        (
            lambda: metrics.top_k_accuracy([0, 1], np.eye(3)[:2], k=0),
            "k: expected an integer of at least 1, got 0",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy([0, "a"], [0, 1]), "y_true: expected labels of one type, got strings and int"),
        (lambda: metrics.accuracy([0, 1], [0, 1j]), "y_pred: complex numbers are not supported"),
        (
            lambda: metrics.top_k_accuracy([0, 1], np.eye(3)[:2], k=cast("Any", 1.0)),
            "k: expected an integer, got 1.0",
        ),
    ],
)
def test_wrong_kinds_are_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()
