"""Minibatches: their rows, their order in an epoch, and the end of a fit with them."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DTYPE, EPS, assert_close, breast_cancer, memory_added, random_like

from dlcore import Objective, Status, descent, fit
from dlcore.fitting.minibatches import Batches, batch_order, take_batch
from dlcore.losses import sigmoid_cross_entropy, squared_error
from dlcore.models import LinearParams, linear, logistic
from dlcore.objective import Batch, BlockedData, sum_over_blocks

KEY = jax.random.key(3)
RULE = descent.gradient_descent(0.1)


def objective(l2: float = 1e-2) -> Objective:
    return Objective(logistic, sigmoid_cross_entropy, l2)


def recorded(params):
    return params


def batched(batch_size=64, **settings) -> Any:
    arguments = {"key": KEY, "tol": 0, "max_steps": 100, "record": recorded, **settings}
    return fit(objective(), breast_cancer(), arguments.pop("rule", RULE), batch_size=batch_size, **arguments)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("rows", "block"), [(1, 5), (4, 5), (5, 5), (7, 3), (12, 5), (23, 4), (23, 100)])
def test_the_batches_of_an_epoch_hold_every_row_once(rows, block, weighted):
    x = jnp.arange(23, dtype=DTYPE)
    data = BlockedData(x, x, 1 + x % 3 if weighted else None, block)
    count = -(-23 // rows)

    def held(index):
        def summand(x, y, s):
            return (x * 0 + 1 if s is None else s.astype(DTYPE)) @ jax.nn.one_hot(
                x.astype(jnp.int32), 23, dtype=DTYPE
            )

        return sum_over_blocks(summand, dataclasses.replace(data, batch=Batch(index, jnp.ones(()), rows)))

    each = jax.vmap(held)(jnp.arange(count, dtype=jnp.int32))
    expected = np.arange(23) // rows == np.arange(count)[:, None]
    np.testing.assert_array_equal(each, expected * (1 + np.arange(23) % 3 if weighted else 1))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_over_the_batches_is_the_objective(weighted):
    """The last batch is shorter, and the weights of the batches differ."""
    x, y = breast_cancer()
    s = np.random.default_rng(0).random(len(x)) ** 4 if weighted else np.ones(len(x))
    problem, params = objective(0.3), LinearParams(random_like(0, 30), random_like(1))
    data = problem.prepare((x, y, s) if weighted else (x, y))
    total = jnp.asarray(len(x) if data.weights is None else data.weights.sum(), DTYPE)
    batches = Batches(100, 6)

    @jax.jit
    def one(index):
        return problem.value_and_grad(params, take_batch(data, batches, index, total))

    parts = [one(jnp.int32(index)) for index in range(6)]
    mean = jax.tree.map(lambda *leaves: np.mean(np.stack(leaves).astype(float), 0), *parts)
    whole = problem.value_and_grad(params, data)
    jax.tree.map(lambda a, b: assert_close(a, b, units=64, scale=max(1, np.abs(b).max())), mean, whole)
    assert max(abs(part[0] - whole[0]) for part in parts) > 0.01


def test_a_fit_with_minibatches_equals_a_loop_in_numpy():
    """The reference is gradient descent on one batch after another in float64, in the order of the key."""
    x, y = breast_cancer(np.float64)
    fitted = batched(100, max_steps=20)
    batches = Batches(100, 6)
    order = np.concatenate([batch_order(batches, KEY, jnp.int32(6 * epoch)) for epoch in range(4)])
    theta, path = np.zeros(31), []
    extended = np.column_stack([x, np.ones(len(x))])
    for step in range(21):
        path.append(theta)
        rows = slice(100 * order[step], 100 * (order[step] + 1))
        residual = 1 / (1 + np.exp(-extended[rows] @ theta)) - y[rows]
        gradient = 6 / len(x) * extended[rows].T @ residual + 1e-2 * np.append(theta[:-1], 0)
        theta = theta - 0.1 * gradient
    at = [0, 6, 12, 18, 20]
    found = np.column_stack(fitted.history.recorded)
    assert_close(found, np.array(path)[at], units=400, scale=1)
    for value, params in zip(fitted.history.value, found, strict=True):
        theta = LinearParams(jnp.asarray(params[:-1], DTYPE), jnp.asarray(params[-1], DTYPE))
        assert_close(value, objective().value(theta, breast_cancer()), units=64)


def test_every_epoch_has_every_batch_once_in_a_new_order():
    orders = np.stack([batch_order(Batches(10, 50), KEY, jnp.int32(50 * epoch)) for epoch in range(20)])
    np.testing.assert_array_equal(np.sort(orders, 1), np.tile(np.arange(50), (20, 1)))
    assert len(np.unique(orders, axis=0)) == 20
    # No batch has a fixed position: the mean position over 20 epochs is within five sigma of the middle.
    places = np.argsort(orders, 1).mean(0)
    assert np.abs(places - 24.5).max() < 5 * np.sqrt(50**2 / 12 / 20)


@pytest.mark.parametrize("chunk", [1, 7, 50, None])
def test_the_key_changes_the_bits_and_the_chunk_does_not(chunk):
    whole, pieces = batched(chunk=1_000, rule=descent.adam(0.01)), batched(chunk=chunk, rule=descent.adam(0.01))
    chex.assert_trees_all_equal(pieces.history.recorded, whole.history.recorded)
    np.testing.assert_array_equal(pieces.history.value, whole.history.value)
    assert (whole.steps, pieces.steps) == (100, 100)
    if chunk == 7:
        other = batched(key=jax.random.key(4), rule=descent.adam(0.01))
        assert (other.params.weight != whole.params.weight).any()


def test_small_buffers_hold_the_epochs_of_many_steps():
    """A call keeps 64 epochs with records of a megabyte, which may be thousands of steps."""
    big = jnp.zeros(2**18, DTYPE)

    def record(params):
        return big + params.bias

    fitted = batched(300, record=record, max_steps=275)
    few = batched(300, max_steps=275)
    np.testing.assert_array_equal(fitted.history.value, few.history.value)
    np.testing.assert_array_equal(fitted.history.recorded[:, 0], few.history.recorded.bias)
    assert len(few.history.value) == 1 + 138  # after 0, 1, … 137 epochs, and after 275 steps


def test_other_values_compile_nothing(compiles):
    x, y = breast_cancer()
    x, y = x[:331], y[:331]
    counts = []
    for l2, rate, seed, steps in ((0.1, 0.1, 0, 30), (0, 0.3, 1, 7), (1, 0.2, 2, 1)):
        rule, key = descent.gradient_descent(rate), jax.random.key(seed)
        fit(objective(l2), (x, y), rule, batch_size=50, key=key, max_steps=steps)
        counts.append(compiles())
    assert counts[1:] == counts[:1] * 2


def test_no_copy_of_x_is_made():
    """A fit with minibatches adds less to the memory of the process than a quarter of x."""
    x = np.random.default_rng(0).normal(size=(100_000, 128)).astype(DTYPE)
    y = (x[:, 0] > 0).astype(DTYPE)
    data = objective().prepare((x, y))

    def run():
        return fit(objective(), data, RULE, batch_size=3_000, key=KEY, tol=0, max_steps=50)

    run()
    fitted, added = memory_added(run)
    assert fitted.steps == 50
    assert added < 0.25 * x.nbytes


def test_a_fit_stops_at_an_epoch_that_starts_flat():
    """The data have no noise, so all batches have the same optimum, and the descent reaches it."""
    x = np.asarray(random_like(0, 500, 5))
    y = x @ np.arange(5, dtype=DTYPE)
    problem, rule = Objective(linear, squared_error), descent.gradient_descent(0.1)
    fitted = fit(problem, (x, y), rule, batch_size=50, key=KEY, tol=1e-4)
    assert fitted.status is Status.CONVERGED
    assert fitted.steps % 10 == 0
    norms = fitted.history.gradient_norm
    assert len(norms) == fitted.steps // 10 + 1
    assert norms[-1] <= 1e-4 * norms[0] < norms[-2]
    assert fitted.value == fitted.history.value[-1]
    whole = fit(problem, (x, y), rule, tol=1e-4)
    assert fitted.steps // 10 < whole.steps / 3  # passes over the data


def test_divergence_is_reported():
    x, y = breast_cancer()
    problem = Objective(linear, squared_error)
    fitted = fit(problem, (x, y), descent.gradient_descent(1.0), batch_size=64, key=KEY)
    assert fitted.status is Status.DIVERGED
    assert "with rate" in fitted.message


def test_slow_divergence_is_found_before_the_numbers_overflow():
    """The rate is just above 2/L and the batches are equal. J is compared after 334 epochs of 3 steps."""
    x, y = np.tile([[1.0], [-1.0]], (3, 1)).astype(DTYPE), np.ones(6, DTYPE)
    start = LinearParams(np.ones(1, DTYPE), np.ones((), DTYPE))
    fitted = fit(
        Objective(linear, squared_error),
        (x, y),
        descent.gradient_descent(1.0005),
        params=start,
        batch_size=2,
        key=KEY,
        max_steps=20_000,
        tol=0,
    )
    assert fitted.status is Status.DIVERGED
    assert fitted.steps == 1_002
    assert np.isfinite(fitted.value)


def test_out_of_steps_within_an_epoch_evaluates_the_final_objective():
    fitted = batched(64, max_steps=13)
    assert (fitted.steps, fitted.status) == (13, Status.OUT_OF_STEPS)
    assert fitted.history.value.shape == (1 + 2,)  # before, after 9 steps and after 13
    expected = objective().value_and_grad(fitted.params, breast_cancer())
    assert_close(fitted.value, expected[0], units=8)
    assert fitted.value == fitted.history.value[-1]


def test_the_callback_gets_progress_and_stops_within_an_epoch():
    seen = []

    def callback(progress):
        seen.append((progress.step, progress.value))
        return progress.step >= 12

    fitted = batched(64, chunk=4, callback=callback)
    assert [step for step, _ in seen] == [4, 8, 12]
    assert seen[0][1] == seen[1][1] == fitted.history.value[0]
    assert (fitted.steps, fitted.status) == (12, Status.STOPPED)
    assert_close(fitted.value, objective().value(fitted.params, breast_cancer()), units=8)


def test_a_row_of_weight_zero_equals_an_absent_row():
    """Weights count in a batch as they do in the objective, for any weights of the other batches."""
    x, y = breast_cancer()
    s = np.ones(len(x))
    s[256:320] = 0  # the fifth batch of nine
    mask = s > 0
    fitted = fit(objective(), (x, y, s), RULE, batch_size=64, key=KEY, max_steps=9, tol=0)
    order = np.asarray(batch_order(Batches(64, 9), KEY, jnp.int32(0)))
    data = objective().prepare((x[mask], y[mask]))
    params = LinearParams(jnp.zeros(30, DTYPE), jnp.zeros((), DTYPE))
    for index in order:
        if index == 4:
            gradient = jax.tree.map(lambda p: 1e-2 * p, params)._replace(bias=jnp.zeros((), DTYPE))
        else:
            at = jnp.int32(index - (index > 4))
            share = jnp.asarray(mask.sum() * 8 / 9, DTYPE)  # of nine batches, not of eight
            gradient = objective().value_and_grad(params, take_batch(data, Batches(64, 8), at, share))[1]
        params = jax.tree.map(lambda p, g: p - jnp.asarray(0.1, DTYPE) * g, params, gradient)
    assert_close(fitted.params.weight, params.weight, units=64, scale=1)
    assert_close(fitted.params.bias, params.bias, units=64, scale=1)


@pytest.mark.parametrize("optimizer", [descent.adam(0.02), optax.adamw(0.02), optax.polyak_sgd()])
def test_other_rules_descend_on_batches(optimizer):
    with jax.numpy_dtype_promotion("standard"):
        fitted = batched(64, rule=optimizer, max_steps=180)
    assert fitted.value < 0.13
    assert fitted.params.weight.dtype == DTYPE
    assert EPS < fitted.gradient_norm < 0.1


WRONG = [
    ({"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1, got 0"),
    ({"batch_size": 1.5}, TypeError, "batch_size: expected an integer, got 1.5"),
    ({"batch_size": 570}, ValueError, "batch_size: expected at most the 569 rows of the data, got 570"),
    ({"batch_size": 64, "key": None}, ValueError, "key: the order of the batches is random"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_batches_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        batched(**arguments)
