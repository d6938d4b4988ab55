"""The choice of strengths: scores against scikit-learn's, a caller's own, ties, and the edge of the grid."""

import functools
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import scores_of
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold

import dlcore
from dlcore import fit_heads
from dlcore.heads.scoring.best_penalty import best_of, warn_at_the_edge, within_one_error

pytestmark = pytest.mark.any_mode

BEST_AT_THE_EDGE = pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")
L2 = np.geomspace(1e-3, 10, 5)


@functools.cache
def table(targets: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Few values of few features, so that rows tie; some rows of no weight."""
    rng = np.random.default_rng(2)
    x = np.round(rng.normal(size=(200, 3))).astype(np.float32)
    y = (x @ rng.normal(size=(3, targets)) + rng.logistic(size=(200, targets)) > 0.3).astype(int)
    s = rng.uniform(0.3, 3, 200)
    s[::17] = 0
    return x, y[:, 0] if targets == 1 else y, s


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("targets", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_folds_are_ranked_as_scikit_learn_ranks_them(targets):
    x, y, s = table(targets)
    folds = ShuffleSplit(3, test_size=0.3, random_state=0)
    heads = fit_heads(x, y, l2=L2, folds=folds, scoring="roc_auc", sample_weight=s)
    assert heads.scoring == "roc_auc"
    assert scores_of(heads).shape == (*([2] if targets > 1 else []), 3, 5)
    for fold, (train, test) in enumerate(folds.split(x)):
        alone = fit_heads(x, y, l2=L2, sample_weight=s * np.isin(np.arange(200), train))
        coef, intercept = alone.coef.reshape(targets, 5, 3), alone.intercept.reshape(targets, 5)
        for t, labels in enumerate(y.reshape(200, -1).T):
            for k in range(5):
                logit = x[test] @ coef[t, k] + intercept[t, k]
                expected = roc_auc_score(labels[test], logit, sample_weight=s[test])
                found = scores_of(heads).reshape(targets, 3, 5)[t, fold, k]
                np.testing.assert_allclose(found, expected, atol=1e-3)  # equal pairs may part by rounding


@BEST_AT_THE_EDGE
def test_classes_are_ranked_one_against_the_others():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 4))
    y = (x @ rng.normal(size=(4, 3)) + rng.gumbel(size=(150, 3))).argmax(1)
    s = rng.uniform(0.3, 3, 150)
    given: Any = {"loss": "softmax", "l2": L2, "folds": 3, "sample_weight": s}
    heads = fit_heads(x, y, scoring="roc_auc_ovr", **given)
    peer = fit_heads(
        x, y, scoring=lambda y, p, w: roc_auc_score(y, p, sample_weight=w, multi_class="ovr"), **given
    )
    np.testing.assert_allclose(scores_of(heads), scores_of(peer), rtol=0, atol=1e-13)
    assert peer.scoring == "<lambda>"


@BEST_AT_THE_EDGE
def test_a_function_gets_what_the_folds_hold_out():
    """Each fold and strength once, with labels, probabilities and weights as given, in the rows' own order."""
    x, y, s = table()
    seen: list[tuple[np.ndarray, ...]] = []

    def balanced(y, p, weights):
        seen.append((y, p, weights))
        return balanced_accuracy_score(y, p > 0.5, sample_weight=weights)

    heads = fit_heads(x, y, l2=L2, folds=3, scoring=balanced, sample_weight=7 * s)
    assert heads.scoring == "balanced"
    assert len(seen) == 15
    for fold, (train, test) in enumerate(StratifiedKFold(3).split(x, y)):
        there = test[s[test] > 0]
        alone = fit_heads(x, y, l2=L2, sample_weight=s * np.isin(np.arange(200), train))
        for k in range(5):
            labels, p, weights = seen[5 * fold + k]
            assert labels.dtype == p.dtype == weights.dtype == np.float64
            np.testing.assert_array_equal(labels, y[there])
            np.testing.assert_array_equal(weights, 7 * s[there])
            np.testing.assert_allclose(p, alone.predict_proba(x[there])[k, :, 1], atol=1e-3)
            score = balanced_accuracy_score(labels, p > 0.5, sample_weight=weights)
            assert scores_of(heads)[fold, k] == score
    many = fit_heads(*table(2)[:2], l2=L2, folds=3, scoring=lambda y, p, w: np.float32(len(y)), sample_weight=s)
    counted = [(s[test] > 0).sum() for _, test in KFold(3).split(x)]
    np.testing.assert_array_equal(scores_of(many), np.broadcast_to(counted, (2, 5, 3)).swapaxes(1, 2))


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("shape", [(300, 4), (30, 40)])
def test_a_function_of_numbers(shape):
    """Ridge heads of several targets have a score for each."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=shape), rng.normal(size=(shape[0], 3)) + 2
    y[:, 1] += x[:, 0]
    given: Any = {"loss": "squared", "l2": L2, "folds": 3}

    def score(y, prediction, weights):
        return -mean_absolute_error(y, prediction, sample_weight=weights)

    heads = fit_heads(x, y, scoring=score, **given)
    for fold, (train, test) in enumerate(KFold(3).split(x)):
        alone = fit_heads(x[train], y[train], loss="squared", l2=L2)
        for t in range(3):
            for k, predicted in enumerate(alone.predict(x[test])[t]):
                expected = -mean_absolute_error(y[test, t], predicted)
                np.testing.assert_allclose(scores_of(heads)[t, fold, k], expected, rtol=1e-9)


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("held_out", ["fold", "validation"])
def test_predictions_of_many_heads_are_made_in_pieces(held_out):
    """300 MB of them in two pieces, for a function of what a fold holds out and for r2 of a validation set."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(190_500, 1)).astype(np.float32)
    y = x[:, 0] + rng.normal(size=len(x)).astype(np.float32)
    train, test = np.arange(500), np.arange(500, len(x))
    given: Any = {"loss": "squared", "l2": np.geomspace(1e-3, 10, 200)}
    heads = fit_heads(x[train], y[train], **given)

    def score(y, prediction, weights):
        return -np.mean((y - prediction) ** 2)

    if held_out == "fold":
        found = fit_heads(x, y, folds=[(train, test)], scoring=score, **given)
    else:
        found = fit_heads(x[train], y[train], validation=(x[test], y[test]), **given)
    for k in (0, 99, 199):
        prediction = x[test].astype(float) @ heads.coef[k] + heads.intercept[k]
        expected = score(y[test], prediction, None) if held_out == "fold" else r2_score(y[test], prediction)
        np.testing.assert_allclose(scores_of(found)[0, k], expected, rtol=1e-6)


@BEST_AT_THE_EDGE
def test_other_data_and_functions_compile_nothing(compiles):
    x, y, s = table()
    x, y, s = x[:171], y[:171], np.maximum(s, 0.1)[:171]
    fit_heads(x, y, l2=L2, folds=3, scoring="roc_auc")
    first = compiles()
    assert first <= 8
    fit_heads(x + 1, 1 - y, l2=2 * L2, folds=3, scoring="roc_auc", sample_weight=s)
    fit_heads(x, y, l2=L2, folds=3, scoring=lambda y, p, w: p.mean())
    assert compiles() == first


def test_answers_that_are_no_numbers_are_named():
    x, y, _ = table()

    def wrong(answer: Any) -> Any:
        return lambda y, p, w: answer

    for answer in (np.nan, -np.inf):
        with pytest.raises(
            ValueError, match=r"scoring: expected a finite number from <lambda>, got .*fold 0, l2 = 0"
        ):
            fit_heads(x, y, l2=0.1, folds=2, scoring=wrong(answer))
    for answer in (None, "good", 1j, np.ones(2), True):
        with pytest.raises(
            TypeError, match=r"scoring: expected a real number from <lambda>, got .*fold 0, l2 = 0"
        ):
            fit_heads(x, y, l2=0.1, folds=2, scoring=wrong(answer))


X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"scoring": "roc_auc_ovr"},
            "expected 'log_loss', 'accuracy', .*'roc_auc', .* or a function for loss 'logistic'",
        ),
        (
            {"scoring": "roc_auc", "loss": "softmax"},
            "expected 'log_loss', 'accuracy', .*'roc_auc_ovr', .* or a function",
        ),
        (
            {"scoring": "roc_auc", "loss": "squared"},
            "scoring: expected 'r2', 'pearson_r' or a function for loss 'squared'",
        ),
        ({"scoring": 3}, "or a function for loss 'logistic', got 3"),
        (
            {"scoring": "roc_auc", "folds": [([*range(9)], [9, 10]), ([*range(8)], [9, 11])]},
            "the rows that each fold is scored on, because scoring is 'roc_auc', got none of True in fold 1",
        ),
        (
            {"scoring": "roc_auc_ovr", "loss": "softmax", "folds": [([*range(9)], [9, 10])]},
            "the rows that each fold is scored on, because scoring is 'roc_auc_ovr', got none of 2 in fold 0",
        ),
        (
            {"scoring": "average_precision", "folds": [([*range(9)], [9, 11])]},
            "each fold is scored on, because scoring is 'average_precision', got none of True in fold 0",
        ),
        (
            {"scoring": "top_3_accuracy", "loss": "softmax"},
            "scoring: expected more than 3 classes for 'top_3_accuracy', got 3",
        ),
    ],
)
def test_wrong_input_is_named_before_anything_is_compiled(changed, message, compiles):
    arguments: dict[str, Any] = {"l2": 0.1, "folds": 3} | changed
    y = Y if arguments.get("loss") == "softmax" else Y % 3 == 1
    with pytest.raises(ValueError, match=message):
        fit_heads(X, y, **arguments)
    assert compiles() == 0


# -- ties, and the edge of the grid --------------------------------------------------------------------------


@BEST_AT_THE_EDGE
@pytest.mark.parametrize("targets", [1, 3])
def test_ties_lie_within_one_standard_error_of_the_best(targets):
    x, y, _ = table(targets)
    heads = fit_heads(x, y, loss="squared", l2=np.geomspace(1e-4, 100, 12), folds=4)
    assert heads.ties is not None
    assert heads.ties.shape == heads.status.shape
    for scores, best, ties in zip(
        scores_of(heads).reshape(targets, 4, 12),
        np.atleast_1d(heads.best),
        heads.ties.reshape(targets, 12),
        strict=True,
    ):
        column = scores[:, best]
        error = np.sqrt(((column - column.mean()) ** 2).sum() / 3) / 2
        np.testing.assert_array_equal(ties, scores.mean(0) >= column.mean() - error)
        assert ties[best]
        assert not ties.all()


def test_ties_of_known_scores():
    scores = np.array([[0.8, 0.9, 0.5], [1.0, 0.9, 0.9], [0.75, 0.9, 0.7]])  # means 0.85, 0.9, 0.7; no spread at 1
    best = best_of(scores, np.array([1.0, 2.0, 3.0]))
    assert best == 1
    np.testing.assert_array_equal(within_one_error(scores, best), [False, True, False])
    scores[:, 1] = [0.8, 1.0, 0.9]  # standard error 0.1/√3
    np.testing.assert_array_equal(within_one_error(scores, best), [True, True, False])
    assert within_one_error(scores[:1], best) is None
    assert fit_heads(X, Y, loss="squared", l2=0.1).ties is None


def test_a_best_strength_at_the_edge_of_the_grid_is_a_warning():
    """The warning names the line of the call, the strength and the way to go."""
    x, y, _ = table()
    fit_heads = functools.partial(dlcore.fit_heads, loss="squared", folds=3)
    inside = fit_heads(x, y, l2=np.geomspace(1e-4, 1, 9))
    middle = inside.l2[inside.best]
    with pytest.warns(
        dlcore.GridEdgeWarning, match=r"l2: the best strength, .*, is the weakest of the grid; extend .*smaller"
    ) as seen:
        fit_heads(x, y, l2=middle * np.array([100, 10, 1]))
    assert seen[0].filename == __file__
    with pytest.warns(dlcore.GridEdgeWarning, match="is the strongest of the grid; extend it to larger"):
        fit_heads(x, y, l2=middle * np.array([1, 0.1, 0.01]))
    for grid in (middle * np.array([1, 10]), [middle], middle * np.array([1, 1, 10, 10])):
        fit_heads(x, y, l2=grid)  # too small a grid to have an inside
    assert issubclass(dlcore.GridEdgeWarning, UserWarning)


def test_the_edges_of_several_targets_and_of_zero():
    l2 = np.array([1.0, 0.1, 10.0])
    with pytest.warns(dlcore.GridEdgeWarning) as seen:
        warn_at_the_edge(np.array([0, 1, 2, 1]), l2, stacklevel=1)
    texts = [str(one.message) for one in seen]
    assert texts == [
        "l2: the best strength, 0.1, is the weakest of the grid for 2 of 4 targets; extend it to smaller ones",
        "l2: the best strength, 10, is the strongest of the grid for 1 of 4 targets; extend it to larger ones",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_at_the_edge(0, l2, stacklevel=1)
        warn_at_the_edge(1, np.array([1.0, 0.0, 10.0]), stacklevel=1)  # none is weaker than 0
