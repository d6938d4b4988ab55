"""L-BFGS for many heads: the two-loop recursion in NumPy, and optima that Newton's method finds in NumPy."""

import functools

import jax
import numpy as np
import pytest
from helpers import assert_close

from dlcore import fit_heads
from dlcore.heads.data.centering import fit_centering
from dlcore.heads.passes.evaluate import HeadBatch, accumulate
from dlcore.heads.passes.host_rows import HostRows
from dlcore.heads.solvers import lbfgs, lbfgs_vectors
from dlcore.heads.solvers.lbfgs import History, minimize
from dlcore.heads.solvers.lbfgs_history import Observation, Rings
from dlcore.heads.solvers.lbfgs_vectors import Options, Problem
from dlcore.heads.solvers.preconditioner import apply_inverse, precondition
from dlcore.objective import BlockedData

pytestmark = pytest.mark.any_mode

FLOAT64 = Options("logistic", "float64")
EPS64 = float(np.finfo(np.float64).eps)


def two_loops(pairs, gradient, start):
    """Return the inverse Hessian of L-BFGS times a gradient: Nocedal and Wright, algorithm 7.4.

    Args:
      pairs: (s, y), the oldest first.
      gradient: shape (p,).
      start: the initial inverse Hessian, shape (p, p).
    """
    q, alphas = gradient.copy(), []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q -= alphas[-1] * y
    r = start @ q
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r += s * (alpha - y @ r / (s @ y))
    return r


class Recorder:
    """A history of random pairs whose vectors are in NumPy, and the pairs of each head in a list."""

    def __init__(self, heads, places, size, seed):
        self.rng = np.random.default_rng(seed)
        root, curved = self.rng.normal(size=(2, size, size))
        self.inverse, self.hessian = root @ root.T + np.eye(size), curved @ curved.T + np.eye(size)
        self.hessian += root - root.T  # as if it changed on the way: s · y of two pairs depends on their order
        self.s, self.y = np.zeros((2, heads, places, size))
        self.pairs = [[] for _ in range(heads)]
        self.history = History.empty(heads, places, size)

    def step(self, usable):
        """Record a pair of the heads that have one."""
        heads, places, size = self.s.shape
        place = self.history.count % places
        s = self.rng.normal(size=(heads, size))
        y = s @ self.hessian
        scale = usable / np.sqrt((s * y).sum(1))
        s, y = s * scale[:, None], y * scale[:, None]
        self.s[:, place], self.y[:, place] = s, y
        numbers = {
            "s_y": np.einsum("bhp,bp->bh", self.s, y),
            "y_y": np.einsum("bhp,bp->bh", self.y, y),
            "y_hy": np.einsum("bhp,bp->bh", self.y, y @ self.inverse),
            "is_stored": usable,
        }
        self.history.record(place, Observation(**(dict.fromkeys(Observation._fields, np.zeros(0)) | numbers)))
        for b in range(heads):
            self.pairs[b].append((s[b], y[b]) if usable[b] else None)
            self.pairs[b] = self.pairs[b][-places:]


@pytest.mark.parametrize("steps", [0, 2, 4, 7])
def test_the_coefficients_are_those_of_the_two_loop_recursion(steps):
    """Four places in the rings, of which the oldest are overwritten; head 1 has no pair of every second step."""
    heads, places, size = 3, 4, 9
    made = Recorder(heads, places, size, 0)
    for step in range(steps):
        made.step(np.array([True, step % 2 == 0, True]))
    gradient = made.rng.normal(size=(heads, size))
    guess = made.history.first_guess(np.array([True, True, False]))
    s_g = np.einsum("bhp,bp->bh", made.s, gradient)
    y_g = np.einsum("bhp,bp->bh", made.y, gradient)
    y_hg = np.einsum("bhp,bp->bh", made.y, gradient @ made.inverse)
    coef_s, coef_y = made.history.coefficients(s_g, y_g, y_hg, guess)
    for b in range(heads):
        pairs = [pair for pair in made.pairs[b] if pair is not None]
        expected_guess = made.inverse
        if pairs:
            y = pairs[-1][1]
            variances = [
                np.var(np.log([y @ matrix @ y for _, y in pairs])) + lbfgs.LEAST_VARIANCE
                for matrix in (made.inverse, np.eye(size))
            ]
            weight = variances[1] / sum(variances) if len(pairs) > 2 and b < 2 else 1.0
            expected_guess = weight * made.inverse / (y @ made.inverse @ y) + (1 - weight) * np.eye(size) / (y @ y)
        inverse, identity = (part[b] for part in guess)
        found_guess = inverse * made.inverse + identity * np.eye(size)
        np.testing.assert_allclose(found_guess, expected_guess, atol=size * 64 * EPS64 * abs(expected_guess).max())
        expected = two_loops(pairs, gradient[b], expected_guess)
        inner = coef_y[b] @ made.y[b] + gradient[b]
        found = coef_s[b] @ made.s[b] + found_guess @ inner
        condition = np.linalg.cond(made.inverse) * np.linalg.cond(made.hessian)
        np.testing.assert_allclose(found, expected, atol=size * places * EPS64 * condition * abs(expected).max())


def test_a_step_without_a_pair_of_any_head_takes_no_place():
    made = Recorder(2, 3, 4, 1)
    for usable in (True, False, True):
        made.step(np.array([usable, usable]))
    assert made.history.count == 2
    np.testing.assert_array_equal(np.diagonal(made.history.inverse, axis1=1, axis2=2), [[1, 1, 0]] * 2)


@pytest.mark.parametrize("to_host", [False, True])
def test_a_selected_history_has_the_pairs_and_products_of_its_slots(to_host):
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(3, 4, 3, 5)).astype(np.float32)
    inverse, products = rng.normal(size=(4, 3, 3)), rng.normal(size=(2, 4, 3, 3))
    slots = np.array([3, 1, 3])
    with jax.enable_x64(True):
        rings = Rings(*(jax.device_put(ring) for ring in vectors))
        before = History(rings, inverse, products, np.array([0, 1, 2, 0]), 7)
        history = before.select(slots, to_host=to_host)
        assert isinstance(history.rings.s, np.ndarray if to_host else jax.Array)
        rings = jax.device_get(history.rings)
    np.testing.assert_array_equal(rings, vectors[:, slots])
    np.testing.assert_array_equal(history.inverse, inverse[slots])
    np.testing.assert_array_equal(history.products, products[:, slots])
    assert history.newest.tolist() == [0, 1, 0]
    assert history.count == 7


@pytest.mark.parametrize("count", [0, 2, 7])
def test_a_selected_history_on_the_host_has_the_pairs_that_were_written(count):
    rng = np.random.default_rng(2)
    rings = Rings(*rng.normal(size=(3, 4, 3, 5)).astype(np.float32))
    for ring in rings:
        ring[:, count:] = 0
    slots = np.array([3, 1, 3, 0, 0])
    products = np.zeros((4, 3, 3)), np.zeros((2, 4, 3, 3))
    history = History(rings, *products, np.zeros(4, int), count).select(slots)
    np.testing.assert_array_equal(history.rings, np.stack(rings)[:, slots])


PENALTIES = np.array([1e-3, 1e-2, 0.1, 1.0])
TOLERANCE = 1e-10


class Table:
    """Logistic heads of four penalties, two of them of a fold, and their optima by Newton's method in NumPy."""

    def __init__(self):
        rng = np.random.default_rng(3)
        rows, columns, heads = 160, 5, len(PENALTIES)
        x = rng.normal(size=(rows, columns)) * np.array([1, 3, 0.3, 1, 1]) + 2
        y = (x @ rng.normal(size=columns) + 2 * rng.normal(size=rows) > 2).astype(np.uint32)
        train = np.stack([np.ones(rows, bool), rng.integers(0, 2, rows).astype(bool)])
        weight = rng.uniform(0.1, 1, rows)
        self.centering = fit_centering(x, True)
        self.rows = np.column_stack([x - self.centering.centre, np.ones(rows)])
        self.y, self.fit = y, np.array([0, 1, 0, 1], np.int32)
        self.part = weight * train[self.fit]
        total = self.part.sum(1)
        self.part /= total[:, None]
        self.share = self.part @ y
        entropy = -self.share * np.log(self.share) - (1 - self.share) * np.log(1 - self.share)
        self.batch = HeadBatch(
            PENALTIES,
            np.ones((heads, columns)),
            self.fit,
            total,
            (self.share * (1 - self.share))[:, None],
            np.full(heads, TOLERANCE),
            entropy,
        )
        self.arrays = x, (train.T, y[:, None]), weight
        self.preconditioner = precondition(x, weight, self.centering, heads)
        self.optima = np.stack([self.optimum(b) for b in range(heads)])

    def problem(self, slots, *, on_host=False):
        """Return the problem of the heads of these numbers; under x64."""
        batch = jax.tree.map(lambda leaf: leaf[slots], self.batch)
        if on_host:
            x, y, weight = self.arrays
            return Problem(batch, self.centering, self.preconditioner, [], HostRows(x, *y, weight, self.centering))
        x, y, weight = jax.device_put(self.arrays)
        data = BlockedData(x, y, weight, 64)
        return Problem(batch, self.centering, self.preconditioner, [data])

    def start(self, slots):
        """Return the null heads."""
        theta = np.zeros((len(slots), 1, self.rows.shape[1]))
        theta[:, 0, -1] = np.log(self.share / (1 - self.share))[slots]
        return theta

    def value(self, head, theta):
        """Return J."""
        z = self.rows @ theta
        return self.part[head] @ (np.logaddexp(0, z) - self.y * z) + PENALTIES[head] * theta[:-1] @ theta[:-1] / 2

    def gradient(self, head, theta):
        """Return ∇J."""
        p = 1 / (1 + np.exp(-self.rows @ theta))
        return self.rows.T @ (self.part[head] * (p - self.y)) + PENALTIES[head] * np.append(theta[:-1], 0)

    def optimum(self, head):
        """Return the coefficients at the optimum: Newton's method until the gradient is rounding."""
        theta = self.start([head])[0, 0]
        penalty = PENALTIES[head] * np.append(np.ones(len(theta) - 1), 0)
        for _ in range(30):
            p = 1 / (1 + np.exp(-self.rows @ theta))
            curved = (self.rows.T * (self.part[head] * p * (1 - p))) @ self.rows + np.diag(penalty)
            theta = theta - np.linalg.solve(curved, self.gradient(head, theta))
        assert abs(self.gradient(head, theta)).max() < 1e-14
        return theta

    def assert_optimal(self, slots, theta):
        """Assert what a gap of `TOLERANCE` · J promises, and for ‖w − w*‖ what it says by strong convexity."""
        for head, found in zip(slots, theta[:, 0], strict=True):
            best = self.value(head, self.optima[head])
            gap = TOLERANCE * best + len(self.y) * EPS64
            assert self.value(head, found) - best <= gap
            distance = np.linalg.norm((found - self.optima[head])[:-1])
            assert distance <= np.sqrt(2 * gap / PENALTIES[head])


TABLE = Table()
ALL = np.arange(len(PENALTIES))


def empty(heads, pairs=10):
    """Return a history without pairs."""
    return History.empty(heads, pairs, TABLE.rows.shape[1])


class Passes:
    """Passes over the rows that record their trial points, one of which may give head 0 a gradient of nan."""

    def __init__(self, program, spoilt=-1):
        self.program, self.spoilt, self.trials = program, spoilt, []

    def prepare(self, arguments, **static):
        """Return the passes of `accumulate`."""
        run = self.program.prepare(arguments, **static)

        def passes(sets):
            (sums,) = run(sets)
            if len(self.trials) == self.spoilt:
                sums = sums._replace(grad_coef=sums.grad_coef.at[0].set(np.nan))
            self.trials.append(np.asarray(sets[0][0])[:, 0])
            return [sums]

        return passes


@pytest.fixture(params=["device", "host"])
def problem_of(request):
    """Return `TABLE.problem` with passes on the device or on the host."""
    return functools.partial(TABLE.problem, on_host=request.param == "host")


@pytest.fixture
def descend(monkeypatch):
    """Return a function that minimises all heads, with the trial points of its passes."""

    def run(spoilt=-1, preconditioner=TABLE.preconditioner):
        passes = Passes(accumulate, spoilt)
        with jax.enable_x64(True), monkeypatch.context() as patch:
            patch.setattr(lbfgs_vectors, "accumulate", passes)
            problem = TABLE.problem(ALL)._replace(preconditioner=preconditioner)
            found = minimize(problem, TABLE.start(ALL), np.full(len(ALL), 100), empty(4), FLOAT64)
        return found, passes.trials

    return run


def test_each_head_reaches_its_optimum(descend):
    found, trials = descend()
    assert found.converged.all()
    assert not found.active.any()
    assert found.steps.max() == len(trials)
    TABLE.assert_optimal(ALL, found.theta)


def test_on_the_host_each_head_reaches_its_optimum_by_as_many_steps(descend):
    """The products of the history differ in the order of their sums alone."""
    expected, _ = descend()
    found = minimize(TABLE.problem(ALL, on_host=True), TABLE.start(ALL), np.full(len(ALL), 100), empty(4), FLOAT64)
    assert found.converged.all()
    assert abs(found.steps - expected.steps).max() <= 1
    TABLE.assert_optimal(ALL, found.theta)


def test_on_the_host_heads_are_divided_among_threads(monkeypatch):
    """Three threads for four heads, which keep three pairs. Only last digits of a head depend on other heads."""
    budget = np.array([100, 100, 3, 100])
    expected = minimize(TABLE.problem(ALL, on_host=True), TABLE.start(ALL), budget, empty(4, 3), FLOAT64)
    monkeypatch.setattr(lbfgs_vectors, "core_count", lambda: 3)
    monkeypatch.setattr(lbfgs_vectors, "LEAST_NUMBERS", 1)
    heads_of_calls = []
    observe_trial = lbfgs_vectors.observe_trial

    def recorded(rings, *arguments):
        heads_of_calls.append(len(rings.s))
        return observe_trial(rings, *arguments)

    monkeypatch.setattr(lbfgs_vectors, "observe_trial", recorded)
    found = minimize(TABLE.problem(ALL, on_host=True), TABLE.start(ALL), budget, empty(4, 3), FLOAT64)
    assert sorted(heads_of_calls[:3]) == [1, 1, 2]
    np.testing.assert_array_equal(found.converged, expected.converged)
    assert abs(found.steps - expected.steps).max() <= 1
    assert found.steps[2] == 3
    TABLE.assert_optimal([0, 1, 3], found.theta[[0, 1, 3]])


def test_the_trial_points_are_those_of_l_bfgs_in_numpy(descend):
    """The passes before a third pair mixes the guess, with steps of length 1. Products have float32's digits."""
    _, trials = descend()
    size = TABLE.rows.shape[1]
    with jax.enable_x64(True):
        vectors = jax.device_put(np.eye(size)[:, None, None].repeat(len(ALL), 1))
        spread, l2, one = jax.device_put((TABLE.batch.spread, PENALTIES, np.float64(1)))
        inverse = [np.asarray(apply_inverse(TABLE.preconditioner, v, spread, l2, one)) for v in vectors]
    inverse = np.stack(inverse)[:, :, 0].swapaxes(0, 1)
    for b in ALL:
        theta, pairs, gamma = TABLE.start(ALL)[b, 0], [], 1.0
        gradient = TABLE.gradient(b, theta)
        for trial in trials[1:4]:
            new = theta - two_loops(pairs, gradient, gamma * inverse[b])
            assert TABLE.value(b, new) < TABLE.value(b, theta)
            assert_close(trial[b], new, units=4 * size, scale=abs(new - theta).max(), dtype="float32")
            new_gradient = TABLE.gradient(b, new)
            pairs = [*pairs, (new - theta, new_gradient - gradient)]
            s, y = pairs[-1]
            gamma, theta, gradient = s @ y / (y @ inverse[b] @ y), new, new_gradient


def test_a_step_is_no_longer_than_an_objective_of_at_least_0_allows(descend):
    """Take variances of a thousandth of the true ones: the first step would be hundreds of times too long."""
    short = TABLE.preconditioner._replace(variances=TABLE.preconditioner.variances / 1000)
    found, trials = descend(preconditioner=short)
    start = TABLE.start(ALL)[:, 0]
    slope = np.array([TABLE.gradient(b, start[b]) @ (trials[1] - start)[b] for b in ALL])
    longest = -2 * np.array([TABLE.value(b, start[b]) for b in ALL])
    rounding = 4 * len(TABLE.y) * EPS64
    assert (slope >= longest * (1 + rounding)).all()
    np.testing.assert_allclose(slope[:2], longest[:2], rtol=rounding)
    TABLE.assert_optimal(ALL, found.theta)


def test_an_empty_slot_stays_where_it_is(problem_of):
    with jax.enable_x64(True):
        start, budget = TABLE.start(ALL), np.array([100, 0, 100, 0])
        found = minimize(problem_of(ALL), start.copy(), budget, empty(4), FLOAT64)
    assert found.converged.tolist() == [True, False, True, False]
    assert found.steps[1::2].tolist() == [0, 0]
    np.testing.assert_array_equal(found.theta[1::2], start[1::2])
    TABLE.assert_optimal(ALL[::2], found.theta[::2])


def test_the_unit_of_the_columns_changes_no_step():
    """The intercept has no unit: beside such columns s · y is far below the product of the norms."""
    unit = 2.0**40
    x, y, weight = TABLE.arrays
    centering = fit_centering(x * unit, True)
    with jax.enable_x64(True):
        problem = TABLE.problem(ALL)
        rows, targets, weights = jax.device_put((x * unit, y, weight))
        data = BlockedData(rows, targets, weights, 64)
        batch = problem.batch._replace(l2=PENALTIES * unit**2)
        other = Problem(batch, centering, precondition(x * unit, weight, centering, 4), [data])
        expected, found = (
            minimize(each, TABLE.start(ALL), np.full(4, 100), empty(4), FLOAT64) for each in (problem, other)
        )
    np.testing.assert_array_equal(found.steps, expected.steps)
    TABLE.assert_optimal(ALL, found.theta * np.append(np.full(x.shape[1], unit), 1))


def test_a_head_ends_after_its_passes(problem_of):
    with jax.enable_x64(True):
        found = minimize(problem_of(ALL), TABLE.start(ALL), np.array([1, 2, 3, 100]), empty(4), FLOAT64)
    assert found.steps[:3].tolist() == [1, 2, 3]
    assert found.converged.tolist() == [False, False, False, True]


def test_heads_that_are_left_at_stop_at_go_on_in_a_smaller_batch(problem_of):
    """Heads 0 and 2 use their three passes, heads 1 and 3 are active then and take their pairs with them."""
    with jax.enable_x64(True):
        budget = np.array([3, 100, 3, 100])
        found = minimize(problem_of(ALL), TABLE.start(ALL), budget, empty(4), FLOAT64, stop_at=2)
        assert found.active.tolist() == [False, True, False, True]
        assert found.steps.tolist() == [3, 3, 3, 3]
        assert not found.converged.any()
        assert found.history.count == 2  # the first pass makes no step
        slots = np.flatnonzero(found.active)
        history = found.history.select(slots)
        rest = minimize(problem_of(slots), found.theta[slots], np.full(2, 100), history, FLOAT64)
    assert rest.converged.all()
    TABLE.assert_optimal(slots, rest.theta)


def test_a_trial_whose_gradient_is_not_finite_is_rejected_and_the_step_is_a_tenth(descend):
    """The other heads make the same steps as without it."""
    (found, trials), (expected, expected_trials) = descend(spoilt=1), descend()
    assert found.converged.all()
    TABLE.assert_optimal(ALL, found.theta)
    start, full, shorter = (trial[0] for trial in trials[:3])
    np.testing.assert_allclose(shorter - start, 0.1 * (full - start), atol=8 * EPS64 * abs(full).max())
    np.testing.assert_array_equal(trials[2][1:], expected_trials[2][1:])
    np.testing.assert_array_equal(found.theta[1:], expected.theta[1:])


def test_a_gap_below_what_float32_reaches_costs_few_steps():
    """Float32 descends to `FLOAT32_GAP` alone. The weakest penalty took 56 steps with the whole way in it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 50))
    y = (x @ rng.normal(size=50) + 3 * rng.normal(size=5000) > 0).astype(int)
    heads = fit_heads(x, y, C=np.logspace(-4, 4, 10), tol=1e-8)
    assert set(heads.status) == {"converged"}
    assert heads.steps.max() <= 30
