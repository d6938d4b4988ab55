"""Heads of labels that are strings, booleans, or numbers with gaps."""

import jax
import numpy as np
import pytest

from dlcore import Heads, certify, fit_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

ROWS = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 3))
TWO = (X @ [1, 2, -1] + RNG.logistic(size=ROWS) > 0).astype(int)
THREE = np.concatenate([np.arange(3), RNG.integers(0, 3, ROWS - 3)])
L2 = [0.01, 0.1]

NAMES = {
    "strings": ["no", "yes", "zero"],
    "booleans": [False, True],
    "-1 and 1": [-1, 1],
    "gaps": [3, 10, 11],
    "one letter": ["", "a", "b"],
}


def codes(loss):
    return TWO if loss == "logistic" else THREE


def named(kind, loss):
    return np.array(NAMES[kind])[codes(loss)]


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        (kind, loss)
        for kind in NAMES
        for loss in ("logistic", "softmax")
        if loss == "logistic" or len(NAMES[kind]) > 2
    ],
)
def test_heads_are_those_of_the_codes_and_predict_labels(kind, loss, tmp_path):
    y, numbers = named(kind, loss), codes(loss)
    heads, expected = fit_heads(X, y, loss=loss, l2=L2, folds=3), fit_heads(X, numbers, loss=loss, l2=L2, folds=3)
    np.testing.assert_array_equal(heads.coef, expected.coef)
    np.testing.assert_array_equal(heads.scores, expected.scores)
    assert heads.classes_.tolist() == NAMES[kind][: len(heads.classes_)]
    np.testing.assert_array_equal(heads.predict(X), heads.classes_[expected.predict(X)])
    one = heads.best_head
    np.testing.assert_array_equal(one.predict(X), heads.predict(X)[heads.best])
    assert certify(one, X, y).gap == certify(expected.best_head, X, numbers).gap
    heads.save(tmp_path / "heads.npz")
    again = Heads.load(tmp_path / "heads.npz")
    np.testing.assert_array_equal(again.classes_, heads.classes_)
    assert again.classes_.dtype == heads.classes_.dtype
    np.testing.assert_array_equal(again.predict(X), heads.predict(X))


def test_labels_of_several_targets():
    y = np.stack([named("strings", "logistic"), named("strings", "logistic")[::-1]], axis=1)
    heads = fit_heads(X, y, l2=L2)
    assert heads.classes_.tolist() == ["no", "yes"]
    assert heads.predict(X).shape == (2, len(L2), ROWS)
    assert set(heads.predict(X).flat) == {"no", "yes"}


def test_numbers_have_no_classes():
    assert fit_heads(X, X[:, 0], loss="squared", l2=0.1).classes_ is None


def test_labels_on_a_device():
    heads = fit_heads(X, jax.device_put((2 * TWO - 1).astype(np.int32)), l2=0.1)
    assert heads.classes_.tolist() == [-1, 1]


def test_class_weights_are_by_label():
    y = named("strings", "logistic")
    heads = fit_heads(X, y, l2=0.1, class_weight={"no": 1, "yes": 3})
    expected = fit_heads(X, TWO, l2=0.1, class_weight={0: 1, 1: 3})
    np.testing.assert_array_equal(heads.coef, expected.coef)


def test_a_validation_set_has_the_labels_of_the_fit():
    y = named("strings", "softmax")
    heads = fit_heads(X, y, loss="softmax", l2=L2, validation=(X, y))
    expected = fit_heads(X, THREE, loss="softmax", l2=L2, validation=(X, THREE))
    np.testing.assert_array_equal(heads.scores, expected.scores)


Y = named("strings", "softmax")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"validation": (X, np.where(THREE, "yes", "maybe"))},
            "validation y: expected labels .* got 'maybe'",
        ),
        ({"validation": (X, THREE)}, "validation y: expected labels among 'no', 'yes', 'zero', got 0"),
        (
            {"class_weight": {"no": 1, "maybe": 2}},
            "class_weight: expected the classes .* got 'maybe'",
        ),
        ({"class_weight": {"no": 1}}, "class_weight: expected the weight of every class, got none of 'yes'"),
        ({"sample_weight": Y != "zero"}, "y: expected every class in rows of positive weight, got none of 'zero'"),
        ({"folds": 30}, "folds: expected at most .* class '(no|yes|zero)' has"),
        (
            {"folds": [Y != "yes"], "fit_intercept": False},
            "folds: expected every class .* got none of 'yes' in fold 0",
        ),
        (
            {"folds": [(Y == Y, Y != "yes")], "scoring": "roc_auc_ovr"},
            "folds: expected every class .* 'roc_auc_ovr', got none of 'yes' in fold 0",
        ),
        (
            {"loss": "logistic"},
            "y: expected two classes for loss='logistic', got 3: 'no', 'yes', 'zero'",
        ),
        ({"y": np.full(ROWS, "no")}, "y: expected at least two classes .* got only 'no'"),
        ({"y": None}, "y: expected an array, got None"),
    ],
)
def test_messages_name_labels(changed, message, compiles):
    given = {"x": X, "y": Y, "loss": "softmax", "l2": 0.1} | changed
    with pytest.raises(ValueError, match=message):
        fit_heads(given.pop("x"), given.pop("y"), **given)
    assert compiles() == 0


@pytest.mark.filterwarnings("ignore:folds. heads train in")
def test_warnings_name_labels():
    with pytest.warns(UserWarning, match="heads train in fold 0 on no row of class 'yes'"):
        fit_heads(X, Y, loss="softmax", l2=L2, folds=[Y != "yes"])
    few = np.where(np.arange(ROWS) == 0, "zero", np.where(TWO, "yes", "no"))
    with pytest.warns(UserWarning, match="class 'zero' has 1 row, fewer than the 3 folds"):
        fit_heads(X, few, loss="softmax", l2=L2, folds=3)


def test_the_certificate_of_unknown_labels_names_them():
    heads = fit_heads(X, Y, loss="softmax", l2=0.1)
    with pytest.raises(ValueError, match="y: expected labels among 'no', 'yes', 'zero', got 'maybe'"):
        certify(heads[0.1], X, np.where(THREE, "yes", "maybe"))
