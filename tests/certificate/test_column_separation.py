"""A column that touches the classes is found, by an exact search that needs no head."""

import numpy as np
import pytest
from scipy.optimize import linprog

from dlcore.certificate import data_report
from dlcore.certificate.data_report import column_separation
from dlcore.certificate.data_report.column_separation import quasi_separating_column
from dlcore.certificate.rows import TrainingData, scaled_weights

pytestmark = pytest.mark.any_mode


def weighted(x, y):
    """Return rows of equal weights."""
    return TrainingData(x, y, scaled_weights(np.ones((1, len(x)))))


def margins(x, y, direction):
    """Return the margins of every row over the other classes, (n, classes) with 0 for the own class."""
    coef, intercept = direction
    logits = x @ coef.T + intercept
    if len(coef) == 1:
        logits = np.column_stack([np.zeros(len(x)), logits[:, 0]])
    return logits[np.arange(len(x)), y][:, None] - logits


def touches(x, y, classes, *, fit_intercept):
    """Return whether a linear programme finds a direction of one column that touches and crosses none."""
    for column in x.T:
        rows = np.column_stack([column, np.ones(len(x))]) if fit_intercept else column[:, None]
        width, pairs = rows.shape[1], []
        for row, label in zip(rows, y, strict=True):
            for other in range(classes):
                if other != label:
                    pair = np.zeros((classes, width))
                    pair[label], pair[other] = row, -row
                    pairs.append(pair.ravel())
        pairs = np.array(pairs)
        found = linprog(-pairs.sum(0), A_ub=-pairs, b_ub=np.zeros(len(pairs)), bounds=[(-1, 1)] * pairs.shape[1])
        if -found.fun > 1e-7:
            return True
    return False


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(15))
def test_the_search_finds_what_a_linear_programme_finds(seed, classes, fit_intercept):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (12, 3)) * (rng.random((12, 3)) < 0.5)
    y = np.append(np.arange(classes), rng.integers(0, classes, 12 - classes))
    x = x.astype(float)
    logits = 1 if classes == 2 else classes
    direction = quasi_separating_column(weighted(x, y), logits, fit_intercept=fit_intercept)
    assert (direction is not None) == touches(x, y, classes, fit_intercept=fit_intercept)
    if direction is not None:
        margin = margins(x, y, direction)
        assert margin.min() == 0
        assert margin.max() > 0
        assert np.count_nonzero(direction[0].any(0)) == 1


def test_rows_of_weight_0_do_not_count():
    x, y = np.array([[0.0], [0], [1], [-1]]), np.array([0, 1, 1, 1])
    for last, found in ((1.0, False), (0.0, True)):
        weights = scaled_weights(np.array([[1.0, 1, 1, last]]))
        assert (quasi_separating_column(TrainingData(x, y, weights), 1, fit_intercept=True) is not None) == found


def test_a_threshold_between_the_classes_of_a_shifted_column():
    x = np.array([[100.0], [101], [101], [103]])
    y = np.array([0, 0, 1, 1])
    direction = quasi_separating_column(weighted(x, y), 1, fit_intercept=True)
    assert direction is not None
    coef, intercept = direction
    np.testing.assert_array_equal(coef * 101 + intercept, [[0]])
    assert quasi_separating_column(weighted(x, y), 1, fit_intercept=False) is None


def test_of_many_classes_the_ends_are_tried(monkeypatch):
    monkeypatch.setattr(column_separation, "MAX_THRESHOLDS", 3)
    x, y = np.array([[0.0], [0], [0], [2], [0]]), np.array([0, 1, 2, 2, 0])
    direction = quasi_separating_column(weighted(x, y), 3, fit_intercept=True)
    assert direction is not None
    assert direction[0].ravel().tolist() == [0, 0, 1]


def test_a_rare_word_among_many_columns_is_named():
    """The table has more columns than Newton's method is tried on, and one of them is 0 in all rows but one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2100))
    x[:, 7] = np.arange(300) == 5
    report = data_report(x, np.arange(300) % 2)
    assert report.separability == "quasi-separable"
    assert report.direction is not None
    assert np.flatnonzero(report.direction).tolist() == [7]
    assert data_report(np.delete(x, 7, 1), np.arange(300) % 2).separability == "not known"
