"""Scores of every kind with what changes the problem: validation sets, class weights, strengths of folds, σ."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from helpers import scores_of
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from dlcore import GridEdgeWarning, Heads, fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)) * [1, 3, 0.2, 1] + 2
LABELS = (X @ [1.0, 0.5, 2.0, 0.0] + RNG.normal(size=90)).argsort().argsort() // 30
S = RNG.uniform(0.2, 3, 90)
TRAIN, HELD = np.arange(90) < 60, np.arange(90) >= 60
L2 = [1e-3, 0.1, 2.0]
SQUARED = np.column_stack([X[:, 0] ** 2, X[:, 1] + LABELS])
TARGETS: dict[str, tuple[str, np.ndarray]] = {
    "logistic": ("logistic", (LABELS > 0).astype(int)),
    "logistic, targets": ("logistic", np.column_stack([LABELS > 0, LABELS > 1]).astype(int)),
    "softmax": ("softmax", LABELS),
    "squared": ("squared", SQUARED[:, 0]),
    "squared, targets": ("squared", SQUARED),
}


def predicted(heads: Heads, x: Any) -> np.ndarray:
    """Return what a scoring function is given, with the axes of targets and strengths in front."""
    if heads.loss == "squared":
        return heads.predict(x)
    return heads.predict_proba(x) if heads.loss == "softmax" else heads.predict_proba(x)[..., 1]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_function_is_asked_of_the_validation_set(name, sparse):
    """Rows of positive weight, weights as given without those of classes; also the area under the curve."""
    loss, y = TARGETS[name]
    seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def score(truth: np.ndarray, prediction: np.ndarray, s: np.ndarray) -> float:
        seen.append((truth, prediction, s))
        return float(len(seen))

    weights = np.where(np.arange(30) == 7, 0, 8 * S[HELD])
    kept = weights > 0
    given: dict[str, Any] = {"loss": loss, "l2": L2, "sample_weight": S[TRAIN], "standardize": True}
    given |= {} if loss == "squared" else {"class_weight": "balanced"}
    rows = scipy.sparse.csr_array(X[HELD]) if sparse else X[HELD]
    held = (rows, y[HELD], weights)
    heads = fit_heads(X[TRAIN], y[TRAIN], validation=held, scoring=score, **given)
    targets = y[HELD].reshape(30, -1).T[:, kept]
    assert scores_of(heads).shape == (*y.shape[1:], 1, 3)
    np.testing.assert_array_equal(scores_of(heads).ravel(), np.arange(1, 1 + 3 * len(targets)))
    said = predicted(heads, X[HELD]).reshape(len(targets), 3, 30, -1)[:, :, kept]
    np.testing.assert_allclose(predicted(heads, rows), predicted(heads, X[HELD]), rtol=1e-12)
    for number, (truth, prediction, s) in enumerate(seen):
        np.testing.assert_array_equal(truth, targets[number // 3])
        np.testing.assert_array_equal(s, weights[kept])
        np.testing.assert_allclose(prediction.reshape(len(s), -1), said[number // 3, number % 3], rtol=1e-10)
    assert heads.ties is None
    if loss == "logistic":
        ranked = fit_heads(X[TRAIN], y[TRAIN], validation=held, scoring="roc_auc", **given)
        for number, found in enumerate(scores_of(ranked).ravel()):
            expected = roc_auc_score(
                targets[number // 3], said[number // 3, number % 3], sample_weight=weights[kept]
            )
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["logistic", "softmax", "squared"])
def test_a_function_of_folds_with_strengths_of_their_own(name):
    """Named by the fold's own strength; weights without those of classes; best and its edge of all rows' l2."""
    loss, y = TARGETS[name]
    table, seen = np.array([[1e-3, 0.1, 2.0], [2e-3, 0.2, 4.0]]), []

    def score(truth: np.ndarray, prediction: np.ndarray, s: np.ndarray) -> float:
        seen.append(s)
        return 5.0 if len(seen) in (3, 6) else 1.0

    given: dict[str, Any] = {
        "loss": loss,
        "l2": table,
        "folds": [(TRAIN, HELD), (HELD, TRAIN)],
        "sample_weight": S,
    }
    given |= {"standardize": True} | ({} if loss == "squared" else {"class_weight": "balanced"})
    with pytest.warns(GridEdgeWarning, match="strongest of the grid"):
        heads = fit_heads(X, y, scoring=score, **given)
    assert heads.best == 2
    np.testing.assert_array_equal(scores_of(heads), [[1, 1, 5]] * 2)
    for number, s in enumerate(seen):
        np.testing.assert_array_equal(s, S[HELD if number < 3 else TRAIN])
    with pytest.raises(ValueError, match=r"finite number .*\(fold 1, l2 = 0.002\)"):
        fit_heads(X, y, scoring=lambda t, p, s: np.nan if len(t) == 60 else 1.0, **given)


@pytest.mark.parametrize("shape", [(40, 4), (12, 20)])
@pytest.mark.parametrize("intercept", [True, False])
def test_standardised_columns_left_out_have_the_deviations_of_all_rows(shape, intercept):
    """Compare with a StandardScaler before the search, row by row."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape) * np.geomspace(0.01, 100, shape[1]) + 3
    y, s = x @ rng.normal(size=shape[1]) / 50 + rng.normal(size=len(x)), rng.uniform(0.5, 2, len(x))
    z = StandardScaler(with_mean=intercept).fit(x, sample_weight=s).transform(x)
    heads = fit_heads(
        x,
        y,
        loss="squared",
        l2=L2,
        folds="leave-one-out",
        standardize=True,
        sample_weight=s,
        fit_intercept=intercept,
    )
    for k, l2 in enumerate(L2):
        said = np.empty(len(x))
        for i in range(len(x)):
            others = np.arange(len(x)) != i
            peer = Ridge(l2 * s.sum() / 2, fit_intercept=intercept, solver="cholesky")
            said[i] = peer.fit(z[others], y[others], s[others]).predict(z[i : i + 1])[0]
        np.testing.assert_allclose(scores_of(heads)[0, k], r2_score(y, said, sample_weight=s), rtol=1e-7)


@pytest.mark.filterwarnings("ignore:folds. heads train in fold:UserWarning")
def test_a_class_that_a_fold_does_not_train_is_scored():
    """Its probability is 0, for functions and ranks too."""
    folds = [(LABELS > 0, np.arange(90) % 2 == 0)]
    heads = fit_heads(X, LABELS, loss="softmax", l2=L2, folds=folds, scoring=lambda y, p, s: p[:, 0].sum())
    assert set(heads.fold_status.ravel()) == {"class absent"}
    np.testing.assert_array_equal(scores_of(heads), 0)
    ranked = fit_heads(X, LABELS, loss="softmax", l2=L2, folds=folds, scoring="roc_auc_ovr")
    assert np.isfinite(scores_of(ranked)).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"validation": (X, SQUARED)}, "validation: expected None with folds 'leave-one-out'"),
        ({"l2": [[0.1], [0.2]]}, "l2: expected a number or a list of at least one, got shape"),
        ({"loss": "logistic", "y": LABELS > 0, "l2": 0.1}, "'leave-one-out' is for the loss 'squared'"),
        (
            {"loss": "logistic", "y": LABELS > 0, "folds": None, "scoring": "roc_auc", "validation": (X[:1], [1])},
            "validation: expected every class in the rows that heads are scored on, .* got none of False in",
        ),
    ],
)
def test_what_does_not_go_together_is_named_before_anything_is_compiled(changed, message, compiles):
    given: dict[str, Any] = {"y": SQUARED, "loss": "squared", "l2": 0.1, "folds": "leave-one-out"} | changed
    with pytest.raises(ValueError, match=message):
        fit_heads(X, **given)
    assert compiles() == 0
