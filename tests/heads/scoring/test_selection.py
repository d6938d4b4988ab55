"""The choice of a strength where folds lack a class or a class has few rows."""

import warnings
from typing import Any

import numpy as np
import pytest
from helpers import scores_of
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold

import dlcore
from dlcore import fit_heads
from dlcore.heads.data.folds import read_folds
from dlcore.heads.scoring.best_penalty import best_of, within_one_error

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::dlcore.GridEdgeWarning"),
]

X, Y = load_iris(return_X_y=True)
L2 = [1e-4, 1e-2, 1.0]
THIRDS = np.arange(len(X)) % 3 != np.arange(3)[:, None]
"""Rows that train each of three folds."""
LACKING = THIRDS.copy()
LACKING[1] &= Y != 2
GIVEN: dict[str, Any] = {"loss": "softmax", "l2": L2}


def test_a_fold_without_a_class_does_not_rank():
    """Its log loss is infinite under every strength; the mean over all folds said nothing."""
    with pytest.warns(UserWarning, match="fold 1 on no row of class 2, .* such rows; their log loss is infinite"):
        heads = fit_heads(X, Y, folds=LACKING, **GIVEN)
    assert (scores_of(heads)[1] == -np.inf).all()
    others = fit_heads(X, Y, folds=LACKING[[0, 2]], **GIVEN)
    assert heads.best == others.best == int(np.argmax(scores_of(others).mean(0)))
    np.testing.assert_array_equal(heads.ties, others.ties)
    assert heads.ties is not None
    assert heads.ties.any()


def test_a_fold_without_a_class_is_scored_by_accuracy():
    """Accuracy is finite, so that all folds rank; the warning stays."""
    with pytest.warns(UserWarning, match="fold 1 on no row of class 2, .* such rows; these heads never predict"):
        heads = fit_heads(X, Y, folds=LACKING, scoring="accuracy", **GIVEN)
    assert np.isfinite(scores_of(heads)).all()
    assert heads.best in np.flatnonzero(scores_of(heads).mean(0) == scores_of(heads).mean(0).max())


def test_no_warning_where_a_class_is_absent_from_the_rows_that_score_too():
    pairs = [(np.flatnonzero(train & (Y < 2)), np.flatnonzero(~train & (Y < 2))) for train in THIRDS]
    heads = fit_heads(X, Y, folds=[*pairs[:1], (THIRDS[0], ~THIRDS[0])], **GIVEN)
    assert np.isfinite(scores_of(heads)).all()


def test_folds_that_all_lack_a_class_leave_nothing_to_choose_by():
    """A fold for each class has no finite log loss; no advice about the grid is given."""
    folds = [(label != Y, label == Y) for label in range(3)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        heads = fit_heads(X, Y, folds=folds, **GIVEN)
    assert [str(warning.message).split(";")[1] for warning in told] == [
        " their log loss is infinite, and no fold is left to choose the best l2"
    ]
    assert set(heads.status) == {"converged"}
    assert (scores_of(heads) == -np.inf).all()
    assert heads.best == 2


@pytest.mark.parametrize("rarest", [1, 2, 4])
def test_a_class_of_few_rows_is_warned_of(rarest):
    """StratifiedKFold warns too; a class of one row is absent from the fold that holds it out."""
    rows = np.concatenate([np.flatnonzero(Y < 2), np.flatnonzero(Y == 2)[:rarest]])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        heads = fit_heads(X[rows], Y[rows], folds=5, **GIVEN)
    first, *rest = [str(warning.message) for warning in told if warning.category is UserWarning]
    assert f"folds: class 2 has {rarest} row" in first
    assert "fewer than the 5 folds" in first
    assert [("on no row of class 2" in text) for text in rest] == [True] * (rarest == 1)
    assert {warning.filename for warning in told} == {__file__}
    assert np.isfinite(scores_of(heads)).all(1).sum() == (4 if rarest == 1 else 5)
    assert np.isfinite(scores_of(heads)[:, heads.best]).sum() >= 4


def test_few_rows_of_all_classes_are_refused():
    """StratifiedKFold refuses them too; the message names the largest class and its rows."""
    rows = np.concatenate([np.flatnonzero(label == Y)[:4] for label in range(3)])
    with pytest.raises(ValueError, match="got 5; class 0 has 4"):
        fit_heads(X[rows], Y[rows], folds=5, **GIVEN)


@pytest.mark.parametrize("seed", range(20))
def test_folds_of_rare_classes_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, size=60, p=[0.5, 0.3, 0.14, 0.04, 0.02]).astype(float)
    _, test = read_folds(4, 60, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [index for _, index in StratifiedKFold(4).split(np.zeros((60, 1)), labels)]
    for mask, index in zip(test[1:], expected, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(mask), index)


def test_the_choice_by_hand():
    """Folds 0 and 2 rank; their means are 2, 5 and 5, and the stronger of equals is best."""
    scores = np.array([[1.0, 4.0, 6.0], [-np.inf, -np.inf, -np.inf], [3.0, 6.0, 4.0]])
    l2 = np.array([1.0, 2.0, 3.0])
    assert best_of(scores, l2) == 2
    np.testing.assert_array_equal(within_one_error(scores, 2), [False, True, True])  # by an error of 1
    # A fold that is infinite under one strength speaks against that strength.
    scores[1] = -np.inf, 1.0, 9.0
    assert best_of(scores, l2) == 2
    scores[1] = 9.0, 9.0, -np.inf
    assert best_of(scores, l2) == 1
    # Of several targets each has folds of its own.
    both = np.stack([scores, np.array([[1.0, 2.0, 3.0]] * 3)])
    np.testing.assert_array_equal(best_of(both, l2), [1, 2])
    expected = [[False, True, False], [False, False, True]]  # by errors of 1.45 and 0
    np.testing.assert_array_equal(within_one_error(both, np.array([1, 2])), expected)
    nothing = np.full((2, 3), -np.inf)
    assert best_of(nothing, l2) == 2
    np.testing.assert_array_equal(within_one_error(nothing, 2), [True, True, True])


def test_the_edge_of_the_grid_is_of_the_folds_that_rank():
    """Before, every mean was −∞ and the strongest of the grid was advised against."""
    folds, l2 = np.stack([THIRDS[2], LACKING[1]]), [1e-8, 1e-3, 1.0]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        heads = fit_heads(X, Y, folds=folds, loss="softmax", l2=l2)
    edges = [w for w in told if w.category is dlcore.GridEdgeWarning]
    assert not edges
    assert heads.best == fit_best(folds[:1], l2) == 1


def fit_best(folds: np.ndarray, l2: list[float]) -> int:
    """Return the best strength by these folds alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_heads(X, Y, folds=folds, loss="softmax", l2=l2).best
