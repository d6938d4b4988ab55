import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    DTYPE,
    Problem,
    breast_cancer,
    exact_value,
    newton,
    random_optimum,
    random_problem,
    stored_optimum,
)
from seams import largest_intercept

import dlcore
from dlcore import LinearHeads, Objective, certify, descent
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import logistic


def points(problem: Problem, optimum: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return points far from the optimum, nearer, at it, and off it in the intercept alone."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=optimum.shape) * (1 + np.abs(optimum).max())
    near = [optimum + scale * direction for scale in (10, 1, 1e-2, 1e-4, 1e-6, 1e-8, 0)]
    wrong = [optimum + shift * np.eye(len(optimum))[-1] for shift in (5, -1, 1e-3, -1e-6)]
    return [np.zeros_like(optimum), *near, *wrong]


def heads(theta: np.ndarray, l2: float) -> LinearHeads:
    theta = np.asarray(theta, np.float64)
    return LinearHeads(theta[:-1], theta[-1], l2)


@pytest.mark.parametrize("seed", range(50))
def test_the_gap_is_never_below_the_true_one(seed):
    """The oracle is Newton in extended precision, on five kinds of problems, at twelve points each."""
    problem, optimum = random_problem(seed), random_optimum(seed)
    least = exact_value(problem, optimum)
    for theta in points(problem, np.asarray(optimum, np.float64), seed):
        certificate = certify(heads(theta, problem.l2), problem.x, problem.y, problem.s)
        true = exact_value(problem, theta) - least
        assert certificate.bound == "duality"
        err = 32 * np.finfo(np.longdouble).eps * (1 + least)  # of sums of 200 terms in extended precision
        assert certificate.gap >= true - err, f"bound {certificate.gap}, true {true}"
        assert abs(certificate.value - exact_value(problem, theta)) <= 1e-13 * (1 + certificate.value)


@pytest.mark.parametrize("seed", range(50))
def test_the_gap_is_small_at_the_optimum(seed):
    """The optimum is rounded to float64: the bound is its rounding term and little more."""
    problem, optimum = random_problem(seed), random_optimum(seed)
    certificate = certify(heads(optimum, problem.l2), problem.x, problem.y, problem.s)
    longest = np.linalg.norm(problem.x, axis=1).max()
    assert certificate.rounding <= certificate.gap <= 1e-12 * (1 + longest / np.sqrt(problem.l2)) ** 2


@pytest.mark.parametrize(("l2", "exact"), [(None, False), (1.0, True), (0.01, True)])
def test_the_gap_is_the_difference_of_primal_and_dual(l2, exact):
    """J − D(q) is evaluated in extended precision at the repaired q."""
    problem = random_problem(1)
    if l2 is not None:
        problem = problem._replace(l2=l2)
    x, y, s, l2 = problem
    theta = 0.1 * np.asarray(newton(problem), np.float64) + 0.1
    p = 1 / (1 + np.exp(-(x @ theta[:-1] + theta[-1]).astype(np.longdouble)))
    q = p.copy()
    over, under = (s * p)[y == 0].sum(), (s * (1 - p))[y == 1].sum()
    if over > under:
        q[y == 0] *= under / over
    else:
        q[y == 1] = 1 - (1 - q[y == 1]) * over / under
    entropy = -(q * np.log(q) + (1 - q) * np.log1p(-q))
    slope = x.T.astype(np.longdouble) @ (s * (q - y)) / s.sum()
    dual = (s * entropy).sum() / s.sum() - (slope @ slope) / (2 * l2)
    certificate = certify(heads(theta, l2), x, y, s)
    expected = exact_value(problem, theta) - dual
    if exact:
        assert abs(certificate.gap - certificate.rounding - expected) <= 1e-14 * expected
    else:  # a bound stands for the divergence where that is next to nothing
        assert 0 < certificate.gap - certificate.rounding - expected <= 2.0**-10 * expected


def test_a_wrong_intercept_alone_is_seen():
    """Only the intercept is wrong. ‖∇_w J‖²/(2·l2) would be almost 0; the repaired bound is not."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = (rng.random(200) < 0.5).astype(float)
    x = np.concatenate([x, -x])  # the same labels twice, mirrored: the weights stay 0 whatever the intercept
    y = np.concatenate([y, y])
    problem = Problem(x, y, np.ones(400), 1e-3)
    theta = np.array([0, 0, 0, 0.5])
    true = exact_value(problem, theta) - exact_value(problem, newton(problem))
    certificate = certify(heads(theta, 1e-3), x, y)
    assert true > 1e-3
    assert true <= certificate.gap <= 50 * true


def test_without_an_intercept():
    """The optimum is over the coefficients alone: nothing is repaired."""
    problem = random_problem(0)
    x, y, _, l2 = problem
    weight = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weight))
        hessian = x.T @ ((p * (1 - p))[:, None] * x) / len(x) + l2 * np.eye(len(weight))
        weight -= np.linalg.solve(hessian, x.T @ (p - y) / len(x) + l2 * weight)
    at_optimum = certify(LinearHeads(weight, None, l2), x, y)
    assert at_optimum.gap <= 1e-12
    assert at_optimum.gradient_norm <= 1e-14
    least = exact_value(problem, np.append(weight, 0))
    for scale in (1, 1e-3):
        theta = np.append(weight + scale, 0)
        assert certify(LinearHeads(theta[:-1], None, l2), x, y).gap >= exact_value(problem, theta) - least


def test_several_heads_at_once_equal_one_at_a_time():
    problem = random_problem(2)
    rng = np.random.default_rng(0)
    coef, intercept, l2 = rng.normal(size=(4, problem.x.shape[1])), rng.normal(size=4), np.geomspace(1e-3, 1, 4)
    together = certify(LinearHeads(coef, intercept, l2), problem.x, problem.y, problem.s)
    assert together.gap.shape == (4,)
    for k in range(4):
        alone = certify(LinearHeads(coef[k], intercept[k], l2[k]), problem.x, problem.y, problem.s)
        np.testing.assert_allclose(together.gap[k], alone.gap, rtol=1e-12)
        np.testing.assert_allclose(together.value[k], alone.value, rtol=1e-14)
        np.testing.assert_allclose(together.gradient_norm[k], alone.gradient_norm, rtol=1e-12)
        assert isinstance(alone.gap, float)


def test_weights_of_each_model_are_its_fold():
    x, y = breast_cancer(np.float64)
    folds = np.arange(len(x)) % 3 != np.arange(3)[:, None]
    coef = np.random.default_rng(0).normal(size=(3, 30)) / 10
    together = certify(LinearHeads(coef, 0.1, 1e-2), x, y, folds)
    for k, fold in enumerate(folds):
        alone = certify(LinearHeads(coef[k], 0.1, 1e-2), x[fold], y[fold])
        np.testing.assert_allclose(together.gap[k], alone.gap, rtol=1e-10)
        np.testing.assert_allclose(together.value[k], alone.value, rtol=1e-13)
    lone = certify(LinearHeads(coef, 0.1, 1e-2), x, y, np.stack([folds[0], folds[1], y == 1]))
    assert lone.bound == ("duality", "duality", "none: a class without weight has no finite intercept")


def test_blocks_of_rows_and_of_heads_change_nothing():
    """A block has few rows and some of the heads where there are 600 heads, and more rows for one head."""
    rng = np.random.default_rng(0)
    rows, count = 5_000, 600
    x = rng.normal(size=(rows, 3))
    y, s = (x[:, 0] + rng.logistic(size=rows) > 0).astype(int), rng.uniform(0.5, 2, rows)
    coef, intercept = rng.normal(size=(count, 3)), rng.normal(size=count)
    together = certify(LinearHeads(coef, intercept, 0.1), x, y, s)
    for k in (0, 299, count - 1):
        alone = certify(LinearHeads(coef[k], intercept[k], 0.1), x, y, s)
        np.testing.assert_allclose(together.gap[k], alone.gap, rtol=1e-10)
        np.testing.assert_allclose(together.value[k], alone.value, rtol=1e-14)


def test_weights_count_rows_and_a_scale_of_them_cancels():
    x, y = breast_cancer(np.float64)
    head = heads(np.full(31, 0.1), 1e-2)
    s = np.random.default_rng(0).integers(0, 4, len(x))
    weighted, repeated = certify(head, x, y, s), certify(head, np.repeat(x, s, 0), np.repeat(y, s))
    np.testing.assert_allclose(weighted.gap, repeated.gap, rtol=1e-10)
    np.testing.assert_allclose(certify(head, x, y, 1e6 * s).gap, weighted.gap, rtol=1e-10)


def test_extreme_heads_stay_finite():
    """Logits are ±1e5, with all rows right or all wrong: no overflow, no nan."""
    x = np.array([[-1.0], [1.0]])
    y = np.array([0, 1])
    right, wrong = (certify(LinearHeads(np.array([w]), 0.0, 1e-3), x, y) for w in (1e5, -1e5))
    assert np.isfinite([right.gap, right.value, wrong.gap, wrong.value]).all()
    assert wrong.value > 1e5
    lopsided = certify(LinearHeads(np.array([1e4]), 1e5, 1e-3), x, y)
    assert np.isfinite([lopsided.gap, lopsided.value, lopsided.gradient_norm]).all()


TINY_TABLE = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0, 1, 0, 1])


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e300, 4e307])
def test_weights_of_any_size(scale):
    plain = certify(LinearHeads([0.0], 0.0, 0.5), *TINY_TABLE)
    scaled = certify(LinearHeads([0.0], 0.0, 0.5), *TINY_TABLE, weights=np.full(4, scale))
    np.testing.assert_allclose([scaled.gap, scaled.value], [plain.gap, plain.value], rtol=1e-12)


def test_a_class_that_outweighs_the_other():
    """Weights span seventeen decades: the fraction of one class rounds to 1."""
    s = np.array([1, 1e17, 1, 1e17])
    certificate = certify(LinearHeads([0.0], 0.0, 0.5), *TINY_TABLE, weights=s)
    problem = Problem(TINY_TABLE[0], TINY_TABLE[1].astype(float), s, 0.5)
    true = exact_value(problem, np.zeros(2)) - exact_value(problem, newton(problem))
    assert true <= certificate.gap < 1


@pytest.mark.parametrize(
    ("heads", "scale"),
    [
        (LinearHeads([0.0], 0.0, 0.5), 1e160),
        (LinearHeads([0.0], 0.0, 0.5), 1e200),
        (LinearHeads([0.3], 0.0, 1e300), 1.0),
        (LinearHeads([1e200], 0.0, 0.5), 1.0),
    ],
)
def test_what_overflows_has_no_bound_and_says_so(heads, scale):
    certificate = certify(heads, scale * TINY_TABLE[0], TINY_TABLE[1])
    assert certificate.gap == np.inf
    assert certificate.bound == "none: overflow"


def test_each_head_has_its_own_bound():
    certificate = certify(LinearHeads([[0.1], [0.2]], [0.0, 0.0], [0.0, 0.5]), *TINY_TABLE)
    assert certificate.bound == ("none: the duality bound needs l2 > 0", "duality")
    assert certificate.gap[0] == np.inf
    assert np.isfinite(certificate.gap[1])


def test_many_heads_are_certified_in_bounded_memory():
    """The logits of a block count too: 10,000 rows of one column by 500 heads stay under a few blocks."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10_000, 1)), rng.integers(0, 2, 10_000)
    tracemalloc.start()
    certify(LinearHeads(rng.normal(size=(500, 1)), np.zeros(500), 0.1), x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**23 < 10_000 * 500 * 8 * 2


def test_without_a_penalty_there_is_no_bound():
    x, y = breast_cancer(np.float64)
    certificate = certify(heads(np.zeros(31), 0.0), x, y)
    assert certificate.gap == np.inf
    assert certificate.bound == "none: the duality bound needs l2 > 0"
    assert abs(certificate.value - np.log(2)) < 1e-15


def test_heads_in_any_array_type():
    x, y = breast_cancer()
    plain = certify(LinearHeads([0.1] * 30, 0.2, 0.1), x, y)
    jax_arrays = certify(
        LinearHeads(jnp.full(30, 0.1, DTYPE), jnp.array(0.2, DTYPE), 0.1), jnp.asarray(x), jnp.asarray(y)
    )
    np.testing.assert_allclose(jax_arrays.gap, plain.gap, rtol=1e-5)
    memory = certify(LinearHeads([0.1] * 30, 0.2, 0.1), x.astype(np.float16), y.astype(bool))
    np.testing.assert_allclose(memory.value, plain.value, rtol=1e-2)


def test_descent_reaches_its_optimum():
    """The real table with l2 = 1e-3 and step size 1/L takes 20 to 23 thousand steps to gap ≤ 1e-8·J."""
    x, y = breast_cancer()
    objective = Objective(logistic, sigmoid_cross_entropy, 1e-3)
    rate = descent.lipschitz_step(objective, (x, y))
    fitted = dlcore.fit(objective, (x, y), descent.gradient_descent(rate), tol=9e-9, max_steps=30_000)
    certificate = certify(LinearHeads(*fitted.params, l2=1e-3), x, y)
    assert fitted.status == "converged"
    assert 19_000 < fitted.steps < 23_500
    assert certificate.gap <= 1e-8 * certificate.value


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"loss": "hinge"},
            ValueError,
            "heads.loss: expected 'logistic', 'softmax', 'squared' or 'poisson', got 'hinge'",
        ),
        ({"coef": np.zeros(5)}, ValueError, r"heads.coef: expected shape \(30,\) or \(heads, 30\), got \(5,\)"),
        ({"coef": np.full(30, np.nan)}, ValueError, "heads.coef: expected finite numbers, got nan"),
        ({"intercept": np.inf}, ValueError, "heads.intercept: expected finite numbers, got infinity"),
        ({"intercept": [1.0, 2.0]}, ValueError, r"heads.intercept: expected a number or shape \(1,\), got \(2,\)"),
        ({"l2": -1.0}, ValueError, "heads.l2: expected finite numbers of at least 0"),
        ({"coef": np.array(["a"] * 30)}, TypeError, "heads.coef: expected numbers, got dtype"),
    ],
)
def test_wrong_heads_are_named(changed, error, message):
    x, y = breast_cancer()
    with pytest.raises(error, match=message):
        certify(LinearHeads(np.zeros(30), 0.0, 0.1)._replace(**changed), x, y)


@pytest.mark.parametrize("shape", [(2, 7), (10, 2), (2, 20)])
def test_weights_of_another_number_of_rows_are_named(shape):
    heads = LinearHeads(np.zeros((2, 3)), 0.0, 0.1)
    message = rf"weights: expected shape \(10,\), .* or \(.*, 10\), got \({shape[0]}, {shape[1]}\)"
    with pytest.raises(ValueError, match=message):
        certify(heads, np.ones((10, 3)), np.arange(10) % 2, np.ones(shape))


def test_the_longest_row_counts_in_the_rounding():
    """A row that is right by far adds nothing to any sum, but its logit is off by u·‖x‖‖w‖ all the same."""
    x = np.array([[1.0, 0.5], [-0.5, -1.0], [1e12, 1e12]])
    certificate = certify(LinearHeads([0.3, 0.2], None, 0.1), x, np.array([1, 0, 1]))
    unit = np.finfo(np.float64).eps / 2
    assert certificate.rounding >= (2 * unit * 1e12 * np.hypot(0.3, 0.2)) ** 2 / 8


@pytest.mark.parametrize("seed", range(20))
def test_the_intercept_of_the_optimum_is_within_its_bound(seed):
    """The bound also holds where features are far from 0, so that the intercept balances large coefficients."""
    problem = random_problem(seed)
    moved = problem._replace(x=problem.x + 20)
    for case, name in ((problem, f"random problem {seed}"), (moved, f"random problem {seed}, moved")):
        zeros, ones = (np.atleast_1d(case.s[case.y == label].sum()) for label in (0, 1))
        longest = np.sqrt((case.x**2).sum(1).max())
        bound = largest_intercept(longest, zeros, ones, np.array([case.l2]))
        assert abs(stored_optimum(case, name)[-1]) <= bound
