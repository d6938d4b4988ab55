"""Descent rules against Optax and the NumPy reference, and the safe step size."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DTYPE, EPS, assert_close, breast_cancer, random_problem

import dlcore
from dlcore import Objective, descent, reference
from dlcore.losses import sigmoid_cross_entropy, squared_error
from dlcore.models import Model, linear, logistic

RATE = 0.25
STEPS = 1_000
RULES = {
    "gradient_descent": (
        descent.gradient_descent(RATE),
        optax.sgd(RATE),
        reference.descent.gradient_descent(RATE),
    ),
    "momentum": (descent.momentum(RATE, 0.9), optax.sgd(RATE, 0.9), reference.descent.momentum(RATE, 0.9)),
    "nesterov": (
        descent.nesterov(RATE, 0.9),
        optax.sgd(RATE, 0.9, nesterov=True),
        reference.descent.nesterov(RATE, 0.9),
    ),
    "adam": (descent.adam(0.01), optax.adam(0.01), reference.descent.adam(0.01)),
}


def every_step(optimizer) -> np.ndarray:
    """Return the parameters at every step of a fit to a real table, shape (1001, 31)."""
    objective = Objective(logistic, sigmoid_cross_entropy, 1e-3)
    fitted = dlcore.fit(objective, breast_cancer(), optimizer, tol=0, max_steps=STEPS, record=recorded)
    assert fitted.steps == STEPS
    weight, bias = fitted.history.recorded
    return np.column_stack([weight, bias]).astype(np.float64)


def dtype_of(leaf):
    return leaf.dtype


def recorded(params):
    return params


def largest_difference(p: np.ndarray, q: np.ndarray) -> float:
    return float((np.abs(p - q).max(1)[1:] / np.abs(q).max(1)[1:]).max())


@pytest.mark.parametrize("name", RULES)
def test_rules_equal_optax_at_every_step(name):
    rule, optax_rule, _ = RULES[name]
    tol = 1e-12 if np.float64 == DTYPE else 1e-5 if name == "adam" else 1e-6
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam promotes
        path = every_step(optax_rule)
    assert largest_difference(every_step(rule), path) <= tol


TWINS = {name: (rule, reference_rule) for name, (rule, _, reference_rule) in RULES.items()}
TWINS["accelerated"] = (descent.accelerated(RATE), reference.descent.accelerated(RATE))


@pytest.mark.parametrize("name", TWINS)
def test_rules_equal_numpy_at_every_step(name):
    rule, reference_rule = TWINS[name]
    x, y = breast_cancer(np.float64)

    def value_and_grad(theta):
        value, slope, of_bias = reference.objective.value_and_grad(
            "logistic", theta[:-1], theta[-1], x, y, l2=1e-3
        )
        return value, np.append(slope, of_bias)

    path = reference.fitting.fit(value_and_grad, np.zeros(31), reference_rule, l2=1e-3, tol=0, max_steps=STEPS)
    # In float32 the table itself is rounded, and the flat directions keep that error for a thousand steps.
    tol = 1e-12 if np.float64 == DTYPE else 1e-4
    assert largest_difference(every_step(rule), path.parameters) <= tol


@pytest.mark.parametrize("name", TWINS)
def test_rules_go_through_optax(name):
    rule = TWINS[name][0]
    assert isinstance(rule, optax.GradientTransformation)
    params = {"a": jnp.ones(3, DTYPE), "b": (jnp.zeros((), DTYPE),)}
    gradient = jax.tree.map(lambda p: p + 2, params)
    updates, _ = rule.update(gradient, rule.init(params), params)
    halved = optax.chain(optax.scale(0.5), rule) if name != "adam" else optax.chain(rule, optax.scale(0.5))
    changed, _ = halved.update(gradient, halved.init(params), params)
    jax.tree.map(lambda a, b: assert_close(a, 0.5 * np.asarray(b), units=2), changed, updates)
    moved = optax.apply_updates(params, updates)
    assert jax.tree.structure(moved) == jax.tree.structure(params)
    assert all(leaf.dtype == DTYPE for leaf in jax.tree.leaves(moved))


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("mask", [{"w": False}, {"w": True}])
def test_rules_take_a_tree_without_leaves(name, mask):
    """`optax.masked` passes a tree without leaves if it masks all, and masked updates pass through."""
    rule: Any = optax.masked(TWINS[name][0], mask)
    params = {"w": jnp.ones(2, DTYPE)}
    state = rule.init(params)
    for update in (rule.update, jax.jit(rule.update)):
        changes, after = update(params, state, params)
        assert jax.tree.map(dtype_of, after) == jax.tree.map(dtype_of, state)
        assert (np.asarray(changes["w"]) == 1).all() == (not mask["w"])
    plain: Any = TWINS[name][0]
    assert plain.update({}, plain.init({}), {})[0] == {}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_rate_of_another_dtype_keeps_the_dtype_of_the_parameters(name, dtype):
    rule = getattr(descent, name)(np.float64(0.1))
    params = jnp.ones(3, dtype)
    updates, state = jax.jit(rule.update)(params, rule.init(params))
    assert updates.dtype == dtype
    assert jax.tree.map(dtype_of, state) == jax.tree.map(dtype_of, rule.init(params))


def test_adam_in_halves_keeps_its_moments_in_float32():
    rule: Any = descent.adam(0.5)
    params = jnp.ones(2, jnp.bfloat16)
    state = rule.init(params)
    for _ in range(3):
        updates, state = rule.update(params, state)
        assert_close(updates, [-0.5, -0.5], units=1, dtype=jnp.bfloat16)
    assert state.second.dtype == jnp.float32


def test_rates_are_data():
    """The rate is a leaf, so vmap runs ten rates of a rule as one program."""
    for make in (getattr(descent, name) for name in TWINS):
        rates = jnp.linspace(0.1, 1, 10, dtype=DTYPE)

        def first_step(rate, make=make):
            rule: Any = make(rate)
            return rule.update(jnp.ones(2, DTYPE), rule.init(jnp.ones(2, DTYPE)))[0]

        steps = jax.vmap(first_step)(rates)
        assert steps.shape == (10, 2)
        assert (jnp.diff(steps[:, 0]) < 0).all()


def quadratic(condition: float) -> tuple[Any, Any]:
    """Return noiseless data. The Hessian of the squared error has eigenvalues from 1 to 1/condition, and 2."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20))
    x = np.linalg.qr(x - x.mean(0))[0] * np.sqrt(200 / 2 * np.geomspace(1, 1 / condition, 20))
    return x.astype(DTYPE), (x @ (np.geomspace(1, condition, 20) ** 0.5)).astype(DTYPE)


def test_accelerated_needs_far_fewer_steps():
    """The problem is a quadratic of condition number 1,000, and the fits run until J is 1e-4 of its start."""
    data, problem = quadratic(1e3), Objective(linear, squared_error)
    rate = float(descent.lipschitz_step(problem, data))
    steps = {}
    for rule in (descent.gradient_descent(rate), descent.accelerated(rate)):
        values = dlcore.fit(problem, data, rule, tol=0, max_steps=8_000).history.value
        steps[rule] = int(np.argmax(values <= 1e-4 * values[0]))
        assert steps[rule] > 0
    plain, accelerated = steps.values()
    assert 15 * accelerated < plain
    assert accelerated < 10 * np.sqrt(1e3)


def restarts(data, rate, steps) -> np.ndarray:
    """Return the steps after which the state of the rule has the t of a restart."""
    problem, rule = Objective(linear, squared_error), descent.accelerated(rate)
    params = problem.model.init(None, data[0].shape[1])
    state: Any = rule.init(params)
    scales = []

    @jax.jit
    def step(params, state):
        updates, state = rule.update(problem.value_and_grad(params, data)[1], state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
        scales.append(float(state.scale))
    return np.flatnonzero(np.isclose(scales, (1 + np.sqrt(5)) / 2))


def test_accelerated_restarts_more_often_on_a_well_conditioned_quadratic():
    """The period of the restarts is about π/2 · √κ."""
    few, many = (restarts(quadratic(condition), 0.5, 300) for condition in (1e3, 10.0))
    assert few[0] == many[0] == 0  # the first step counts as a restart
    assert 1 < len(few) < 10
    assert len(many) > 4 * len(few)


def test_accelerated_ends_a_sweep_as_it_ends_a_fit():
    data, problem = breast_cancer(), Objective(logistic, sigmoid_cross_entropy, 1e-3)
    rates = np.array([0.05, 0.1, 0.3])
    swept = dlcore.sweep(problem, data, lambda s: descent.accelerated(s["rate"]), {"rate": rates}, tol=1e-4)
    for i, rate in enumerate(rates):
        fitted = dlcore.fit(problem, data, descent.accelerated(rate), tol=1e-4)
        assert swept.status[i] is fitted.status
        assert abs(swept.steps[i] - fitted.steps) <= 2
        assert_close(swept.value[i], fitted.value, units=1e-5 / EPS)


BAD_RATES = [(np.nan, ValueError), (np.inf, ValueError), (0, ValueError), (-0.1, ValueError), ("0.1", TypeError)]


@pytest.mark.parametrize("make", [getattr(descent, name) for name in TWINS])
@pytest.mark.parametrize(("rate", "error"), BAD_RATES)
def test_a_wrong_rate_is_named(make, rate, error):
    with pytest.raises(error, match=f"rate: expected a .*number.*, got {rate!r}"):
        make(rate)


def test_wrong_decays_are_named():
    with pytest.raises(ValueError, match=r"decay: expected a number in \[0, 1\), got 1"):
        descent.momentum(0.1, 1)
    with pytest.raises(ValueError, match="decay"):
        descent.nesterov(0.1, -0.5)
    with pytest.raises(ValueError, match="b2"):
        descent.adam(0.1, b2=1.0)
    with pytest.raises(ValueError, match="eps"):
        descent.adam(0.1, eps=0)


def largest_curvature(problem, curvature: float) -> float:
    x, _, s, l2 = problem
    extended = np.column_stack([x, np.ones(len(x))])
    gram = extended.T @ (s[:, None] * extended) / s.sum()
    return curvature * np.linalg.eigvalsh(gram)[-1] + l2


@pytest.mark.parametrize("seed", range(20))
def test_the_safe_step_is_an_upper_bound_and_close(seed):
    """The step never exceeds the true 1/L in float64, and is within the stated rounding of it."""
    problem = random_problem(seed)
    x, y, s, l2 = problem
    for model, loss, curvature in ((logistic, sigmoid_cross_entropy, 0.25), (linear, squared_error, 2.0)):
        data = tuple(part.astype(DTYPE) for part in (x, y, s))
        rounded = problem._replace(x=data[0].astype(float), s=data[2].astype(float))
        step = float(descent.lipschitz_step(Objective(model, loss, l2), data))
        true = 1 / largest_curvature(rounded, curvature)
        assert step <= true * (1 + 1e-13)  # the oracle's own rounding, in float64
        assert step >= true * (1 - 4 * (sum(x.shape) + 12) * x.shape[1] * EPS)


def test_the_safe_step_descends_and_ten_times_it_does_not():
    """Every step lowers a quadratic J at 1/L. Above 2/L it grows without bound."""
    x, y = breast_cancer()
    objective = Objective(linear, squared_error, 1e-3)
    safe = float(descent.lipschitz_step(objective, (x, y)))
    good = dlcore.fit(objective, (x, y), descent.gradient_descent(safe), max_steps=200, tol=0)
    assert (np.diff(good.history.value) <= 4 * EPS * good.history.value[0]).all()
    bad = dlcore.fit(objective, (x, y), descent.gradient_descent(10 * safe), max_steps=200)
    assert bad.status == "diverged"
    assert f"with rate {safe:.6g}" in bad.message


def test_no_safe_step_is_known_for_other_models_and_losses():
    x, y = breast_cancer()
    curved = Model(logistic.init, logistic.apply, logistic.predict)
    with pytest.raises(ValueError, match="model is not affine"):
        descent.lipschitz_step(Objective(curved, sigmoid_cross_entropy), (x, y))

    def quartic(prediction, target):
        return (prediction - target) ** 4

    with pytest.raises(ValueError, match="curvature of the loss quartic"):
        descent.lipschitz_step(Objective(linear, quartic), (x, y))
