import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close, random_like

from dlcore import linalg, reference


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
@pytest.mark.parametrize("theta", [1e-6, 1e-3, 0.5, np.pi / 2, 3.0, np.pi - 1e-3, np.pi - 1e-6])
def test_angle(theta, scale):
    """The angles include those at which arccos of the cosine loses half or all of its digits in float32."""
    rng = np.random.default_rng(0)
    u, v = np.linalg.qr(rng.normal(size=(7, 2)))[0].T
    x = jnp.asarray(3 * u * scale, DTYPE)
    y = jnp.asarray((np.cos(theta) * u + np.sin(theta) * v) * scale, DTYPE)
    expected = reference.linalg.angle(x, y)
    assert_close(linalg.angle(x, y), expected, units=4, scale=1)
    assert abs(expected - theta) < 8 * EPS
    assert_close(linalg.angle(-x, y), np.pi - expected, units=4, scale=1)


def test_angles_of_batches():
    x, y = random_like(0, 3, 1, 5), random_like(1, 2, 5)
    got = linalg.angle(x, y)
    assert_close(got, reference.linalg.angle(x, y), units=4)
    assert got.shape == (3, 2)
    cosine = np.asarray(linalg.vecdot(x[:, 0], x[:, 0] * 2))
    assert (cosine > 0).all()
    assert_close(linalg.angle(x, 2 * x), np.zeros((3, 1)), units=0)
    assert_close(linalg.angle(x, -x), np.full((3, 1), np.pi), units=1)


def test_angles_of_zero_nan_and_empty_vectors():
    x = jnp.ones(3, DTYPE)
    for other in (jnp.zeros(3, DTYPE), x.at[0].set(jnp.nan), x.at[0].set(jnp.inf)):
        assert jnp.isnan(linalg.angle(x, other))
    assert jnp.isnan(linalg.angle(jnp.ones(0), jnp.ones(0)))
    assert_close(linalg.angle(jnp.array([1, 0]), jnp.array([0, 2])), np.pi / 2, units=1)
    assert linalg.angle(x.astype(jnp.bfloat16), x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert linalg.angle(jnp.full(70_000, 1, jnp.float16), jnp.full(70_000, 1, jnp.float16)) == 0
    with pytest.raises(ValueError, match=r"one length, got shapes \(3,\) and \(4,\)"):
        linalg.angle(x, jnp.ones(4))
    with pytest.raises(TypeError, match="y: expected real numbers, got complex"):
        linalg.angle(x, jax.lax.complex(x, x))


gradient = jax.jit(jax.grad(linalg.angle))


@pytest.mark.parametrize("scale", [1.0, 1e15, 1e-15])
def test_the_gradient_of_an_angle(scale):
    """∂θ/∂x = (x cos θ/‖x‖ − y/‖y‖)/(‖x‖ sin θ), in both modes."""
    x, y = random_like(0, 5) * scale, random_like(1, 5)
    u, v = (np.asarray(part, np.float64) / np.linalg.norm(np.asarray(part, np.float64)) for part in (x, y))
    cosine = u @ v
    expected = (cosine * u - v) / np.sqrt(1 - cosine**2) / np.linalg.norm(np.asarray(x, np.float64))
    assert_close(gradient(x, y), expected, units=16)
    assert_close(jax.jit(jax.jacfwd(linalg.angle))(x, y), expected, units=16)
    assert jnp.isfinite(gradient(x, x)).all()
    assert jnp.isfinite(gradient(x, -x)).all()


ROTATION = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])


@pytest.mark.parametrize("n", [1, 2, 30, 300])
@pytest.mark.parametrize("dtype", [DTYPE, jnp.bfloat16])
def test_orthogonal_matrices(n, dtype):
    q = np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))[0] if n != 2 else ROTATION
    q = jnp.asarray(q, dtype)
    assert linalg.is_orthogonal(q)
    assert linalg.is_orthogonal(q.T)
    perturbed = q.at[0, 0].add(40 * n * float(jnp.finfo(dtype).eps) * (1 + jnp.abs(q[0, 0])))
    assert not linalg.is_orthogonal(perturbed)
    assert linalg.is_orthogonal(perturbed, atol=1e4)
    assert linalg.are_orthonormal(q[: n // 2])
    assert not linalg.is_orthogonal(q[: n // 2])
    assert reference.linalg.is_orthogonal(q, atol=4 * n * float(jnp.finfo(dtype).eps))
    assert not reference.linalg.is_orthogonal(perturbed, atol=4 * n * float(jnp.finfo(dtype).eps))


def test_factors_of_a_factorisation_are_orthogonal():
    """The default tolerance accepts rounding in factorisations."""
    for n in (3, 50):
        q = jnp.linalg.qr(random_like(n, n, n))[0]
        assert linalg.is_orthogonal(q)
        assert_close(linalg.inv(q), q.T, units=4 * n)
    assert linalg.is_orthogonal(jnp.ones((0, 0)))
    batch = jnp.stack([jnp.eye(2), jnp.ones((2, 2)), jnp.full((2, 2), jnp.nan)])
    np.testing.assert_array_equal(jax.jit(linalg.is_orthogonal)(batch), [True, False, False])


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_orthogonal_vectors(scale):
    x = random_like(0, 20)
    y = np.asarray(random_like(1, 20), np.float64)
    v = np.asarray(x, np.float64)
    across = jnp.asarray((y - (y @ v) / (v @ v) * v) * scale, DTYPE)
    near = across + 1000 * EPS * scale * x
    assert linalg.are_orthogonal(x * scale, across)
    assert not linalg.are_orthogonal(x, near)
    assert linalg.are_orthogonal(x, near, atol=1e-2)
    tolerance = 80 * EPS
    assert reference.linalg.are_orthogonal(x, across, atol=tolerance)
    assert not reference.linalg.are_orthogonal(x, near, atol=tolerance)


def test_orthogonality_of_zero_nan_and_empty_vectors():
    x, zero = jnp.ones(3, DTYPE), jnp.zeros(3, DTYPE)
    assert linalg.are_orthogonal(x, zero)
    assert not linalg.are_orthogonal(x.at[0].set(jnp.nan), zero)
    assert not linalg.are_orthogonal(x.at[0].set(jnp.inf), x)
    np.testing.assert_array_equal(linalg.are_orthogonal(jnp.eye(3), jnp.eye(3)[:1]), [False, True, True])
    assert linalg.are_orthonormal(jnp.ones((0, 3)))
    assert not linalg.are_orthonormal(jnp.ones((2, 1)))
    assert not linalg.are_orthonormal(2 * jnp.eye(3))
    assert linalg.are_orthonormal(jnp.eye(3, dtype=jnp.int32))
    assert reference.linalg.are_orthonormal(np.eye(3)[:2], atol=0)
    with pytest.raises(ValueError, match="atol"):
        linalg.are_orthonormal(jnp.eye(3), atol=-1)


def test_symmetric_matrices():
    assert linalg.is_symmetric(jnp.array([[1, 3], [3, 2]]))
    assert not linalg.is_symmetric(jnp.array([[1, 3], [4, 2]]))
    assert not linalg.is_symmetric(jnp.ones((2, 3)))
    assert linalg.is_symmetric(jnp.ones((0, 0)))
    a = random_like(0, 2, 30, 30)
    gram = linalg.matmul(a, jnp.swapaxes(a, -1, -2))
    assert jax.jit(linalg.is_symmetric)(gram).all()
    assert jax.jit(linalg.is_symmetric)(gram * 1e30).all()
    perturbed = gram.at[0, 3, 4].add(1e4 * EPS * gram.max())
    np.testing.assert_array_equal(linalg.is_symmetric(perturbed), [False, True])
    np.testing.assert_array_equal(reference.linalg.is_symmetric(perturbed, rtol=120 * EPS), [False, True])
    assert linalg.is_symmetric(perturbed, rtol=0.1).all()
    slightly = jnp.array([[1.0, 1.0], [1.0 + EPS, 1.0]], DTYPE)
    assert linalg.is_symmetric(slightly)
    assert not linalg.is_symmetric(slightly, rtol=0)
    inf = jnp.array([[1.0, jnp.inf], [jnp.inf, 2.0]])
    assert linalg.is_symmetric(inf)
    assert not linalg.is_symmetric(inf.at[0, 1].set(5.0))
    assert not linalg.is_symmetric(inf.at[0, 0].set(jnp.nan))
    assert not linalg.is_symmetric(jnp.array([[1.0, jnp.inf], [-jnp.inf, 2.0]]))
    with pytest.raises(ValueError, match=r"is_symmetric.*\(3,\)"):
        linalg.is_symmetric(jnp.ones(3))
