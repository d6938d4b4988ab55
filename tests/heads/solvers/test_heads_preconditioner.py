"""The preconditioner of L-BFGS against the Hessian at the constant prediction, inverted in NumPy."""

import jax
import numpy as np
import pytest
from helpers import assert_close

from dlcore.heads.data.centering import fit_centering
from dlcore.heads.solvers import preconditioner as module
from dlcore.heads.solvers.preconditioner import (
    RANK,
    Preconditioner,
    apply_inverse,
    diagonal_preconditioner,
    precondition,
)

pytestmark = pytest.mark.any_mode

FEATURES, PENALTIES = 6, np.array([0.05, 1.0, 0.3])
SHARES = {
    "logistic": np.array([[0.5], [0.1], [0.8]]),
    "softmax": np.array([[0.2, 0.5, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]]),
}
"""Fractions of the classes of three heads; class 3 is absent from head 0 of the softmax."""
EPS32 = float(np.finfo(np.float32).eps)


def covariance_of(found):
    """Return the covariance that a preconditioner stands for."""
    if found.basis is None:
        return np.diag(found.variances)
    basis = np.asarray(found.basis, np.float64)
    inside = basis @ np.diag(found.variances) @ basis.T
    return inside + found.tail * (np.eye(len(basis)) - basis @ basis.T)


def hessian(covariance, mean, share, l2, intercept):
    """Return the Hessian over the classes and (coefficients, intercept) of the constant prediction."""
    columns = len(mean) + 1
    rows = np.eye(columns)
    rows[:-1, :-1] = covariance + np.outer(mean, mean)  # the second moments of rows (x, 1)
    rows[:-1, -1] = rows[-1, :-1] = mean
    if not intercept:
        rows[-1] = rows[:, -1] = 0
    classes = share[:, None] * (1 - share) if len(share) == 1 else np.diag(share) - np.outer(share, share)
    penalty = np.tile(np.append(np.full(columns - 1, l2), 0), len(share))
    return np.kron(classes, rows) + np.diag(penalty)


def preconditioner_of(kind, intercept):
    """Return a preconditioner with a mean far from the centre, if there is an intercept."""
    rng = np.random.default_rng(0)
    mean = intercept * rng.normal(size=FEATURES)
    if kind == "diagonal":
        return Preconditioner(None, rng.uniform(0.2, 5, FEATURES), np.zeros(()), mean)
    rank = FEATURES if kind == "eigenbasis" else 3
    basis = np.linalg.qr(rng.normal(size=(FEATURES, rank)))[0].astype(np.float32)
    return Preconditioner(basis, rng.uniform(1, 5, rank), np.asarray(0.4), mean)


def gradient_of(share, intercept, seed=1):
    """Return gradients whose sum over the classes that a head has is 0; a softmax's only."""
    gradient = np.random.default_rng(seed).normal(size=(*share.shape, FEATURES + 1))
    gradient[..., -1] *= intercept
    if share.shape[1] > 1:
        present = (share > 0)[..., None]
        gradient -= gradient.mean(1, keepdims=True, where=present) * present
    return gradient


def steps(found, gradient, share, intercept):
    """Return the inverse Hessian times the gradients."""
    with jax.enable_x64(True):
        spread = share * (1 - share) if share.shape[1] == 1 else share
        return np.asarray(jax.jit(apply_inverse)(found, gradient, spread, PENALTIES, np.float64(intercept)))


@pytest.mark.parametrize("intercept", [1, 0])
@pytest.mark.parametrize("kind", ["diagonal", "eigenbasis", "leading eigenvectors"])
@pytest.mark.parametrize("loss", SHARES)
def test_it_is_the_inverse_hessian_at_the_constant_prediction(loss, kind, intercept):
    """The same number added to all intercepts changes no probability: only their differences are compared.

    What an absent class has as its gradient changes nothing, and its step is 0.
    """
    share, found = SHARES[loss], preconditioner_of(kind, intercept)
    gradient = gradient_of(share, intercept)
    step = steps(found, gradient, share, intercept)
    for b, l2 in enumerate(PENALTIES):
        present = share[b] > 0
        whole = hessian(covariance_of(found), np.asarray(found.mean), share[b][present], l2, intercept)
        expected = np.linalg.pinv(whole, hermitian=True, rtol=1e-10) @ gradient[b, present].ravel()
        expected, mine = expected.reshape(-1, FEATURES + 1), step[b, present].copy()
        if loss == "softmax":
            for each in (expected, mine):
                each[:, -1] -= each[:, -1].mean()
        # Products with a float32 basis, and the least curvature: eps of the largest eigenvalue beside λ.
        condition = 1 + found.variances.max() / l2
        assert_close(mine, expected, units=4 * FEATURES * condition, dtype="float32")
        assert (step[b, ~present] == 0).all()


@pytest.mark.parametrize("kind", ["diagonal", "eigenbasis", "leading eigenvectors"])
@pytest.mark.parametrize("loss", SHARES)
def test_it_is_symmetric_and_positive_on_gradients_whose_classes_sum_to_0(loss, kind):
    share, found = SHARES[loss], preconditioner_of(kind, 1)
    u, v = gradient_of(share, 1, 2), gradient_of(share, 1, 3)
    u[share == 0] = v[share == 0] = 0
    h_u, h_v = (steps(found, each, share, 1) for each in (u, v))
    size = np.sqrt((u**2).sum((1, 2)) * (h_v**2).sum((1, 2)))
    assert_close((u * h_v).sum((1, 2)), (v * h_u).sum((1, 2)), units=4 * FEATURES, scale=size, dtype="float32")
    assert ((u * h_u).sum((1, 2)) > 0).all()


def moments(x, weight):
    """Return the mean and the covariance of weighted rows."""
    mean = weight @ x / weight.sum()
    return mean, (x - mean).T * weight @ (x - mean) / weight.sum()


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("sampled", [True, False])
def test_the_covariance_is_that_of_rows_with_a_weight(monkeypatch, sampled, intercept):
    """Columns have units, and the centre is not the weighted mean. The mean and the variances are of all rows."""
    rng = np.random.default_rng(4)
    x, weight = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 3, rng.uniform(0, 1, 60) ** 4
    weight[::4] = 0
    rows = np.flatnonzero(weight)
    if sampled:
        monkeypatch.setattr(module, "SAMPLE_NUMBERS", 100)
        monkeypatch.setattr(module, "RANK", 10)
        rows = rows[::3]
    centering = fit_centering(x, intercept, rng.uniform(0.5, 2, 5))
    found = precondition(x, weight, centering, 8)
    about = (x - centering.centre) * np.asarray(centering.unit)
    mean = intercept * moments(about, weight)[0]
    expected = (about[rows] - mean).T * weight[rows] @ (about[rows] - mean) / weight[rows].sum()
    size = abs(about).max() ** 2
    assert_close(covariance_of(found), expected, units=4 * 60, scale=size, dtype="float32")
    assert_close(found.mean, mean, units=4 * 60, scale=abs(about).max(), dtype="float64")
    assert intercept == (abs(mean).max() > 0.1)


def test_a_constant_column_has_the_size_of_its_numbers():
    x = np.random.default_rng(6).normal(size=(50, 2))
    x[:, 1] = 3.7
    for intercept in (True, False):
        found = precondition(x, np.ones(50), fit_centering(x, intercept), 1)
        assert_close(np.diag(covariance_of(found))[1], 3.7**2, units=200, dtype="float32")


def table(rows, columns, kind):
    """Return columns of scales over two decades: independent, with one common factor, or in groups of five."""
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(rows, columns))
    common = {"independent": 0, "one factor": rng.normal(size=(rows, 1))}
    groups = np.repeat(rng.normal(size=(rows, -(-columns // 5))), 5, axis=1)[:, :columns]
    return (3 * common.get(kind, groups) + noise) * np.geomspace(0.1, 10, columns)


@pytest.mark.parametrize(
    ("columns", "kind", "heads", "has_basis"),
    [
        (300, "groups", 8, True),
        (300, "groups", 7, False),
        (300, "independent", 8, False),
        (300, "one factor", 8, False),
        (256, "independent", 1, True),
    ],
)
def test_a_wide_table_has_eigenvectors_where_many_columns_are_correlated_and_heads_are_many(
    columns, kind, heads, has_basis, monkeypatch
):
    """Heads are many where heads · rows exceeds m²/30: 3,000 of 300 columns. The variances are always right."""
    monkeypatch.setattr(module, "CHEAP", 0)
    x, weight = table(400, columns, kind), np.ones(400)
    found = precondition(x, weight, fit_centering(x, True), heads)
    assert (found.basis is not None) == has_basis
    _, covariance = moments(x, weight)
    expected = covariance if has_basis else np.diag(np.diag(covariance))
    assert_close(covariance_of(found), expected, units=400, scale=np.trace(covariance), dtype="float32")


def test_eigenvectors_that_are_cheap_need_no_heads():
    x = table(400, 300, "groups")
    assert precondition(x, np.ones(400), fit_centering(x, True), 1).basis is not None


def test_a_table_of_more_than_1024_columns_has_the_leading_eigenvectors():
    """Forty factors and noise: the eigenvalues of the factors, and the mean of all that is beyond the basis."""
    rng = np.random.default_rng(6)
    rows, columns, factors = 400, 1030, 40
    x = (
        rng.normal(size=(rows, factors)) @ rng.normal(size=(factors, columns))
        + rng.normal(size=(rows, columns)) / 4
    )
    found = precondition(x, np.ones(rows), fit_centering(x, True), 100)
    assert found.basis is not None
    assert found.basis.shape == (columns, RANK)
    product = np.asarray(found.basis, np.float64)
    np.testing.assert_allclose(product.T @ product, np.eye(RANK), atol=columns * EPS32)
    values = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / rows
    found_values = np.sort(found.variances)[::-1]
    assert_close(found_values[:factors], values[:factors], units=rows, scale=values[0], dtype="float32")
    assert values[factors] < 0.1 * values[factors - 1]
    tail = (values.sum() - found_values.sum()) / (columns - RANK)
    assert_close(found.tail, tail, units=rows, scale=values.sum() / columns, dtype="float32")
    assert found.tail > 0


@pytest.mark.parametrize("case", ["usual", "tiny", "huge", "a constant column", "a far row without weight"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_have_the_digits_of_float32_at_least(case, dtype):
    """Squares beyond the range of float32, and a centre far from the rows that count, need float64."""
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(500, 3)) + 1, random.uniform(0.5, 1, 500)
    x *= {"tiny": 1e-25, "huge": 1e25}.get(case, 1.0)
    if case == "a constant column":
        x[:, 1] = 3
    if case == "a far row without weight":
        x[7], weight[7] = 1e8, 0
    x = x.astype(dtype)
    centering = fit_centering(x, True)
    found = diagonal_preconditioner(x, weight, centering)
    about, share = x.astype(np.float64) - centering.centre, weight / weight.sum()
    mean = share @ about
    variances = share @ (about - mean) ** 2
    variances[variances == 0] = 9  # of a constant column it is the square of its centre
    tolerance = 1000 * float(np.finfo(np.float32).eps)  # 500 squares, and their difference from that of the mean
    np.testing.assert_allclose(found.variances, variances, rtol=tolerance)
    np.testing.assert_allclose(found.mean, mean, rtol=tolerance, atol=tolerance * np.sqrt(variances.max()))
