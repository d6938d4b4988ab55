from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close, random_like
from oracles.matrices import SQUARE, exact_inverse, exact_solution, with_spectrum

from dlcore import linalg, reference
from dlcore.linalg._refinement import refined_solution

inv = jax.jit(linalg.inv)
refined = jax.jit(linalg.solve, static_argnames="refine")


@pytest.mark.parametrize("family", SQUARE)
def test_inv(family):
    a = jnp.asarray(SQUARE[family], DTYPE)
    expected = exact_inverse(a)
    condition = np.linalg.cond(np.asarray(a, np.float64))
    scale = np.abs(expected).max()
    for inverse in (linalg.inv(a), inv(a)):
        assert_close(inverse, expected, units=2 * len(a) * condition, scale=scale)
    np.testing.assert_allclose(reference.linalg.inv(a), expected, rtol=0, atol=1e-14 * condition * scale)
    residual = np.asarray(linalg.inv(a), np.float64) @ np.asarray(a, np.float64) - np.eye(len(a))
    assert np.abs(residual).max() <= 2 * len(a) * condition * EPS


@pytest.mark.parametrize("n", [0, 2, 100, 300])
def test_inv_at_sizes(n):
    a = jnp.asarray(np.random.default_rng(n).normal(size=(n, n)) + 2 * np.sqrt(n) * np.eye(n), DTYPE)
    assert_close(linalg.inv(a), np.linalg.inv(np.asarray(a, np.float64)), units=8 * max(n, 1))


def test_batches_of_inverses():
    a = random_like(0, 2, 3, 4, 4) + 4 * jnp.eye(4, dtype=DTYPE).reshape(1, 1, 4, 4)
    assert_close(linalg.inv(a), np.linalg.inv(np.asarray(a, np.float64)), units=50)
    assert linalg.inv(jnp.zeros((0, 3, 3))).shape == (0, 3, 3)
    assert_close(linalg.inv(jnp.array([[2, 0], [0, 4]])), [[0.5, 0], [0, 0.25]], units=1)
    half = linalg.inv(2 * jnp.eye(2, dtype=jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    assert half[0, 0] == 0.5


def test_complex_systems():
    a = jax.lax.complex(random_like(0, 4, 4), random_like(1, 4, 4))
    b = jax.lax.complex(random_like(2, 4), random_like(3, 4))
    unrefined = np.asarray(a, complex)
    np.testing.assert_allclose(linalg.inv(a), np.linalg.inv(unrefined), atol=200 * EPS)
    np.testing.assert_allclose(linalg.solve(a, b), np.linalg.solve(unrefined, np.asarray(b)), atol=200 * EPS)
    with pytest.raises(TypeError, match="refine is for real matrices"):
        linalg.solve(a, b, refine=jnp.float32)


@pytest.mark.parametrize("singular", [[[1.0, 2.0], [2.0, 4.0]], [[0.1, 0.2], [0.3, 0.6]], [[0.0]]])
def test_a_singular_matrix_has_no_inverse(singular):
    a = jnp.array(singular, DTYPE)
    with pytest.raises(np.linalg.LinAlgError, match="inv: a is singular"):
        linalg.inv(a)
    assert jnp.isnan(inv(a)).all()


@pytest.mark.parametrize("scale", [1e37, 1e-37])
def test_inverses_at_extreme_scales(scale):
    a = jnp.array([[3.0, 1.0], [1.0, 3.0]], DTYPE) * scale
    assert_close(linalg.inv(a) * a, np.array([[9.0, -1.0], [-1.0, 9.0]]) / 8, units=16)


def test_inv_at_the_edges():
    assert jnp.isnan(linalg.inv(jnp.array([[1.0, jnp.nan], [0.0, 1.0]]))).any()
    with pytest.raises(ValueError, match=r"inv: expected a square matrix a.*\(2, 3\)"):
        linalg.inv(jnp.ones((2, 3)))


@pytest.mark.parametrize("invalid", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("place", [(0, 1), (1, 2), (2, 2)])
def test_a_matrix_that_is_not_finite_gives_nan(invalid, place):
    """All entries are nan, even those that elimination would not reach. The rest of a batch is unaffected."""
    a = jnp.asarray(np.triu(np.ones((3, 3))) + np.eye(3), DTYPE)
    batch = jnp.stack([a.at[place].set(invalid), a])
    for function in (inv, lambda a: jax.jit(linalg.solve)(a, jnp.ones((2, 3, 1), DTYPE)), linalg.inv):
        result = function(batch)
        assert jnp.isnan(result[0]).all()
        assert jnp.isfinite(result[1]).all()


def test_the_derivative_of_inv():
    """d(A⁻¹) = −A⁻¹ dA A⁻¹."""
    a, da = random_like(0, 4, 4) + 4 * jnp.eye(4, dtype=DTYPE), random_like(1, 4, 4)
    inverse = np.linalg.inv(np.asarray(a, np.float64))
    tangent = jax.jvp(linalg.inv, (a,), (da,))[1]
    assert_close(tangent, -inverse @ np.asarray(da, np.float64) @ inverse, units=100)
    gradient = jax.grad(lambda a: linalg.vecdot(linalg.inv(a).ravel(), da.ravel()))(a)
    assert_close(gradient, -inverse.T @ np.asarray(da, np.float64) @ inverse.T, units=100)


# -- refinement ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
@pytest.mark.parametrize("factors", [jnp.float32, DTYPE])
def test_a_refined_solution_is_accurate_to_rounding(condition, factors):
    a = jnp.asarray(with_spectrum(np.geomspace(1, 1 / condition, 20), 20, 20), DTYPE)
    b = random_like(0, 20)
    expected = exact_solution(a, b)
    assert_close(refined(a, b, refine=factors), expected, units=1)
    plain = np.abs(np.asarray(refined(a, b), np.float64) - expected).max() / np.abs(expected).max()
    assert condition < 100 or plain > 3 * EPS, "the plain solution is as good: the test shows nothing"


def test_refinement_with_inaccurate_factors_is_an_error():
    a, b = jnp.asarray(with_spectrum(np.geomspace(1, 1e-9, 20), 20, 20), DTYPE), random_like(0, 20)
    with pytest.raises(np.linalg.LinAlgError, match="float32"):
        linalg.solve(a, b, refine=jnp.float32)
    assert jnp.isnan(refined(a, b, refine=jnp.float32)).all()
    if np.float64 == DTYPE:
        assert_close(refined(a, b, refine=DTYPE), exact_solution(a, b), units=1)


def test_refined_solutions_are_right_or_nan():
    """The factors range from clearly accurate to clearly inaccurate."""
    n_converged = 0
    for seed in range(24):
        spectrum = np.geomspace(1, 10 ** -(5.5 + seed / 12), 20)
        a, b = jnp.asarray(with_spectrum(spectrum, 20, 20, seed), DTYPE), random_like(seed, 20)
        x = refined(a, b, refine=jnp.float32)
        if not jnp.isnan(x).any():
            n_converged += 1
            assert_close(x, exact_solution(a, b), units=1)
    assert 0 < n_converged < 24


def test_refined_batches_and_derivatives():
    a = random_like(0, 2, 6, 6) + 3 * jnp.eye(6, dtype=DTYPE).reshape(1, 6, 6)
    b, da = random_like(1, 6, 3), random_like(2, 2, 6, 6)
    exact = np.linalg.solve(np.asarray(a, np.float64), np.asarray(b, np.float64))
    solve = partial(linalg.solve, refine=jnp.float32)
    x, tangent = jax.jit(lambda a, da: jax.jvp(lambda a: solve(a, b), (a,), (da,)))(a, da)
    assert_close(x, exact, units=1)
    expected = -np.linalg.solve(np.asarray(a, np.float64), np.asarray(da, np.float64) @ exact)
    assert_close(tangent, expected, units=20)
    gradient = jax.jit(jax.grad(lambda b: solve(a[0], b)[0, 0]))(b)
    assert_close(gradient[:, 0], np.linalg.inv(np.asarray(a[0], np.float64))[0], units=2)
    hessian = jax.jit(jax.hessian(lambda t: solve(a[0] + t * da[0], b[:, 0])[0]))(jnp.zeros((), DTYPE))
    inverse = np.linalg.inv(np.asarray(a[0], np.float64))
    twice = 2 * np.linalg.matrix_power(inverse @ np.asarray(da[0], np.float64), 2) @ exact[0, :, 0]
    assert_close(hessian, twice[0], units=100, scale=np.abs(twice).max())


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_refined_solutions_keep_the_scales(scale):
    a = jnp.asarray(with_spectrum(np.geomspace(1, 1e-4, 20), 20, 20), DTYPE)
    b = random_like(0, 20)
    assert_close(refined(a * scale, b, refine=jnp.float32), exact_solution(a * scale, b), units=1)
    assert_close(refined(a, b * scale, refine=jnp.float32), exact_solution(a, b * scale), units=1)


def test_refine_at_the_edges():
    a = jnp.eye(2, dtype=DTYPE)
    assert jnp.isnan(refined(a.at[0, 1].set(jnp.nan), jnp.ones(2, DTYPE), refine=jnp.float32)).all()
    assert_close(linalg.solve(a, jnp.zeros(2, DTYPE), refine=jnp.float32), np.zeros(2), units=0)
    assert linalg.solve(jnp.ones((0, 0)), jnp.ones(0), refine=jnp.float32).shape == (0,)
    for invalid in (jnp.bfloat16, jnp.int32, 2):
        with pytest.raises(TypeError, match="refine: expected the dtype of the factors"):
            linalg.solve(a, jnp.ones(2, DTYPE), refine=invalid)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("c", [0.9, 0.6, 0.4, 0.1, -1.0])
def test_an_inaccurate_inverse_gives_the_solution_or_nan(c):
    """Each step with the inverse c·A⁻¹ multiplies the error by 1 − c, which is too slow for c below ½."""
    a, b = random_like(0, 6, 6) + 3 * jnp.eye(6, dtype=DTYPE), random_like(1, 6, 1)
    inverse = jnp.asarray(c * np.linalg.inv(np.asarray(a, np.float64)), DTYPE)
    x = refined_solution(a, inverse, b)
    if c > 0.5:
        assert_close(x[:, 0], exact_solution(a, b[:, 0]), units=1)
    else:
        assert jnp.isnan(x).all()
