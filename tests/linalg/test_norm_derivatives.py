"""First and higher derivatives of norms and condition numbers, at smooth points and at 0."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close
from mpmath import mp

from dlcore import linalg

ENTRIES = np.array([3.0, 0.0, -4.0, 1.0])


@pytest.mark.parametrize("p", [1.5, 0.5, 0.3, -0.5, -1, -2])
def test_a_zero_entry_is_a_constant_to_both_modes(p):
    """The derivatives in the nonzero entries are those of s(|x|/‖x‖)^(p−1)."""
    x = jnp.asarray(ENTRIES, DTYPE)
    nonzero = ENTRIES != 0
    size = np.abs(ENTRIES[nonzero])
    gradient, curvature = np.zeros(4), np.zeros((4, 4))
    if p > 0:
        norm = (size**p).sum() ** (1 / p)
        u = (size / norm) ** (p - 1) * np.sign(ENTRIES[nonzero])
        gradient[nonzero] = u
        diagonal = np.diag((size / norm) ** (p - 2))
        curvature[np.ix_(nonzero, nonzero)] = (p - 1) / norm * (diagonal - np.outer(u, u))
    f = functools.partial(linalg.vector_norm, ord=p)
    direction = jnp.asarray([1.0, 2.0, 3.0, 4.0], DTYPE)
    units = 64 / min(abs(p), 1)
    assert_close(jax.grad(f)(x), gradient, units=units)
    change = jax.jvp(f, (x,), (direction,))[1]
    assert_close(change, gradient @ np.asarray(direction), units=units, scale=np.abs(gradient).sum() * 4)
    for mode in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f)), lambda f: jax.jacfwd(jax.jacfwd(f))):
        assert_close(mode(f)(x), curvature, units=units)


def test_the_hessian_of_a_squared_norm_is_2_everywhere():
    """‖v‖₂² has the Hessian 2I at 0 too, where ‖v‖₂ has none. Its value and gradient there are 0."""

    def square(v, **axes):
        return (linalg.vector_norm(v, **axes) ** 2).sum()

    zero, some = jnp.zeros(3, DTYPE), jnp.array([1.0, -2.0, 0.5], DTYPE)
    for v in (zero, some, 1e-8 * some, 1e8 * some):
        for mode in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f)), lambda f: jax.jacfwd(jax.jacfwd(f))):
            assert_close(mode(square)(v), 2 * np.eye(3), units=16)
    value, gradient = jax.value_and_grad(linalg.vector_norm)(zero)
    assert value == 0
    assert_close(gradient, np.zeros(3), units=0)
    assert jax.value_and_grad(square)(zero)[0] == 0
    rows = jnp.stack([zero, some, zero])
    hessian = jax.hessian(lambda v: square(v, axis=1))(rows).reshape(9, 9)
    assert_close(hessian, 2 * np.eye(9), units=16)
    assert_close(
        jax.hessian(lambda a: linalg.matrix_norm(a) ** 2)(rows * 0).reshape(9, 9), 2 * np.eye(9), units=16
    )
    curved = jax.hessian(lambda v: jnp.sqrt(1 + linalg.vector_norm(v) ** 2))(zero)
    assert_close(curved, np.eye(3), units=16)
    product = jax.jvp(jax.grad(square), (zero,), (jnp.full(3, 1e9, DTYPE),))[1]
    assert_close(product, np.full(3, 2e9), units=16)
    half = jnp.zeros(2, jnp.float16)
    assert_close(jax.hessian(square)(half), 2 * np.eye(2), units=8, dtype=jnp.float16)


def test_the_hessian_of_a_squared_angle():
    """The Hessian at parallel vectors, where the angle has a kink, is 2/‖y‖² across y and 0 along y."""
    x, y = jnp.asarray([[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]], DTYPE)
    hessian = jax.hessian(lambda y: linalg.angle(x, y) ** 2)(y)
    assert_close(hessian, np.diag([0, 2, 2]) / 9, units=16)


def test_the_hessian_of_a_squared_complex_norm():
    """The second derivative at a complex entry of 0 is that of any entry."""
    v = jax.lax.complex(*jnp.asarray([[3.0, 0.0], [4.0, 0.0]], DTYPE))
    parts = lambda t: linalg.vector_norm(v + jax.lax.complex(t[:2], t[2:])) ** 2  # noqa: E731
    assert_close(jax.hessian(parts)(jnp.zeros(4, DTYPE)), 2 * np.eye(4), units=32)


@pytest.mark.parametrize("order", ["fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4)])
def test_the_gradient_of_every_norm_at_the_zero_matrix_is_0(order, shape):
    a, direction = jnp.zeros(shape, DTYPE), jnp.ones(shape, DTYPE)
    f = functools.partial(linalg.matrix_norm, ord=order)
    assert_close(jax.grad(f)(a), np.zeros(shape), units=0)
    assert jax.jvp(f, (a,), (direction,))[1] == 0


def test_singular_values_that_are_equal_or_zero():
    """Equal values have the mean of their derivatives. Values of 0 add nothing."""
    eye, some = jnp.eye(3, dtype=DTYPE), jnp.diag(jnp.array([2.0, 1.0, 0.0], DTYPE))
    assert_close(jax.grad(linalg.spectral_norm)(eye), np.eye(3) / 3, units=8)
    assert_close(jax.grad(lambda a: linalg.matrix_norm(a, "nuc"))(some), np.diag([1, 1, 0]), units=8)
    assert_close(jax.grad(linalg.cond)(eye), np.zeros((3, 3)), units=8, scale=1)


def largest(values):
    return values[0]


def total(values):
    return sum(values)


def ratio(values):
    return values[0] / values[-1]


def smallest(values):
    return values[-1]


def nuc(a):
    return linalg.matrix_norm(a, "nuc")


def least(a):
    return linalg.matrix_norm(a, -2)


ROTATED = np.array([[3.0, 1.0, 0.0, 2.0], [1.0, -2.0, 1.0, 0.0], [0.0, 1.0, 4.0, -1.0]])
SMOOTH = [
    (linalg.spectral_norm, largest, np.diag([3.0, 1.0, 1.0])),
    (linalg.spectral_norm, largest, np.ones((3, 3))),
    (linalg.spectral_norm, largest, np.ones((4, 2))),
    (linalg.spectral_norm, largest, np.ones((2, 4))),
    (linalg.spectral_norm, largest, np.diag([3.0, 0.0, 0.0])),
    (linalg.spectral_norm, largest, ROTATED),
    (nuc, total, np.eye(3)),
    (nuc, total, np.diag([3.0, 1.0, 1.0])),
    (nuc, total, np.eye(4, 2)),
    (nuc, total, np.eye(2, 4)),
    (least, smallest, np.diag([3.0, 3.0, 1.0])),
    (least, smallest, ROTATED),
    (linalg.cond, ratio, np.diag([3.0, 2.0, 2.0, 1.0])),
    (linalg.cond, ratio, ROTATED),
]


@pytest.mark.parametrize(("function", "of_values", "a"), SMOOTH)
def test_higher_derivatives_through_singular_values(function, of_values, a):
    """Derivatives along two directions, to third order, equal differences of mpmath's singular values."""
    rng = np.random.default_rng(1)
    d, e = rng.integers(-4, 5, (2, *a.shape)) / 4

    def exact(direction, order):
        with mpmath.workdps(60):
            matrix, step = mpmath.matrix(a.tolist()), mpmath.matrix(direction.tolist())
            on_path = lambda t: of_values(list(mp.svd_r(matrix + t * step, compute_uv=False)))  # noqa: E731
            return float(mpmath.diff(on_path, 0, order))

    def along(direction, order):
        derivative = lambda t: function(jnp.asarray(a, DTYPE) + t * jnp.asarray(direction, DTYPE))  # noqa: E731
        for _ in range(order):
            derivative = functools.partial(lambda f, t: jax.jvp(f, (t,), (jnp.ones_like(t),))[1], derivative)
        return jax.jit(derivative)(jnp.zeros((), DTYPE))

    for order in (1, 2, 3):
        assert_close(along(d, order), exact(d, order), units=256, scale=4.0**order)
    hessian = np.asarray(jax.jit(jax.hessian(function))(jnp.asarray(a, DTYPE)), np.float64).reshape(a.size, a.size)
    assert_close(hessian, hessian.T, units=64, scale=4)
    for direction in (d, e, d + e, d - e):
        assert_close(direction.ravel() @ hessian @ direction.ravel(), exact(direction, 2), units=512, scale=16)


@pytest.mark.parametrize("exponent", [-100, -60, 60, 100])
@pytest.mark.parametrize("function", [linalg.spectral_norm, nuc])
def test_hessians_of_norms_at_extreme_scales(function, exponent):
    """The Hessian of a norm is as small as the matrix is large."""
    a = jnp.asarray(ROTATED, DTYPE)
    hessian = jax.jit(jax.hessian(function))
    near, far = hessian(a), hessian(a * DTYPE.type(2.0**exponent))
    assert_close(np.asarray(far, np.float64) * 2.0**exponent, near, units=64)


def test_second_derivatives_of_complex_matrices():
    rng = np.random.default_rng(2)
    a, d = rng.integers(-4, 5, (2, 4, 3)) / 4 + 1j * rng.integers(-4, 5, (2, 4, 3)) / 4
    matrix, step = mpmath.matrix(a.tolist()), mpmath.matrix(d.tolist())
    for function, of_values in ((linalg.spectral_norm, largest), (nuc, total), (linalg.cond, ratio)):

        def on_path(t, function=function):
            return function(jnp.asarray(a) + t.astype(jnp.asarray(a).dtype) * jnp.asarray(d))

        def exactly_on_path(t, of_values=of_values):
            return of_values(list(mp.svd_c(matrix + t * step, compute_uv=False)))

        with mpmath.workdps(60):
            exact = float(mpmath.diff(exactly_on_path, 0, 2))
        got = jax.jit(jax.grad(jax.grad(on_path)))(jnp.zeros((), DTYPE))
        assert abs(float(got) - exact) <= 1e4 * EPS * (1 + abs(exact))
