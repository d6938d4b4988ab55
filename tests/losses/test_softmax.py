"""The softmax and its cross-entropy against extended precision: values, derivatives, edges and errors."""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import DTYPE, EPS, LARGEST, assert_close, dense_grid, to_mpmath, ulps

from dlcore import reference
from dlcore.losses import get_loss_info, sigmoid, sigmoid_cross_entropy, softmax, softmax_cross_entropy

INF, NAN = np.inf, np.nan


def logits_of(classes: int) -> np.ndarray:
    """Return a dense grid for two classes, and random logits of all magnitudes for more.

    Half of the random examples have one logit 0 and all others near the smallest one whose exponential is not 0.
    """
    if classes == 2:
        grid = dense_grid()
        pairs = np.stack([grid, np.zeros_like(grid)], axis=1)
        return np.concatenate([pairs, pairs + DTYPE.type(3.3)])
    rng = np.random.default_rng(classes)
    rows = 24_000 // classes
    scale = rng.choice([1e-3, 1, 5, 20, LARGEST / 2, LARGEST], (rows, 1))
    low = -LARGEST + rng.uniform(-2, 2, (rows, classes))
    low[:, 0] = 0
    return np.concatenate([rng.uniform(-1, 1, (rows, classes)) * scale, low]).astype(DTYPE)


class Exact:
    """Values and derivatives by definition in extended precision, for each example and each label y.

    Attributes:
      spread: (n, classes), the largest |z_j - z_y|.
      p, complement: (n, classes), p_y and 1 - p_y.
      loss: (n, classes), -ln p_y.
      slope: (n, classes, classes), ∂ℓ_y/∂z_j.
      jacobian: (n, classes, classes), ∂p_y/∂z_j.
    """

    def __init__(self, logits: np.ndarray) -> None:
        z, diagonal = logits.astype(np.longdouble), np.eye(logits.shape[1], dtype=bool)
        difference = z[:, None, :] - z[:, :, None]
        rest = np.where(diagonal, 0, np.exp(difference)).sum(-1)
        self.spread = np.abs(difference).max(-1).astype(float)
        self.p, self.complement, self.loss = 1 / (1 + rest), rest / (1 + rest), np.log1p(rest)
        self.slope = np.where(diagonal, -self.complement[:, :, None], self.p[:, None, :])
        product = self.p[:, :, None] * self.p[:, None, :]
        self.jacobian = np.where(diagonal, (self.p * self.complement)[:, :, None], -product)


def map_labels(function, logits):
    """Return `function` of each example and each label, shape (n, classes, ...)."""
    labels = jnp.arange(logits.shape[1])
    return jax.jit(jax.vmap(jax.vmap(function, (None, 0)), (0, None)))(logits, labels)


def assert_never_zero(actual, exact):
    """Check that no result is 0 where the exact one is a normal number."""
    assert not ((np.asarray(actual) == 0) & (np.abs(exact) >= np.finfo(DTYPE).tiny)).any()


CLASSES = pytest.mark.parametrize("classes", [2, 3, 10])


@CLASSES
def test_values_are_accurate_to_4_ulps_and_one_for_each_unit_between_the_logits(classes):
    logits = logits_of(classes)
    assert len(logits) * classes > 20_000
    exact = Exact(logits)
    for actual, expected in (
        (jax.vmap(softmax)(logits), exact.p),
        (map_labels(softmax_cross_entropy, logits), exact.loss),
    ):
        assert (ulps(actual, expected) - exact.spread).max() <= 4
        assert_never_zero(actual, expected)


@CLASSES
def test_first_derivatives_are_as_accurate(classes):
    """The gradient is softmax − one-hot. The Jacobian of softmax is a product of two such numbers."""
    logits = logits_of(classes)
    exact = Exact(logits)
    spread = exact.spread.max(1)[:, None, None]
    slope = map_labels(jax.grad(softmax_cross_entropy), logits)
    assert (ulps(slope, exact.slope) - spread).max() <= 4
    assert_never_zero(slope, exact.slope)
    for mode in (jax.jacfwd, jax.jacrev):
        jacobian = jax.jit(jax.vmap(mode(softmax)))(logits)
        assert (ulps(jacobian, exact.jacobian) - 2 * spread).max() <= 8


def test_the_second_derivative_of_the_loss_is_the_jacobian_of_softmax():
    logits = logits_of(3)[::7]
    exact = Exact(logits)
    for mode in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f)), lambda f: jax.jacfwd(jax.jacfwd(f))):
        second = map_labels(mode(softmax_cross_entropy), logits)
        assert jnp.isfinite(second).all()
        for label in range(3):
            error = ulps(second[:, label], exact.jacobian) - 2 * exact.spread.max(1)[:, None, None]
            assert error.max() <= 8


def test_the_extended_oracle_agrees_with_mpmath():
    logits = logits_of(3)[::1_000]
    exact = Exact(logits)
    with mpmath.workdps(60):
        for row, y in itertools.product(range(len(logits)), range(3)):
            z = [mpmath.mpf(float(number)) for number in logits[row]]
            rest = mpmath.fsum(mpmath.exp(z[j] - z[y]) for j in range(3) if j != y)
            for oracle, expected in ((exact.loss, mpmath.log1p(rest)), (exact.p, 1 / (1 + rest))):
                assert abs(to_mpmath(oracle[row, y]) / expected - 1) < 2.0**-61


def test_a_confident_right_prediction_has_a_positive_loss():
    z = jnp.array([20.0, 0.0], DTYPE)
    exact = np.log1p(np.exp(-20.0)), np.exp(-20.0) / (1 + np.exp(-20.0))
    assert_close(softmax_cross_entropy(z, 0), exact[0], units=12)
    assert_close(jax.grad(softmax_cross_entropy)(z, 0), [-exact[1], exact[1]], units=12)
    assert_close(exact[0], 2.06e-9, units=1, scale=1e-2 * 2.06e-9 / EPS)


def test_a_normal_sum_of_subnormal_exponentials():
    """Each of the thousand exponentials is a thirtieth of the smallest normal number."""
    z = np.full(1_001, np.log(float(np.finfo(DTYPE).tiny)) - 3.4).astype(DTYPE)
    z[0] = 0
    exact = Exact(z[None])
    assert np.exp(z[1].astype(np.longdouble)) < np.finfo(DTYPE).tiny < exact.loss[0, 0]
    for actual, expected in (
        (softmax_cross_entropy(z, 0), exact.loss[0, 0]),
        (-jax.grad(softmax_cross_entropy)(jnp.asarray(z), 0)[0], exact.complement[0, 0]),
    ):
        assert ulps(actual, np.asarray(expected)) <= 4 - z[1]


# (logits, label, loss, slope); the probabilities are the slope with 1 added at the label.
EDGES = [
    ([INF, 0.0], 0, 0, [0, 0]),
    ([INF, 0.0], 1, INF, [1, -1]),
    ([0.0, -INF], 0, 0, [0, 0]),
    ([0.0, -INF], 1, INF, [1, -1]),
    ([INF, -INF, 0.0], 0, 0, [0, 0, 0]),
    ([INF, -INF, 0.0], 1, INF, [1, -1, 0]),
    ([-INF, -INF, 7.0], 0, INF, [-1, 0, 1]),
    ([-INF, 7.0, 7.0], 1, np.log(2), [0, -0.5, 0.5]),
    ([1e4, 0.0], 1, 1e4, [1, -1]),
    ([1e4, 0.0], 0, 0, [0, 0]),
    ([0.0, 0.0, 0.0, 0.0], 2, np.log(4), [0.25, 0.25, -0.75, 0.25]),
    ([3.0], 0, 0, [0]),
    ([INF, INF], 0, NAN, [NAN, NAN]),
    ([-INF, -INF], 0, NAN, [NAN, NAN]),
    ([NAN, 0.0], 1, NAN, [NAN, NAN]),
    ([NAN], 0, NAN, [NAN]),
]


@jax.jit
def derivatives(z, target):
    """Return the loss, its derivative in both modes and its second derivative."""
    forward, second = jax.jacfwd(softmax_cross_entropy)(z, target), jax.hessian(softmax_cross_entropy)(z, target)
    return *jax.value_and_grad(softmax_cross_entropy)(z, target), forward, second


@pytest.mark.parametrize(("logits", "label", "value", "slope"), EDGES)
def test_edges(logits, label, value, slope):
    z = jnp.array(logits, DTYPE)
    one_hot = np.arange(len(logits)) == label
    assert_close(softmax(z), np.asarray(slope) + one_hot, units=2)
    for target in (jnp.asarray(label), jnp.asarray(one_hot, DTYPE)):
        assert_close(softmax_cross_entropy(z, target), value, units=2)
        actual, reverse, forward, second = derivatives(z, target)
        assert_close(actual, value, units=2)
        assert_close(reverse, slope, units=2)
        assert_close(forward, slope, units=2)
        assert bool(jnp.isfinite(second).all()) or np.isnan(value)
    if not np.isnan(value):
        np.testing.assert_allclose(reference.losses.softmax_cross_entropy(logits, label), value, rtol=1e-15)
        np.testing.assert_allclose(reference.losses.softmax(logits), np.asarray(slope) + one_hot, atol=1e-15)


def test_two_classes_are_a_sigmoid():
    z = jnp.linspace(-30, 30, 61, dtype=DTYPE)
    pairs = jnp.stack([jnp.zeros_like(z), z], axis=1)
    assert_close(jax.vmap(softmax)(pairs)[:, 1], jax.vmap(sigmoid)(z), units=4, scale=jax.vmap(sigmoid)(z))
    ones = jnp.ones(61, int)
    expected = jax.vmap(sigmoid_cross_entropy)(z, jnp.ones(61, DTYPE))
    assert_close(jax.vmap(softmax_cross_entropy)(pairs, ones), expected, units=4, scale=expected)


def examples_with_probabilities():
    rng = np.random.default_rng(0)
    t = rng.dirichlet(np.ones(4), 50)
    t[:10, 0] = 0
    t[:10] /= t[:10].sum(1, keepdims=True)
    return (3 * rng.normal(size=(50, 4))).astype(DTYPE), t.astype(DTYPE)


def test_targets_that_are_probabilities_follow_the_formula():
    z, t = examples_with_probabilities()
    expected = reference.losses.softmax_cross_entropy(z, t)
    assert_close(jax.vmap(softmax_cross_entropy)(z, t), expected, units=16)
    slopes = jax.vmap(jax.grad(softmax_cross_entropy, argnums=(0, 1)))(z, t)
    assert_close(slopes[0], reference.losses.softmax_cross_entropy_derivative(z, t), units=16, scale=1)
    assert_close(slopes[1], -np.log(reference.losses.softmax(z)), units=32)
    certain = jnp.array([INF, 0.0], DTYPE), jnp.array([1.0, 0.0], DTYPE)
    assert jnp.isfinite(jax.grad(softmax_cross_entropy, 1)(*certain)).all()


def test_the_derivatives_of_the_reference_are_those_of_its_values():
    z, t = (part.astype(float) for part in examples_with_probabilities())
    h, direction = 1e-6, np.random.default_rng(1).normal(size=z.shape)
    up, down = (reference.losses.softmax_cross_entropy(z + s * h * direction, t) for s in (1, -1))
    slope = (reference.losses.softmax_cross_entropy_derivative(z, t) * direction).sum(1)
    np.testing.assert_allclose((up - down) / (2 * h), slope, rtol=1e-6, atol=1e-8)


def test_derivatives_along_any_direction():
    """The products J·v and Jᵀ·v are p∘(v − p·v), forward and reverse."""
    z, _ = examples_with_probabilities()
    v = np.random.default_rng(2).normal(size=z.shape).astype(DTYPE)
    p = reference.losses.softmax(z)
    expected = p * (v - (p * v).sum(1, keepdims=True))
    forward = jax.vmap(lambda z, v: jax.jvp(softmax, (z,), (v,))[1])(z, v)
    backward = jax.vmap(lambda z, v: jax.vjp(softmax, z)[1](v)[0])(z, v)
    assert_close(forward, expected, units=32, scale=1)
    assert_close(backward, expected, units=32, scale=1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(dtype):
    z, t = (jnp.asarray(part).astype(dtype) for part in examples_with_probabilities())
    labels = jnp.arange(50) % 4
    rounded = np.asarray(z, float)
    for actual, exact in (
        (jax.vmap(softmax)(z), reference.losses.softmax(rounded)),
        (jax.vmap(softmax_cross_entropy)(z, labels), reference.losses.softmax_cross_entropy(rounded, labels)),
        (
            jax.vmap(softmax_cross_entropy)(z, t),
            reference.losses.softmax_cross_entropy(rounded, np.asarray(t, float)),
        ),
    ):
        assert actual.dtype == dtype
        assert_close(actual, exact, units=1, scale=np.abs(exact) + 1e-4, dtype=dtype)
    assert jax.vmap(jax.grad(softmax_cross_entropy))(z, labels).dtype == dtype


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32, jnp.uint32])
def test_an_invalid_label_gives_nan_under_jit(dtype):
    """The label is neither clamped nor wrapped, also with more classes than its dtype can count."""
    z = jnp.zeros(300, DTYPE)
    loss = jax.jit(softmax_cross_entropy)
    for label in (-1, 300, 301, 2**31 - 1):
        info = np.iinfo(dtype)
        if info.min <= label <= info.max:
            assert jnp.isnan(loss(z, jnp.asarray(label, dtype)))
            assert jnp.isnan(jax.jit(jax.grad(softmax_cross_entropy))(z, jnp.asarray(label, dtype))).all()
    assert_close(loss(z, jnp.asarray(100, dtype)), np.log(300), units=4)
    assert_close(jax.grad(softmax_cross_entropy)(z, jnp.asarray(100, dtype)).sum(), 0.0, units=64, scale=1)


def test_an_invalid_label_is_an_error_outside_jit():
    z = jnp.zeros(3, DTYPE)
    for label in (3, -1, np.int64(2**32), 2**70, jnp.asarray(3)):
        with pytest.raises(ValueError, match=r"label: expected a class from 0 to 2, got -?\d+"):
            softmax_cross_entropy(z, label)


def test_wrong_shapes_and_dtypes():
    z = jnp.zeros(3, DTYPE)
    for label in (jnp.zeros(2), jnp.array(1.0), jnp.ones(3, int), jnp.ones((3, 1))):
        with pytest.raises(ValueError, match=r"shape of logits \(3,\), got .* of shape \("):
            softmax_cross_entropy(z, label)
    with pytest.raises(ValueError, match=r"logits: expected 1-D \(classes,\), one example, got 2-D"):
        softmax_cross_entropy(jnp.zeros((2, 3)), 0)
    with pytest.raises(ValueError, match=r"logits: expected 1-D"):
        softmax(jnp.zeros(()))
    with pytest.raises(ValueError, match="at least one class"):
        softmax(jnp.zeros(0))
    with pytest.raises(TypeError, match="logits: expected a floating-point dtype, got int"):
        softmax(jnp.arange(3))
    with pytest.raises(
        TypeError, match="label: expected an integer or floating-point probabilities, got dtype bool"
    ):
        softmax_cross_entropy(z, True)
    with pytest.raises(TypeError, match="label: expected an array, got str"):
        softmax_cross_entropy(z, "a")  # pyright: ignore[reportArgumentType]


def test_curvature_bounds_the_hessian_and_is_reached():
    """The largest eigenvalue is ½ at two equal logits far above all others, and at most ½ elsewhere."""
    z, t = examples_with_probabilities()
    hessians = np.asarray(jax.jit(jax.vmap(jax.hessian(softmax_cross_entropy)))(z, t), float)
    two_equal = jnp.array([0.0, 0.0, -50.0, -50.0], DTYPE)
    limit = np.asarray(jax.jit(jax.hessian(softmax_cross_entropy))(two_equal, 0), float)
    assert get_loss_info(softmax_cross_entropy).curvature == 0.5
    assert np.linalg.eigvalsh(hessians).max() <= 0.5 + 8 * EPS
    assert_close(np.linalg.eigvalsh(limit).max(), 0.5, units=8)
