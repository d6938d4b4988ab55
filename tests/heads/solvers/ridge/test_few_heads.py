"""Few ridge heads, which NumPy solves without a compilation, or the eigenvectors where float32 fails."""

import jax
import numpy as np
import pytest
from seams import clear_compiled_programs

from dlcore import Status, certify, fit_heads
from dlcore.heads.solvers.ridge import few_heads

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.skipif(jax.default_backend() != "cpu", reason="NumPy solves few heads on a CPU"),
]

ROWS, COLUMNS, TARGETS = 900, 7, 2


def problem(dtype=np.float32, offset=0.0):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(ROWS, COLUMNS)) * np.geomspace(1, 0.01, COLUMNS) + offset).astype(dtype)
    return x, x @ rng.normal(size=(COLUMNS, TARGETS)) + rng.normal(size=(ROWS, TARGETS)) - offset


def optimum(x, y, l2, weight, *, intercept):
    """Return the weights (targets, m) and intercepts (targets,) of the normal equations in extended precision."""
    x, y, s = x.astype(np.longdouble), y.astype(np.longdouble), weight.astype(np.longdouble)
    s = s / s.sum()
    middle, level = (s @ x, s @ y) if intercept else (0 * x[0], 0 * y[0])
    x, y = x - middle, y - level
    hessian = 2 * (x * s[:, None]).T @ x + l2 * np.eye(x.shape[1])
    right = 2 * (x * s[:, None]).T @ y
    w = np.linalg.solve(hessian.astype(float), right.astype(float)).astype(np.longdouble)
    for _ in range(3):
        w += np.linalg.solve(hessian.astype(float), (right - hessian @ w).astype(float))
    return w.T.astype(float), (level - middle @ w).astype(float)


@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_they_are_the_optimum_and_compile_nothing(dtype, weighted, intercept, offset):
    """Solve from one product of the rows in place, and from blocks of copies."""
    x, y = problem(dtype, offset if intercept else 0.0)
    weight = np.linspace(0, 2, ROWS) if weighted else np.ones(ROWS)
    l2 = [1e-3, 1.0]
    clear_compiled_programs()
    given = weight if weighted else None
    heads = fit_heads(x, y, loss="squared", l2=l2, fit_intercept=intercept, sample_weight=given)
    assert heads.timing is not None
    assert heads.timing.programs == ()
    assert set(heads.status.flat) == {Status.CONVERGED}
    assert set(heads.certificate.bound) == {"duality"}
    for k, strength in enumerate(l2):
        coef, level = optimum(x, y, strength, weight, intercept=intercept)
        away = np.linalg.norm(heads.coef[:, k] - coef, axis=1)
        # J − J* ≥ ‖w − w*‖²·l2/2, and the longest step that rounding of the oracle makes
        proven = np.sqrt(2 * heads.certificate.gap[:, k] / strength) + 1e-12 * np.linalg.norm(coef, axis=1)
        assert (away <= proven).all()
        assert (away <= 1e-5 * np.linalg.norm(coef, axis=1)).all()
        np.testing.assert_allclose(heads.intercept[:, k], level * intercept, rtol=1e-6, atol=1e-5)


def test_blocks_are_added(monkeypatch):
    x, y = problem(offset=30.0)
    monkeypatch.setattr(few_heads, "GRAM_BYTES", 4 * COLUMNS * 128)
    monkeypatch.setattr(few_heads, "PASS_BYTES", 8 * COLUMNS * 128)
    heads = fit_heads(x, y, loss="squared", l2=1e-2)
    coef, _ = optimum(x, y, 1e-2, np.ones(ROWS), intercept=True)
    np.testing.assert_allclose(heads.coef[:, 0], coef, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        {"l2": np.geomspace(1e-3, 1, few_heads.MOST_STRENGTHS + 1)},
        {"l2": [0.0]},
        {"l2": [1e-2], "standardize": True},
        {"l2": [1e-2], "folds": 3},
    ],
)
def test_other_heads_have_the_eigenvectors(given):
    x, y = problem()
    clear_compiled_programs()
    heads = fit_heads(x, y, loss="squared", **given)
    assert heads.timing is not None
    assert "_of_products" in heads.timing.programs


def test_nearly_equal_columns_fall_back_to_the_eigenvectors():
    """A float32 Hessian says nothing of the difference of two columns that the penalty hardly sees."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, 3)).astype(np.float32)
    x[:, 2] = x[:, 1] * (1 + 2.0**-14 * rng.integers(-1, 2, ROWS))
    y = x[:, 0] + 3e4 * (x[:, 2] - x[:, 1]) + rng.normal(size=ROWS)
    clear_compiled_programs()
    heads = fit_heads(x, y, loss="squared", l2=1e-10)
    assert heads.timing is not None
    assert "_of_products" in heads.timing.programs
    assert set(heads.status) == {Status.CONVERGED}
    assert certify(heads, x, y).gap[0] <= 1e-6 * heads.value[0]


@pytest.mark.parametrize("y", [np.zeros(ROWS), np.full(ROWS, 1e8)])
def test_constant_targets_have_the_null_head(y):
    heads = fit_heads(problem()[0], y, loss="squared", l2=[1e-3, 1e6])
    assert (heads.coef == 0).all()
    np.testing.assert_allclose(heads.intercept, y[0], rtol=ROWS * np.finfo(float).eps)
