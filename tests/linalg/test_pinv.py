import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import DTYPE, EPS, assert_close, random_like
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.matrices import SQUARE, TALL, central_difference, exact_inverse, kahan, with_spectrum

from dlcore import linalg, reference

pinv = jax.jit(linalg.pinv)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
@given(rank=st.integers(0, 4), decades=st.floats(0, 2), seed=st.integers(0, 2**31))
@settings(derandomize=True, deadline=None, max_examples=25, database=None)
def test_la12_moore_penrose(shape: tuple[int, int], rank: int, decades: float, seed: int):
    """A P A = A, P A P = P, (A P)ᵀ = A P and (P A)ᵀ = P A hold to 100·eps·κ, at full and deficient rank."""
    a = np.asarray(with_spectrum(np.geomspace(1, 10**-decades, rank), shape[0], shape[1], seed), DTYPE)
    p = np.asarray(pinv(a, 100 * EPS), np.float64)
    a = a.astype(np.float64)
    tolerance = 100 * EPS * 10**decades
    size = max(np.abs(p).max(), 1)
    assert np.abs(a @ p @ a - a).max() <= tolerance
    assert np.abs(p @ a @ p - p).max() <= tolerance * size
    assert np.abs(a @ p - (a @ p).T).max() <= tolerance
    assert np.abs(p @ a - (p @ a).T).max() <= tolerance
    assert round(np.trace(a @ p)) == rank


@pytest.mark.parametrize("family", [name for name in SQUARE if name != "kahan"])
def test_pinv_of_a_regular_matrix_is_its_inverse(family):
    a = jnp.asarray(SQUARE[family], DTYPE)
    condition = np.linalg.cond(np.asarray(a, np.float64))
    expected = exact_inverse(a)
    assert_close(linalg.pinv(a), expected, units=8 * condition)
    np.testing.assert_allclose(
        reference.linalg.pinv(a), expected, rtol=0, atol=1e-14 * condition * np.abs(expected).max()
    )


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("family", ["random", "vandermonde", "spectrum", "column"])
def test_pinv_of_rectangular_matrices(family, wide):
    a = jnp.asarray(TALL[family].T if wide else TALL[family], DTYPE)
    expected = scipy.linalg.pinv(np.asarray(a, np.float64))
    condition = np.linalg.cond(np.asarray(a, np.float64))
    assert_close(pinv(a), expected, units=16 * condition)


@pytest.mark.parametrize("shape", [(300, 40), (2, 3, 4, 6), (0, 3), (3, 0), (2, 0, 3)])
def test_pinv_at_sizes_and_in_batches(shape):
    a = random_like(0, *shape)
    assert_close(linalg.pinv(a), reference.linalg.pinv(a), units=100)
    assert linalg.pinv(a).dtype == DTYPE


@pytest.mark.parametrize("scale", [1e36, 1e-36])
def test_pinv_at_the_ends_of_the_range(scale):
    a = jnp.asarray(with_spectrum([2, 1], 4, 3), DTYPE)
    assert_close(pinv(a * scale, 1e-3) * scale, pinv(a, 1e-3), units=16)
    assert_close(pinv(jnp.zeros((2, 3), DTYPE)), np.zeros((3, 2)), units=0)


@pytest.mark.timeout(60)
def test_pinv_at_the_edges():
    assert jnp.isnan(linalg.pinv(jnp.eye(3).at[1, 1].set(jnp.nan))).all()
    assert jnp.isnan(linalg.pinv(jnp.eye(3).at[1, 1].set(jnp.inf))).all()
    assert linalg.pinv(jnp.ones((2, 2), jnp.float16)).dtype == jnp.float16
    assert_close(linalg.pinv(jnp.array([[2], [0]])), [[0.5, 0]], units=1)
    a = jax.lax.complex(random_like(0, 4, 3), random_like(1, 4, 3))
    np.testing.assert_allclose(linalg.pinv(a), np.linalg.pinv(np.asarray(a, complex)), atol=100 * EPS)
    with pytest.raises(ValueError, match=r"pinv.*\(3,\)"):
        linalg.pinv(jnp.ones(3))
    with pytest.raises(ValueError, match="rcond"):
        linalg.pinv(jnp.ones((3, 3)), -1)


DIRECTIONS = {
    "tall": with_spectrum([3, 2, 1, 0.5], 6, 4),
    "wide": with_spectrum([3, 2, 1, 0.5], 4, 6),
    "square": with_spectrum([3, 2, 1, 0.5], 4, 4),
    "deficient tall": with_spectrum([2, 1], 6, 4),
    "deficient wide": with_spectrum([2, 1], 4, 6),
    "zero": np.zeros((4, 6)),
}


def pinv_derivative_errors(a: np.ndarray) -> tuple[float, float, float]:
    """Return relative errors to central differences at constant rank: forward, reverse, forward over forward."""
    rng = np.random.default_rng(5)
    n, m = a.shape
    e, f, weights = rng.normal(size=(n, n)), rng.normal(size=(m, m)), rng.normal(size=(m, n))
    path = lambda t: (np.eye(n) + t * e) @ a @ (np.eye(m) + t * f)  # noqa: E731
    zero, one = np.zeros(()), np.ones(())
    expected = central_difference(lambda t: np.linalg.pinv(path(t), 1e-8), zero, one, 1e-3)
    with jax.enable_x64(True):
        first, second = (jnp.asarray(part) for part in (e @ a + a @ f, 2 * e @ a @ f))
        along = lambda t: linalg.pinv(jnp.asarray(a) + t * first + t**2 / 2 * second, 1e-8)  # noqa: E731
        slope = lambda t: jax.jvp(along, (t,), (jnp.ones_like(t),))[1]  # noqa: E731
        forward = jax.jit(slope)(jnp.zeros(()))
        gradient = jax.jit(jax.grad(lambda a: (weights * linalg.pinv(a, 1e-8)).sum()))(jnp.asarray(a))
        reverse = float((gradient * first).sum())
        twice = jax.jit(lambda t: jax.jvp(slope, (t,), (jnp.ones_like(t),))[1])(jnp.zeros(()))
    change = lambda t: np.linalg.pinv(path(t), 1e-8)  # noqa: E731
    h = 1e-2
    curvature = (-change(2 * h) + 16 * change(h) - 30 * change(0) + 16 * change(-h) - change(-2 * h)) / (12 * h**2)
    size = max(np.abs(expected).max(), 1)
    return (
        float(np.abs(np.asarray(forward) - expected).max() / size),
        abs(reverse - (weights * expected).sum()) / size,
        float(np.abs(np.asarray(twice) - curvature).max() / max(np.abs(curvature).max(), 1)),
    )


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_the_derivatives_of_pinv(kind):
    """The derivatives along (I + tE) A (I + tF) are those of Golub and Pereyra."""
    forward, reverse, twice = pinv_derivative_errors(DIRECTIONS[kind])
    assert forward < 1e-9
    assert reverse < 1e-9
    assert twice < 1e-5


def test_pinv_under_vmap_and_grad():
    a = jnp.stack([jnp.asarray(DIRECTIONS[kind], DTYPE) for kind in ("tall", "deficient tall")])
    gradient = jax.jit(jax.vmap(jax.grad(lambda a: jnp.sum(linalg.pinv(a, 1e-3) ** 2))))(a)
    assert jnp.isfinite(gradient).all()
    for i, p in enumerate(np.linalg.pinv(np.asarray(a, np.float64), 1e-3)):
        assert_close(gradient[i], -2 * (p.T @ p @ p.T), units=500)


RANKS = {
    "full": (with_spectrum(np.geomspace(1, 1e-3, 6), 20, 6), 6),
    "deficient": (with_spectrum([1, 0.1, 0.01], 20, 6), 3),
    "wide": (with_spectrum([1, 0.1, 0.01], 6, 20), 3),
    "zero": (np.zeros((4, 4)), 0),
    "tiny": (1e-30 * np.eye(5), 5),
}


@pytest.mark.parametrize("kind", RANKS)
def test_matrix_rank(kind):
    a, rank = RANKS[kind]
    assert linalg.matrix_rank(jnp.asarray(a, DTYPE), 1e-5) == rank
    assert reference.linalg.matrix_rank(a, 1e-5) == rank
    assert reference.linalg.matrix_rank(a) == np.linalg.matrix_rank(a)


def test_matrix_rank_by_default():
    column = random_like(0, 50)
    a = jnp.stack([column, 2 * column, jnp.ones_like(column)], 1)
    assert linalg.matrix_rank(a) == 2
    assert linalg.matrix_rank(jnp.array([[1, 2], [2, 4]])) == 1
    np.testing.assert_array_equal(linalg.matrix_rank(jnp.stack([jnp.eye(3), jnp.ones((3, 3))])), [3, 1])
    assert linalg.matrix_rank(jnp.ones((0, 3))) == 0
    assert linalg.matrix_rank(jnp.eye(2).at[0, 0].set(jnp.nan)) == -1
    with pytest.raises(ValueError, match=r"matrix_rank.*\(3,\)"):
        linalg.matrix_rank(jnp.ones(3))


@pytest.mark.parametrize("p", [None, 2, -2, 1, -1, np.inf, -np.inf, "fro", "nuc"])
def test_cond(p):
    cond = jax.jit(linalg.cond, static_argnums=1)
    for a in (
        np.random.default_rng(0).normal(size=(8, 8)),
        kahan(8),
        with_spectrum(np.geomspace(1, 1e-3, 8), 8, 8),
    ):
        a = jnp.asarray(a, DTYPE)
        expected = np.linalg.cond(np.asarray(a, np.float64), p)
        assert_close(cond(a, p), expected, units=16 * np.linalg.cond(np.asarray(a, np.float64)))
        np.testing.assert_allclose(reference.linalg.cond(a, p), expected, rtol=1e-9)
    singular = jnp.array([[1.0, 0.0], [0.0, 0.0]], DTYPE)
    for matrix in (singular, 0 * singular):
        assert cond(matrix, p) == (0 if p == -2 else np.inf)
        assert reference.linalg.cond(matrix, p) == (0 if p == -2 else np.inf)
    assert jnp.isnan(cond(singular.at[1, 1].set(jnp.nan), p))


def test_cond_at_the_ends_of_the_range():
    for p in (2, 1, "fro"):
        for scale in (1e36, 1e-36):
            a = jnp.asarray(with_spectrum([2, 1], 2, 2) * scale, DTYPE)
            got = jax.jit(linalg.cond, static_argnums=1)(a, p)
            assert_close(got, np.linalg.cond(np.asarray(a, np.float64), p), units=16)
    assert linalg.cond(jnp.diag(jnp.array([1.0, 1e-20], DTYPE))) > 0.99e20
    with pytest.raises(ValueError, match="square"):
        linalg.cond(jnp.ones((3, 2)), 1)
    with pytest.raises(ValueError, match="with entries"):
        linalg.cond(jnp.ones((0, 2)))
