"""Losses against extended precision and their NumPy references: values, derivatives, edges and errors."""

import functools
import warnings

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close, dense_grid, to_mpmath, ulps

from dlcore import losses, reference
from dlcore.losses import (
    LossInfo,
    absolute_error,
    binary_cross_entropy,
    get_loss_info,
    half_poisson_deviance,
    huber,
    sigmoid,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
    with_loss_info,
)
from dlcore.losses._log1p import log1p_of_fraction

INF = np.inf
GRID = dense_grid()
Z = GRID.astype(np.longdouble)
P, Q = 1 / (1 + np.exp(-Z)), 1 / (1 + np.exp(Z))
"""σ(z) and σ(-z) in extended precision."""

TINY = np.finfo(DTYPE).tiny
PROBABILITY_GRID = np.concatenate(
    [np.linspace(0, 1, 10_001), 1 - np.geomspace(EPS / 2, 1, 4_000), np.geomspace(TINY, 1, 8_000)]
).astype(DTYPE)
PROBABILITY_GRID = np.unique(PROBABILITY_GRID[(PROBABILITY_GRID > 0) & (PROBABILITY_GRID < 1)])
"""More than 20 000 probabilities, up to the nearest ones to 0 and to 1."""


def test_the_extended_oracle_agrees_with_mpmath():
    """The relative error of the oracle is below 2⁻⁶¹."""
    assert len(GRID) > 20_000
    assert len(PROBABILITY_GRID) > 20_000
    sample = np.random.default_rng(0).choice(len(GRID), 300, replace=False)
    with mpmath.workdps(60):
        for i in (*sample, 0, len(GRID) - 1):
            z = mpmath.mpf(float(GRID[i]))
            exact = {"p": 1 / (1 + mpmath.exp(-z)), "loss": mpmath.log1p(mpmath.exp(z))}
            oracle = {"p": P[i], "loss": np.log1p(np.exp(Z[i]))}
            for name, number in exact.items():
                assert abs(to_mpmath(oracle[name]) / number - 1) < 2.0**-61


def test_sigmoid_is_accurate_to_3_ulps():
    assert ulps(jax.vmap(sigmoid)(GRID), P).max() <= 3


def test_the_derivative_of_sigmoid_is_accurate_to_5_ulps():
    assert ulps(jax.vmap(jax.grad(sigmoid))(GRID), P * Q).max() <= 5


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_cross_entropy_of_a_logit_is_accurate_to_3_5_ulps_and_its_derivative_to_3(target):
    targets = jnp.full(GRID.shape, target, DTYPE)
    sign, slopes = (1, P) if target == 0 else (-1, -Q)
    assert ulps(jax.vmap(sigmoid_cross_entropy)(GRID, targets), np.log1p(np.exp(sign * Z))).max() <= 3.5
    assert ulps(jax.vmap(jax.grad(sigmoid_cross_entropy))(GRID, targets), slopes).max() <= 3


def test_log1p_of_a_fraction_is_accurate_to_2_5_ulps():
    t = np.unique(np.concatenate([np.linspace(0, 1, 40_001), np.geomspace(TINY, 1, 20_001)]).astype(DTYPE))
    exact = np.log1p(t.astype(np.longdouble))
    for function in (log1p_of_fraction, jax.jit(log1p_of_fraction)):
        assert ulps(function(jnp.asarray(t)), exact).max() <= 2.5
    assert log1p_of_fraction(jnp.zeros((), DTYPE)) == 0
    assert jnp.isnan(log1p_of_fraction(jnp.asarray(np.nan, DTYPE)))


@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_cross_entropy_of_a_probability_is_accurate_to_3_ulps_and_its_derivatives_to_4(target):
    p, y = PROBABILITY_GRID.astype(np.longdouble), np.longdouble(target)
    targets = jnp.full(PROBABILITY_GRID.shape, target, DTYPE)
    value = -y * np.log(p) - (1 - y) * np.log1p(-p)
    slope, curvature = (p - y) / (p * (1 - p)), y / p**2 + (1 - y) / (1 - p) ** 2
    first = jax.grad(binary_cross_entropy)
    assert ulps(jax.vmap(binary_cross_entropy)(PROBABILITY_GRID, targets), value).max() <= 3
    assert ulps(jax.vmap(first)(PROBABILITY_GRID, targets), slope).max() <= 4
    assert ulps(jax.vmap(jax.grad(first))(PROBABILITY_GRID, targets), curvature).max() <= 4


def test_probabilities_at_the_edges():
    cases = {  # (p, y): value, slope in p, second derivative, slope in y
        (0.0, 0.0): (0, 1, 1, INF),
        (1.0, 1.0): (0, -1, 1, -INF),
        (1.0, 0.0): (INF, INF, INF, -INF),
        (0.0, 1.0): (INF, -INF, INF, INF),
        (0.0, 0.5): (INF, -INF, INF, INF),
        (0.5, 0.5): (np.log(2), 0, 4, 0),
    }
    cases |= dict.fromkeys([(-0.1, 0.0), (1.5, 1.0), (np.nan, 0.0)], (np.nan,) * 4)
    for pair, expected in cases.items():
        p, y = (jnp.asarray(number, DTYPE) for number in pair)
        first = jax.grad(binary_cross_entropy)
        actual = (
            binary_cross_entropy(p, y),
            first(p, y),
            jax.grad(first)(p, y),
            jax.grad(binary_cross_entropy, 1)(p, y),
        )
        for derivative, limit in zip(actual, expected, strict=True):
            assert_close(derivative, limit, units=2)
        forward = jax.jvp(lambda p, y=y: binary_cross_entropy(p, y), (p,), (jnp.ones_like(p),))[1]
        assert_close(forward, expected[1], units=2)


@pytest.mark.parametrize(
    ("logit", "target", "value", "slope"),
    [
        (-INF, 0.0, 0.0, 0.0),
        (INF, 1.0, 0.0, 0.0),
        (INF, 0.0, INF, 1.0),
        (-INF, 1.0, INF, -1.0),
        (0.0, 0.5, np.log(2), 0.0),
        (1e4, 0.0, 1e4, 1.0),
        (-1e4, 1.0, 1e4, -1.0),
        (np.nan, 1.0, np.nan, np.nan),
    ],
)
def test_cross_entropy_at_the_edges(logit, target, value, slope):
    logit, target = jnp.asarray(logit, DTYPE), jnp.asarray(target, DTYPE)
    actual, derivative = jax.value_and_grad(sigmoid_cross_entropy)(logit, target)
    assert_close(actual, value, units=2)
    assert_close(derivative, slope, units=2)
    assert_close(
        jax.jvp(lambda z: sigmoid_cross_entropy(z, target), (logit,), (jnp.ones_like(logit),))[1], slope, units=2
    )
    second = jax.grad(jax.grad(sigmoid_cross_entropy))(logit, target)
    assert bool(jnp.isfinite(second)) or np.isnan(value)


def test_targets_between_0_and_1_follow_the_formula():
    logits = jnp.linspace(-5, 5, 41, dtype=DTYPE)
    targets = jnp.linspace(0, 1, 41, dtype=DTYPE)
    expected = reference.losses.sigmoid_cross_entropy(logits, targets)
    assert_close(jax.vmap(sigmoid_cross_entropy)(logits, targets), expected, units=4)
    slopes = jax.vmap(jax.grad(sigmoid_cross_entropy, argnums=(0, 1)))(logits, targets)
    assert_close(slopes[0], reference.losses.sigmoid_cross_entropy_derivative(logits, targets), units=4)
    assert_close(slopes[1], -np.asarray(logits, np.float64), units=0)


def test_the_mixed_derivatives_of_the_cross_entropies():
    """They are ∂²ℓ/∂z∂y = −1 for a logit and ∂²ℓ/∂p∂y = −1/(p(1 − p)) for a probability."""
    p, y = (numbers.reshape(-1) for numbers in jnp.meshgrid(jnp.array([0.125, 0.5, 0.75]), jnp.array([0.25, 0.9])))
    mixed = jax.vmap(jax.jacfwd(jax.grad(sigmoid_cross_entropy), 1))(8 * p - 4, y)
    assert_close(mixed, -np.ones(6), units=1)
    mixed = jax.vmap(jax.jacfwd(jax.grad(binary_cross_entropy), 1))(p, y)
    exact = np.asarray(p, np.float64)
    assert_close(mixed, -1 / (exact * (1 - exact)), units=4)


def test_the_second_derivative_of_the_loss_is_the_derivative_of_sigmoid():
    second = jax.vmap(jax.grad(jax.grad(sigmoid_cross_entropy)))(GRID, jnp.ones_like(GRID))
    assert ulps(second, P * Q).max() <= 5


# Every loss of a number, with test points: residuals on both sides of every kink, none of them 0.
PREDICTIONS = np.array([-2.5, -1.0, -0.3, 0.2, 0.75, 1.0, 4.0])
TARGETS = np.array([0.5, -0.25, -0.2, 0.1, 0.25, -3.0, 0.75])
PROBABILITIES = np.array([0.001, 0.1, 0.3, 0.5, 0.75, 0.9, 0.999])
LABELS = np.array([0.0, 1.0, 0.25, 1.0, 0.5, 0.0, 1.0])
COUNTS = np.array([0.0, 1.0, 3.0, 0.5, 7.0, 0.0, 20.0])
POINTS = {
    squared_error: (PREDICTIONS, TARGETS),
    absolute_error: (PREDICTIONS, TARGETS),
    huber: (PREDICTIONS, TARGETS),
    functools.partial(huber, delta=0.25): (PREDICTIONS, TARGETS),
    sigmoid_cross_entropy: (PREDICTIONS, LABELS),
    half_poisson_deviance: (PREDICTIONS, COUNTS),
    binary_cross_entropy: (PROBABILITIES, LABELS),
}
EVERY_LOSS = pytest.mark.parametrize("loss", POINTS, ids=lambda loss: getattr(loss, "__name__", "huber of 1/4"))


def references(loss):
    """Return the value and the derivative of the NumPy reference."""
    name, arguments = getattr(loss, "func", loss).__name__, getattr(loss, "keywords", {})
    functions = [getattr(reference.losses, name + suffix) for suffix in ("", "_derivative")]
    return [functools.partial(function, **arguments) for function in functions]


def test_losses_of_a_residual_are_accurate_to_2_ulps_and_their_derivatives_to_half():
    """Residuals have all magnitudes, also where prediction and target nearly agree."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=30_000).astype(DTYPE)
    prediction = (target + rng.normal(size=30_000) * 10 ** rng.uniform(-9, 3, 30_000)).astype(DTYPE)
    r = prediction.astype(np.longdouble) - target.astype(np.longdouble)
    size = np.abs(r)
    for loss, value, slope in (
        (squared_error, r * r, 2 * r),
        (absolute_error, size, np.sign(r)),
        (huber, np.where(size <= 1, r * r / 2, size - np.longdouble(0.5)), np.clip(r, -1, 1)),
    ):
        assert ulps(jax.vmap(loss)(prediction, target), value).max() <= 2
        assert ulps(jax.vmap(jax.grad(loss))(prediction, target), slope).max() <= 0.5


@EVERY_LOSS
def test_every_loss_equals_its_reference_under_every_transformation(loss):
    prediction, target = (jnp.asarray(part, DTYPE) for part in POINTS[loss])
    value, slope = (f(*(np.asarray(part, float) for part in (prediction, target))) for f in references(loss))
    one = jnp.ones((), DTYPE)
    values = {
        "one by one": [loss(p, y) for p, y in zip(prediction, target, strict=True)],
        "vmap": jax.vmap(loss)(prediction, target),
        "jit of vmap": jax.jit(jax.vmap(loss))(prediction, target),
    }
    slopes = {
        "reverse": jax.vmap(jax.grad(loss))(prediction, target),
        "forward": jax.vmap(lambda p, y: jax.jvp(lambda p: loss(p, y), (p,), (one,))[1])(prediction, target),
        "jit of reverse": jax.jit(jax.vmap(jax.grad(loss)))(prediction, target),
    }
    for actual in values.values():
        assert_close(np.stack(actual), value, units=8, scale=np.abs(value))
    for actual in slopes.values():
        assert actual.dtype == DTYPE
        assert_close(actual, slope, units=8)


@EVERY_LOSS
def test_the_derivative_of_the_reference_is_that_of_its_value(loss):
    """The oracle is the central difference in float64. No kink is within its step."""
    value, derivative = references(loss)
    prediction, target = POINTS[loss]
    h = 1e-6
    difference = (value(prediction + h, target) - value(prediction - h, target)) / (2 * h)
    np.testing.assert_allclose(difference, derivative(prediction, target), rtol=1e-6, atol=1e-8)


@EVERY_LOSS
def test_the_second_derivative_is_that_of_the_derivative(loss):
    """Reverse and forward mode agree with the central difference of the reference's derivative."""
    prediction, target = (jnp.asarray(part, DTYPE) for part in POINTS[loss])
    h = 1e-6
    points = [np.asarray(part, float) for part in (prediction, target)]
    derivative = references(loss)[1]
    expected = (derivative(points[0] + h, points[1]) - derivative(points[0] - h, points[1])) / (2 * h)
    backward = jax.vmap(jax.grad(jax.grad(loss)))(prediction, target)
    forward = jax.vmap(jax.jacfwd(jax.jacrev(loss)))(prediction, target)
    for actual in (backward, forward):
        assert_close(actual, expected, units=16, scale=np.abs(expected) + 1e-6 / EPS * (1 + np.abs(expected)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@EVERY_LOSS
def test_half_precision_losses_are_computed_in_float32(loss, dtype):
    prediction, target = (jnp.asarray(part).astype(dtype) for part in POINTS[loss])
    value, slope = jax.vmap(jax.value_and_grad(loss))(prediction, target)
    assert value.dtype == slope.dtype == dtype
    exact = [f(*(np.asarray(part, float) for part in (prediction, target))) for f in references(loss)]
    assert_close(value, exact[0], units=1, scale=np.abs(exact[0]), dtype=dtype)
    assert_close(slope, exact[1], units=1, scale=np.abs(exact[1]), dtype=dtype)


@EVERY_LOSS
def test_losses_do_not_broadcast(loss):
    with pytest.raises(ValueError, match=r"\(4,\).*\(4, 1\)"):
        loss(jnp.ones(4), jnp.ones((4, 1)))
    with pytest.raises(ValueError, match=r"\(4,\).*\(\)"):
        loss(jnp.ones(4), jnp.array(1.0))


@EVERY_LOSS
def test_losses_reject_integers_and_strings(loss):
    for arguments in ((jnp.array(1), jnp.array(1.0)), (jnp.array(1.0), jnp.array(1))):
        with pytest.raises(TypeError, match="floating-point"):
            loss(*arguments)
    with pytest.raises(TypeError, match="expected an array, got str"):
        loss("1", jnp.array(1.0))


@EVERY_LOSS
def test_nan_and_infinite_predictions(loss):
    """A nan gives nan, in the derivative too. An infinite residual gives infinity and the slope of the tail."""
    nan, y = jnp.asarray(np.nan, DTYPE), jnp.asarray(1.0, DTYPE)
    for arguments in ((nan, y), (y, nan)):
        assert jnp.isnan(loss(*arguments))
        assert jnp.isnan(jax.grad(loss)(*arguments))
    if loss is binary_cross_entropy:
        return
    for prediction in (INF, -INF):
        value, slope = (function(prediction, 1.0) for function in references(loss))
        assert_close(loss(jnp.asarray(prediction, DTYPE), y), value, units=0)
        assert_close(jax.grad(loss)(jnp.asarray(prediction, DTYPE), y), slope, units=0)


def test_the_deviance_of_counts_is_accurate_near_its_least_value_too():
    """The error of the value is that of ln y, at most an ULP, times |e^z − y|, and 3 ULPs of the value."""
    rng = np.random.default_rng(0)
    y = np.concatenate([np.full(5_000, 1.0), rng.integers(1, 10**6, 15_000), 10 ** rng.uniform(-6, 6, 10_000)])
    y = y.astype(DTYPE)
    z = (np.log(y) + rng.normal(size=len(y)) * 10 ** rng.uniform(-4, 1, len(y))).astype(DTYPE)
    exact_y, exact_z = y.astype(np.longdouble), z.astype(np.longdouble)
    d = exact_z - np.log(exact_y)
    series = np.zeros_like(d)
    for k in range(25, 1, -1):
        series = (series * d + 1) / k if k > 2 else (series * d + 1) / 2
    value = exact_y * np.where(np.abs(d) < 0.5, d * d * series, np.expm1(d) - d)
    log_ulp = np.where(y == 1, 0, np.spacing(np.maximum(np.abs(np.log(y)), TINY).astype(DTYPE)))
    allowed = 3 * np.spacing(value.astype(DTYPE)) + 1.5 * exact_y * (np.abs(np.expm1(d)) + log_ulp) * log_ulp
    for function in (jax.vmap(half_poisson_deviance), jax.jit(jax.vmap(half_poisson_deviance))):
        actual = np.asarray(function(z, y))
        assert (actual >= 0).all()
        assert (np.abs(actual - value) <= allowed).all()
    slopes = np.asarray(jax.vmap(jax.grad(half_poisson_deviance))(z, y))
    rate = np.exp(exact_z)
    assert (np.abs(slopes - (rate - exact_y)) <= 3 * np.spacing((rate + exact_y).astype(DTYPE))).all()


@pytest.mark.parametrize(
    ("log_rate", "target", "value", "slope", "slope_in_target"),
    [
        (-INF, 0.0, 0.0, 0.0, -INF),
        (0.0, 0.0, 1.0, 1.0, -INF),
        (INF, 0.0, INF, INF, -INF),
        (-INF, 2.0, INF, -2.0, INF),
        (INF, 2.0, INF, INF, -INF),
        (0.0, 1.0, 0.0, 0.0, 0.0),
        (1e4, 1e30, INF, INF, -1e4 + 30 * np.log(10)),
        (-1e4, 1.0, 9999.0, -1.0, 1e4),
        (0.0, INF, INF, -INF, INF),
        (INF, INF, np.nan, np.nan, np.nan),
        (0.0, -1.0, np.nan, np.nan, np.nan),
        (np.nan, 0.0, np.nan, np.nan, np.nan),
        (INF, np.nan, np.nan, np.nan, np.nan),
    ],
)
def test_the_deviance_of_counts_at_the_edges(log_rate, target, value, slope, slope_in_target):
    """The derivative in the target is clipped to finite numbers."""
    z, y = jnp.asarray(log_rate, DTYPE), jnp.asarray(target, DTYPE)
    actual, derivative = jax.value_and_grad(half_poisson_deviance)(z, y)
    assert_close(actual, value, units=2)
    assert_close(derivative, slope, units=2)
    forward = jax.jvp(lambda z: half_poisson_deviance(z, y), (z,), (jnp.ones_like(z),))[1]
    assert_close(forward, slope, units=2)
    largest = float(np.finfo(DTYPE).max)
    in_target = jax.grad(half_poisson_deviance, 1)(z, y)
    assert_close(in_target, np.clip(slope_in_target, -largest, largest), units=2)
    second = jax.grad(jax.grad(half_poisson_deviance))(z, y)
    assert np.isnan(value) or second == jnp.exp(z)
    if np.isfinite(value):
        assert jax.grad(jax.grad(half_poisson_deviance), 1)(z, y) == -1


def test_counts_below_0_are_refused_and_0_is_taken():
    info = get_loss_info(half_poisson_deviance)
    assert info.check_targets is not None
    info.check_targets(np.array([0.0, 2.0]), None)
    with pytest.raises(ValueError, match="y: expected counts or rates of at least 0, got -1"):
        info.check_targets(np.array([0.0, -1.0]), None)
    with pytest.raises(ValueError, match=r"y: expected 1-D \[n\]"):
        info.check_targets(np.zeros((2, 2)), None)


def test_the_null_value_of_counts_is_the_loss_at_their_mean():
    info = get_loss_info(half_poisson_deviance)
    assert info.null_value is not None
    y, s = np.array([0.0, 1.0, 5.0, 2.0]), np.array([0.1, 0.4, 0.2, 0.3])
    expected = s @ reference.losses.half_poisson_deviance(np.full(4, np.log(s @ y)), y)
    np.testing.assert_allclose(info.null_value(y, s), expected, rtol=1e-14)
    assert info.null_value(0 * y, s) == 0
    assert info.null_value(np.full(4, 1e6), s) < 1e-9


def test_the_derivatives_of_the_absolute_error_at_0_are_0():
    zero = jnp.zeros((), DTYPE)
    assert jax.grad(absolute_error)(zero, zero) == 0
    assert jax.jvp(lambda p: absolute_error(p, zero), (zero,), (zero + 1,))[1] == 0
    assert jax.grad(jax.grad(absolute_error))(zero, zero) == 0


def test_huber_at_0_at_delta_and_at_large_residuals():
    """Value and slope are continuous at ±δ. The curvature is 1 at 0 and 0 beyond δ."""
    zero, delta = jnp.zeros((), DTYPE), jnp.asarray(0.5, DTYPE)
    for sign in (-1, 1):
        assert huber(sign * delta, zero, 0.5) == 0.125
        assert jax.grad(huber)(sign * delta, zero, 0.5) == sign * 0.5
    second = jax.grad(jax.grad(huber))
    assert second(zero, zero) == 1
    assert second(zero + 3, zero) == 0
    assert second(jnp.asarray(INF, DTYPE), zero) == 0
    largest = jnp.asarray(np.finfo(DTYPE).max, DTYPE)
    assert huber(largest, zero, 0.5) == largest / 2
    assert jax.grad(huber)(largest, zero, 0.5) == 0.5


def test_delta_of_huber_may_be_traced():
    zero, three = jnp.zeros((), DTYPE), jnp.asarray(3.0, DTYPE)
    deltas = jnp.array([0.5, 1.0, 5.0], DTYPE)
    values = jax.jit(jax.vmap(lambda delta: huber(three, zero, delta)))(deltas)
    assert_close(values, [reference.losses.huber(3, 0, delta) for delta in (0.5, 1, 5)], units=1)
    slopes = jax.vmap(lambda delta: jax.grad(huber, 2)(three, zero, delta))(deltas)
    assert_close(slopes, [2.5, 2, 0], units=2)  # |r| - δ where it is positive
    for wrong in (0.0, -1.0, np.nan, INF):
        with pytest.raises(ValueError, match="delta: expected a finite number above 0"):
            huber(three, zero, wrong)
    with pytest.raises(ValueError, match=r"delta: expected 0-D \(\), got 1-D with shape \(3,\)"):
        huber(three, zero, deltas)
    with pytest.raises(TypeError, match="delta: expected a number, got '1'"):
        huber(three, zero, "1")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "loss", [squared_error, sigmoid_cross_entropy, huber, functools.partial(huber, delta=3.0)]
)
def test_curvature_bounds_the_second_derivative_and_is_reached(loss):
    """The bound holds on the grid, and half of it does not."""
    second = jax.vmap(jax.grad(jax.grad(loss)))(jnp.linspace(-5, 5, 101, dtype=DTYPE), jnp.ones(101, DTYPE))
    curvature = get_loss_info(loss).curvature
    assert curvature is not None
    assert curvature / 2 < second.max() <= curvature


@pytest.mark.parametrize("loss", [absolute_error, binary_cross_entropy, half_poisson_deviance])
def test_a_loss_of_unbounded_curvature_states_no_bound(loss):
    assert get_loss_info(loss).curvature is None


def test_info_under_its_earlier_name_counts():
    def own_loss(prediction, target):
        return prediction - target

    own_loss.facts = losses.LossInfo(curvature=3.0)  # pyright: ignore[reportFunctionMemberAccess]
    assert losses.get_loss_info(own_loss).curvature == 3.0


def test_the_info_of_a_loss_is_what_its_decorator_states():
    assert get_loss_info(lambda prediction, target: prediction).curvature is None
    stated = with_loss_info(curvature=3.0)(lambda prediction, target: prediction)
    assert get_loss_info(stated) == LossInfo(curvature=3.0)
    assert not get_loss_info(squared_error).classes
    assert get_loss_info(softmax_cross_entropy).classes


RENAMED = {"Facts": "LossInfo", "with_facts": "with_loss_info", "facts_of": "get_loss_info"}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_function_works_under_its_old_name_with_a_warning(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is deprecated, use {new}"):
        deprecated = getattr(losses, old)
    assert deprecated is getattr(losses, new)
    assert old not in losses.__all__


def test_new_names_and_unknown_names_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert losses.LossInfo is LossInfo
        with pytest.raises(AttributeError, match="has no attribute 'hinge'"):
            losses.hinge  # pyright: ignore[reportAttributeAccessIssue] # noqa: B018


def test_a_count_of_0_is_no_error_of_the_debugging_modes():
    """Eagerly every operation is checked for itself."""
    z, y = jax.device_put((DTYPE.type(0.5), DTYPE.type(0.0)))
    with jax.debug_nans(True), jax.debug_infs(True):
        value, slope = half_poisson_deviance(z, y), jax.grad(half_poisson_deviance)(z, y)
    assert_close(value, np.exp(0.5), units=4)
    assert_close(slope, np.exp(0.5), units=4)
