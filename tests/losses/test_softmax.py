import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import DTYPE, EPS, LARGEST, assert_close, dense_grid, exactly, ulps

from dlcore import reference
from dlcore.losses import facts_of, sigmoid, sigmoid_cross_entropy, softmax, softmax_cross_entropy

INF, NAN = np.inf, np.nan


def logits_of(classes: int) -> np.ndarray:
    """Dense for two classes; for more, random of all sizes, and close together where e^z ends."""
    if classes == 2:
        grid = dense_grid()
        pairs = np.stack([grid, np.zeros_like(grid)], axis=1)
        return np.concatenate([pairs, pairs + DTYPE.type(3.3)])
    rng = np.random.default_rng(classes)
    rows = 24_000 // classes
    size = rng.choice([1e-3, 1, 5, 20, LARGEST / 2, LARGEST], (rows, 1))
    low = -LARGEST + rng.uniform(-2, 2, (rows, classes))
    low[:, 0] = 0
    return np.concatenate([rng.uniform(-1, 1, (rows, classes)) * size, low]).astype(DTYPE)


class Exact:
    """Everything by its definition in extended precision, for each example and each label y.

    Attributes:
      reach: (n, classes), the largest |z_j - z_y|.
      p, others: (n, classes), p_y and 1 - p_y.
      loss: (n, classes), -ln p_y.
      slope: (n, classes, classes), ∂ℓ_y/∂z_j.
      jacobian: (n, classes, classes), ∂p_y/∂z_j.
    """

    def __init__(self, logits: np.ndarray) -> None:
        z, own = logits.astype(np.longdouble), np.eye(logits.shape[1], dtype=bool)
        difference = z[:, None, :] - z[:, :, None]
        rest = np.where(own, 0, np.exp(difference)).sum(-1)
        self.reach = np.abs(difference).max(-1).astype(float)
        self.p, self.others, self.loss = 1 / (1 + rest), rest / (1 + rest), np.log1p(rest)
        self.slope = np.where(own, -self.others[:, :, None], self.p[:, None, :])
        product = self.p[:, :, None] * self.p[:, None, :]
        self.jacobian = np.where(own, (self.p * self.others)[:, :, None], -product)


def of_every_label(function, logits):
    """`function` of each example and each label, shape (n, classes, ...)."""
    labels = jnp.arange(logits.shape[1])
    return jax.jit(jax.vmap(jax.vmap(function, (None, 0)), (0, None)))(logits, labels)


def assert_never_zero(actual, exact):
    """A truth that is a normal number is not flushed to 0."""
    assert not ((np.asarray(actual) == 0) & (np.abs(exact) >= np.finfo(DTYPE).tiny)).any()


CLASSES = pytest.mark.parametrize("classes", [2, 3, 10])


@CLASSES
def test_values_are_right_to_4_ulps_and_one_for_each_unit_between_the_logits(classes):
    logits = logits_of(classes)
    assert len(logits) * classes > 20_000
    exact = Exact(logits)
    for got, wanted in (
        (jax.vmap(softmax)(logits), exact.p),
        (of_every_label(softmax_cross_entropy, logits), exact.loss),
    ):
        assert (ulps(got, wanted) - exact.reach).max() <= 4
        assert_never_zero(got, wanted)


@CLASSES
def test_first_derivatives_are_right_to_the_same(classes):
    """softmax − one-hot, at the label too; the Jacobian of softmax is a product of two such, in both modes."""
    logits = logits_of(classes)
    exact = Exact(logits)
    reach = exact.reach.max(1)[:, None, None]
    slope = of_every_label(jax.grad(softmax_cross_entropy), logits)
    assert (ulps(slope, exact.slope) - reach).max() <= 4
    assert_never_zero(slope, exact.slope)
    for mode in (jax.jacfwd, jax.jacrev):
        jacobian = jax.jit(jax.vmap(mode(softmax)))(logits)
        assert (ulps(jacobian, exact.jacobian) - 2 * reach).max() <= 8


def test_the_second_derivative_of_the_loss_is_the_jacobian_of_softmax():
    logits = logits_of(3)[::7]
    exact = Exact(logits)
    for mode in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f)), lambda f: jax.jacfwd(jax.jacfwd(f))):
        second = of_every_label(mode(softmax_cross_entropy), logits)
        assert jnp.isfinite(second).all()
        for label in range(3):
            error = ulps(second[:, label], exact.jacobian) - 2 * exact.reach.max(1)[:, None, None]
            assert error.max() <= 8


def test_the_extended_oracle_agrees_with_mpmath():
    logits = logits_of(3)[::1_000]
    exact = Exact(logits)
    with mpmath.workdps(60):
        for row, y in itertools.product(range(len(logits)), range(3)):
            z = [mpmath.mpf(float(number)) for number in logits[row]]
            rest = mpmath.fsum(mpmath.exp(z[j] - z[y]) for j in range(3) if j != y)
            for mine, wanted in ((exact.loss, mpmath.log1p(rest)), (exact.p, 1 / (1 + rest))):
                assert abs(exactly(mine[row, y]) / wanted - 1) < 2.0**-61


def test_a_confident_right_answer_still_costs_something():
    z = jnp.array([20.0, 0.0], DTYPE)
    truth = np.log1p(np.exp(-20.0)), np.exp(-20.0) / (1 + np.exp(-20.0))
    assert_close(softmax_cross_entropy(z, 0), truth[0], units=12)
    assert_close(jax.grad(softmax_cross_entropy)(z, 0), [-truth[1], truth[1]], units=12)
    assert_close(truth[0], 2.06e-9, units=1, scale=1e-2 * 2.06e-9 / EPS)


def test_many_terms_none_of_them_a_normal_number():
    """A thousand exponentials, each of them a thirtieth of the smallest normal number."""
    z = np.full(1_001, np.log(float(np.finfo(DTYPE).tiny)) - 3.4).astype(DTYPE)
    z[0] = 0
    exact = Exact(z[None])
    assert np.exp(z[1].astype(np.longdouble)) < np.finfo(DTYPE).tiny < exact.loss[0, 0]
    for got, wanted in (
        (softmax_cross_entropy(z, 0), exact.loss[0, 0]),
        (-jax.grad(softmax_cross_entropy)(jnp.asarray(z), 0)[0], exact.others[0, 0]),
    ):
        assert ulps(got, np.asarray(wanted)) <= 4 - z[1]


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
    """The loss, its derivative in both modes and its second derivative."""
    forward, second = jax.jacfwd(softmax_cross_entropy)(z, target), jax.hessian(softmax_cross_entropy)(z, target)
    return *jax.value_and_grad(softmax_cross_entropy)(z, target), forward, second


@pytest.mark.parametrize(("logits", "label", "value", "slope"), EDGES)
def test_edges(logits, label, value, slope):
    z = jnp.array(logits, DTYPE)
    one_hot = np.arange(len(logits)) == label
    assert_close(softmax(z), np.asarray(slope) + one_hot, units=2)
    for target in (jnp.asarray(label), jnp.asarray(one_hot, DTYPE)):
        assert_close(softmax_cross_entropy(z, target), value, units=2)
        got, reverse, forward, second = derivatives(z, target)
        assert_close(got, value, units=2)
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


def soft_examples():
    rng = np.random.default_rng(0)
    t = rng.dirichlet(np.ones(4), 50)
    t[:10, 0] = 0
    t[:10] /= t[:10].sum(1, keepdims=True)
    return (3 * rng.normal(size=(50, 4))).astype(DTYPE), t.astype(DTYPE)


def test_probabilities_for_targets_follow_the_formula():
    z, t = soft_examples()
    expected = reference.losses.softmax_cross_entropy(z, t)
    assert_close(jax.vmap(softmax_cross_entropy)(z, t), expected, units=16)
    slopes = jax.vmap(jax.grad(softmax_cross_entropy, argnums=(0, 1)))(z, t)
    assert_close(slopes[0], reference.losses.softmax_cross_entropy_derivative(z, t), units=16, scale=1)
    assert_close(slopes[1], -np.log(reference.losses.softmax(z)), units=32)
    sure = jnp.array([INF, 0.0], DTYPE), jnp.array([1.0, 0.0], DTYPE)
    assert jnp.isfinite(jax.grad(softmax_cross_entropy, 1)(*sure)).all()


def test_the_derivatives_by_hand_are_those_of_the_values():
    z, t = (part.astype(float) for part in soft_examples())
    h, direction = 1e-6, np.random.default_rng(1).normal(size=z.shape)
    up, down = (reference.losses.softmax_cross_entropy(z + s * h * direction, t) for s in (1, -1))
    slope = (reference.losses.softmax_cross_entropy_derivative(z, t) * direction).sum(1)
    np.testing.assert_allclose((up - down) / (2 * h), slope, rtol=1e-6, atol=1e-8)


def test_derivatives_along_any_direction():
    """Not only along one logit: in both modes J·v and Jᵀ·v are p∘(v − p·v)."""
    z, _ = soft_examples()
    v = np.random.default_rng(2).normal(size=z.shape).astype(DTYPE)
    p = reference.losses.softmax(z)
    expected = p * (v - (p * v).sum(1, keepdims=True))
    forward = jax.vmap(lambda z, v: jax.jvp(softmax, (z,), (v,))[1])(z, v)
    backward = jax.vmap(lambda z, v: jax.vjp(softmax, z)[1](v)[0])(z, v)
    assert_close(forward, expected, units=32, scale=1)
    assert_close(backward, expected, units=32, scale=1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_halves(dtype):
    z, t = (jnp.asarray(part).astype(dtype) for part in soft_examples())
    labels = jnp.arange(50) % 4
    rounded = np.asarray(z, float)
    for got, exact in (
        (jax.vmap(softmax)(z), reference.losses.softmax(rounded)),
        (jax.vmap(softmax_cross_entropy)(z, labels), reference.losses.softmax_cross_entropy(rounded, labels)),
        (
            jax.vmap(softmax_cross_entropy)(z, t),
            reference.losses.softmax_cross_entropy(rounded, np.asarray(t, float)),
        ),
    ):
        assert got.dtype == dtype
        assert_close(got, exact, units=1, scale=np.abs(exact) + 1e-4, dtype=dtype)
    assert jax.vmap(jax.grad(softmax_cross_entropy))(z, labels).dtype == dtype


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32, jnp.uint32])
def test_a_label_that_is_no_class_gives_nan_under_jit(dtype):
    """Neither clamped nor wrapped, also where there are more classes than the dtype of the label counts."""
    z = jnp.zeros(300, DTYPE)
    loss = jax.jit(softmax_cross_entropy)
    for label in (-1, 300, 301, 2**31 - 1):
        info = np.iinfo(dtype)
        if info.min <= label <= info.max:
            assert jnp.isnan(loss(z, jnp.asarray(label, dtype)))
            assert jnp.isnan(jax.jit(jax.grad(softmax_cross_entropy))(z, jnp.asarray(label, dtype))).all()
    assert_close(loss(z, jnp.asarray(100, dtype)), np.log(300), units=4)
    assert_close(jax.grad(softmax_cross_entropy)(z, jnp.asarray(100, dtype)).sum(), 0.0, units=64, scale=1)


def test_a_label_that_is_no_class_is_an_error_where_it_is_known():
    z = jnp.zeros(3, DTYPE)
    for label in (3, -1, np.int64(2**32), 2**70, jnp.asarray(3)):
        with pytest.raises(ValueError, match=r"label: expected a class from 0 to 2, got -?\d+"):
            softmax_cross_entropy(z, label)


def test_wrong_shapes_and_kinds():
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
    """Its largest eigenvalue is ½ at two equal logits far above the others, and nowhere more."""
    z, t = soft_examples()
    hessians = np.asarray(jax.jit(jax.vmap(jax.hessian(softmax_cross_entropy)))(z, t), float)
    far = jnp.array([0.0, 0.0, -50.0, -50.0], DTYPE)
    limit = np.asarray(jax.jit(jax.hessian(softmax_cross_entropy))(far, 0), float)
    assert facts_of(softmax_cross_entropy).curvature == 0.5
    assert np.linalg.eigvalsh(hessians).max() <= 0.5 + 8 * EPS
    assert_close(np.linalg.eigvalsh(limit).max(), 0.5, units=8)
