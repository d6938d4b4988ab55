"""Choice of the penalty on validation rows, in folds and in nested folds, against loops of independent fits."""

import numpy as np
import pytest
from oracles.probe_oracle import logistic_newton, softmax_newton
from probe_problems import CLASSES, TEST, TRAIN, VALIDATION, X, coef_of, numbered, record_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, roc_auc_score

from dlcore.probing import ProbeSettings, Rows, nested_cross_validation, select_penalty
from dlcore.probing.data.splits import shuffled_folds

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:C. .* choices are at the edge:dlcore.GridEdgeWarning"),
]

C = [0.01, 0.1, 1.0]
GROUPS = np.random.default_rng(3).integers(0, 20, 180)


def softmax_p(optimum, x):
    z = x.astype(np.float64) @ optimum.coef.T + optimum.intercept
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("scoring", ["log_loss", "accuracy"])
def test_validation_rows_choose_and_the_refit_has_both(scoring):
    table = select_penalty(
        TRAIN, ProbeSettings(C=C, scoring=scoring, tol=1e-10, bootstrap=50), validation=VALIDATION, test=TEST
    )
    x, y = TRAIN
    found = [softmax_p(softmax_newton(x, y, 1 / (c * 90), CLASSES), VALIDATION[0]) for c in C]
    if scoring == "log_loss":
        scores = [-log_loss(VALIDATION[1], p) for p in found]
    else:
        scores = [accuracy_score(VALIDATION[1], p.argmax(1)) for p in found]
    np.testing.assert_allclose(table.select(stage="sweep")["score"], scores, rtol=1e-4)
    best = int(np.argmax(scores))
    assert table.select(stage="sweep")["chosen"].tolist() == [k == best for k in range(3)]
    both = np.concatenate([x, VALIDATION[0]]), np.concatenate([y, VALIDATION[1]])
    final = softmax_newton(*both, 1 / (C[best] * 120), CLASSES)
    refit = table.select(stage="refit")
    np.testing.assert_allclose(coef_of(refit), final.coef, atol=1e-4)
    assert refit["test_accuracy"][0] == accuracy_score(TEST[1], softmax_p(final, TEST[0]).argmax(1))
    assert refit["test_accuracy_low"][0] <= refit["test_accuracy"][0] <= refit["test_accuracy_high"][0]
    assert refit["rows"].tolist() == [120]


def test_without_a_refit_the_chosen_head_is_scored():
    table = select_penalty(TRAIN, ProbeSettings(C=C), validation=VALIDATION, test=TEST, refit=False)
    assert set(table["stage"]) == {"sweep"}
    assert (~np.isnan(table["test_accuracy"]) == table["chosen"]).all()
    row = int(np.flatnonzero(table["chosen"])[0])
    assert table["test_accuracy"][row] == (table.heads[row].predict(TEST[0]) == TEST[1]).mean()


@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
def test_folds_choose(grouped):
    groups = GROUPS[:90] if grouped else None
    table = select_penalty(Rows(*TRAIN, groups=groups), ProbeSettings(C=C, tol=1e-10), folds=3, test=TEST, seed=5)
    x, y = TRAIN
    fold = shuffled_folds(y, 3, 5, groups)
    scores = np.empty((3, 3))
    for f in range(3):
        train, held = fold != f, fold == f
        if grouped:
            assert not set(GROUPS[:90][train]) & set(GROUPS[:90][held])
        for k, c in enumerate(C):
            optimum = softmax_newton(x[train], y[train], 1 / (c * train.sum()), CLASSES)
            scores[f, k] = -log_loss(y[held], softmax_p(optimum, x[held]), labels=range(CLASSES))
    cells = table.select(stage="fold")
    np.testing.assert_allclose(cells["score"].reshape(3, 3), scores, rtol=1e-4)
    assert table.select(stage="sweep", chosen=True)["C"] == C[int(scores.mean(0).argmax())]
    assert set(table["status"]) == {"converged"}
    assert (table["gap"] <= 1e-9).all()
    other = select_penalty(Rows(*TRAIN, groups=groups), ProbeSettings(C=C), folds=3, seed=6)
    assert (other.select(stage="fold")["score"] != cells["score"]).any()


# The first target is noise, for which a small C is best. The others are easy.
LABELS = np.stack(
    [np.random.default_rng(7).random(180) > 0.5, X[:, 1] > 0, X[:, 2] - X[:, 0] > 0.5], axis=1
).astype(int)


@pytest.mark.parametrize("one_penalty", [False, True])
def test_several_targets_have_a_penalty_each_or_one(one_penalty):
    settings = ProbeSettings(
        loss="logistic", C=C, tol=1e-10, metrics=("accuracy", "roc_auc", "average_precision", "f1_macro")
    )
    parts = [(X[part], LABELS[part]) for part in (slice(0, 90), slice(90, 120), slice(120, 180))]
    table = select_penalty(parts[0], settings, validation=parts[1], test=parts[2], one_penalty=one_penalty)
    x, y = parts[0]
    scores = np.empty((3, 3))
    for target in range(3):
        for k, c in enumerate(C):
            optimum = logistic_newton(x, y[:, target], 1 / (c * 90))
            z = parts[1][0].astype(np.float64) @ optimum.coef + optimum.intercept
            scores[target, k] = -log_loss(parts[1][1][:, target], 1 / (1 + np.exp(-z)))
    assert scores.mean(0).argmax() != scores[0].argmax()
    assert len(set(scores.argmax(1))) > 1
    best = np.full(3, scores.mean(0).argmax()) if one_penalty else scores.argmax(1)
    refit = table.select(stage="refit")
    each = refit["target"] >= 0
    assert refit["C"][each].tolist() == [C[k] for k in best]
    p = np.empty((60, 3))
    for target in range(3):
        both = np.concatenate([x, parts[1][0]]), np.concatenate([y, parts[1][1]])[:, target]
        optimum = logistic_newton(*both, 1 / (C[best[target]] * 120))
        p[:, target] = 1 / (1 + np.exp(-(parts[2][0].astype(np.float64) @ optimum.coef + optimum.intercept)))
    truth = parts[2][1]
    auc = [roc_auc_score(truth[:, k], p[:, k]) for k in range(3)]
    np.testing.assert_allclose(refit["test_roc_auc"], np.array([*auc, np.mean(auc)]), rtol=1e-12)
    mean = average_precision_score(truth, p)
    np.testing.assert_allclose(refit["test_average_precision"][-1], mean, rtol=1e-12)
    assert refit["test_f1_macro"][-1] == pytest.approx(f1_score(truth, p > 0.5, average="macro"), rel=1e-12)
    np.testing.assert_allclose(refit["test_accuracy"][-1], ((p > 0.5) == truth).mean(), rtol=1e-12)
    assert refit["status"][-1] == "converged"
    assert refit["gap"][-1] == refit["gap"][each].max()


@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
def test_nested_folds_are_those_of_a_loop(grouped):
    groups = GROUPS[:90] if grouped else None
    table = nested_cross_validation(
        Rows(*TRAIN, groups=groups), ProbeSettings(C=C, tol=1e-10), outer=3, inner=2, seed=1
    )
    x, y = TRAIN
    outer_fold = shuffled_folds(y, 3, 1, groups)
    for f in range(3):
        rows = np.flatnonzero(outer_fold != f)
        inner = shuffled_folds(y[rows], 2, 2 + f, None if groups is None else groups[rows])
        scores = np.zeros((2, 3))
        for i in range(2):
            train, held = rows[inner != i], rows[inner == i]
            for k, c in enumerate(C):
                model = LogisticRegression(C=c, tol=1e-8, max_iter=1000).fit(x[train].astype(float), y[train])
                scores[i, k] = -log_loss(
                    y[held], model.predict_proba(x[held].astype(float)), labels=range(CLASSES)
                )
        cells = table.select(outer=f)
        np.testing.assert_allclose(cells.select(stage="fold")["score"].reshape(2, 3), scores, rtol=1e-3)
        best = C[int(scores.mean(0).argmax())]
        chosen = cells.select(stage="sweep", chosen=True)
        assert chosen["C"] == best
        model = LogisticRegression(C=best, tol=1e-8, max_iter=1000).fit(x[rows].astype(float), y[rows])
        held = outer_fold == f
        assert chosen["test_accuracy"][0] == model.score(x[held].astype(float), y[held])
    assert set(table["status"]) == {"converged"}
    assert len(table) == 3 * (2 * 3 + 3)


def test_identifiers_apart_are_accepted():
    parts = [numbered(part, np.arange(180) // 30) for part in (slice(0, 90), slice(90, 120), slice(120, 180))]
    table = select_penalty(parts[0], ProbeSettings(C=1.0), validation=parts[1], test=parts[2])
    assert record_of(table)["common_rows"].keys() == {"train, validation", "train, test", "validation, test"}
