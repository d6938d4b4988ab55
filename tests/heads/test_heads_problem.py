"""The options of `fit_heads` that change which problem is solved, each against an independent solver."""

import functools
from typing import Any, cast

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.class_weight import compute_class_weight

from dlcore import LinearHeads, certify, fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

L2 = np.array([1e-3, 1e-2, 0.3])


@functools.cache
def table(classes: int = 2, rows: int = 240) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of unlike scales about unlike means, unbalanced labels, weights."""
    rng = np.random.default_rng(classes)
    x = (rng.normal(size=(rows, 5)) @ (np.eye(5) + 0.3)) * [1.0, 3.0, 0.2, 1.0, 8.0] + [0, 1, 2, -3, 5]
    slope = rng.normal(size=(5, classes)) / [[1.0], [3.0], [0.2], [1.0], [8.0]]
    y = ((x - x.mean(0)) @ slope + rng.gumbel(size=(rows, classes)) + 1.5 * (np.arange(classes) == 0)).argmax(1)
    return x, y, rng.uniform(0.5, 2, rows)


def peer_of(x, y, s, l2: float, loss: str, class_weight: Any = None, intercept: bool = True) -> Any:
    """scikit-learn's estimator of the same objective; the strength of its penalty counts the class weights in."""
    if loss == "squared":
        return Ridge(alpha=l2 * s.sum() / 2, fit_intercept=intercept, solver="svd").fit(x, y, s)
    factor = compute_class_weight(class_weight, classes=np.unique(y), y=y, sample_weight=s)
    total = (s * factor[y]).sum()
    solver = "newton-cholesky" if loss == "logistic" else "lbfgs"
    peer = LogisticRegression(
        C=1 / (l2 * total),
        class_weight=class_weight,
        fit_intercept=intercept,
        tol=1e-10,
        max_iter=10_000,
        solver=solver,
    )
    return peer.fit(x, y, s)


def assert_same(coef, intercept, peer, tolerance: float = 1e-5) -> None:
    """Coefficients, and intercepts up to what changes no probability."""
    expected = np.asarray(peer.coef_).reshape(coef.shape)
    shift = np.asarray(peer.intercept_).reshape(intercept.shape)
    shift = shift - shift.mean() if np.ndim(shift) else shift
    np.testing.assert_allclose(coef, expected, rtol=0, atol=tolerance * abs(expected).max())
    np.testing.assert_allclose(intercept, shift, rtol=0, atol=tolerance * (1 + abs(shift).max()) * 5)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("balance", ["balanced", {0: 1.0, 1: 7.5, 2: 0.25}])
def test_class_weights_are_scikit_learns(loss, balance):
    """Over all rows, also in the folds; scores do not know them."""
    x, y, s = table(2 if loss == "logistic" else 3)
    given = balance if isinstance(balance, str) else {k: balance[k] for k in range(y.max() + 1)}
    folds = StratifiedKFold(3)
    heads = fit_heads(x, y, loss=loss, l2=L2, sample_weight=s, class_weight=given, folds=folds, tol=1e-10)
    assert set(heads.status) | set(heads.fold_status.ravel()) == {"converged"}
    for k, l2 in enumerate(L2):
        assert_same(heads.coef[k], heads.intercept[k], peer_of(x, y, s, l2, loss, given))
    factor = compute_class_weight(given, classes=np.unique(y), y=y, sample_weight=s)
    assert heads.scores is not None
    for fold, (train, test) in enumerate(folds.split(x, y)):
        peer = peer_of(x[train], y[train], (s * factor[y])[train], L2[1], loss)
        expected = -log_loss(y[test], peer.predict_proba(x[test]), sample_weight=s[test])
        np.testing.assert_allclose(heads.scores[fold, 1], expected, rtol=1e-5)


@pytest.mark.parametrize("balance", ["balanced", {0: 1e-3, 1: 400.0}])
def test_class_weights_of_each_target(balance):
    """Compare targets of different balance with separate fits, and with scikit-learn's."""
    x, y, s = table()
    y = np.stack([y, x[:, 0] > 1.2, 1 - y], axis=1).astype(int)
    y[5, 1], y[7, 1] = 1, 0
    heads = fit_heads(x, y, l2=L2, sample_weight=s, class_weight=balance, folds=KFold(3), tol=1e-10)
    assert set(heads.status.ravel()) | set(heads.fold_status.ravel()) == {"converged"}
    assert heads.scores is not None
    for t in range(3):
        assert_same(heads.coef[t, 1], heads.intercept[t, 1], peer_of(x, y[:, t], s, L2[1], "logistic", balance))
        alone = fit_heads(x, y[:, t], l2=L2, sample_weight=s, class_weight=balance, folds=KFold(3), tol=1e-10)
        assert alone.scores is not None
        np.testing.assert_allclose(heads.scores[t], alone.scores, rtol=1e-4)
        np.testing.assert_allclose(heads.value[t], alone.value, rtol=1e-10)


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
def test_strengths_of_each_fold(loss):
    """scikit-learn keeps C: λ = 1/(C·S) differs by fold, and the fits on all rows keep that C too."""
    x, y, s = table(3 if loss == "softmax" else 2)
    target = x[:, 0] + y if loss == "squared" else y
    c = np.array([0.01, 0.5, 3.0])
    splits = [(np.arange(240) % 3 != 0, np.arange(240) % 3 == 0), (np.arange(240) < 90, np.arange(240) >= 200)]
    folds = [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in splits]
    l2 = np.stack([1 / (c * s[train].sum()) for train, _ in splits])
    heads = fit_heads(x, target, loss=loss, l2=l2, sample_weight=s, folds=folds, tol=1e-10)
    np.testing.assert_allclose(heads.l2, 1 / (c * s.sum()), rtol=1e-13)
    assert set(heads.status) | set(heads.fold_status.ravel()) == {"converged"}
    assert heads.scores is not None
    for k in range(3):
        assert_same(heads.coef[k], heads.intercept[k], peer_of(x, target, s, heads.l2[k], loss))
        for fold, (train, test) in enumerate(splits):
            peer = peer_of(x[train], target[train], s[train], l2[fold, k], loss)
            if loss == "squared":
                expected = r2_score(target[test], peer.predict(x[test]), sample_weight=s[test])
            else:
                expected = -log_loss(y[test], peer.predict_proba(x[test]), sample_weight=s[test])
            np.testing.assert_allclose(heads.scores[fold, k], expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
@pytest.mark.parametrize("many", [False, True])
def test_a_fixed_validation_set(loss, many):
    """Heads of all training rows score on the others as scikit-learn's metrics have it."""
    if many and loss == "softmax":
        pytest.skip("softmax heads have one target")
    x, y, s = table(3 if loss == "softmax" else 2, 310)
    target = np.stack([x[:, 0] + y, y], axis=1) if loss == "squared" else np.stack([y, x[:, 0] > 0], axis=1)
    target = target if many else target[:, 0]
    train, held = np.arange(310) < 240, np.arange(310) >= 240
    given: dict[str, Any] = {"loss": loss, "l2": L2, "sample_weight": s[train], "tol": 1e-10}
    alone = fit_heads(x[train], target[train], **given)
    for scoring in ("r2",) if loss == "squared" else ("log_loss", "accuracy"):
        validation = (x[held].astype(np.float32), target[held], s[held])
        heads = fit_heads(x[train], target[train], validation=validation, scoring=scoring, **given)
        np.testing.assert_array_equal(heads.coef, alone.coef)
        assert heads.scores is not None
        scores = heads.scores if many else heads.scores[None]
        assert scores.shape == (2 if many else 1, 1, 3)
        assert heads.fold_gap.shape[-2:] == (0, 3)
        np.testing.assert_array_equal(heads.best, heads.scores[..., 0, :].argmax(-1))
        for t, column in enumerate(target[held].reshape(70, -1).T):
            for k in range(3):
                said = heads.predict(validation[0])[t, k] if many else heads.predict(validation[0])[k]
                if scoring == "log_loss":
                    p = heads.predict_proba(validation[0])
                    expected = -log_loss(column, p[t, k] if many else p[k], sample_weight=s[held])
                else:
                    measure = r2_score if loss == "squared" else accuracy_score
                    expected = measure(column, said, sample_weight=s[held])
                np.testing.assert_allclose(scores[t, 0, k], expected, rtol=1e-12)


def deviations(x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return the deviations of scikit-learn's StandardScaler, but for its nan at a constant column of 0.1."""
    return np.where(np.ptp(x, axis=0) == 0, 1, np.sqrt(np.average((x - np.average(x, 0, s)) ** 2, 0, s)))


def standardised(x, y, s, l2: float, loss: str, intercept: bool = True) -> tuple[np.ndarray, np.ndarray, Any]:
    """scikit-learn's: weights and intercepts of columns as they are, and what predicts."""
    middle, scale = np.average(x, 0, s) * intercept, deviations(x, s)
    peer = peer_of((x - middle) / scale, y, s, l2, loss, intercept=intercept)
    weight = np.atleast_2d(peer.coef_) / scale
    predict = peer.predict if loss == "squared" else peer.predict_proba
    return weight, peer.intercept_ - weight @ middle, lambda rows: predict((rows - middle) / scale)


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared", "kernel"])
@pytest.mark.parametrize("intercept", [True, False])
def test_standardised_columns_are_scikit_learns_in_every_fold(loss, intercept):
    """Columns of unlike scales, one constant, one constant in a fold alone; proven of what is asked for."""
    kernel, loss = loss == "kernel", "squared" if loss == "kernel" else loss
    x, y, s = table(3 if loss == "softmax" else 2)
    rare = np.zeros(240)
    rare[[3, 5, 7]] = 1e-3
    x = np.column_stack([x * [1e-3, 1, 1, 1e4, 1], np.full(240, 0.1), rare])
    if kernel:
        x = np.column_stack([x, np.random.default_rng(0).normal(size=(240, 300)) * np.geomspace(1e-3, 1e3, 300)])
    target = 1e3 * x[:, 0] + y if loss == "squared" else y
    fold = np.where(np.arange(240) < 8, 0, np.arange(240) % 3)
    masks = np.stack([fold != f for f in range(3)])
    given: dict[str, Any] = {"loss": loss, "sample_weight": s, "fit_intercept": intercept, "tol": 1e-10}
    heads = fit_heads(x, target, l2=L2, folds=masks, standardize=True, **given)
    assert heads.scale is not None
    np.testing.assert_allclose(heads.scale, deviations(x, s), rtol=1e-12)
    assert set(heads.status) | set(heads.fold_status.ravel()) == {"converged"}
    proof = certify(heads if intercept else LinearHeads(heads.coef, None, L2, loss, heads.scale), x, target, s)
    np.testing.assert_allclose(proof.value, heads.value, rtol=1e-12)
    assert (proof.gap <= 1e-10 * heads.value).all()
    assert heads.scores is not None
    for k, l2 in enumerate(L2):
        weight, bias, _ = standardised(x, target, s, l2, loss, intercept)
        found = heads.coef[k] * heads.scale
        expected = weight.reshape(found.shape) * heads.scale
        # J is strongly convex: λ/2·‖w − w*‖² is no more than the gap. The peer is off by no more than 1e-6.
        near = np.sqrt(2 * proof.gap[k] / l2) + 1e-6 * abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=near)
        shift = bias - bias.mean() if loss == "softmax" else bias
        np.testing.assert_allclose(heads.intercept[k], np.reshape(shift, heads.intercept[k].shape), atol=5e-4)
        for f, train in enumerate(masks):
            *_, predicted = standardised(x[train], target[train], s[train], l2, loss, intercept)
            if loss == "squared":
                expected = r2_score(target[~train], predicted(x[~train]), sample_weight=s[~train])
            else:
                expected = -log_loss(y[~train], predicted(x[~train]), sample_weight=s[~train])
            np.testing.assert_allclose(heads.scores[f, k], expected, rtol=1e-5)


def test_standardised_columns_of_many_targets_any_dtype_and_strengths_of_a_fold(compiles):
    """Certify a fit in float16 on rows in float16, and compile nothing for other data and other folds."""
    x, y, s = table()
    x = (x * [1.0, 3.0, 0.2, 1.0, 8.0]).astype(np.float16)
    y = np.stack([y, y * (np.arange(240) % 2)], axis=1)
    given: dict[str, Any] = {"class_weight": "balanced", "standardize": True, "tol": 1e-9}
    heads = fit_heads(x, y, l2=L2, folds=KFold(3), sample_weight=s, **given)
    assert set(heads.status.ravel()) | set(heads.fold_status.ravel()) == {"converged"}
    weight = s * compute_class_weight("balanced", classes=np.arange(2), y=y[:, 1], sample_weight=s)[y[:, 1]]
    one = LinearHeads(heads.coef[1], heads.intercept[1], heads.l2, scale=heads.scale)
    np.testing.assert_allclose(certify(one, x, y[:, 1], weight).value, heads.value[1], rtol=1e-12)
    first = compiles()
    fit_heads(x * np.float16(0.5), 1 - y, l2=2 * L2, folds=KFold(3, shuffle=True, random_state=0), **given)
    assert compiles() == first


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_standardised_columns_of_any_size(size):
    """Out of the range in which their squares are numbers."""
    x, y, _ = table()
    plain = fit_heads(x, y, l2=L2, standardize=True, folds=2)
    heads = fit_heads(x * size, y, l2=L2, standardize=True, folds=2)
    assert set(heads.status) | set(heads.fold_status.ravel()) == {"converged"}
    np.testing.assert_allclose(heads.coef * size, plain.coef, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:folds. heads train in fold:UserWarning")
@pytest.mark.parametrize("standardize", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_fold_without_a_class_has_the_heads_of_the_others(standardize):
    """Certified on these, and so named; the class has the probability 0, which costs infinity where it is met."""
    x, y, s = table(4)
    train = np.stack([y != 2, (y != 0) & (y != 3), np.arange(240) % 4 > 0])
    test = np.stack([np.arange(240) > 200, np.isin(y, (1, 2)), np.arange(240) % 4 == 0])
    folds = [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in zip(train, test, strict=True)]
    given: dict[str, Any] = {"loss": "softmax", "l2": L2, "tol": 1e-10, "standardize": standardize}
    heads = fit_heads(x, y, folds=folds, sample_weight=s, **given)
    right = fit_heads(x, y, folds=folds, sample_weight=s, scoring="accuracy", **given)
    assert heads.scores is not None
    assert right.scores is not None
    assert [set(status) for status in heads.fold_status] == [{"class absent"}] * 2 + [{"converged"}]
    assert set(heads.status) == {"converged"}
    assert (heads.scores[0] == -np.inf).all()
    for fold in range(2):
        present = np.unique(y[train[fold]])
        labels = np.where(train[fold], np.searchsorted(present, y), 0)
        alone = fit_heads(x, labels, sample_weight=s * train[fold], **given)
        assert (heads.fold_gap[fold] <= 1e-10 * heads.value).all()
        for k, said in enumerate(alone.predict(x[test[fold]])):
            expected = accuracy_score(y[test[fold]], present[said], sample_weight=s[test[fold]])
            np.testing.assert_allclose(right.scores[fold, k], expected, rtol=1e-12)
            if fold == 1:
                p = alone.predict_proba(x[test[1]])[k]
                expected = -log_loss(y[test[1]], p, sample_weight=s[test[1]])
                np.testing.assert_allclose(heads.scores[1, k], expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:folds. heads train in fold:UserWarning")
def test_a_fold_without_a_class_is_certified_at_a_single_strength():
    x, y, _ = table(4)
    folds = [(np.flatnonzero(y != 2), np.flatnonzero(y == 2))]
    heads = fit_heads(x, y, loss="softmax", l2=1e-2, folds=folds)
    assert heads.fold_status.tolist() == [["class absent"]]
    assert (heads.fold_gap <= 1e-6 * heads.value).all()


X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 2


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"class_weight": "balance"},
            ValueError,
            "class_weight: expected None, 'balanced' or a dictionary, got 'balance'",
        ),
        ({"class_weight": [1, 2]}, TypeError, "class_weight: expected None, 'balanced' or a dictionary"),
        (
            {"class_weight": {0: 1.0}},
            ValueError,
            "class_weight: expected the weight of every class, got none of 1",
        ),
        ({"class_weight": {0: 1, 1: 1, 2: 1}}, ValueError, "class_weight: expected the classes 0, 1, got 2"),
        ({"class_weight": {"a": 1, 1: 1}}, ValueError, "class_weight: expected the classes 0, 1, got 'a'"),
        ({"class_weight": {0: -1.0, 1: 1}}, ValueError, "class_weight: expected finite numbers above 0"),
        ({"class_weight": {0: 0.0, 1: 1}}, ValueError, "class_weight: expected finite numbers above 0"),
        ({"class_weight": {0: np.nan, 1: 1}}, ValueError, "class_weight: expected finite numbers above 0"),
        ({"class_weight": {0: 10**400, 1: 1}}, ValueError, "class_weight: expected finite numbers above 0"),
        ({"class_weight": {0: "1", 1: 1}}, TypeError, "class_weight: expected numbers, got '1'"),
        ({"class_weight": {0: 1e-300, 1: 1e300}}, ValueError, "class_weight: expected numbers in the range"),
        (
            {"class_weight": "balanced", "loss": "squared"},
            ValueError,
            "class_weight: expected None for loss 'squared'",
        ),
        ({"l2": True}, TypeError, "l2: expected numbers, got True"),
        ({"l2": [[0.1, 0.2]]}, ValueError, r"l2: expected a number or a list of at least one, got shape \(1, 2\)"),
        (
            {"l2": np.ones((3, 2)), "folds": 2},
            ValueError,
            r"l2: expected a row for each of 2 folds, got shape \(3, 2\)",
        ),
        ({"l2": np.ones((2, 0)), "folds": 2}, ValueError, r"l2: .* or of shape \(2, l2\), got shape \(2, 0\)"),
        ({"l2": np.ones((1, 2, 2)), "folds": 2}, ValueError, r"l2: .* or of shape \(2, l2\)"),
        ({"l2": [[0.0, 1.0], [1.0, 1.0]], "folds": 2}, ValueError, "l2: expected 0 in every fold or in none"),
        (
            {"l2": np.ones((2, 1)), "folds": 2, "y": np.stack([Y, 1 - Y], 1), "class_weight": "balanced"},
            ValueError,
            "l2: expected a list where class weights differ by target",
        ),
        ({"standardize": 1}, TypeError, "standardize: expected True or False, got 1"),
        ({"validation": (X, Y), "folds": 2}, ValueError, "validation: expected None where there are folds"),
        ({"validation": X}, TypeError, r"validation: expected \(x, y\) or \(x, y, weights\), got ndarray"),
        ({"validation": (X,)}, TypeError, "validation: expected .* got a tuple of 1"),
        ({"validation": (X[:, :2], Y)}, ValueError, "validation x: expected 3 columns, as x has, got 2"),
        ({"validation": (X[:, 0], Y)}, ValueError, r"validation x: expected 2-D \[n, features\]"),
        ({"validation": (X[:0], Y[:0])}, ValueError, "validation x: expected at least one row"),
        ({"validation": (X, Y[1:])}, ValueError, "validation x has 12, validation y has 11"),
        (
            {"validation": (X, np.stack([Y] * 3, axis=1))},
            ValueError,
            r"validation y: expected shape \(v\), as y has, got \(12, 3\)",
        ),
        ({"validation": (X * np.inf, Y)}, ValueError, "validation x: expected finite numbers"),
        ({"validation": (X, Y + 1)}, ValueError, "validation y: expected labels among 0, 1, got 2"),
        (
            {"validation": (X, Y / 2)},
            ValueError,
            "validation y: expected labels, whole numbers or strings, got 0.5",
        ),
        ({"validation": (X, Y, -Y)}, ValueError, "validation weights: expected numbers of at least 0"),
        ({"validation": (X, Y, Y[1:])}, ValueError, "validation weights: expected shape"),
        (
            {"validation": (X, np.array(["a"] * 12))},
            ValueError,
            "validation y: expected labels among 0, 1, got 'a'",
        ),
    ],
)
def test_wrong_input_is_named_before_anything_is_compiled(changed, error, message, compiles):
    arguments: dict[str, Any] = {"x": X, "y": Y, "l2": 0.1} | changed
    with pytest.raises(error, match=message):
        fit_heads(cast(Any, arguments.pop("x")), arguments.pop("y"), **arguments)
    assert compiles() == 0


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
def test_certify_knows_that_heads_have_no_intercept(loss, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3)) + 1
    y = np.arange(80) % (3 if loss == "softmax" else 2)
    heads = fit_heads(x, y, loss=loss, l2=[0.1, 1.0], fit_intercept=False)
    heads.save(tmp_path / "heads.npz")
    for known in (heads, type(heads).load(tmp_path / "heads.npz")):
        assert not known.fit_intercept
        np.testing.assert_allclose(certify(known, x, y).gap, heads.certificate.gap, rtol=1e-6, atol=1e-18)
