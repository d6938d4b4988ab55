"""The certificate of softmax heads against an independent Newton in extended precision."""

import tracemalloc
from typing import Any, NamedTuple, cast

import ml_dtypes
import numpy as np
import pytest
import scipy.linalg
from helpers import newton_with_line_search

from dlcore import LinearHeads, certify

pytestmark = pytest.mark.any_mode


class Classes(NamedTuple):
    """A weighted softmax regression in float64."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: float
    classes: int


KINDS = ("plain", "weighted", "nearly separable", "wide", "collinear", "one row per class")


def random_classes(seed: int) -> Classes:
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    n, m, classes = int(rng.integers(20, 60)), int(rng.integers(1, 7)), int(rng.integers(2, 6))
    if kind == "wide":
        n, m = 10, 14
    if kind == "one row per class":
        n = classes = 6
    x = rng.normal(size=(n, m))
    if kind == "collinear":
        x = np.column_stack([x, x[:, 0], x @ rng.normal(size=m), np.full(n, 3.0)])
    score = x @ rng.normal(size=(x.shape[1], classes)) * (20 if kind == "nearly separable" else 1)
    y = (score + rng.gumbel(size=score.shape)).argmax(1)
    y[:classes] = np.arange(classes)
    s = 10 ** rng.uniform(-3, 3, n) if kind == "weighted" else np.ones(n)
    return Classes(x, y, s, float(np.geomspace(1e-6, 10, 42)[(11 * seed) % 42]), classes)


def log_probabilities(problem: Classes, theta: np.ndarray) -> np.ndarray:
    """Return ln p in extended precision; theta is (classes, m + 1), the intercept last."""
    x, theta = problem.x.astype(np.longdouble), theta.astype(np.longdouble)
    z = (x[:, None, :] * theta[None, :, :-1]).sum(-1) + theta[:, -1]
    z -= z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def exact_value(problem: Classes, theta: np.ndarray) -> np.longdouble:
    losses = -log_probabilities(problem, theta)[np.arange(len(problem.y)), problem.y]
    s = problem.s.astype(np.longdouble)
    penalty = np.longdouble(problem.l2) / 2 * (theta[:, :-1].astype(np.longdouble) ** 2).sum()
    return (s * losses).sum() / s.sum() + penalty


def newton(problem: Classes, intercept: bool = True) -> np.ndarray:
    """Return the optimum by damped Newton: gradients in extended precision, steps by SciPy in float64."""
    x, y, s, l2, classes = problem
    design = np.column_stack([x, np.full(len(x), float(intercept))])
    onehot = np.eye(classes)[y]
    penalty = np.append(np.full(x.shape[1], l2), 0.0)
    share = s.astype(np.longdouble) / s.astype(np.longdouble).sum()

    def direction(theta: np.ndarray) -> np.ndarray:
        p = np.exp(log_probabilities(problem, theta))
        residual = share[:, None] * (p - onehot)
        gradient = (residual[:, :, None] * design[:, None, :]).sum(0) + penalty * theta
        q = p.astype(float)
        curvature = share.astype(float)[:, None, None] * (
            q[:, :, None] * np.eye(classes) - q[:, :, None] * q[:, None]
        )
        hessian = np.einsum("ikl,ij,ih->kjlh", curvature, design, design).reshape(theta.size, -1)
        hessian += np.diag(np.tile(penalty, classes))
        step = cast(Any, scipy.linalg.lstsq(hessian, gradient.astype(float).ravel()))[0].reshape(theta.shape)
        step[:, -1] *= intercept
        return step

    start = np.zeros((classes, design.shape[1]), np.longdouble)
    return newton_with_line_search(lambda theta: exact_value(problem, theta), direction, start)


def repaired(problem: Classes, p: np.ndarray) -> np.ndarray:
    """Return q from its definition, one row and one column at a time."""
    wanted = np.array([problem.s[problem.y == k].sum(dtype=np.longdouble) for k in range(problem.classes)])
    mass = (problem.s[:, None] * p).sum(0)
    lack = np.maximum(wanted - mass, 0)
    q = p.copy()
    for i in range(len(p)):
        for k in range(problem.classes):
            q[i, k] = p[i, k] * (wanted[k] / mass[k] if mass[k] > wanted[k] else 1)
        if lack.any():
            q[i] += (p[i] - q[i]).sum() * lack / lack.sum()
    return q


def primal_minus_dual(problem: Classes, theta: np.ndarray, q: np.ndarray) -> np.longdouble:
    """Return J − D(q) in extended precision, D(q) = the mean entropy of q − ‖Xᵀ(s∘(q − y))/S‖²/2λ."""
    s = problem.s.astype(np.longdouble)[:, None] / problem.s.sum(dtype=np.longdouble)
    entropy = -(q * np.log(np.where(q > 0, q, 1))).sum(1)
    residual = s * (q - np.eye(problem.classes)[problem.y])
    slope = (residual[:, :, None] * problem.x.astype(np.longdouble)[:, None, :]).sum(0)
    return exact_value(problem, theta) - (s[:, 0] * entropy).sum() + (slope**2).sum() / (2 * problem.l2)


def heads(theta: np.ndarray, l2: float) -> LinearHeads:
    theta = np.asarray(theta, np.float64)
    return LinearHeads(theta[..., :-1], theta[..., -1], l2, "softmax")


def points(optimum: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return points far from the optimum, nearer, at it, and off it in one intercept alone."""
    rng = np.random.default_rng(seed)
    optimum = np.asarray(optimum, float)
    direction = rng.normal(size=optimum.shape) * (1 + np.abs(optimum).max())
    wrong = np.zeros_like(optimum)
    wrong[0, -1] = 1
    near = [optimum + scale * direction for scale in (10, 1, 1e-2, 1e-4, 1e-6, 1e-8, 0)]
    return [np.zeros_like(optimum), *near, *(optimum + shift * wrong for shift in (5, -1, 1e-3, -1e-6))]


@pytest.mark.parametrize("seed", range(42))
def test_the_gap_is_never_below_the_true_one_and_equals_primal_minus_dual(seed):
    problem = random_classes(seed)
    optimum = newton(problem)
    least = exact_value(problem, optimum)
    for theta in points(optimum, seed):
        certificate = certify(heads(theta, problem.l2), problem.x, problem.y, problem.s)
        value = exact_value(problem, theta)
        true = value - least
        assert certificate.bound == "duality"
        err = 32 * np.finfo(np.longdouble).eps * (1 + value)  # of sums in extended precision
        assert certificate.gap >= true - err, f"bound {certificate.gap}, true {true}"
        assert abs(certificate.value - value) <= 1e-13 * (1 + value)
        q = repaired(problem, np.exp(log_probabilities(problem, theta)))
        expected = primal_minus_dual(problem, theta, q)
        rounding = certificate.rounding + 2e-18 * (value + expected)  # of the difference in extended precision
        assert abs(certificate.gap - certificate.rounding - expected) <= 1e-13 * expected + rounding
    longest = np.linalg.norm(problem.x, axis=1).max()
    at_optimum = certify(heads(optimum, problem.l2), problem.x, problem.y, problem.s)
    assert at_optimum.rounding <= at_optimum.gap <= 1e-12 * (1 + longest / np.sqrt(problem.l2)) ** 2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gap_falls_with_the_square_of_the_distance(seed):
    problem = random_classes(seed)._replace(l2=1e-2)
    optimum = np.asarray(newton(problem), float)
    direction = np.random.default_rng(seed).normal(size=optimum.shape)
    certificates = [
        certify(heads(optimum + size * direction, 1e-2), problem.x, problem.y, problem.s)
        for size in (1e-4, 1e-5, 1e-6)
    ]
    gaps = [certificate.gap - certificate.rounding for certificate in certificates]
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 100, rtol=0.05)


def test_without_an_intercept():
    problem = random_classes(0)
    optimum = newton(problem, intercept=False)
    least = exact_value(problem, optimum)
    assert (optimum[:, -1] == 0).all()
    for scale in (0, 1e-3, 1):
        coef = np.asarray(optimum, float)[:, :-1] + scale
        certificate = certify(LinearHeads(coef, None, problem.l2, "softmax"), problem.x, problem.y)
        true = exact_value(problem, np.column_stack([coef, np.zeros(len(coef))])) - least
        assert certificate.gap >= true
        expected = certificate.gradient_norm**2 / (2 * problem.l2)
        np.testing.assert_allclose(certificate.gap - certificate.rounding, expected, rtol=1e-12)


def test_several_models_with_weights_of_their_own_equal_one_at_a_time():
    """Folds are weights 0 and 1 in one pass. Rows that are left out count for nothing."""
    problem = random_classes(0)
    n, m = problem.x.shape
    rng = np.random.default_rng(0)
    coef, intercept = rng.normal(size=(4, problem.classes, m)), rng.normal(size=(4, problem.classes))
    l2, folds = np.geomspace(1e-3, 1, 4), np.arange(n) % 4 != np.arange(4)[:, None]
    folds[:, : problem.classes] = True
    together = certify(LinearHeads(coef, intercept, l2, "softmax"), problem.x, problem.y, folds)
    assert together.gap.shape == (4,)
    for k, fold in enumerate(folds):
        alone = certify(LinearHeads(coef[k], intercept[k], l2[k], "softmax"), problem.x[fold], problem.y[fold])
        for name in ("gap", "value", "gradient_norm"):
            np.testing.assert_allclose(getattr(together, name)[k], getattr(alone, name), rtol=1e-11)


def test_blocks_of_rows_and_of_models_change_nothing():
    """A block has few rows where mass are 180 models of three classes, and all rows for one model."""
    rng = np.random.default_rng(0)
    rows, count = 5_000, 180
    x, y = rng.normal(size=(rows, 2)), np.arange(rows) % 3
    coef, intercept = rng.normal(size=(count, 3, 2)), rng.normal(size=(count, 3))
    s = np.where(np.arange(rows) % 5 == np.arange(count)[:, None] % 6, 0.0, rng.uniform(0.5, 2, rows))
    together = certify(LinearHeads(coef, intercept, 0.1, "softmax"), x, y, s)
    for k in (0, 89, count - 1):
        alone = certify(LinearHeads(coef[k], intercept[k], 0.1, "softmax"), x, y, s[k])
        for name in ("gap", "value", "gradient_norm"):
            np.testing.assert_allclose(getattr(together, name)[k], getattr(alone, name), rtol=1e-11)


def test_extreme_heads_stay_finite():
    """Logits are ±1e5: some probabilities are 0 in float64, and the repair must fill them."""
    x, y = np.array([[-1.0], [0.0], [1.0]]), np.array([0, 1, 2])
    problem = Classes(x, y, np.ones(3), 1e-3, 3)
    for theta in (np.array([[1e5, 0], [0, 0], [-1e5, 0]]), np.array([[0, 1e5], [0, 0], [0, 0]])):
        certificate = certify(heads(theta, 1e-3), x, y)
        logarithms = log_probabilities(problem, theta)
        q = repaired(problem, np.exp(logarithms))
        divergence = np.where(q > 0, q * (np.log(np.where(q > 0, q, 1)) - logarithms), 0).sum() / 3
        slope = (q - np.eye(3)[y]).T @ x / 3 + 1e-3 * theta[:, :1]
        expected = float(divergence + (slope**2).sum() / 2e-3)
        np.testing.assert_allclose(certificate.gap - certificate.rounding, expected, rtol=1e-12)


def test_a_small_value_keeps_its_digits():
    """All rows are right by a margin of 60: J is e⁻⁶⁰ and not 0."""
    x, y = np.array([[-1.0], [1.0]]), np.array([0, 1])
    certificate = certify(LinearHeads([[-30.0], [30.0], [-200.0]], [0, 0, -1000], 1e-60, "softmax"), x, y)
    np.testing.assert_allclose(certificate.value, np.exp(-60), rtol=1e-14)


def test_no_bound_where_there_is_none():
    x, y = np.array([[-1.0], [0.0], [1.0]]), np.array([0, 1, 0])
    theta = np.zeros((3, 2))
    absent = certify(heads(theta, 0.1), x, y)
    assert absent.gap == np.inf
    assert absent.bound == "none: a class without weight has no finite intercept"
    assert certify(LinearHeads(theta[:, :1], None, 0.1, "softmax"), x, y).bound == "duality"
    unpenalised = certify(heads(theta, 0.0), x, [0, 1, 2])
    assert (unpenalised.gap, unpenalised.bound) == (np.inf, "none: the duality bound needs l2 > 0")
    assert abs(unpenalised.value - np.log(3)) < 1e-15
    models = certify(heads(np.zeros((2, 3, 2)), 0.1), x, [0, 1, 2], np.array([[1, 1, 1], [1, 1, 0]]))
    assert [name[:4] for name in models.bound] == ["dual", "none"]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.uint8])
def test_data_of_any_dtype_on_disk_in_bounded_memory(dtype, tmp_path):
    """The table of 200,000 × 100 would take 160 MB in float64."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (200_000, 100), dtype=np.uint8).astype(dtype)
    kept = np.lib.format.open_memmap(
        tmp_path / "x.npy",
        "w+",
        dtype=np.uint8 if dtype == np.uint8 else np.uint16 if x.itemsize == 2 else np.uint32,
        shape=x.shape,
    )
    kept[:] = x.view(kept.dtype)
    y = rng.integers(0, 5, len(x))
    head = LinearHeads(rng.normal(size=(5, 100)) / 100, np.zeros(5), 0.1, "softmax")
    tracemalloc.start()
    certificate = certify(head, kept.view(dtype), y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6
    whole = certify(head, x.astype(float), y)
    np.testing.assert_allclose(certificate.gap - certificate.rounding, whole.gap - whole.rounding, rtol=1e-12)


@pytest.mark.parametrize(
    ("changed", "y", "message"),
    [
        ({}, [0, 1, 3], "y: expected labels 0 to 2, indices of the 3 classes of heads.coef, got 3"),
        ({}, [0, 1, -1], "y: expected labels 0 to 2, .* got -1"),
        ({}, [0, 1, 0.5], "y: expected labels 0 to 2, .* got 0.5"),
        ({}, np.eye(3, dtype=int), r"y: expected 1-D \[n\], got 2-D"),
        (
            {"coef": np.zeros(1)},
            [0, 1, 2],
            r"heads.coef: expected shape \(classes, 1\) or \(models, classes, 1\), got",
        ),
        ({"coef": np.zeros((1, 1))}, [0, 0, 0], "heads.coef: expected at least two classes"),
        ({"intercept": np.zeros(2)}, [0, 1, 2], r"heads.intercept: expected a number or shape \(3,\), got \(2,\)"),
        ({"l2": np.ones(3)}, [0, 1, 2], r"heads.l2: expected a number or shape \(1,\), got \(3,\)"),
    ],
)
def test_wrong_heads_and_labels_are_named(changed, y, message):
    head = LinearHeads(np.zeros((3, 1)), 0.0, 0.1, "softmax")._replace(**changed)
    with pytest.raises(ValueError, match=message):
        certify(head, np.array([[-1.0], [0.0], [1.0]]), y)


def test_wrong_weights_are_named():
    x, y = np.array([[-1.0], [0.0], [1.0]]), [0, 1, 2]
    with pytest.raises(
        ValueError, match=r"weights: expected shape \(3,\), one per row of x, or \(2, 3\), got \(3, 3\)"
    ):
        certify(heads(np.zeros((2, 3, 2)), 0.1), x, y, np.ones((3, 3)))
    with pytest.raises(ValueError, match="weights: expected at least one positive number"):
        certify(heads(np.zeros((2, 3, 2)), 0.1), x, y, np.array([[1, 1, 1], [0, 0, 0]]))
