import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import DTYPE, assert_close

from dlcore import reference
from dlcore.losses import facts_of, sigmoid, sigmoid_cross_entropy, squared_error, with_facts

INF = np.inf
LARGEST = 88.0 if np.float32 == DTYPE else 700.0
GRID = np.concatenate([np.linspace(-LARGEST, LARGEST, 401), [-16.6, 16.6, -1e-3, 1e-3, -1e-30, 1e-30]]).astype(
    DTYPE
)
MP_SIGMOID = [1 / (1 + mpmath.exp(-mpmath.mpf(float(z)))) for z in GRID]


def ulps(actual, exact) -> float:
    """The largest error in units of the last place of the exact result, among normal results."""
    worst = 0.0
    for a, e in zip(np.asarray(actual), exact, strict=True):
        nearest = DTYPE.type(float(e))
        if abs(nearest) >= np.finfo(DTYPE).tiny:
            worst = max(worst, float(abs(mpmath.mpf(float(a)) - e) / mpmath.mpf(float(np.spacing(abs(nearest))))))
    return worst


def test_sigmoid_is_right_to_2_5_ulps():
    with mpmath.workdps(40):
        assert ulps(jax.vmap(sigmoid)(GRID), MP_SIGMOID) <= 2.5


def test_the_derivative_of_sigmoid_is_right_to_4_ulps():
    with mpmath.workdps(40):
        exact = [s * (1 / (1 + mpmath.exp(mpmath.mpf(float(z))))) for s, z in zip(MP_SIGMOID, GRID, strict=True)]
        assert ulps(jax.vmap(jax.grad(sigmoid))(GRID), exact) <= 4


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_cross_entropy_is_right_to_2_5_ulps_and_its_derivative_to_4(target):
    targets = jnp.full(GRID.shape, target, DTYPE)
    sign = 1 if target == 0 else -1
    with mpmath.workdps(40):
        logits = [mpmath.mpf(float(z)) for z in GRID]
        values = [mpmath.log1p(mpmath.exp(sign * z)) for z in logits]
        slopes = [sign / (1 + mpmath.exp(-sign * z)) for z in logits]
        assert ulps(jax.vmap(sigmoid_cross_entropy)(GRID, targets), values) <= 2.5
        assert ulps(jax.vmap(jax.grad(sigmoid_cross_entropy))(GRID, targets), slopes) <= 4


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
    got, derivative = jax.value_and_grad(sigmoid_cross_entropy)(logit, target)
    assert_close(got, value, units=2)
    assert_close(derivative, slope, units=2)
    assert_close(
        jax.jvp(lambda z: sigmoid_cross_entropy(z, target), (logit,), (jnp.ones_like(logit),))[1], slope, units=2
    )
    second = jax.grad(jax.grad(sigmoid_cross_entropy))(logit, target)
    assert bool(jnp.isfinite(second)) or np.isnan(value)


def test_soft_targets_follow_the_formula():
    logits = jnp.linspace(-5, 5, 41, dtype=DTYPE)
    targets = jnp.linspace(0, 1, 41, dtype=DTYPE)
    expected = reference.losses.sigmoid_cross_entropy(logits, targets)
    assert_close(jax.vmap(sigmoid_cross_entropy)(logits, targets), expected, units=4)
    slopes = jax.vmap(jax.grad(sigmoid_cross_entropy, argnums=(0, 1)))(logits, targets)
    assert_close(slopes[0], reference.losses.sigmoid_cross_entropy_derivative(logits, targets), units=4)
    assert_close(slopes[1], -np.asarray(logits, np.float64), units=0)


def test_the_second_derivative_of_the_loss_is_the_derivative_of_sigmoid():
    second = jax.vmap(jax.grad(jax.grad(sigmoid_cross_entropy)))(GRID, jnp.ones_like(GRID))
    p = reference.losses.sigmoid(GRID.astype(np.float64))
    exact = p * reference.losses.sigmoid(-GRID.astype(np.float64))
    normal = exact > np.finfo(DTYPE).tiny
    assert_close(second[normal], exact[normal], units=8, scale=exact[normal])


def test_squared_error_and_its_derivative():
    predictions, targets = jnp.linspace(-3, 3, 13, dtype=DTYPE), jnp.linspace(1, 2, 13, dtype=DTYPE)
    expected = reference.losses.squared_error(predictions, targets)
    assert_close(jax.vmap(squared_error)(predictions, targets), expected, units=2)
    slope = jax.vmap(jax.grad(squared_error))(predictions, targets)
    assert_close(slope, reference.losses.squared_error_derivative(predictions, targets), units=2)


@pytest.mark.parametrize("loss", [squared_error, sigmoid_cross_entropy])
def test_losses_do_not_broadcast(loss):
    with pytest.raises(ValueError, match=r"\(4,\).*\(4, 1\)"):
        loss(jnp.ones(4), jnp.ones((4, 1)))


@pytest.mark.parametrize("loss", [squared_error, sigmoid_cross_entropy])
def test_losses_refuse_integers_and_objects(loss):
    with pytest.raises(TypeError, match="floating-point"):
        loss(jnp.array(1), jnp.array(1.0))
    with pytest.raises(TypeError, match="expected an array, got str"):
        loss("1", jnp.array(1.0))


@pytest.mark.parametrize("loss", [squared_error, sigmoid_cross_entropy])
def test_curvature_bounds_the_second_derivative_and_is_reached(loss):
    """The bound holds on the grid, and half of it would not."""
    second = jax.vmap(jax.grad(jax.grad(loss)))(jnp.linspace(-5, 5, 101, dtype=DTYPE), jnp.ones(101, DTYPE))
    curvature = facts_of(loss).curvature
    assert curvature is not None
    assert curvature / 2 < second.max() <= curvature


def test_facts_of_a_loss_without_any():
    assert facts_of(lambda prediction, target: prediction).curvature is None
    stated = with_facts(curvature=3.0)(lambda prediction, target: prediction)
    assert facts_of(stated) == (3.0, None)
