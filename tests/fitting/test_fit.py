"""`fit`: compilations, history, stopping, callbacks, and all kinds of optimizers and parameters."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DTYPE, assert_close, breast_cancer, random_like

import dlcore
from dlcore import Objective, Status, descent, fit, sweep
from dlcore.losses import sigmoid_cross_entropy, squared_error
from dlcore.models import LinearParams, Model, linear, logistic


def objective(l2: float = 1e-2) -> Objective:
    return Objective(logistic, sigmoid_cross_entropy, l2)


def recorded(params):
    return params


def test_a_fit_compiles_one_program_and_the_next_none(compiles):
    """A fit with other values of the same shapes compiles nothing."""
    x, y = breast_cancer()
    x, y = x[:321], y[:321]  # shapes that no other test uses
    fit(objective(), (x, y), descent.gradient_descent(0.1), max_steps=50)
    assert compiles() == 1
    fit(objective(), (x, y), descent.gradient_descent(0.2), max_steps=50)
    fit(objective(0.0), (2 * x, 1 - y), descent.gradient_descent(0.2), tol=0.1, max_steps=2500, chunk=70)
    fit(objective(0), (x, y), descent.gradient_descent(0.2), tol=0, max_steps=3)
    start = LinearParams(np.ones(30, DTYPE), np.ones((), DTYPE))
    fit(objective(3.0), (x, y), descent.gradient_descent(np.float32(0.3)), params=start, max_steps=3)
    assert compiles() == 1


def test_the_type_of_a_start_compiles_nothing(compiles):
    """The start is a NumPy array, an array on its device, or weakly typed, and the program is the same."""
    x, y = breast_cancer()
    x, y = x[:324], y[:324]
    start = LinearParams(np.zeros(30, DTYPE), np.zeros((), DTYPE))
    on_device = jax.device_put(start, jax.devices()[0])
    weak = start._replace(bias=jnp.asarray(0.0))
    before = compiles()
    for params in (start, on_device, weak):
        fit(objective(), (x, y), descent.gradient_descent(0.1), params=params, max_steps=3)
    assert compiles() - before == 1


def test_the_type_of_a_number_compiles_nothing(compiles):
    """1, 1.0 and NumPy numbers of any width are the same argument."""
    x, y = breast_cancer()
    data = x[:325] / 100, y[:325]  # of which 1 is no rate that diverges
    kinds = (float, int, np.int64, np.float32, np.float64, jnp.asarray)
    numbers: list[tuple[Any, Any]] = [(kind(1), kind(0)) for kind in kinds]
    start = LinearParams(np.zeros(30, DTYPE), np.zeros((), DTYPE))

    def momentum(setting):
        return descent.momentum(setting["rate"], setting["decay"])

    fit(objective(0.5), data, descent.momentum(0.5, 0.5), tol=0.5, max_steps=1)
    sweep(objective(), data, momentum, {"rate": [0.5], "decay": [0.5]}, max_steps=1)
    objective(0.5).value_and_grad(start, data)
    before = compiles()
    for one, zero in numbers:
        fit(objective(one), data, descent.momentum(one, zero), tol=one, max_steps=1)
        objective(one).value_and_grad(start, data)
    sweep(objective(), data, momentum, {"rate": [1], "decay": [0]}, max_steps=1)
    assert compiles() == before


def test_the_start_is_copied():
    start = LinearParams(np.zeros(30, DTYPE), np.zeros((), DTYPE))
    fitted = fit(
        objective(), breast_cancer(), descent.gradient_descent(0.1), params=start, max_steps=1, record=recorded
    )
    start.weight[:] = 7
    assert not fitted.history.recorded.weight[0].any()


def test_an_objective_below_zero_converges():
    """Poisson regression without the constant ln k! has a negative J, and converges."""

    def poisson_loss(log_rate, count):
        return jnp.exp(log_rate) - count * log_rate

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(DTYPE)
    counts = rng.poisson(20 * np.exp(0.1 * x[:, 0]))
    fitted = fit(Objective(linear, poisson_loss, 0.1), (x, counts), descent.adam(0.05), tol=1e-4)
    assert fitted.value < 0
    assert fitted.status is Status.CONVERGED


@pytest.mark.parametrize("rule", [descent.momentum, descent.nesterov, descent.adam])
def test_each_rule_compiles_once(rule, compiles):
    x, y = breast_cancer()
    x, y = x[:322], y[:322]
    for rate in (0.1, 0.01):
        fit(objective(), (x, y), rule(rate), max_steps=50)
    assert compiles() == 1


def test_an_optax_optimizer_compiles_once_per_object(compiles):
    x, y = breast_cancer()
    x, y = x[:323], y[:323]
    optimizer = optax.sgd(0.1)
    for l2 in (0.1, 0.01):
        fit(objective(l2), (x, y), optimizer, max_steps=50)
    assert compiles() == 1
    fit(objective(), (x, y), optax.sgd(0.2), max_steps=50)
    assert compiles() == 2


@pytest.mark.parametrize("chunk", [1, 7, 1_000, 5_000, None])
def test_the_chunk_changes_no_bit(chunk):
    arguments = objective(1e-3), breast_cancer(), descent.nesterov(0.01)
    whole = fit(*arguments, max_steps=2_100, tol=0, chunk=3_000, record=recorded)
    pieces = fit(*arguments, max_steps=2_100, tol=0, chunk=chunk, record=recorded)
    assert pieces.steps == whole.steps == 2_100
    chex.assert_trees_all_equal(pieces.history.recorded, whole.history.recorded)
    np.testing.assert_array_equal(pieces.history.value, whole.history.value)
    np.testing.assert_array_equal(pieces.params.weight, whole.params.weight)


def test_history_holds_every_step_and_ends_at_the_result():
    fitted = fit(
        objective(), breast_cancer(), descent.gradient_descent(0.2), max_steps=1_500, tol=0, record=recorded
    )
    history = fitted.history
    assert history.value.shape == history.gradient_norm.shape == (1_501,)
    assert history.recorded.weight.shape == (1_501, 30)
    np.testing.assert_array_equal(history.recorded.weight[0], np.zeros(30))
    np.testing.assert_array_equal(history.recorded.weight[-1], fitted.params.weight)
    assert history.value[-1] == fitted.value
    assert history.gradient_norm[-1] == fitted.gradient_norm
    assert_close(history.value[0], np.log(2), units=8)
    for step in (0, 1, 700, 1_500):
        params = jax.tree.map(lambda leaf, step=step: jnp.asarray(leaf[step]), history.recorded)
        value, gradient = objective().value_and_grad(params, breast_cancer())
        norm = np.sqrt(sum(np.square(np.asarray(leaf, float)).sum() for leaf in gradient))
        assert_close(history.value[step], value, units=64)
        assert_close(history.gradient_norm[step], norm, units=64, scale=1)
    assert fit(objective(), breast_cancer(), descent.gradient_descent(0.2), max_steps=2).history.recorded is None


def test_large_records_are_kept_in_pieces():
    """A record of a megabyte per step does not allocate a gigabyte."""
    big = jnp.zeros(2**18, DTYPE)

    def record(params):
        return big + params.bias

    fitted = fit(objective(), breast_cancer(), descent.gradient_descent(0.2), max_steps=200, tol=0, record=record)
    assert fitted.history.recorded.shape == (201, 2**18)
    assert fitted.history.recorded[-1, 0] == fitted.params.bias


def test_converged_means_flat():
    rule = descent.gradient_descent(0.25)
    fitted = fit(objective(), breast_cancer(), rule, tol=1e-5, record=lambda p: (p.weight**2).sum())
    assert fitted.status is Status.CONVERGED
    assert "converged" in fitted.message
    share, value = breast_cancer()[1].mean(dtype=np.float64), fitted.history.value
    null_value = -share * np.log(share) - (1 - share) * np.log1p(-share)
    gained = np.maximum(null_value - value, 1e-2 / 2 * fitted.history.recorded)
    size = np.minimum(np.maximum(value, 1e-3 * null_value), gained)
    flat = fitted.history.gradient_norm**2 / (2 * 1e-2) <= 1e-5 * size
    assert flat[-1]
    assert not flat[:-1].any()
    certificate = dlcore.certify(dlcore.LinearHeads(*fitted.params, l2=1e-2), *breast_cancer())
    assert certificate.gap <= 2e-5 * certificate.value


def test_without_a_penalty_flat_is_relative_to_the_start():
    fitted = fit(objective(0), breast_cancer(), descent.gradient_descent(0.25), tol=1e-2)
    assert fitted.status is Status.CONVERGED
    flat = fitted.history.gradient_norm <= 1e-2 * fitted.history.gradient_norm[0]
    assert flat[-1]
    assert not flat[:-1].any()


def test_an_optimal_start_needs_no_step():
    x = np.array([[-1.0], [1.0]], DTYPE)
    fitted = fit(Objective(linear, squared_error), (x, np.zeros(2, DTYPE)), descent.adam(0.1))
    assert (fitted.steps, fitted.status) == (0, Status.CONVERGED)
    assert fitted.history.value.shape == (1,)


def test_out_of_steps_is_reported():
    fitted = fit(objective(), breast_cancer(), descent.gradient_descent(0.2), max_steps=5)
    assert (fitted.steps, fitted.status) == (5, Status.OUT_OF_STEPS)
    assert "raise max_steps" in fitted.message


def test_divergence_stops_and_names_the_safe_rate():
    data = breast_cancer()
    fitted = fit(objective(), data, descent.gradient_descent(1e5))
    assert fitted.status is Status.DIVERGED
    safe = float(descent.lipschitz_step(objective(), data))
    assert f"with rate {safe:.6g} (1/L" in fitted.message
    good = fit(objective(), data, descent.gradient_descent(safe), max_steps=50)
    assert good.value < good.history.value[0]


def test_slow_divergence_is_found_before_the_numbers_overflow():
    """A rate just above 2/L makes a quadratic grow so slowly that J is finite after thousands of steps."""
    x = np.array([[1.0], [-1.0]], DTYPE)
    data = (x, np.array([1.0, 1.0], DTYPE))
    fitted = fit(
        Objective(linear, squared_error),
        data,
        descent.gradient_descent(1.0005),
        params=LinearParams(np.ones(1, DTYPE), np.ones((), DTYPE)),
        max_steps=20_000,
        tol=0,
    )
    assert fitted.status is Status.DIVERGED
    assert fitted.steps == 1_000  # looked for at every thousandth step
    assert np.isfinite(fitted.value)


def test_divergence_of_a_model_without_a_safe_rate_suggests_a_smaller_rate():
    curved = Model(logistic.init, logistic.apply, logistic.predict)
    start = LinearParams(np.zeros(30, DTYPE), np.zeros((), DTYPE))
    fitted = fit(
        Objective(curved, sigmoid_cross_entropy, 0.1), breast_cancer(), descent.gradient_descent(1e5), params=start
    )
    assert fitted.status is Status.DIVERGED
    assert "smaller rate" in fitted.message


def test_the_floor_of_the_dtype_is_found():
    fitted = fit(objective(1.0), breast_cancer(), descent.gradient_descent(0.2), tol=0, max_steps=100_000)
    assert fitted.status is Status.PRECISION_FLOOR
    assert DTYPE.name in fitted.message
    again = fit(objective(1.0), breast_cancer(), descent.gradient_descent(0.2), params=fitted.params, tol=0)
    assert again.steps == 0
    np.testing.assert_array_equal(again.params.weight, fitted.params.weight)


def test_a_rate_that_starts_at_zero_is_not_the_precision_floor():
    warm_up = optax.linear_schedule(0.0, 0.2, 10)
    fitted = fit(objective(), breast_cancer(), optax.sgd(warm_up), max_steps=50)
    assert fitted.steps == 50


def test_the_callback_gets_progress_and_may_stop():
    seen = []

    def callback(progress):
        seen.append(progress)
        return progress.step >= 200

    fitted = fit(
        objective(),
        breast_cancer(),
        descent.gradient_descent(0.2),
        chunk=50,
        tol=0,
        callback=callback,
        record=recorded,
    )
    assert [progress.step for progress in seen] == [50, 100, 150, 200]
    assert (fitted.steps, fitted.status) == (200, Status.STOPPED)
    assert "stopped by the callback" in fitted.message
    assert fitted.history.value.shape == (201,)
    np.testing.assert_array_equal(seen[-1].params.weight, fitted.params.weight)
    plain = fit(objective(), breast_cancer(), descent.gradient_descent(0.2), tol=0, max_steps=200, record=recorded)
    np.testing.assert_array_equal(fitted.history.value, plain.history.value)
    np.testing.assert_array_equal(fitted.history.recorded.weight, plain.history.recorded.weight)


def test_an_interrupt_passes_through():
    def callback(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(objective(), breast_cancer(), descent.gradient_descent(0.2), chunk=5, callback=callback)


OPTAX = {
    "sgd": optax.sgd(0.1),
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01)),
    "ours in a chain": optax.chain(optax.clip_by_global_norm(1.0), descent.momentum(0.1)),
    "inject": optax.inject_hyperparams(optax.sgd)(learning_rate=0.1),
    "lbfgs": optax.lbfgs(),
    "noisy": optax.noisy_sgd(0.1, 1e-4, key=jax.random.key(0)),
    "polyak": optax.polyak_sgd(),
}


@pytest.mark.parametrize("name", OPTAX)
def test_any_optax_optimizer_runs_unchanged(name):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        fitted = fit(objective(), breast_cancer(), OPTAX[name], max_steps=60)
    assert fitted.value < 0.3
    assert fitted.params.weight.dtype == DTYPE
    if name == "lbfgs":
        assert fitted.status is Status.CONVERGED


def test_weights_of_rows_count_as_rows():
    x, y = breast_cancer()
    twice = np.concatenate([x, x[:100]]), np.concatenate([y, y[:100]])
    s = np.where(np.arange(len(x)) < 100, 2, 1)
    by_weight = fit(objective(), (x, y, s), descent.gradient_descent(0.2), max_steps=100)
    by_rows = fit(objective(), twice, descent.gradient_descent(0.2), max_steps=100)
    assert_close(by_weight.params.weight, by_rows.params.weight, units=300)


def test_the_dtype_of_the_start_is_that_of_the_arithmetic():
    x, y = breast_cancer()
    fitted = fit(objective(), (x.astype(np.float16), y), descent.gradient_descent(0.2), max_steps=5)
    assert fitted.params.weight.dtype == np.float32
    assert fit(objective(), (x, y), descent.gradient_descent(0.2), max_steps=5).params.weight.dtype == DTYPE


def test_forward_mode_gives_the_derivative_of_the_fit():
    """The reference is the central difference of fits with the same number of steps."""
    data, rule = breast_cancer(), descent.gradient_descent(0.2)

    def bias(l2):
        return fit(objective(l2), data, rule, max_steps=50, tol=0).params.bias

    l2 = jnp.asarray(0.1, DTYPE)
    value, tangent = jax.jvp(bias, (l2,), (jnp.ones_like(l2),))
    assert_close(value, bias(l2), units=64)
    h = 1e-2 if np.float32 == DTYPE else 1e-4
    assert_close(tangent, (bias(l2 + h) - bias(l2 - h)) / (2 * h), units=1, scale=1e-3 / np.finfo(DTYPE).eps)


def test_unsupported_transformations_raise():
    def bias(l2):
        return fit(objective(l2), breast_cancer(), descent.gradient_descent(0.2), max_steps=5).params.bias

    for transform, argument in ((jax.jit, 0.1), (jax.vmap, jnp.array([0.1, 0.2], DTYPE))):
        with pytest.raises(TypeError, match="cannot run under jit or vmap"):
            transform(bias)(argument)
    with pytest.raises(ValueError, match=r"[Rr]everse-mode"):
        jax.grad(bias)(0.1)


def test_a_model_with_a_random_start_takes_a_key():
    model = Model(
        init=lambda key: LinearParams(jax.random.normal(key, (30,)), jnp.zeros(())),
        apply=logistic.apply,
        predict=logistic.predict,
    )
    problem = Objective(model, sigmoid_cross_entropy, 0.1)
    starts = [
        fit(
            problem,
            breast_cancer(),
            descent.gradient_descent(0.1),
            key=jax.random.key(k),
            max_steps=1,
            record=recorded,
        )
        for k in (0, 0, 1)
    ]
    first = [np.asarray(fitted.history.recorded.weight[0]) for fitted in starts]
    np.testing.assert_array_equal(first[0], first[1])
    assert (first[0] != first[2]).any()


def test_any_tree_of_parameters():
    """The parameters are a dict. l2 acts on the leaf called weight and on no other leaf."""

    def apply(params, x):
        return params["head"].weight @ x + params["head"].bias + params["shift"]

    model = Model(lambda key: None, apply, apply)
    start = {"head": LinearParams(random_like(0, 30), jnp.zeros((), DTYPE)), "shift": jnp.zeros((), DTYPE)}
    fitted = fit(
        Objective(model, sigmoid_cross_entropy, 0.1),
        breast_cancer(),
        descent.adam(0.01),
        params=start,
        max_steps=20,
    )
    assert fitted.params.keys() == start.keys()
    with pytest.raises(ValueError, match="l2: expected parameters with a leaf called `weight`"):
        fit(
            Objective(model, sigmoid_cross_entropy, 0.1),
            breast_cancer(),
            descent.adam(0.01),
            params={"v": jnp.ones(3)},
        )


@pytest.mark.devices
def test_several_simulated_devices_change_nothing_on_one():
    """A fit runs on the default device, for any number of devices."""
    fitted = fit(objective(), breast_cancer(), descent.gradient_descent(0.2), max_steps=5)
    assert fitted.params.weight.devices() == {jax.devices()[0]}
    with jax.default_device(jax.devices()[-1]):
        on_last = fit(objective(), breast_cancer(), descent.gradient_descent(0.2), max_steps=5)
    assert on_last.params.weight.devices() == {jax.devices()[-1]}
    np.testing.assert_array_equal(on_last.params.weight, fitted.params.weight)
