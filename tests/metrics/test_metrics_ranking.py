"""Metrics of rankings: against scikit-learn or loops over thresholds, and their edges."""

from typing import Any

import numpy as np
import pytest
from metric_problems import PROBLEMS, problem
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from dlcore import metrics
from dlcore.metrics import ranking

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore::dlcore.metrics.UndefinedMetricWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
    pytest.mark.filterwarnings("ignore:No positive class found in y_true"),
]
SEEDS = range(PROBLEMS)
AGREES: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
AVERAGES = ("macro", "micro", None)


def one_hot(labels, classes):
    return (labels[:, None] == np.arange(classes)).astype(int)


def test_the_binary_roc_auc_is_scikit_learns():
    """One class alone has nan in both."""
    for seed in SEEDS:
        y, _, p, s = problem(seed, classes=2)
        expected = roc_auc_score(y, p[:, 1], sample_weight=s)
        np.testing.assert_allclose(metrics.roc_auc(y, p[:, 1], sample_weight=s), expected, **AGREES)


@pytest.mark.parametrize("seed", range(20))
def test_the_binary_roc_auc_is_that_of_all_pairs(seed):
    """Scores beyond float32 too."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    score = rng.integers(0, [2, 10, 10**6][seed % 3], n) * 1e-30
    s = 10 ** rng.uniform(-3, 3, n) if seed % 2 else np.ones(n)
    pairs = np.sign(score[y == 1][:, None] - score[y == 0][None]) / 2 + 0.5
    both = np.outer(s[y == 1], s[y == 0])
    expected = (both * pairs).sum() / both.sum()
    np.testing.assert_allclose(metrics.roc_auc(y, score, sample_weight=s), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("average", AVERAGES)
def test_the_roc_auc_of_classes_is_scikit_learns(average):
    for seed in SEEDS:
        y, _, p, s = problem(seed)
        given = {"multi_class": "ovr", "labels": np.arange(p.shape[1]), "average": average, "sample_weight": s}
        if len(np.unique(y)) > 2:  # scikit-learn takes two labels as binary
            expected = roc_auc_score(y, p, **given)
            np.testing.assert_allclose(metrics.roc_auc(y, p, average=average, sample_weight=s), expected, **AGREES)
        several = np.minimum(one_hot(y, p.shape[1]) + (p > 0.3), 1)
        expected = roc_auc_score(several, p, average=average, sample_weight=s)
        np.testing.assert_allclose(
            metrics.roc_auc(several, 3 * p, average=average, sample_weight=s), expected, **AGREES
        )


@pytest.mark.parametrize("average", AVERAGES)
def test_the_average_precision_is_scikit_learns(average):
    """Classes that have no rows have 0 in both."""
    for seed in SEEDS:
        y, _, p, s = problem(seed)
        expected = average_precision_score(one_hot(y, p.shape[1]), p, average=average, sample_weight=s)
        for labels in (y, one_hot(y, p.shape[1])):
            found = metrics.average_precision(labels, p, average=average, sample_weight=s)
            np.testing.assert_allclose(found, expected, **AGREES)
        y, _, p, s = problem(seed, classes=2)
        expected = average_precision_score(y, p[:, 1], sample_weight=s)
        np.testing.assert_allclose(metrics.average_precision(y, p[:, 1], sample_weight=s), expected, **AGREES)


def counts_by_loops(y, score, weight):
    """Return (true positives, false positives) of each threshold from the highest down, by sums over all rows."""
    return [
        tuple(
            sum(w for label, z, w in zip(y, score, weight, strict=True) if z >= t and label == k) for k in (1, 0)
        )
        for t in sorted(set(score), reverse=True)
    ]


def voc2007_by_loops(y, score, weight):
    """Return the mean over r = 0, 0.1, … 1 of the best precision of a recall of at least r."""
    rows = [i for i in range(len(y)) if weight[i] > 0]
    counts = counts_by_loops(y[rows], score[rows], weight[rows])
    positives = counts[-1][0]
    if positives == 0:
        return 0.0
    best = [max(t / (t + f) for t, f in counts if 10 * t >= r * positives * (1 - 1e-12)) for r in range(11)]
    return sum(best) / 11


def test_the_average_precision_of_voc2007_is_that_of_loops():
    for seed in SEEDS:
        y, _, p, s = problem(seed)
        weight = np.ones(len(y)) if s is None else s
        expected = [voc2007_by_loops(y == k, p[:, k], weight) for k in range(p.shape[1])]
        given = {"interpolation": "voc2007", "sample_weight": s}
        np.testing.assert_allclose(metrics.average_precision(y, p, average=None, **given), expected, **AGREES)
        np.testing.assert_allclose(metrics.average_precision(y, p, **given), np.mean(expected), **AGREES)
        flat = voc2007_by_loops(one_hot(y, p.shape[1]).ravel(), p.ravel(), np.repeat(weight, p.shape[1]))
        np.testing.assert_allclose(metrics.average_precision(y, p, average="micro", **given), flat, **AGREES)


@pytest.mark.parametrize("max_fpr", [0, 0.1, 0.29, 0.5, 1])
def test_the_recall_at_a_false_positive_rate_is_that_of_loops_and_of_scikit_learns_curve(max_fpr):
    for seed in SEEDS:
        drawn = problem(seed, classes=2)
        y, _, p, s = drawn
        found = metrics.recall_at_fpr(y, p[:, 1], max_fpr=max_fpr, sample_weight=s)
        weight = np.ones(len(y)) if s is None else s
        if len(set(y[drawn.counted])) < 2:
            assert np.isnan(found)
            continue
        counts = counts_by_loops(y, p[:, 1], weight)
        positives, negatives = counts[-1]
        allowed = [t for t, f in counts if f <= max_fpr * negatives * (1 + 1e-12)]
        np.testing.assert_allclose(found, max(allowed, default=0.0) / positives, **AGREES)
        fpr, tpr, _ = roc_curve(y, p[:, 1], sample_weight=s, drop_intermediate=False)
        np.testing.assert_allclose(found, tpr[fpr <= max_fpr * (1 + 1e-12)].max(), **AGREES)


def test_many_predictions_have_the_metrics_of_each():
    rng = np.random.default_rng(0)
    labels, scores, weight = rng.integers(0, 3, (5, 40)), rng.integers(0, 9, (5, 3, 40)), rng.uniform(0.5, 1, 40)
    for average in ("macro", "micro"):
        given = ranking.binary_average_precision, labels, scores.astype(float), weight, average
        for h, value in enumerate(ranking.batched_ranking(*given)):
            alone = metrics.average_precision(labels[h], scores[h].T, average=average, sample_weight=weight)
            np.testing.assert_allclose(value, alone, rtol=1e-14)
    areas = ranking.batched_ranking(ranking.binary_roc_auc, labels // 2, scores[:, 0].astype(float), weight)
    alone = [metrics.roc_auc(y // 2, z[0], sample_weight=weight) for y, z in zip(labels, scores, strict=True)]
    np.testing.assert_allclose(areas, alone, rtol=1e-14)


# -- edges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_no_metric_depends_on_the_order_of_the_rows_or_the_scale_of_weights(seed):
    rng = np.random.default_rng(seed)
    y, score, s = rng.integers(0, 2, 50), rng.integers(0, 7, 50), rng.uniform(0.1, 1, 50)
    y[:2] = 0, 1
    order = rng.permutation(50)
    for metric in (
        metrics.roc_auc,
        metrics.average_precision,
        lambda y, z, sample_weight: metrics.average_precision(
            y, z, interpolation="voc2007", sample_weight=sample_weight
        ),
        lambda y, z, sample_weight: metrics.recall_at_fpr(y, z, max_fpr=0.3, sample_weight=sample_weight),
    ):
        value = metric(y, score, sample_weight=s)
        np.testing.assert_allclose(metric(y[order], score[order], sample_weight=s[order]), value, rtol=1e-13)
        for scale in (2.0**-1000, 2.0**1020):
            assert metric(y, score, sample_weight=scale * s) == value


def test_right_rankings_have_exactly_1():
    y = np.arange(49) > 30
    for s in (None, np.random.default_rng(0).uniform(size=49)):
        assert metrics.roc_auc(y, np.arange(49), sample_weight=s) == 1.0
        assert metrics.average_precision(y, np.arange(49), sample_weight=s) == 1.0
        assert metrics.average_precision(y, np.arange(49), interpolation="voc2007", sample_weight=s) == 1.0
        assert metrics.recall_at_fpr(y, np.arange(49), max_fpr=0, sample_weight=s) == 1.0


def test_levels_that_are_met_but_for_rounding_count():
    """Rank three of ten positive rows, a recall of 3/10, which 0.1·3 exceeds in float64."""
    y, score = np.array([1, 1, 1, 0] + [0] * 6 + [1] * 7), np.arange(17)[::-1]
    np.testing.assert_allclose(
        metrics.average_precision(y, score, interpolation="voc2007"), voc2007_by_loops(y, score, np.ones(17))
    )
    first = [1.0] * 4  # recalls 0, 0.1, 0.2 and 0.3
    rest = [max((3 + k) / (10 + k) for k in range(max(1, r - 3), 8)) for r in range(4, 11)]
    np.testing.assert_allclose(metrics.average_precision(y, score, interpolation="voc2007"), np.mean(first + rest))
    thirds = np.full(17, 0.1)  # ten times 0.1 is not 1
    np.testing.assert_allclose(
        metrics.average_precision(y, score, interpolation="voc2007", sample_weight=thirds), np.mean(first + rest)
    )
    y, score = np.array([1] * 16 + [0] * 5 + [1] * 4), np.arange(25)[::-1]
    expected = metrics.average_precision(y, score, interpolation="voc2007")
    tenths = np.full(25, 0.1)  # sixteen of them are less than 0.8 of the sum of twenty
    np.testing.assert_allclose(
        metrics.average_precision(y, score, interpolation="voc2007", sample_weight=tenths), expected
    )
    score = np.r_[np.full(1, 2.0), np.full(29, 3.0), np.zeros(71)]  # 0.29·100 is below 29 in float64
    assert metrics.recall_at_fpr([1] + [0] * 100, score, max_fpr=0.29) == 1.0
    assert metrics.recall_at_fpr([1] + [0] * 100, score, max_fpr=0.28) == 0.0


def test_weights_of_far_sizes_stay_within_the_range():
    y, score = np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 4.0])
    s = np.array([1e300, 1e300, 1e-5, 1e-5])
    assert metrics.roc_auc(y, score, sample_weight=s) == 0.75
    assert metrics.recall_at_fpr(y, score, max_fpr=0.0, sample_weight=s) == 0.5


def test_undefined_values_are_said():
    with pytest.warns(
        metrics.UndefinedMetricWarning, match="roc_auc: a class has no row in y_true or every"
    ) as seen:
        assert np.isnan(metrics.roc_auc([1, 1], [0.1, 0.2]))
    assert seen[0].filename == __file__
    with pytest.warns(metrics.UndefinedMetricWarning, match="roc_auc"):
        assert np.isnan(metrics.roc_auc([0, 1, 0], np.full((3, 4), 0.25)))
    with pytest.warns(metrics.UndefinedMetricWarning, match="average_precision: a class has no rows"):
        assert metrics.average_precision([0, 0], [0.1, 0.2]) == 0.0
    with pytest.warns(metrics.UndefinedMetricWarning, match="average_precision"):
        assert metrics.average_precision([0, 0], [0.1, 0.2], interpolation="voc2007") == 0.0
    for y in ([0, 0], [1, 1]):
        with pytest.warns(metrics.UndefinedMetricWarning, match="recall_at_fpr: a class has no rows"):
            assert np.isnan(metrics.recall_at_fpr(y, [0.1, 0.2], max_fpr=0.5))
    with pytest.warns(metrics.UndefinedMetricWarning, match="roc_auc"):  # a class of rows of weight 0 alone
        assert np.isnan(metrics.roc_auc([0, 1], [0.1, 0.2], sample_weight=[0, 1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.roc_auc([0, 2], [0.1, 0.2]), r"y_true: expected the classes 0 and 1, .*, got 2"),
        (
            lambda: metrics.roc_auc([0, 1], [[1.0, 2.0], [3.0, 4.0]]),
            "y_score: expected the probabilities of each row",
        ),
        (
            lambda: metrics.roc_auc([[0, 2]], [[1.0, 2.0]]),
            "y_true: expected 0 and 1, which labels a row has, got 2",
        ),
        (lambda: metrics.roc_auc([[0, 1]], [[1.0, 2.0, 3.0]]), r"y_score: expected the shape of y_true, \(1, 2\)"),
        (lambda: metrics.roc_auc([[]], [[]]), r"y_true: expected at least one label, got shape \(1, 0\)"),
        (
            lambda: metrics.roc_auc([[[0]]], [[[1.0]]]),
            r"y_true: expected 1-D \[n\], the class of each row, got 3-D",
        ),
        (lambda: metrics.roc_auc([0, 1], [0.1, np.inf]), "y_score: expected finite numbers, got infinity"),
        (
            lambda: metrics.average_precision([0, 1], [0.1, 0.2], average="weighted"),  # pyright: ignore
            "average: expected 'macro' or 'micro' or None, got 'weighted'",
        ),
        (
            lambda: metrics.average_precision([0, 1], [0.1, 0.2], interpolation=11),  # pyright: ignore
            "interpolation: expected 'voc2007' or None, got 11",
        ),
        (
            lambda: metrics.recall_at_fpr([0, 1], [0.1, 0.2], max_fpr=1.5),
            "max_fpr: expected a number from 0 to 1, got 1.5",
        ),
        (
            lambda: metrics.recall_at_fpr([0, 1], [0.1, 0.2], max_fpr=np.nan),
            "max_fpr: expected a finite number of at least 0, got nan",
        ),
        (lambda: metrics.recall_at_fpr([0, 1], np.eye(2), max_fpr=0.5), r"y_score: expected 1-D \[n\], got shape"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
