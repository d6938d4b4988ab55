"""Newton's method for heads that L-BFGS leaves short: its Hessian, its steps and what it converges to."""

import functools

import jax
import numpy as np
import pytest
from helpers import Problem, exact_value, newton
from oracles.head_problems import heads_problem

from dlcore import Status, fit_heads
from dlcore.heads.data.centering import Centering
from dlcore.heads.passes.evaluate import HeadBatch
from dlcore.heads.passes.hessian import HostHessianPass, accumulate_with_hessian
from dlcore.heads.passes.host_rows import HostRows
from dlcore.heads.solvers.cost_model import FEWEST_STEPS
from dlcore.heads.solvers.gap_estimate import estimate_gap, intercept_gap
from dlcore.heads.solvers.lbfgs_vectors import Problem as Heads
from dlcore.heads.solvers.newton import STALLED_STEPS, minimize_with_newton, newton_step
from dlcore.heads.solvers.preconditioner import Preconditioner
from dlcore.objective import BlockedData
from dlcore.objective.sharding import shard_rows

pytestmark = pytest.mark.any_mode

ROWS, FEATURES = 37, 3
EPS64 = float(np.finfo(np.float64).eps)


def probabilities(logits, loss, present):
    """Return the probabilities of the classes that have a logit, or the rates, shape (n, K)."""
    if loss != "softmax":
        return 1 / (1 + np.exp(-logits)) if loss == "logistic" else np.exp(logits)
    power = np.exp(logits) * present
    return power / power.sum(1, keepdims=True)


@pytest.mark.parametrize("intercept", [1.0, 0.0])
@pytest.mark.parametrize(("loss", "outputs"), [("logistic", 1), ("softmax", 4), ("poisson", 1)])
def test_the_hessian_of_each_head_is_that_of_its_fold_target_and_weights(loss, outputs, intercept):
    """Class 3 is absent from fit 1. The rows are in two shards, each read in blocks."""
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(ROWS, FEATURES)) + 1, rng.uniform(0.1, 1, ROWS)
    labels = rng.integers(0, max(2, outputs), (ROWS, 2 if outputs == 1 else 1))
    train = np.array([np.ones(ROWS), rng.integers(0, 2, ROWS), rng.integers(0, 2, ROWS)], bool)
    if outputs > 1:
        train[1] &= labels[:, 0] != 3
    fit, target = np.array([2, 0, 1]), np.array([1, 0, 1]) * (outputs == 1)
    balance = np.array([[0.5, 3.0], [1.0, 1.0], [2.0, 0.25]]) if loss == "logistic" else None
    scale = weight * train[fit]
    if balance is not None:
        scale = scale * np.where(labels[:, target].T == 1, balance[:, 1:], balance[:, :1])
    present = np.ones((3, outputs))
    present[2] = [1, 1, 1, 0] if outputs > 1 else 1
    theta = rng.normal(size=(3, outputs, FEATURES + 1))
    nothing, total = np.zeros(3), scale.sum(1)
    batch = HeadBatch(
        nothing, np.ones((3, FEATURES)), fit.astype(np.int32), total, present / 4, nothing, nothing,
        target.astype(np.int32) if outputs == 1 else None, balance,
    )  # fmt: skip
    centering = Centering(
        rng.normal(size=FEATURES), rng.uniform(0.5, 2, FEATURES), np.float64(intercept), np.float64(1)
    )
    y = train.T, labels.astype(np.uint32) if loss != "poisson" else labels.astype(float)
    with jax.enable_x64(True):
        x_there, y_there, weight_there = jax.device_put((x, y, weight))
        shards = shard_rows(BlockedData(x_there, y_there, weight_there, 10), 2)
        sets = [(theta, batch, shard, centering) for shard in shards]
        first, second = accumulate_with_hessian.map_threads(sets, loss=loss)
        of_device = np.asarray(first[1]) + np.asarray(second[1])
    of_host = HostHessianPass(HostRows(x, *y, weight, centering), batch, loss)(theta)[1]

    rows = np.column_stack([(x - centering.centre) * np.asarray(centering.unit), np.full(ROWS, intercept)])
    for b in range(3):
        p = probabilities(rows @ theta[b].T, loss, present[b])
        positive, negative = np.einsum("nk,kl->nkl", p, np.eye(outputs)), np.einsum("nk,nl->nkl", p, p)
        negative = negative * (loss != "poisson")
        size, products = outputs * (FEATURES + 1), "n,nkl,na,nb->kalb"
        expected = np.einsum(products, scale[b], positive - negative, rows, rows)
        terms = np.einsum(products, scale[b], positive + negative, abs(rows), abs(rows))
        bound = 8 * ROWS * EPS64 * (1 + abs(rows @ theta[b].T).max()) * terms.max()
        for found in (of_device, of_host):
            np.testing.assert_allclose(found[b], expected.reshape(size, size), rtol=0, atol=bound)


def test_the_estimate_of_the_gap_is_no_less_than_the_slope_of_the_bound():
    """Its slope is that of probabilities repaired to the classes' weights."""
    rng = np.random.default_rng(1)
    x, y, s = rng.normal(size=(41, 4)), rng.integers(0, 2, 41), rng.uniform(0.1, 1, 41)
    radius, l2, spread = np.sqrt((x**2).sum(1).max()), 0.1, 0.2
    for size in np.geomspace(1e-3, 3, 12):
        coef, intercept = size * rng.normal(size=4), size * rng.normal() + 2
        residual = s * (1 / (1 + np.exp(-x @ coef - intercept)) - y)
        gradient, excess = residual @ x / s.sum() + l2 * coef, residual.sum() / s.sum()
        numbers = np.array([l2]), np.array([gradient @ gradient]), np.array([[excess]])
        estimate = estimate_gap(*numbers, np.zeros(1), np.array([[spread]]), radius)
        mass = np.array([residual[y == 0].sum(), -residual[y == 1].sum()])
        repaired = residual * np.where(y == 0, mass.min() / mass[0], mass.min() / mass[1])
        slope = repaired @ x / s.sum() + l2 * coef
        assert estimate[0] >= slope @ slope / (2 * l2)
        expected = (np.linalg.norm(gradient) + radius * abs(excess)) ** 2 / (2 * l2) + excess**2 / spread
        np.testing.assert_allclose(estimate[0], expected, rtol=1e-12)


@pytest.mark.parametrize("columns", [4, 9, 40])
def test_the_step_of_a_singular_hessian_is_finite(columns):
    """A Hessian of rank 3 without a penalty has a step, whatever its size and the processor.

    The step for a gradient in its range is off by the lift, relative to its smallest eigenvalue above 0.
    """
    rng = np.random.default_rng(0)
    lift = EPS64 * (columns**-0.5 + columns + 1)
    centering = Centering(np.zeros(columns - 1), None, np.float64(1), np.float64(1))
    one = np.ones((1, columns - 1))
    batch = HeadBatch(np.zeros(1), one, np.zeros(1, int), one, np.full((1, 1), 0.25), one, one)
    for size in np.geomspace(1e-6, 1e6, 30):
        rows = size * rng.normal(size=(3, columns))
        hessian, inside = rows.T @ rows, rows.T @ np.ones(3)
        step = newton_step(inside[None], hessian, batch, centering, 0)[0]
        assert np.isfinite(step).all()
        error = np.linalg.norm(rows.T @ (rows @ step) + inside) / np.linalg.norm(inside)
        smallest = np.linalg.svd(rows)[1][-1] ** 2
        # As much again for the rounding of the Hessian, and for that of its factors and the two solutions.
        assert error <= 4 * lift * np.trace(hessian) / smallest


@pytest.fixture(params=["device", "host"])
def heads_of(request):
    """Return `logistic_heads` with passes on the device or on the host."""
    return functools.partial(logistic_heads, on_host=request.param == "host")


def logistic_heads(x, y, l2, gap_tol, *, on_host):
    """Return logistic heads of these penalties over all rows as solvers take them."""
    n, m = x.shape
    share, heads = y.mean(), len(l2)
    spread = np.full((heads, 1), share * (1 - share))
    null_value = -share * np.log(share) - (1 - share) * np.log1p(-share)
    batch = HeadBatch(
        l2, np.ones((heads, m)), np.zeros(heads, np.int32), np.full(heads, n / 1), spread,
        np.full(heads, gap_tol), np.full(heads, null_value),
    )  # fmt: skip
    centering = Centering(np.zeros(m), None, np.float64(1), np.sqrt((x**2).sum(1).mean()))
    targets = np.ones((n, 1), bool), y[:, None].astype(np.uint32)
    host = HostRows(x, *targets, np.ones(n), centering) if on_host else None
    x, targets, weight = jax.device_put((x, targets, np.ones(n)))
    unused = Preconditioner(None, np.ones(m), np.zeros(()), np.zeros(m))
    return Heads(batch, centering, unused, [BlockedData(x, targets, weight, n)], host)


def heavy_tails(seed):
    """Return a table on which Newton's method without a line search fails, found among 4,000."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(6, 40)), int(rng.integers(1, 4))
    x = rng.standard_t(1.2, size=(n, m))
    slope, noise = rng.normal(size=m) * rng.uniform(0.2, 3), rng.logistic(size=n)
    return x, (x @ slope + noise > rng.normal() * 2).astype(float)


@pytest.mark.parametrize("seed", [364, 532, 1188, 1679])
def test_where_full_steps_diverge_shorter_ones_arrive(seed, heads_of):
    x, y = heavy_tails(seed)
    l2 = np.array([1e-4, 1e-3, 1e-2])
    with jax.enable_x64(True):
        problem = heads_of(x, y, l2, 1e-9)
        start = np.zeros((3, 1, x.shape[1] + 1))
        found = minimize_with_newton(problem, start, np.full(3, 200), "logistic")
    assert found.converged.all()
    for head in range(3):
        exact = Problem(x, y, np.ones(len(y)), float(l2[head]))
        best = exact_value(exact, newton(exact))
        value = exact_value(exact, found.theta[head, 0])
        assert 0 <= float(value - best) <= 1e-8 * float(best) + 1e-15


def test_a_head_uses_no_more_than_its_steps_and_an_empty_slot_none(heads_of):
    x, y = heavy_tails(364)
    with jax.enable_x64(True):
        problem = heads_of(x, y, np.array([1e-4, 1e-4, 1e-2]), 1e-9)
        start = np.zeros((3, 1, x.shape[1] + 1))
        found = minimize_with_newton(problem, start, np.array([3, 0, 200]), "logistic")
    assert (found.steps[:2] == [3, 0]).all()
    assert not found.theta[1].any()
    assert list(found.converged) == [False, False, True]


def test_a_head_at_its_optimum_ends_after_steps_that_bring_nothing(heads_of):
    """No tolerance of 0 is met: rounding decides."""
    x, y = heavy_tails(1188)
    with jax.enable_x64(True):
        problem = heads_of(x, y, np.array([0.1]), 0.0)
        start = np.zeros((1, 1, x.shape[1] + 1))
        found = minimize_with_newton(problem, start, np.array([500]), "logistic")
        again = minimize_with_newton(problem, found.theta.copy(), np.array([500]), "logistic")
    assert not found.converged.any()
    assert STALLED_STEPS < found.steps[0] < 100
    assert again.steps[0] <= 3 * STALLED_STEPS
    np.testing.assert_allclose(again.theta, found.theta, rtol=0, atol=1e3 * EPS64 * abs(found.theta).max())


def test_separable_classes_without_a_penalty_end_where_every_row_is_right(heads_of):
    x = np.random.default_rng(0).normal(size=(30, 3))
    y = (x[:, 0] > 0).astype(float)
    with jax.enable_x64(True):
        problem = heads_of(x, y, np.zeros(1), 1e-6)
        found = minimize_with_newton(problem, np.zeros((1, 1, 4)), np.array([100]), "logistic")
    assert found.converged.all()
    assert (((x @ found.theta[0, 0, :-1] + found.theta[0, 0, -1]) > 0) == y).all()


SETTINGS = {
    "as it is": {},
    "no intercept": {"fit_intercept": False},
    "standardised": {"standardize": True},
    "weights of classes": {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}},
    "folds": {"folds": 3},
    "standardised folds": {"folds": 3, "standardize": True},
    "a class absent from a fold": {"folds": "of class 2"},
}


def table(seed=0, n=240):
    """Three classes that overlap; columns of scales over two decades."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4)) * np.array([1, 0.1, 3, 0.03]) + np.array([0, 5, 0, 1])
    logits = (x - x.mean(0)) @ rng.standard_normal((4, 3)) + 2 * rng.standard_normal((n, 3))
    return x.astype(np.float32), logits.argmax(1)


@pytest.mark.filterwarnings("ignore:folds. heads train in fold:UserWarning")
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("name", SETTINGS)
def test_newton_goes_on_where_l_bfgs_ends_short_in_every_setting(name, loss):
    """L-BFGS has nine passes of twelve; the certificate of each head, which knows of no solver, is the judge."""
    x, y = table()
    settings = dict(SETTINGS[name])
    if settings.get("folds") == "of class 2":
        if loss == "logistic":
            return
        held_out = [y == 2, np.arange(len(y)) % 2 == 0]
        settings["folds"] = [(np.flatnonzero(~held), np.flatnonzero(held)) for held in held_out]
    if loss == "logistic":
        y = np.minimum(y, 1)
        settings.pop("class_weight", None)
    heads = fit_heads(x, y, loss=loss, l2=[1e-4, 1e-2], max_steps=12, tol=1e-9, **settings)
    assert set(heads.status) == {Status.CONVERGED}
    assert set(np.ravel(heads.fold_status)) <= {Status.CONVERGED, Status.CLASS_ABSENT}
    assert (Status.CLASS_ABSENT in np.ravel(heads.fold_status)) == (name == "a class absent from a fold")
    assert loss == "logistic" or (heads.steps > 9).all()


def test_a_weak_penalty_and_weights_over_six_decades():
    """L-BFGS alone makes more than 250 passes."""
    problem = heads_problem(94, classes_of_softmax=5)
    arguments = {**problem.arguments, "l2": [float(np.min(problem.l2))], "max_steps": 200}
    heads = fit_heads(problem.x, problem.y, **arguments)
    assert list(heads.status) == [Status.CONVERGED]
    assert FEWEST_STEPS < heads.steps[0] < 2 * FEWEST_STEPS


def test_l_bfgs_has_all_passes_where_newtons_method_takes_no_head():
    """Softmax heads without a penalty have a singular Hessian; these columns are nearly equal."""
    rng = np.random.default_rng(0)
    x, y = table()
    x = rng.standard_normal((len(y), 12))
    x[:, 1:] = x[:, :1] + 3e-4 * x[:, 1:]
    heads = fit_heads(x.astype(np.float32), y, loss="softmax", l2=[0.0], tol=1e-9)
    assert list(heads.status) == [Status.CONVERGED]
    assert heads.steps[0] > FEWEST_STEPS


def test_an_intercept_has_to_be_closer_where_the_penalty_is_stronger_than_the_rows():
    gradient, spread, radius = np.array([1e-3]), np.array([0.2]), 2.0
    usual = gradient**2 / spread
    for l2, factor in ((1e-3, 1.0), (radius**2, 1.0), (100 * radius**2, 100.0)):
        np.testing.assert_allclose(
            intercept_gap(gradient, spread, np.array([l2]), radius), factor * usual, rtol=1e-9
        )
    np.testing.assert_array_equal(intercept_gap(gradient, spread, np.array([1e9]), 0.0), usual)
