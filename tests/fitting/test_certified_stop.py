"""Fits that stop with a certificate, and Optax's L-BFGS, which needs few steps for it."""

from typing import Any, cast

import jax
import numpy as np
import optax
import pytest
from helpers import DTYPE, breast_cancer
from sklearn.datasets import load_diabetes, load_wine

import dlcore
from dlcore import LinearHeads, Objective, Status, certify, descent, fit
from dlcore.certificate import Certificate
from dlcore.fitting import stopping
from dlcore.fitting.null_model import NullModel
from dlcore.fitting.state import LoopState
from dlcore.losses import absolute_error, sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.models import LinearParams, linear, logistic, mlp, softmax

LBFGS = optax.lbfgs()


def logistic_of(l2: float) -> Objective:
    return Objective(logistic, sigmoid_cross_entropy, l2)


def standardised(load) -> tuple[np.ndarray, np.ndarray]:
    x, y = load(return_X_y=True)
    return ((x - x.mean(0)) / x.std(0)).astype(DTYPE), y


def wine():
    x, y = standardised(load_wine)
    return x, y.astype(np.int32)


def diabetes():
    x, y = standardised(load_diabetes)
    return x, ((y - y.mean()) / y.std() + 1).astype(DTYPE)


HEADS = {
    "logistic": (logistic_of(1e-2), breast_cancer),
    "softmax": (Objective(softmax, softmax_cross_entropy, 1e-2), wine),
    "squared": (Objective(linear, squared_error, 1e-2), diabetes),
    "squared without a penalty": (Objective(linear, squared_error), diabetes),
}


def certificate_of(objective, params, data):
    names = {sigmoid_cross_entropy: "logistic", softmax_cross_entropy: "softmax", squared_error: "squared"}
    coef, bias = np.asarray(params.weight, float).T, np.asarray(params.bias, float)
    return certify(LinearHeads(coef, bias, float(objective.l2), names[objective.loss]), *data)


def null_value(objective, data) -> float:
    """Return J of the best intercept, from a fit to features of zero."""
    x, *rest = data
    nothing = Objective(objective.model, objective.loss, 1.0)
    params = None
    fitted = fit(nothing, (np.zeros_like(x), *rest), LBFGS, params=params, tol=1e-9, max_steps=200)
    return float(fitted.value)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_converged_means_that_the_float64_gap_is_within_tolerance(name, weighted):
    objective, load = HEADS[name]
    x, y = load()
    s = np.random.default_rng(0).random(len(x))
    data = (x, y, s) if weighted else (x, y)
    tol = 1e-4 if np.float32 == DTYPE else 1e-8
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        fitted = fit(objective, data, LBFGS, tol=tol, max_steps=500, stop="certificate")
    assert fitted.status is Status.CONVERGED
    independent = certificate_of(objective, fitted.params, data)
    assert fitted.certificate is not None
    assert (fitted.certificate.gap, fitted.certificate.value) == (independent.gap, independent.value)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        null = null_value(objective, data)
    penalty = objective.l2 / 2 * (np.asarray(fitted.params.weight, float) ** 2).sum()
    improvement = max(null - independent.value, penalty)
    gap_tol = tol * min(max(independent.value, 1e-3 * null), improvement)
    assert 0 <= independent.gap <= gap_tol * (1 + 1e-4)
    assert f"certified: at most {independent.gap:.2g} above the minimum" in fitted.message
    assert len(fitted.history.value) == fitted.steps + 1


def test_a_fit_continues_if_flat_does_not_suffice():
    """The fit continues until the certificate holds, along the path of a fit that stops when it is flat.

    The columns are far from 0. A small gradient of the intercept then costs the certificate more than ‖∇J‖.
    """
    x, y = breast_cancer()
    data, rule = (x[:, :8] + 2, y), descent.accelerated(0.05)
    flat = fit(logistic_of(1e-2), data, rule, tol=1e-2)
    certified = fit(logistic_of(1e-2), data, rule, tol=1e-2, stop="certificate")
    assert flat.status is certified.status is Status.CONVERGED
    flat_certificate = certificate_of(logistic_of(1e-2), flat.params, data)
    assert flat_certificate.gap > 1e-2 * flat_certificate.value
    assert certified.certificate is not None
    assert certified.certificate.gap <= 1e-2 * certified.certificate.value
    assert flat.steps < certified.steps
    np.testing.assert_array_equal(certified.history.value[: flat.steps + 1], flat.history.value)
    assert len(certified.history.value) == certified.steps + 1
    assert flat.certificate is None


def test_the_certificate_belongs_to_the_final_parameters():
    """The fit computes a certificate, then its rate rises and it diverges. The result has no certificate.

    The second column has a hundredth of the first one's gradient and an equal gap, so J is flat long before.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    data = (x * [1, 1e-2]).astype(DTYPE), x.sum(1).astype(DTYPE)
    rule = optax.sgd(optax.piecewise_constant_schedule(0.3, {100: 1e6}))
    with jax.numpy_dtype_promotion("standard"):
        flat = fit(Objective(linear, squared_error), data, rule, tol=0.1)
        fitted = fit(Objective(linear, squared_error), data, rule, tol=0.1, stop="certificate")
    assert flat.status is Status.CONVERGED
    assert flat.steps < 50
    assert fitted.status is Status.DIVERGED
    assert fitted.certificate is None


def test_a_tolerance_below_the_rounding_of_the_dtype_is_the_precision_floor():
    fitted = fit(
        logistic_of(1e-2),
        breast_cancer(),
        descent.gradient_descent(0.25),
        tol=1e-18,
        max_steps=30_000,
        stop="certificate",
    )
    assert fitted.status in (Status.PRECISION_FLOOR, Status.OUT_OF_STEPS)
    assert fitted.certificate is not None
    assert fitted.certificate.gap > 1e-18
    optimal = fit(
        Objective(linear, squared_error, 1.0),
        (np.array([[-1.0], [1.0]], DTYPE), np.zeros(2, DTYPE)),
        descent.gradient_descent(0.1),
        tol=0,
        stop="certificate",
    )
    assert optimal.status in (Status.PRECISION_FLOOR, Status.CONVERGED)  # the gap is 0, or rounding
    assert optimal.steps == 0


def test_the_message_names_a_tolerance_below_the_range_of_the_dtype():
    """The start is the exact minimum, and the gap is the rounding of the certificate. No update is made."""
    data = np.array([[-1.0], [1.0]], DTYPE), np.array([-1.0, 1.0], DTYPE)
    start = LinearParams(np.array([0.5], DTYPE), np.zeros((), DTYPE))
    rule = descent.gradient_descent(0.1)
    fitted = fit(Objective(linear, squared_error, 2.0), data, rule, params=start, tol=0, stop="certificate")
    assert (fitted.status, fitted.steps) == (Status.PRECISION_FLOOR, 0)
    assert "the tolerance that the certificate needs is below the range of float" in fitted.message
    elsewhere = LinearParams(np.ones(1, DTYPE), np.ones((), DTYPE))
    stuck = fit(Objective(linear, squared_error, 2.0), data, descent.gradient_descent(1e-30), params=elsewhere)
    assert "an update changed no bit" in stuck.message


def test_a_certificate_alone_does_not_show_that_the_objective_is_flat():
    """The exact gap is within the tolerance long before ‖∇J‖²/2λ is."""
    objective, rule = Objective(linear, squared_error, 1e-4), descent.accelerated(0.1)
    flat = fit(objective, diabetes(), rule, tol=0.1)
    certified = fit(objective, diabetes(), rule, tol=0.1, max_steps=flat.steps // 2, stop="certificate")
    assert flat.status is certified.status is Status.CONVERGED
    assert ": J is flat at " in flat.message
    assert "flat" not in certified.message


@pytest.mark.parametrize(("l2", "factor"), [(0.1, 0.05), (0.0, 0.05**0.5)])
def test_a_tighter_tolerance_aims_at_half_of_the_allowed_gap(l2, factor):
    """The gap is proportional to the tolerance with a penalty, and to its square without a penalty."""
    zero, one = np.float64(0), np.float64(1)
    params = LinearParams(np.zeros(1), zero)
    state = cast(Any, LoopState)(zero, zero, params, None, one, np.float64(1e-3), one, np.float64(1))
    limits = cast(Any, stopping.StopLimits)(1e-3, 10, NullModel(2.0, 0.0, 0.0))
    certificate = Certificate(1.0, 1e-3, 1e-2, 0.0, "curvature", null_value=2.0, improvement=1.0)
    flat_at = 1e-3 if l2 == 0 else 1e-3**2 / (2 * l2)
    tighter = stopping.tighter_tol(state, l2, limits, certificate, 1e-3)
    np.testing.assert_allclose(tighter, flat_at * factor)


def test_out_of_steps_has_a_certificate():
    fitted = fit(
        logistic_of(1e-2), breast_cancer(), descent.gradient_descent(0.2), max_steps=5, stop="certificate"
    )
    assert fitted.status is Status.OUT_OF_STEPS
    assert fitted.certificate is not None
    assert 1e-3 < fitted.certificate.gap < np.inf


def test_the_certificate_is_of_the_original_data():
    """The features are halves, and the certificate treats them as exact float64 numbers."""
    x, y = breast_cancer(np.float64)
    rounded = x.astype(np.float16)
    fitted = fit(
        logistic_of(1e-2), (rounded, y), descent.accelerated(0.1), tol=1e-3, max_steps=2_000, stop="certificate"
    )
    certificate = certificate_of(logistic_of(1e-2), fitted.params, (rounded.astype(float), y))
    assert fitted.certificate is not None
    np.testing.assert_allclose(fitted.certificate.gap, certificate.gap, rtol=1e-9)
    prepared = logistic_of(1e-2).prepare((x, y))
    again = fit(logistic_of(1e-2), prepared, descent.accelerated(0.1), tol=1e-3, stop="certificate")
    assert again.status is Status.CONVERGED


def test_a_fit_with_minibatches_may_stop_with_a_certificate():
    x, y = breast_cancer()
    rule = optax.sgd(optax.exponential_decay(0.2, 400, 0.5))
    fitted = fit(
        logistic_of(0.1),
        (x, y),
        rule,
        tol=3e-3,
        max_steps=5_000,
        stop="certificate",
        batch_size=64,
        key=jax.random.key(0),
    )
    assert fitted.status is Status.CONVERGED
    assert len(fitted.history.value) == fitted.steps // 9 + 1


REFUSED = {
    "a loss": (Objective(linear, absolute_error, 0.1), breast_cancer(), "needs a linear head with the loss"),
    "a network": (Objective(mlp((30, 1)), sigmoid_cross_entropy, 0.1), breast_cancer(), "needs a linear head"),
    "no penalty": (
        logistic_of(0),
        (np.ones((4, 2001), DTYPE), np.array([0, 1, 0, 1])),
        "at l2 = 0 the certificate of the logistic loss needs the curvature, for at most 2000 coefficients",
    ),
    "probabilities": (
        Objective(softmax, softmax_cross_entropy, 0.1),
        (np.ones((4, 2), DTYPE), np.full((4, 2), 0.5, DTYPE)),
        r"needs y with one number for each row, shape \(n,\), got shape \(4, 2\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_problems_without_a_certificate_are_refused(name):
    objective, data, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        fit(objective, data, descent.adam(0.1), key=jax.random.key(0), stop="certificate")
    with pytest.raises(ValueError, match="stop: expected 'flat' or 'certificate', got 'gap'"):
        fit(objective, data, descent.adam(0.1), stop="gap")  # pyright: ignore[reportArgumentType]


def test_lbfgs_reaches_a_certified_gap_in_one_compilation(compiles):
    """The fit to a real table takes tens of steps. Gradient descent takes thousands."""
    x, y = breast_cancer()
    x, y = x[:351], y[:351]
    tol = 1e-5 if np.float32 == DTYPE else 1e-10
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        fitted = fit(logistic_of(1e-3), (x, y), LBFGS, tol=tol, stop="certificate")
        assert compiles() == 1
        fit(logistic_of(1e-2), (2 * x, 1 - y), LBFGS, max_steps=20)
    assert compiles() == 1
    assert fitted.status is Status.CONVERGED
    assert fitted.steps < 100
    assert fitted.certificate is not None
    assert fitted.certificate.gap <= tol * fitted.certificate.value


def test_lbfgs_runs_in_a_sweep():
    """The line search is a loop in every slot, and each model converges as a single fit does."""
    l2 = np.array([1e-3, 1e-2, 0.1, 1.0])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        swept = dlcore.sweep(
            logistic_of(1.0), breast_cancer(), lambda setting: LBFGS, {"l2": l2}, tol=1e-4, max_steps=200, slots=2
        )
    assert set(swept.status) == {Status.CONVERGED}
    for i, penalty in enumerate(l2):
        params: Any = jax.tree.map(lambda leaf, i=i: leaf[i], swept.params)
        certificate = certificate_of(logistic_of(penalty), params, breast_cancer())
        assert certificate.gap <= 3e-4 * certificate.value
