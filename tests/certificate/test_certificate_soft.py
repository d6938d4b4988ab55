"""The certificate of soft labels: that of copies of the rows with labels, and never below the true gap."""

import functools
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from dlcore import LinearHeads, certify, fit_heads
from dlcore.certificate.bounds.soft_labels import RepeatedRows

pytestmark = pytest.mark.any_mode

ROWS, FEATURES, CLASSES = 60, 4, 3
L2 = np.array([0.0, 1e-3, 0.1])
STEPS = (0.0, 1e-8, 1e-4, 0.1, 3.0)


@functools.cache
def problem(loss: str, *, far: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, soft labels and weights. With `far` one column is far from 0."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, FEATURES))
    p = softmax(3 * x @ rng.normal(size=(FEATURES, CLASSES)) + rng.normal(size=(ROWS, CLASSES)), axis=1)
    p[:4] = np.eye(CLASSES)[[0, 1, 2, 0]]
    x[:, 0] += 1e4 * far
    return x, (p if loss == "softmax" else p[:, 0]), rng.uniform(0.5, 2, ROWS)


def copies(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a row for each class of each row, with its label and its weight."""
    table = np.column_stack([1 - y, y]) if y.ndim == 1 else y
    classes = table.shape[1]
    return np.repeat(x, classes, axis=0), np.tile(np.arange(classes), len(x)), (s[:, None] * table).ravel()


@functools.cache
def optimum(loss: str, *, has_intercept: bool, far: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the coefficients and intercepts of the copies, shape (l2, …)."""
    x, y, s = copies(*problem(loss, far=far))
    heads = fit_heads(x, y, loss=loss, l2=L2, sample_weight=s, tol=1e-15, fit_intercept=has_intercept)
    return heads.coef, heads.intercept if has_intercept else None


def exact_value(loss: str, coef: np.ndarray, intercept: Any, l2: float, *, far: bool) -> np.longdouble:
    """Return J from its definition in extended precision."""
    x, y, s = (part.astype(np.longdouble) for part in problem(loss, far=far))
    z = x @ np.atleast_2d(coef).astype(np.longdouble).T + np.atleast_1d(0.0 if intercept is None else intercept)
    table = np.column_stack([1 - y, y]) if y.ndim == 1 else y / y.sum(1, keepdims=True)
    z = np.column_stack([np.zeros(ROWS), z]) if y.ndim == 1 else z
    z = z - z.max(1, keepdims=True)
    losses = np.log(np.exp(z).sum(1)) - (table * z).sum(1)
    return (s * losses).sum() / s.sum() + np.longdouble(l2) / 2 * (coef.astype(np.longdouble) ** 2).sum()


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("has_intercept", [True, False])
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_the_gap_is_never_below_the_true_gap_and_is_that_of_the_copies(loss, has_intercept, far):
    rng = np.random.default_rng(1)
    x, y, s = problem(loss, far=far)
    coef, intercept = optimum(loss, has_intercept=has_intercept, far=far)
    least = [
        exact_value(loss, coef[k], None if intercept is None else intercept[k], l2, far=far)
        for k, l2 in enumerate(L2)
    ]
    for step in STEPS:
        moved = coef + step * rng.normal(size=coef.shape)
        offset = None if intercept is None else intercept + step * rng.normal(size=intercept.shape)
        if offset is not None and far:  # so that the logits stay near those of the optimum
            offset = offset - 1e4 * (moved - coef)[..., 0]
        heads = LinearHeads(moved, offset, L2, loss)
        for tight in (False, True):
            found, expected = certify(heads, x, y, s, tight=tight), certify(heads, *copies(x, y, s), tight=tight)
            for k, l2 in enumerate(L2):
                value = exact_value(loss, moved[k], None if offset is None else offset[k], l2, far=far)
                assert found.gap[k] >= value - least[k] - 1e-18 * float(value)
                np.testing.assert_allclose(found.value[k], float(value), rtol=1e-12)
            both = np.isfinite(found.gap)
            np.testing.assert_array_equal(both, np.isfinite(expected.gap))
            slack = 20 * (found.rounding + expected.rounding)[both] + 1e-15
            assert (np.abs(found.gap[both] - expected.gap[both]) <= 1e-2 * expected.gap[both] + slack).all()
            np.testing.assert_allclose(
                found.gradient_norm, expected.gradient_norm, rtol=1e-6, atol=1e-11 if not far else 1e-7
            )
            np.testing.assert_allclose(found.null_value, expected.null_value, rtol=1e-13)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_each_model_may_have_its_weights(loss):
    x, y, s = problem(loss)
    coef, intercept = optimum(loss, has_intercept=True)
    sets = s * np.random.default_rng(2).integers(0, 2, (len(L2), ROWS))
    found = certify(LinearHeads(coef, intercept, L2, loss), x, y, sets, tight=True)
    for k, l2 in enumerate(L2):
        assert intercept is not None
        one = certify(LinearHeads(coef[k], intercept[k], l2, loss), x, y, sets[k], tight=True)
        np.testing.assert_allclose([found.value[k], found.gap[k]], [one.value, one.gap], rtol=1e-9)


def test_heads_of_labels_are_certified_on_soft_labels():
    x, y, s = problem("softmax")
    names = np.array(["a", "b", "c"])
    heads = fit_heads(x, names[y.argmax(1)], loss="softmax", l2=[0.1], sample_weight=s)
    found = certify(heads, x, y, s)
    expected = certify(LinearHeads(heads.coef, heads.intercept, heads.l2, "softmax"), x, y, s)
    np.testing.assert_array_equal(found.gap, expected.gap)
    hard = certify(heads, x, np.eye(CLASSES)[y.argmax(1)], s)
    np.testing.assert_allclose(hard.value, certify(heads, x, names[y.argmax(1)], s).value, rtol=1e-13)


def test_the_report_has_no_separability_of_soft_labels():
    x, y, s = problem("logistic")
    report = certify(LinearHeads(np.zeros(FEATURES), 0.0, 0.1), x, y, s, report=True).report
    assert report is not None
    assert report.separability is None


@pytest.mark.parametrize(
    ("loss", "change", "message"),
    [
        (
            "softmax",
            lambda y: np.column_stack([y[:, 0], 1 - y[:, 0]]),
            r"^y: expected the probabilities of the 3 classes .*\(60, 2\)",
        ),
        ("softmax", lambda y: 0.5 * y, r"^y: .*sum to 1, got 0.5 in row 0"),
        ("logistic", lambda y: y[:, None], r"^y: expected 1-D"),
        ("logistic", lambda y: y - 0.5, r"^y: .*probabilities of class 1 in \[0, 1\], got -0.\d+ in row"),
    ],
)
def test_what_is_refused_is_named(loss, change, message):
    x, y, s = problem(loss)
    coef = np.zeros((CLASSES, FEATURES) if loss == "softmax" else FEATURES)
    with pytest.raises(ValueError, match=message):
        certify(LinearHeads(coef, 0.0, 0.1, loss), x, change(y), s)


@pytest.mark.parametrize(
    "rows", [slice(0, 12), slice(4, 8), slice(5, 6), slice(7, 12, 2), slice(6, 6), np.array([9, 2])]
)
def test_any_of_the_repeated_rows_are_read(rows):
    table = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(RepeatedRows(table, 3)[rows], np.repeat(table, 3, axis=0)[rows])
