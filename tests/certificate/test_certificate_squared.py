"""The certificate of heads with squared loss against least squares in 60 digits."""

from typing import NamedTuple

import mpmath
import numpy as np
import pytest

from dlcore import LinearHeads, certify

pytestmark = pytest.mark.any_mode


class Regression(NamedTuple):
    """A weighted ridge regression in float64."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: float


KINDS = ("plain", "weighted", "ill-conditioned", "wide", "collinear", "one row", "far from 0")


def random_regression(seed: int) -> Regression:
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    n, m = int(rng.integers(8, 25)), int(rng.integers(1, 5))
    n, m = {"wide": (5, 8), "one row": (1, 3)}.get(kind, (n, m))
    x = rng.normal(size=(n, m))
    if kind == "ill-conditioned":
        x = x @ np.diag(np.geomspace(1, 1e-4, m))
    if kind == "collinear":
        x = np.column_stack([x, x[:, 0], x @ rng.normal(size=m), np.full(n, 3.1)])
    if kind == "far from 0":
        x += 1e3
    y = x @ rng.normal(size=x.shape[1]) + rng.normal(size=n)
    s = 10 ** rng.uniform(-3, 3, n) if kind == "weighted" else np.ones(n)
    return Regression(x, y, s, float(np.geomspace(1e-6, 10, 42)[(11 * seed) % 42]))


def exact_value(problem: Regression, theta: np.ndarray | list):
    """Return J in 60 digits; theta has the intercept last."""
    with mpmath.workdps(60):
        total, value = mpmath.mpf(0), mpmath.mpf(0)
        for row, target, weight in zip(problem.x, problem.y, problem.s, strict=True):
            error = mpmath.fdot(map(mpmath.mpf, row), theta[:-1]) + theta[-1] - mpmath.mpf(target)
            value += mpmath.mpf(weight) * error**2
            total += mpmath.mpf(weight)
        return value / total + mpmath.mpf(problem.l2) / 2 * mpmath.fdot(theta[:-1], theta[:-1])


def least_squares(problem: Regression, intercept: bool = True):
    """Return the optimum by the normal equations in 60 digits; l2 > 0 or columns of full rank."""
    with mpmath.workdps(60):
        columns = problem.x.shape[1] + 1
        a, b, total = mpmath.zeros(columns), mpmath.zeros(columns, 1), mpmath.fsum(map(mpmath.mpf, problem.s))
        for row, target, weight in zip(problem.x, problem.y, problem.s, strict=True):
            v = mpmath.matrix([*map(mpmath.mpf, row), int(intercept)])
            a += mpmath.mpf(weight) * v * v.T
            b += mpmath.mpf(weight) * mpmath.mpf(target) * v
        for j in range(columns - 1):
            a[j, j] += mpmath.mpf(problem.l2) / 2 * total
        if not intercept:
            a[columns - 1, columns - 1] = 1
        return list(mpmath.lu_solve(a, b))


def as_theta(optimum) -> np.ndarray:
    return np.array([float(number) for number in optimum])


def heads(theta: np.ndarray, l2: float) -> LinearHeads:
    return LinearHeads(theta[..., :-1], theta[..., -1], l2, "squared")


def points(optimum: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return points far from the optimum, nearer, at it, and off it in the intercept alone."""
    direction = np.random.default_rng(seed).normal(size=optimum.shape) * (1 + np.abs(optimum).max())
    last = np.eye(len(optimum))[-1]
    near = [optimum + scale * direction for scale in (10, 1, 1e-3, 1e-6, 0)]
    return [np.zeros_like(optimum), *near, *(optimum + shift * last for shift in (5, 1e-3, -1e-6))]


@pytest.mark.parametrize("seed", range(42))
def test_the_gap_is_never_below_the_true_one_and_equals_it(seed):
    """The gap is exact: its excess over the true gap is the rounding that it states, which is small."""
    problem = random_regression(seed)
    optimum = least_squares(problem)
    least = exact_value(problem, optimum)
    for theta in points(as_theta(optimum), seed):
        certificate = certify(heads(theta, problem.l2), problem.x, problem.y, problem.s)
        value = exact_value(problem, theta)
        true = value - least
        assert certificate.bound == "exact"
        assert certificate.gap >= true, f"bound {certificate.gap}, true {true}"
        assert certificate.gap <= true + 2 * certificate.rounding
        assert abs(certificate.value - value) <= certificate.rounding + 1e-13 * value
        size = np.abs(problem.x).max() * (1 + np.abs(theta).max()) * len(theta) ** 2
        off = 1e-13 * size * (1 + 1 / np.sqrt(problem.l2))  # of the root of the gap
        assert certificate.rounding <= off * (2 * np.sqrt(max(0, float(true))) + off)


def full_rank(seed: int, n: int = 12, m: int = 3) -> Regression:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, m)) * [1, 1e-6, 1e4]
    return Regression(x, rng.normal(size=n), 10 ** rng.uniform(-1, 1, n), 0.0)


def test_without_a_penalty():
    problem = full_rank(0)
    optimum = least_squares(problem)
    least = exact_value(problem, optimum)
    for theta in points(as_theta(optimum), 0):
        certificate = certify(heads(theta, 0.0), problem.x, problem.y, problem.s)
        true = exact_value(problem, theta) - least
        assert certificate.bound == "exact"
        assert true <= certificate.gap <= true + 2 * certificate.rounding
        assert certificate.rounding <= 1e-8 * (true + 1e-9)


def test_collinear_columns_without_a_penalty():
    """Columns are a copy, two constants and a multiple. The gap is that of the rest. The name states the rank."""
    problem = full_rank(1)
    least = exact_value(problem, least_squares(problem))
    x = np.column_stack([problem.x, problem.x[:, 0], np.full(12, 1 / 3), np.full(12, 0.7), 2 * problem.x[:, 1]])
    for scale in (1, 1e-3, 0):
        theta = as_theta(least_squares(problem)) + scale * np.array([1, 1e6, 1e-4, 1])
        whole = np.concatenate([theta[:3] - [0.5, 1e6, 0], [0.5, 0.25, -3, 0.5e6], theta[3:]])
        certificate = certify(heads(whole, 0.0), x, problem.y, problem.s)
        true = exact_value(problem._replace(x=x), whole) - least
        assert certificate.bound == "exact if the rank is 3"
        assert true <= certificate.gap <= true + 2 * certificate.rounding
        assert certificate.rounding <= 1e-9 * (true + 1e-6)


def test_more_columns_than_rows_without_a_penalty():
    """J* is 0."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 9)), rng.normal(size=5)
    certificate = certify(heads(np.zeros(10), 0.0), x, y)
    assert certificate.bound == "exact if the rank is 4"
    assert certificate.value <= certificate.gap <= certificate.value * (1 + 1e-9)


def test_a_rank_that_float64_cannot_see_is_no_bound():
    """A column differs from another in its last bits and explains all: the certified rank would hide it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1))
    y = rng.integers(-1, 2, 20) * 1.0
    certificate = certify(heads(np.zeros(3), 0.0), np.column_stack([x, x + 1e-7 * y[:, None]]), 1e4 * y)
    assert certificate.gap == np.inf
    assert certificate.bound == "none: of 2 columns only 1 are independent in float64"


def test_without_an_intercept():
    problem = random_regression(0)
    optimum = least_squares(problem, intercept=False)
    least = exact_value(problem, optimum)
    for scale in (0, 1e-3, 1):
        theta = as_theta(optimum) + scale * np.append(np.ones(len(optimum) - 1), 0)
        certificate = certify(LinearHeads(theta[:-1], None, problem.l2, "squared"), problem.x, problem.y)
        true = exact_value(problem, theta) - least
        assert true <= certificate.gap <= true + 2 * certificate.rounding
        assert certificate.rounding <= 1e-9 * (true + 1e-9)


def test_a_constant_column_without_an_intercept():
    """The spread of such a column is nothing but rounding, and no unit to measure the column in."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(30, 2)), np.full(30, -1000.1), np.zeros(30)])
    problem = Regression(x, rng.normal(size=30), np.ones(30), 0.1)
    optimum = least_squares(problem, intercept=False)
    least = exact_value(problem, optimum)
    for scale in (0, 1e-3):
        theta = as_theta(optimum) + scale * np.append(np.ones(4), 0)
        certificate = certify(LinearHeads(theta[:-1], None, problem.l2, "squared"), problem.x, problem.y)
        true = exact_value(problem, theta) - least
        assert true <= certificate.gap <= true + 2 * certificate.rounding
        assert certificate.rounding <= 1e-9 * (true + 1e-9)


def test_models_and_targets_equal_one_at_a_time():
    """One call has three models with an l2 and a fold each, and four targets."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 4))
    coef, intercept = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4))
    l2, folds = np.array([0.0, 0.1, 1.0]), np.arange(40) % 2 == np.array([0, 1, 0])[:, None]
    together = certify(LinearHeads(coef, intercept, l2, "squared"), x, y, folds)
    assert together.gap.shape == (3, 4)
    assert together.bound == ("exact",) * 12
    for k, fold in enumerate(folds):
        targets = certify(LinearHeads(coef[k], intercept[k], l2[k], "squared"), x, y, fold)
        assert targets.gap.shape == (4,)
        for j in range(4):
            alone = certify(LinearHeads(coef[k, j], intercept[k, j], l2[k], "squared"), x[fold], y[fold, j])
            for name in ("gap", "value", "gradient_norm"):
                np.testing.assert_allclose(getattr(together, name)[k, j], getattr(alone, name), rtol=1e-10)


@pytest.mark.parametrize("columns", [5, 600])
def test_blocks_of_rows_and_of_heads_change_nothing(columns):
    """A block has few rows where there are 600 heads or wide rows, and more for one head."""
    rng = np.random.default_rng(0)
    rows, count = 5_000, 600 if columns == 5 else 3
    x, y, s = rng.normal(size=(rows, columns)), rng.normal(size=rows), rng.uniform(0.5, 2, rows)
    coef, intercept = rng.normal(size=(count, columns)), rng.normal(size=count)
    together = certify(LinearHeads(coef, intercept, 0.1, "squared"), x, y, s)
    sides = np.column_stack([x, np.ones(rows)])
    share, penalty = s / s.sum(), 0.05 * np.append(np.ones(columns), 0)
    best = np.linalg.solve((sides.T * share) @ sides + np.diag(penalty), sides.T @ (share * y))
    least = share @ (y - sides @ best) ** 2 + penalty @ best**2
    for k in (0, count // 2, count - 1):
        theta = np.append(coef[k], intercept[k])
        value = share @ (y - sides @ theta) ** 2 + penalty @ theta**2
        np.testing.assert_allclose(together.value[k], value, rtol=1e-12)
        np.testing.assert_allclose(together.gap[k], value - least, rtol=1e-9)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("many", [False, True])
def test_weights_that_share_nothing(intercept, many):
    """No set of weights is a multiple of another. Each model is certified as if alone."""
    rng = np.random.default_rng(0)
    count = 9 if many else 1  # heads of one set of weights: of many, the sums over the rows serve for all
    x, y, s = rng.normal(size=(15, 3)), rng.normal(size=(15, 1)) * np.ones(count), rng.uniform(0.5, 2, (2, 15))
    coef, bias = rng.normal(size=(2, count, 3)), rng.normal(size=(2, count)) if intercept else None
    certificate = certify(LinearHeads(coef, bias, 0.1, "squared"), x, y, s)
    for k in range(2):
        problem = Regression(x, y[:, 0], s[k], 0.1)
        least = exact_value(problem, least_squares(problem, intercept))
        for h in range(count):
            true = exact_value(problem, np.append(coef[k, h], 0.0 if bias is None else bias[k, h])) - least
            gap, rounding = np.asarray(certificate.gap)[k, h], np.asarray(certificate.rounding)[k, h]
            assert true <= gap <= true + 2 * rounding
            assert rounding <= 1e-9 * true


@pytest.mark.parametrize("intercept", [True, False])
def test_many_heads_some_of_which_fit_to_the_last_digit(intercept):
    """The sums over the rows leave nothing of the value of some heads. The residuals of these heads are read."""
    rng = np.random.default_rng(0)
    x, best = rng.integers(-9, 10, (15, 3)).astype(float), np.array([3.0, -2.0, 5.0, 7.0 * intercept])
    problem = Regression(x, x @ best[:3] + best[3], np.ones(15), 1e-12)
    least = exact_value(problem, least_squares(problem, intercept))
    scales = np.array([0, 0, 1e-12, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1])
    thetas = best + scales[:, None] * rng.normal(size=(12, 4)) * [1, 1, 1, intercept]
    bias = thetas[:, 3] if intercept else None
    certificate = certify(LinearHeads(thetas[:, :3], bias, problem.l2, "squared"), x, problem.y)
    for h, theta in enumerate(thetas):
        value = exact_value(problem, theta)
        true = value - least
        gap, rounding = np.asarray(certificate.gap)[h], np.asarray(certificate.rounding)[h]
        assert true <= gap <= true + 2 * rounding
        assert rounding <= 1e-6 * value
        assert abs(np.asarray(certificate.value)[h] - value) <= 1e-6 * value


def test_the_gradient_norm_is_that_of_the_data_as_given():
    problem = random_regression(6)
    theta = np.full(problem.x.shape[1] + 1, 0.1)
    residual = problem.x @ theta[:-1] + theta[-1] - problem.y
    design = np.column_stack([problem.x, np.ones(len(residual))])
    gradient = 2 * design.T @ residual / len(residual) + problem.l2 * np.append(theta[:-1], 0)
    certificate = certify(heads(theta, problem.l2), problem.x, problem.y)
    np.testing.assert_allclose(certificate.gradient_norm, np.linalg.norm(gradient), rtol=1e-12)


@pytest.mark.parametrize(
    ("coef", "intercept", "y", "message"),
    [
        (
            np.zeros(3),
            0.0,
            np.zeros((5, 2)),
            r"heads.coef: expected shape \(2, 3\) or \(models, 2, 3\), got \(3,\)",
        ),
        (np.zeros((3, 3)), 0.0, np.zeros((5, 2)), r"heads.coef: expected shape \(2, 3\) or .*, got \(3, 3\)"),
        (np.zeros(2), 0.0, np.zeros(5), r"heads.coef: expected shape \(3,\) or \(heads, 3\), got \(2,\)"),
        (np.zeros((2, 3)), np.zeros(3), np.zeros((5, 2)), r"heads.intercept: expected a number or shape \(2,\)"),
        (np.zeros(3), 0.0, np.zeros((5, 2, 1)), r"y: expected 1-D \[n\] or 2-D \[n, targets\], got 3-D"),
        (np.zeros(3), 0.0, np.full(5, np.nan), "y: expected finite numbers, got nan"),
    ],
)
def test_what_does_not_fit_is_named(coef, intercept, y, message):
    with pytest.raises(ValueError, match=message):
        certify(LinearHeads(coef, intercept, 0.1, "squared"), np.zeros((5, 3)), y)


def test_weights_of_targets_are_refused():
    with pytest.raises(ValueError, match=r"weights: expected shape \(5,\), one per row of x, got \(2, 5\)"):
        certify(
            LinearHeads(np.zeros((2, 3)), 0.0, 0.1, "squared"), np.zeros((5, 3)), np.zeros((5, 2)), np.ones((2, 5))
        )


def test_what_overflows_has_no_bound_and_says_so():
    certificate = certify(LinearHeads([1.0], 0.0, 0.1, "squared"), [[1e200], [-1e200]], [0.0, 1.0])
    assert (certificate.gap, certificate.bound) == (np.inf, "none: overflow")
