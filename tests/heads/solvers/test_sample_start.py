"""Heads that start from a sample of the rows."""

import numpy as np
import pytest

from dlcore import Status, fit_heads
from dlcore.heads.data.centering import fit_centering
from dlcore.heads.losses import row_loss
from dlcore.heads.passes.evaluate import HeadBatch
from dlcore.heads.passes.host_rows import HostRows
from dlcore.heads.solvers import cost_model
from dlcore.heads.solvers.lbfgs import History, minimize
from dlcore.heads.solvers.lbfgs_vectors import Options, Problem
from dlcore.heads.solvers.preconditioner import precondition
from dlcore.heads.solvers.sample_start import GAP, STEP, choose_rows, start_from_sample

pytestmark = pytest.mark.any_mode

ROWS, FEATURES, PAIRS = 16_000, 8, 30
LOGISTIC = Options("logistic", "float32")


def table(signal, labels=None):
    """Return normal columns and labels whose logits have this deviation, or labels as they are given."""
    random = np.random.default_rng(0)
    x = random.standard_normal((ROWS, FEATURES)).astype(np.float32)
    logits = signal / np.sqrt(FEATURES) * x.sum(1) + random.logistic(size=ROWS)
    return x, (logits > 0 if labels is None else labels).astype(np.uint32)


def problem_of(x, y, l2, weight=None):
    weight = np.ones(len(x)) if weight is None else weight
    centering = fit_centering(x, True)
    host = HostRows(x, np.ones((len(x), 1), bool), y[:, None], weight, centering)
    constant = row_loss("logistic").constant(y[:, None].astype(float), weight[None], None, fit_intercept=True)
    heads = len(l2)
    batch = HeadBatch(
        l2=np.array(l2, float),
        ratio=np.ones((heads, FEATURES)),
        fit=np.zeros(heads, np.int32),
        total=constant.total.repeat(heads),
        spread=constant.spread.repeat(heads, axis=0),
        gap_tol=np.full(heads, 1e-6),
        null_value=constant.value.repeat(heads),
    )
    null = np.zeros((heads, 1, FEATURES + 1))
    null[:, 0, -1] = constant.intercept[0, 0]
    return Problem(batch, centering, precondition(x, weight, centering, heads), (), host), null


def start(problem, null, passes=100):
    assert problem.host_rows is not None
    return start_from_sample(problem.host_rows, problem, null, passes, PAIRS, LOGISTIC)


def passes_from(problem, theta, history):
    found = minimize(problem, theta, np.full(len(theta), 200), history, LOGISTIC)
    assert found.converged.all()
    return found.steps


def empty(heads):
    return History.empty(heads, PAIRS, FEATURES + 1)


def test_rows_are_copied_with_all_that_belongs_to_them():
    x, y = table(1.0)
    weight = np.arange(ROWS, dtype=float)
    rows = problem_of(x, y, [0.1], weight)[0].host_rows
    assert rows is not None
    chosen = np.array([1, 5, 6, 100])
    rows = rows.take(chosen)
    assert len(rows) == 4
    np.testing.assert_array_equal(rows.weight, weight[chosen])
    np.testing.assert_array_equal(rows.targets[:, 0], y[chosen])
    rows.prepare("float64")
    np.testing.assert_allclose(rows.block(slice(None), "float64"), x[chosen] - rows.centering.centre, rtol=1e-6)


@pytest.mark.parametrize(("n", "columns", "step"), [(1000, 3, STEP), (1001, 3, STEP), (2**20, 2**10, 64)])
def test_a_sample_has_one_row_of_every_few_and_shares_none_with_the_further_rows(n, columns, step):
    sample, further = choose_rows(n, columns)
    assert len(sample) == len(further) == n // step
    for index in (sample, further):
        np.testing.assert_array_equal(index // step, np.arange(n // step))
        if n < 2000:  # residues of any period are as frequent as they should be
            assert len(np.unique(index % step)) > step // 2
    assert (sample != further).all()


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_rows_in_turn_of_each_class_are_both_in_the_sample(period):
    x, _ = table(0.0)
    y = (np.arange(ROWS) % period < period // 2).astype(np.uint32)
    problem, null = problem_of(x, y, [1e-3])
    theta, history = start(problem, null)
    assert abs(theta[0, 0, -1]) < 1
    assert (passes_from(problem, theta, history) <= passes_from(problem, null, empty(1)) + 3).all()


def test_heads_of_a_sample_save_passes_over_all_rows():
    problem, null = problem_of(*table(3.0), [1e-4, 1e-2])
    theta, history = start(problem, null)
    assert (theta != null).any((1, 2)).all()
    from_sample, from_null = passes_from(problem, theta, history), passes_from(problem, null, empty(2))
    assert (from_sample < from_null).all()


def test_heads_of_a_sample_are_nearly_those_of_a_fit_to_it():
    x, y = table(3.0)
    theta, _ = start(*problem_of(x, y, [1e-2]))
    chosen = choose_rows(ROWS, FEATURES)[0]
    alone = fit_heads(x[chosen], y[chosen], l2=1e-2, loss="logistic", tol=1e-9)
    difference = alone.coef[0] - theta[0, 0, :-1]
    assert 1e-2 / 2 * difference @ difference <= GAP * np.log(2)


def test_noise_is_not_started_from():
    """Labels without signal: the sample's heads fit its noise, and further rows gain nothing."""
    labels = np.random.default_rng(1).integers(0, 2, ROWS)
    problem, null = problem_of(*table(0.0, labels), [1e-6])
    theta, history = start(problem, null)
    np.testing.assert_array_equal(theta, null)
    assert not any(np.any(part) for part in (*history.rings, history.inverse, history.products))


def test_one_head_may_start_from_the_sample_and_another_from_the_constant():
    """The sample has no row of the second fit."""
    x, y = table(2.0)
    problem, null = problem_of(x, y, [1e-2, 1e-2])
    train = np.ones((ROWS, 2), bool)
    train[choose_rows(ROWS, FEATURES)[0], 1] = False
    batch = problem.batch._replace(fit=np.array([0, 1], np.int32), total=train.sum(0).astype(float))
    host = HostRows(x, train, y[:, None], np.ones(ROWS), problem.centering)
    problem = problem._replace(batch=batch, host_rows=host)
    theta, history = start(problem, null)
    assert (theta[0] != null[0]).any()
    assert history.rings.s[0].any()
    np.testing.assert_array_equal(theta[1], null[1])
    assert not history.rings.s[1].any()
    passes_from(problem, theta, history)


@pytest.mark.parametrize("weightless", ["sample", "further rows", "a class"])
def test_a_sample_without_weight_or_without_a_class_is_left(weightless):
    x, y = table(3.0)
    weight = np.ones(ROWS)
    if weightless == "a class":
        y[choose_rows(ROWS, FEATURES)[0]] = 1
    else:
        weight[choose_rows(ROWS, FEATURES)[weightless != "sample"]] = 0
    problem, null = problem_of(x, y, [1e-3], weight)
    theta, history = start(problem, null)
    np.testing.assert_array_equal(theta, null)
    passes_from(problem, theta, history)


def test_a_sample_has_no_more_passes_than_the_heads():
    problem, null = problem_of(*table(3.0), [1e-4])
    few, many = start(problem, null, passes=2)[0], start(problem, null)[0]
    assert (few != many).any()


@pytest.mark.parametrize("classes", [2, 3])
def test_heads_that_start_from_a_sample_are_optimal(classes, monkeypatch):
    random = np.random.default_rng(0)
    x = random.standard_normal((8000, 6)).astype(np.float32)
    y = (3 * x @ random.standard_normal((6, classes)) + random.gumbel(size=(8000, classes))).argmax(1)
    loss = "logistic" if classes == 2 else "softmax"
    expected = fit_heads(x, y, l2=[1e-4, 1e-2], loss=loss, folds=3, tol=1e-9)
    monkeypatch.setattr(cost_model, "SAMPLED_ROWS", 1)
    monkeypatch.setattr(cost_model, "SAMPLED_WORK", 1)
    heads = fit_heads(x, y, l2=[1e-4, 1e-2], loss=loss, folds=3, tol=1e-9)
    assert (heads.status == Status.CONVERGED).all()
    assert (heads.coef != expected.coef).any()
    np.testing.assert_allclose(heads.value, expected.value, rtol=3e-9)
    assert heads.scores is not None
    assert expected.scores is not None
    np.testing.assert_allclose(heads.scores, expected.scores, rtol=1e-4)
