"""The null model: a fit converges relative to its improvement over the best constant prediction."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import DTYPE

from dlcore import Objective, Status, descent, fit, sweep
from dlcore.losses import (
    absolute_error,
    binary_cross_entropy,
    get_loss_info,
    huber,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
    with_loss_info,
)
from dlcore.models import LinearParams, linear, logistic, softmax

N, M = 120, 9
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, M)) / 3
S = RNG.uniform(0.1, 2, N)
Z = X @ RNG.normal(size=M)
LABELS = (Z + 0.3 > 0).astype(DTYPE)
CLASSES = np.argmax(X @ RNG.normal(size=(M, 3)) + RNG.gumbel(size=(N, 3)), 1)
NUMBERS = Z + RNG.normal(size=N) + 3
X, S, NUMBERS = X.astype(DTYPE), S.astype(DTYPE), NUMBERS.astype(DTYPE)


def minimum_over_constants(loss, y, s, low, high):
    """Return the minimum mean loss of a constant prediction, by SciPy's bounded search."""

    def mean(constant):
        return float(s @ np.array([loss(constant, target) for target in y]) / s.sum())

    minimum: Any = scipy.optimize.minimize_scalar(
        mean, bounds=(low, high), method="bounded", options={"xatol": 1e-10}
    )
    return minimum.fun


SCALAR = {
    "squared": (squared_error, NUMBERS, lambda c, t: (c - t) ** 2),
    "absolute": (absolute_error, NUMBERS, lambda c, t: abs(c - t)),
    "huber": (huber, NUMBERS, lambda c, t: (c - t) ** 2 / 2 if abs(c - t) <= 1 else abs(c - t) - 0.5),
    "sigmoid": (sigmoid_cross_entropy, LABELS, lambda c, t: np.logaddexp(0, c) - t * c),
    "soft labels": (sigmoid_cross_entropy, LABELS * 0.7 + 0.1, lambda c, t: np.logaddexp(0, c) - t * c),
    "probability": (
        binary_cross_entropy,
        LABELS,
        lambda c, t: -t * np.log(c) - (1 - t) * np.log1p(-c) if 0 < c < 1 else 1e9,
    ),
}


@pytest.mark.parametrize("name", SCALAR)
def test_a_loss_states_the_mean_of_its_best_constant(name):
    loss, y, formula = SCALAR[name]
    y, share = y.astype(float), S.astype(float) / S.astype(float).sum()
    bounds = (1e-6, 1 - 1e-6) if name == "probability" else (-10, 10)
    stated = get_loss_info(loss).null_value
    assert stated is not None
    assert stated(y, share) == pytest.approx(
        minimum_over_constants(formula, y, S.astype(float), *bounds), rel=1e-7
    )


def test_targets_may_sum_to_any_number():
    """The best constant logits of rows of targets are found by SciPy's search."""
    y, share = np.array([[0.2, 1.0, 0.3], [0.9, 0.1, 1.5], [0.4, 0.4, 0.4]]), np.array([0.5, 0.2, 0.3])

    def mean(logits):
        return float(share @ (y.sum(1) * np.logaddexp.reduce(logits) - y @ logits))

    stated = get_loss_info(softmax_cross_entropy).null_value
    assert stated is not None
    minimum: Any = scipy.optimize.minimize(mean, np.zeros(3), tol=1e-12)
    assert stated(y, share) == pytest.approx(minimum.fun, rel=1e-10)


def test_hubers_constant_depends_on_its_delta():
    stated = get_loss_info(huber).null_value
    assert stated is not None
    expected = minimum_over_constants(
        lambda c, t: (c - t) ** 2 / 2 if abs(c - t) <= 0.2 else 0.2 * (abs(c - t) - 0.1), NUMBERS, S, -10, 10
    )
    y, share = NUMBERS.astype(float), S.astype(float) / S.astype(float).sum()
    assert stated(y, share, delta=0.2) == pytest.approx(expected, rel=1e-5)


def test_the_softmax_states_the_entropy_of_classes_and_of_their_probabilities():
    stated = get_loss_info(softmax_cross_entropy).null_value
    assert stated is not None
    share = S.astype(float) / S.astype(float).sum()
    p = np.bincount(CLASSES, share)
    assert stated(CLASSES, share) == pytest.approx(-(p @ np.log(p)), rel=1e-12)
    assert stated(np.eye(3)[CLASSES], share) == pytest.approx(-(p @ np.log(p)), rel=1e-12)


def first_order(slope, l2):
    """Return w = −∇J(null)/λ, which equals the optimum to a relative error of order 1/λ."""
    return -(X - X.mean(0)).T.astype(float) @ slope / N / l2


STRONG = 1e4
HEADS = {
    "logistic": (Objective(logistic, sigmoid_cross_entropy, STRONG), LABELS, LABELS.mean() - LABELS),
    "squared": (Objective(linear, squared_error, STRONG), NUMBERS, 2 * (NUMBERS.mean() - NUMBERS)),
    "huber": (
        Objective(linear, functools.partial(huber, delta=100.0), STRONG),
        NUMBERS,
        NUMBERS.mean() - NUMBERS,
    ),
    "undeclared": (
        Objective(linear, lambda prediction, target: (prediction - target) ** 2, STRONG),
        NUMBERS,
        2 * (NUMBERS.mean() - NUMBERS),
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_converged_under_a_strong_penalty_means_the_optimum(name):
    """J changes by 1e-6 of itself, so a tolerance relative to J would accept coefficients of any size."""
    objective, y, slope = HEADS[name]
    rule = descent.accelerated(1 / (STRONG + 3))
    fitted = fit(objective, (X, y), rule, tol=1e-4, max_steps=30_000)
    assert fitted.status is Status.CONVERGED
    expected = first_order(slope.astype(float), STRONG)
    assert np.linalg.norm(fitted.params.weight - expected) <= 0.03 * np.linalg.norm(expected)


def test_the_softmax_under_a_strong_penalty_and_a_certificate():
    objective = Objective(softmax, softmax_cross_entropy, 100.0)
    for stop in ("flat", "certificate"):
        fitted = fit(objective, (X, CLASSES), descent.accelerated(1 / 101), tol=1e-3, max_steps=30_000, stop=stop)
        assert fitted.status is Status.CONVERGED
        share = np.bincount(CLASSES) / N
        expected = first_order(share - np.eye(3)[CLASSES], 100.0)
        assert np.linalg.norm(np.asarray(fitted.params.weight) - expected) <= 0.1 * np.linalg.norm(expected)


def test_a_sweep_of_strong_penalties():
    """The weights and targets are settings too, so each model has its own null model."""
    l2 = np.array([1e2, 1e4])
    targets = np.stack([LABELS, 1 - LABELS * (np.arange(N) % 2 == 0)])
    given = {"l2": l2, "rate": 1 / (l2 + 1), "targets": targets, "weights": np.stack([S, S[::-1]])}
    fitted = sweep(
        Objective(logistic, sigmoid_cross_entropy),
        (X, LABELS),
        lambda setting: descent.accelerated(setting["rate"]),
        given,
        tol=1e-4,
        max_steps=30_000,
    )
    assert list(fitted.status) == [Status.CONVERGED] * 2
    for k in range(2):
        share = given["weights"][k].astype(float) / given["weights"][k].sum()
        slope = (share @ targets[k] - targets[k]) * share
        expected = -(X - share @ X).T.astype(float) @ slope / l2[k]
        assert np.linalg.norm(fitted.params.weight[k] - expected) <= 0.05 * np.linalg.norm(expected)


def test_a_fit_that_starts_at_its_optimum_is_converged():
    """The tolerance is relative to the null model, and the initial value of J has no influence."""
    objective = Objective(logistic, sigmoid_cross_entropy, 1.0)
    rule = descent.accelerated(0.8)
    fitted = fit(objective, (X, LABELS), rule, tol=1e-6)
    again = fit(objective, (X, LABELS), rule, tol=1e-5, params=fitted.params)
    assert (again.steps, again.status) == (0, Status.CONVERGED)
    far = LinearParams(jnp.full(M, 30.0, DTYPE), jnp.asarray(-20.0, DTYPE))
    from_far = fit(objective, (X, LABELS), rule, tol=1e-6, params=far)
    assert from_far.status is Status.CONVERGED
    assert float(from_far.value) == pytest.approx(float(fitted.value), rel=1e-5)


@pytest.mark.parametrize("level", [-5.0, 0.0, 7.0])
def test_a_constant_added_to_a_loss_changes_no_status(level):
    """The tolerance is relative to the improvement alone if J is negative."""

    def loss(prediction, target):
        return (prediction - target) ** 2 + level

    fitted = fit(Objective(linear, loss, 1.0), (X, NUMBERS), descent.accelerated(1 / 3.5), tol=1e-4)
    plain = fit(Objective(linear, squared_error, 1.0), (X, NUMBERS), descent.accelerated(1 / 3.5), tol=1e-4)
    assert fitted.status is plain.status is Status.CONVERGED
    length = np.linalg.norm(plain.params.weight)
    assert np.linalg.norm(fitted.params.weight - plain.params.weight) <= 0.03 * length


def test_a_loss_states_its_saturated_value():
    """Poisson's −log-likelihood is measured from the saturated model, which may be far below 0."""

    def likelihood(prediction, target):
        return jnp.exp(prediction) - target * prediction

    def saturated(target):
        return target - target * jnp.log(jnp.maximum(target, 1e-30))

    counts = np.random.default_rng(1).poisson(np.exp(Z + 2)).astype(DTYPE)
    stated = with_loss_info(saturated=saturated)(likelihood)
    assert get_loss_info(stated).saturated is saturated
    rule = descent.accelerated(0.02)
    fitted = fit(Objective(linear, stated, 1e-2), (X, counts), rule, tol=1e-3, max_steps=30_000)
    exact = fit(Objective(linear, stated, 1e-2), (X, counts), rule, tol=0, max_steps=5_000)
    assert fitted.status is Status.CONVERGED
    deviance = float(exact.value) - np.mean([float(saturated(t)) for t in counts])
    assert deviance > 0
    assert float(fitted.value) - float(exact.value) <= 1e-3 * deviance + 1e-6 * abs(float(exact.value))


@pytest.mark.parametrize("weights", [None, np.array([1, 2, 2, 1], DTYPE)])
def test_a_fit_without_a_signal_ends(weights):
    """No feature helps: w* = 0, and the improvement falls with w."""
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], DTYPE), np.array([0, 1, 1, 0], DTYPE)
    data = (x, y) if weights is None else (x, y, weights)
    fitted = fit(Objective(logistic, sigmoid_cross_entropy, 0.1), data, descent.gradient_descent(0.5))
    assert fitted.status is Status.CONVERGED
    assert fitted.steps < 1_000
    far = LinearParams(jnp.full(2, 3.0, DTYPE), jnp.asarray(1.0, DTYPE))
    constant = fit(
        Objective(linear, squared_error, 0.1), (x, y * 0 + 2), descent.gradient_descent(0.2), params=far
    )
    assert constant.status is Status.CONVERGED
    assert constant.steps < 1_000


def test_derivatives_pass_where_targets_or_arguments_of_a_loss_are_traced():
    rule = descent.gradient_descent(0.1)

    def of_targets(y):
        return fit(Objective(linear, squared_error, 0.5), (X, y), rule, max_steps=200).value

    value, slope = jax.jvp(of_targets, (jnp.asarray(NUMBERS),), (jnp.ones_like(NUMBERS),))
    assert float(value) > 0
    assert abs(float(slope)) < 1e-3  # the bias follows

    def of_delta(delta):
        loss = functools.partial(huber, delta=delta)
        return fit(Objective(linear, loss, 0.5), (X, NUMBERS), rule, max_steps=200).value

    value, slope = jax.jvp(of_delta, (jnp.asarray(0.3, DTYPE),), (jnp.asarray(1.0, DTYPE),))
    assert float(value) > 0
    assert float(slope) > 0


def test_a_traced_target_of_probabilities_is_not_converged_at_once():
    """The search starts at the constant 0, whose loss is infinite."""
    model = linear._replace(apply=lambda params, x: jax.nn.sigmoid(linear.apply(params, x)), affine=False)

    def steps(y):
        fitted = fit(
            Objective(model, binary_cross_entropy, 0.1),
            (X, y),
            descent.gradient_descent(0.5),
            params=LinearParams(jnp.ones(M, DTYPE), jnp.zeros((), DTYPE)),
            max_steps=30,
        )
        taken.append(fitted.steps)
        return fitted.value

    taken: list[int] = []
    jax.jvp(steps, (jnp.asarray(LABELS),), (jnp.zeros_like(LABELS),))
    assert taken == [30]
