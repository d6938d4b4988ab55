"""The span of few rows: its basis, where it is used, and heads fitted in it against those fitted without it."""

import numpy as np
import pytest
import scipy.sparse

from dlcore import fit_heads
from dlcore._core.status import Status
from dlcore.heads.data.centering import center_rows, fit_centering
from dlcore.heads.passes.row_span import row_span
from dlcore.heads.solvers import lbfgs_sweep

pytestmark = pytest.mark.any_mode

RNG = np.random.default_rng(0)
ROWS, COLUMNS = 30, 90
X = RNG.normal(size=(ROWS, COLUMNS)).astype(np.float32) * np.geomspace(1, 1e-2, COLUMNS, dtype=np.float32) + 3
LABELS = {
    "logistic": RNG.integers(0, 2, ROWS),
    "softmax": RNG.integers(0, 3, ROWS),
    "poisson": RNG.poisson(1.0, ROWS),
}
MANY = 10**6
"""Logits for which any rows have their span."""
WEIGHTS = RNG.uniform(0.5, 2, ROWS)
CASES = {
    "folds": {"folds": 3},
    "no intercept": {"fit_intercept": False},
    "weights": {"sample_weight": np.where(np.arange(ROWS) % 5, WEIGHTS, 0.0)},
    "standardised": {"standardize": True},
}


@pytest.fixture
def spans(monkeypatch):
    """Return a list of whether each fit has a span."""
    found = []

    def noted(*arguments):
        span = row_span(*arguments)
        found.append(span is not None)
        return span

    monkeypatch.setattr(lbfgs_sweep, "row_span", noted)
    return found


@pytest.mark.parametrize("x", [X, np.repeat(X[:10], 3, axis=0), X + 1e6], ids=["rows", "equal rows", "far rows"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_lengths_and_predictions_are_those_of_the_columns(x, fit_intercept):
    centering = fit_centering(x, fit_intercept)
    span = row_span(x, centering, MANY)
    assert span is not None
    centered = center_rows(x, centering, np.float64, np)
    # Each is a few products of matrices of this size and of these lengths.
    rounding = 100 * COLUMNS * np.finfo(np.float64).eps
    np.testing.assert_allclose(span.basis.T @ span.basis, np.eye(ROWS), atol=rounding)
    np.testing.assert_allclose(span.rows, centered @ span.basis, atol=rounding * np.linalg.norm(centered, 2))
    squares = span.rows.T @ span.rows
    uncorrelated = squares - np.diag(np.diag(squares))
    assert abs(uncorrelated).max() <= rounding * np.linalg.norm(centered, 2) ** 2
    theta = RNG.normal(size=(2, ROWS + 1))
    of_columns = span.expand(theta)
    size = np.linalg.norm(theta)
    np.testing.assert_allclose(span.project(of_columns), theta, atol=rounding * size)
    logits = centered @ of_columns[:, :-1].T + of_columns[:, -1]
    size *= 1 + np.linalg.norm(centered, 2)
    np.testing.assert_allclose(logits, span.rows @ theta[:, :-1].T + theta[:, -1], atol=rounding * size)


def test_the_span_is_used_where_it_makes_passes_shorter():
    centering = fit_centering(X, True)
    assert row_span(X, centering, 10) is not None
    assert row_span(X, centering, 1) is None  # nothing to gain
    half = X[:, : 2 * ROWS - 1]
    assert row_span(half, fit_centering(half, True), MANY) is None
    many_rows = np.broadcast_to(np.float32(0), (2049, 5000))
    assert row_span(many_rows, centering, MANY) is None


@pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")
@pytest.mark.parametrize("loss", LABELS)
@pytest.mark.parametrize("case", CASES)
def test_heads_are_those_fitted_without_the_span(loss, case, spans, monkeypatch):
    """The penalty makes J convex: the proofs of both bound the distance between them."""
    given = {"loss": loss, "l2": np.geomspace(1e-3, 1, 20), "tol": 1e-10} | CASES[case]
    heads = fit_heads(X, LABELS[loss], **given)
    assert spans == [True]
    monkeypatch.setattr(lbfgs_sweep, "row_span", lambda *arguments: None)
    without = fit_heads(X, LABELS[loss], **given)
    assert set(heads.status) == set(without.status) == {Status.CONVERGED}
    scale = 1 if heads.scale is None else heads.scale
    difference = (scale * (heads.coef - without.coef)).reshape(20, -1)
    bound = sum(np.sqrt(2 * found.certificate.gap / found.l2) for found in (heads, without))
    assert (np.linalg.norm(difference, axis=1) <= bound).all()


@pytest.mark.parametrize(
    "given", [{"l2": [1e-2] * 20 + [0.0]}, {"l2": [1e-2] * 20, "standardize": True, "folds": 2}]
)
def test_penalties_that_reach_no_or_other_columns_have_no_span(given, spans):
    fit_heads(X, LABELS["logistic"], max_steps=3, **given)
    assert spans == []


def test_sparse_rows_have_no_span(spans):
    fit_heads(scipy.sparse.csr_array(X), LABELS["logistic"], l2=[1e-2] * 20, max_steps=3)
    assert spans == [False]


def test_a_checkpoint_holds_no_coordinates_of_the_span(tmp_path, monkeypatch):
    """Another BLAS has another basis. What one has saved, the other goes on with."""
    given = {"loss": "softmax", "l2": np.geomspace(1e-3, 1, 20)}
    heads = fit_heads(X, LABELS["softmax"], checkpoint=tmp_path / "heads.npz", **given)

    def turned(*arguments):
        span = row_span(*arguments)
        assert span is not None
        return span._replace(rows=span.rows[:, ::-1], basis=span.basis[:, ::-1])

    monkeypatch.setattr(lbfgs_sweep, "row_span", turned)
    again = fit_heads(X, LABELS["softmax"], checkpoint=tmp_path / "heads.npz", **given)
    np.testing.assert_array_equal(again.coef, heads.coef)
    np.testing.assert_array_equal(again.intercept, heads.intercept)
