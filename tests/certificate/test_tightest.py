"""The bound by curvature: never below the true gap, tight near the optimum, and valid without a penalty."""

import numpy as np
import pytest
from helpers import exact_value, newton, random_optimum, random_problem
from oracles.certificate_problems import STRENGTHS, hard_objective, heads_objective, random_objective, unpenalised
from oracles.certified_points import points, points_above

from dlcore import LinearHeads, certify
from dlcore.certificate.bounds import curvature, tightest

pytestmark = pytest.mark.any_mode


@pytest.mark.parametrize("seed", [seed for seed in range(60) if seed % 3 < 2])
def test_the_smaller_bound_is_never_below_the_true_gap(seed):
    """Logistic and softmax, ten kinds of hard rows, at and around the optimum. The oracle works in 40 digits."""
    rng = np.random.default_rng(seed)
    name, objective = heads_objective(seed, rng)
    for point in points(objective, rng, name):
        tight, plain = point.certificate(tight=True), point.certificate(tight=False)
        assert point.true <= tight.gap <= plain.gap
        assert (tight.gap == plain.gap) == (tight.bound == "duality")
        assert tight.value == plain.value
        if point.shift in (1e-6, 1e-3) and tight.bound == "curvature" and point.true > 1e6 * tight.rounding:
            assert tight.gap <= 1.5 * point.true + point.error


@pytest.mark.parametrize("seed", range(20))
def test_a_few_problems_of_the_trial(seed):
    """`scripts/bench certificate` has hundreds of problems; l2 is from 1e-8 to 1e6."""
    random = random_objective(seed, float(STRENGTHS[seed % len(STRENGTHS)]))
    for name, objective in ((f"random {seed}", random), (f"hard {seed}", hard_objective(seed)[1])):
        for point in points_above(objective, np.random.default_rng(seed), name):
            tight, plain = point.certificate(tight=True).gap, point.certificate(tight=False).gap
            assert point.true <= tight <= plain
            if objective is random:  # where a is nearly 1 the bound is up to twice the decrement
                assert tight <= (1.2 if point.shift < 1e-3 else 2.5) * point.true
    exists, objective = unpenalised(seed)
    if exists:
        assert all(
            p.true <= p.certificate(tight=True).gap
            for p in points_above(objective, np.random.default_rng(0), f"unpenalised {seed}")
        )


@pytest.mark.parametrize("seed", range(70))
def test_random_problems(seed):
    """The oracle is Newton in extended precision."""
    problem, optimum = random_problem(seed), random_optimum(seed)
    least, rng = exact_value(problem, optimum), np.random.default_rng(seed)
    for scale in (3, 1e-1, 1e-3, 1e-5):
        theta = np.asarray(optimum + scale * rng.normal(size=optimum.shape), float)
        true = exact_value(problem, theta) - least
        point = LinearHeads(theta[:-1], theta[-1], problem.l2)
        tight = certify(point, problem.x, problem.y, problem.s, tight=True)
        assert tight.gap >= true * (1 - 1e-9) - 1e-18 * tight.value


def test_it_is_exact_in_the_limit():
    """ν²/2 and the true gap agree to first order: their ratio goes to 1 with the distance."""
    problem = random_problem(0)
    optimum = newton(problem)
    least, way = exact_value(problem, optimum), np.random.default_rng(0).normal(size=optimum.shape)
    ratios = []
    for scale in (1e-2, 1e-3, 1e-4):
        theta = np.asarray(optimum + scale * way, float)
        tight = certify(LinearHeads(theta[:-1], theta[-1], problem.l2), problem.x, problem.y, tight=True)
        ratios.append(float(tight.gap / (exact_value(problem, theta) - least)))
    assert 1 <= ratios[2] < ratios[1] < ratios[0]
    assert ratios[2] < 1 + 1e-2


@pytest.mark.parametrize("classes", [2, 4])
def test_without_a_penalty_a_minimum_is_found_where_there_is_one(classes):
    """The gap at λ = 0 is finite where the classes overlap, even if all classes are moved alike, else infinite."""
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(200, 3))
    y = (x @ rng.normal(size=(3, classes)) + 2 * rng.gumbel(size=(200, classes))).argmax(1)
    rows = np.column_stack([x, np.ones(200)])
    theta = np.zeros((classes, 4))
    for _ in range(30):  # Newton's method in float64, the gauge held by the pseudo-inverse
        p = np.exp(rows @ theta.T)
        p /= p.sum(1, keepdims=True)
        gradient = (p - np.eye(classes)[y]).T @ rows / 200
        curve = np.einsum("nk,kl->nkl", p, np.eye(classes)) - p[:, :, None] * p[:, None, :]
        hessian = np.einsum("nkl,na,nb->kalb", curve, rows, rows).reshape(4 * classes, -1) / 200
        theta -= (np.linalg.pinv(hessian, rcond=1e-10) @ gradient.ravel()).reshape(theta.shape)
    for moved in (0.0, 5.0):
        heads = LinearHeads(theta[:, :3] + moved, theta[:, 3] - moved, 0.0, "softmax")
        certificate = certify(heads, x, y, tight=True)
        assert certificate.bound == "curvature"
        assert certificate.gap < 1e-24
    if classes == 2:
        head = LinearHeads(theta[1, :3] - theta[0, :3], theta[1, 3] - theta[0, 3], 0.0)
        assert certify(head, x, y, tight=True).gap < 1e-24
        assert certify(head, x, y).gap < 1e-24
    apart = x[:, :1].repeat(classes, 1) * np.arange(classes) - np.arange(classes) ** 2 / 2
    far = LinearHeads(theta[:, :3], theta[:, 3], 0.0, "softmax")
    assert certify(far, x, apart.argmax(1) % classes, tight=True).gap == np.inf


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_separable_rows_have_no_minimum(loss):
    """The gap at λ = 0 is never finite, however far the heads are, with duplicate columns too."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = (x[:, 0] > 0).astype(int)
    x[:, 0] += 0.1 * np.sign(x[:, 0])
    for size in (0.0, 1.0, 10.0, 100.0, 1e4):
        coef = np.array([size, 0, 0])
        heads = LinearHeads(coef, 0.0, 0.0)
        if loss == "softmax":
            heads = LinearHeads(np.stack([-coef, coef]), np.zeros(2), 0.0, loss)
        assert certify(heads, x, y, tight=True).gap == np.inf


def test_several_heads_folds_and_scales():
    """Each head has its own bound, with its own weights and the penalty of scaled columns."""
    problem = random_problem(2)
    rng = np.random.default_rng(3)
    m = problem.x.shape[1]
    coef, intercept = 0.1 * rng.normal(size=(3, m)), 0.1 * rng.normal(size=3)
    weights, scale = problem.s * (rng.random((3, len(problem.x))) < 0.8), rng.uniform(0.1, 10, m)
    l2 = np.array([0.1, 1.0, 10.0])
    together = certify(LinearHeads(coef, intercept, l2, scale=scale), problem.x, problem.y, weights, tight=True)
    for k in range(3):
        alone = LinearHeads(coef[k] * scale, intercept[k], l2[k])
        one = certify(alone, problem.x / scale, problem.y, weights[k], tight=True)
        np.testing.assert_allclose(together.gap[k], one.gap, rtol=1e-9)
        assert together.bound[k] == one.bound


def test_blocks_change_nothing(monkeypatch):
    """Blocks of rows without weight change nothing either."""
    problem = random_problem(0)
    theta = np.asarray(newton(problem), float) + 1e-3
    head = LinearHeads(theta[:-1], theta[-1], problem.l2)
    whole = certify(head, problem.x, problem.y, tight=True)
    x, y = np.vstack([3 * problem.x[:16], problem.x]), np.concatenate([problem.y[:16], problem.y])
    monkeypatch.setattr(curvature, "BLOCK_BYTES", 8 * 2 * len(theta) * 7)
    pieces = certify(head, x, y, np.arange(len(x)) >= 16, tight=True)
    assert whole.bound == pieces.bound == "curvature"
    np.testing.assert_allclose(pieces.gap, whole.gap, rtol=1e-9)


def test_what_has_too_many_coefficients_says_so(monkeypatch):
    problem = random_problem(1)
    monkeypatch.setattr(tightest, "MAX_COEFS", 2)
    head = LinearHeads(np.zeros(problem.x.shape[1]), 0.0, problem.l2)
    certificate = certify(head, problem.x, problem.y, tight=True)
    assert str(certificate.bound).startswith("duality (no curvature: ")
    assert certificate.gap == certify(head, problem.x, problem.y).gap


def test_squares_have_the_exact_one_already():
    problem = random_problem(0)
    head = LinearHeads(np.zeros(problem.x.shape[1]), 0.0, problem.l2, "squared")
    assert certify(head, problem.x, problem.y, tight=True) == certify(head, problem.x, problem.y)


@pytest.mark.parametrize("wrong", [1, "yes", None, np.True_])
def test_tight_is_true_or_false(wrong):
    with pytest.raises(TypeError, match="tight: expected True or False"):
        certify(LinearHeads([0.0], 0.0, 1.0), np.ones((2, 1)), [0, 1], tight=wrong)
