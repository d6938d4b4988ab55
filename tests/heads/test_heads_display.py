"""Heads are described in one line, found by their strength, and predict alone as together."""

import html.parser

import numpy as np
import pytest

from dlcore import Heads, LinearHeads, certify, fit_heads

pytestmark = pytest.mark.filterwarnings("ignore::dlcore.GridEdgeWarning")
X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
SCORES = X @ np.array([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0], [0.0, 1.0, 1.0]], np.float32)
Y = {"logistic": (SCORES[:, 0] > 0).astype(int), "softmax": SCORES.argmax(1), "squared": SCORES[:, 0]}
L2 = [0.001, 0.01, 0.1]


@pytest.fixture(scope="module", params=["logistic", "softmax", "squared"])
def heads(request) -> Heads:
    return fit_heads(X, Y[request.param], loss=request.param, l2=L2, folds=3)


@pytest.fixture(scope="module")
def of_targets() -> Heads:
    return fit_heads(X, SCORES[:, :2], loss="squared", l2=L2, folds=3)


def test_one_line_says_the_loss_the_sizes_and_the_worst_gap(heads, of_targets):
    text = repr(heads)
    assert text.startswith(f"Heads({heads.loss}, 3 l2 × 3 folds, 3 features, ")
    assert f"best l2={heads.best_l2:.3g}, all converged, worst gap " in text
    assert ("3 classes" in text) == (heads.loss == "softmax")
    assert len(text) < 150
    assert "3 l2 × 3 folds × 2 targets, 3 features" in repr(of_targets)
    assert " 2 features" in repr(fit_heads(X[:, :2], Y["logistic"], l2=L2))


def test_a_status_that_is_not_converged_is_counted():
    apart = fit_heads(X, (X[:, 0] > 0).astype(int), l2=[0.0, 0.1])
    assert "1 converged + 1 separable, gap unknown of some" in repr(apart)


class Cells(html.parser.HTMLParser):
    """Tags that are open and close in order, and the number of rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack, self.rows = [], 0
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.stack.append(tag)
        self.rows += tag == "tr"

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_the_table_has_a_row_for_each_strength(heads, of_targets):
    text = heads._repr_html_()
    assert Cells(text).rows == 1 + len(L2)
    assert text.count("(best)") == 1
    assert "3 l2" in of_targets._repr_html_()
    many = fit_heads(X, Y["squared"], loss="squared", l2=np.geomspace(1e-6, 1, 60))
    assert "10 more" in many._repr_html_()


def test_the_best_head_and_the_head_of_a_strength(heads):
    assert heads.best_l2 == heads.l2[heads.best]
    best = heads.best_head
    assert isinstance(best, LinearHeads)
    np.testing.assert_array_equal(best.coef, heads.coef[heads.best])
    for k, l2 in enumerate(L2):
        np.testing.assert_array_equal(heads[l2].coef, heads.coef[k])
        np.testing.assert_array_equal(heads[l2 * (1 + 1e-12)].intercept, heads.intercept[k])
    assert certify(best, X, Y[heads.loss]).gap == pytest.approx(heads.certificate.gap[heads.best], rel=0.5)


def test_the_best_heads_of_targets(of_targets):
    best = of_targets.best_head
    assert best.coef.shape == (2, 3)
    for target, k in enumerate(of_targets.best):
        np.testing.assert_array_equal(best.coef[target], of_targets.coef[target, k])
        assert best.l2[target] == of_targets.best_l2[target]
    assert of_targets[0.1].coef.shape == (2, 3)


def test_a_head_alone_predicts_what_it_predicts_among_others(heads):
    new = np.random.default_rng(1).normal(size=(20, 3))
    together, alone = heads.predict(new)[heads.best], heads.best_head.predict(new)
    if heads.loss == "squared":
        np.testing.assert_allclose(alone, together, rtol=1e-13)
        with pytest.raises(ValueError, match="predict_proba: expected heads with loss"):
            heads.best_head.predict_proba(new)
        return
    np.testing.assert_array_equal(alone, together)
    proba = heads.best_head.predict_proba(new)
    np.testing.assert_allclose(proba, heads.predict_proba(new)[heads.best], rtol=1e-12, atol=1e-300)


def test_probabilities_of_far_logits_are_finite():
    far = LinearHeads(np.array([[1e4]]), np.zeros(1), 0.1)
    np.testing.assert_array_equal(far.predict_proba([[1.0], [-1.0]]), [[[0, 1], [1, 0]]])


def test_no_intercept_is_none():
    heads = fit_heads(X, Y["logistic"], l2=L2, fit_intercept=False)
    assert heads[0.1].intercept is None
    assert heads[0.1].predict(X).shape == (60,)


def test_wrong_strengths_and_columns(heads):
    with pytest.raises(KeyError, match=r"l2: no head has the strength 0.5; there are 0.001, 0.01, 0.1"):
        heads[0.5]
    with pytest.raises(TypeError, match="expected a number"):
        heads["best"]
    with pytest.raises(TypeError, match="one number"):
        heads[np.array([0.1])]
    with pytest.raises(TypeError, match="not iterable"):
        list(heads)
    with pytest.raises(ValueError, match="x: expected 3 columns, got 2"):
        heads.best_head.predict(np.ones((2, 2)))
    with pytest.raises(ValueError, match="best_head: expected heads with scores"):
        fit_heads(X, Y["logistic"], l2=L2).best_head  # noqa: B018


def test_equality_and_hash_are_those_of_the_object(heads):
    assert heads == heads
    assert heads != heads.best_head
    assert len({heads, heads}) == 1
