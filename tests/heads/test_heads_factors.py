"""Solving with the curvature of many heads, by every way that there is, against NumPy."""

import jax
import numpy as np
import pytest

from dlcore.heads import factors

pytestmark = pytest.mark.any_mode


def spread(rng, heads, size, condition):
    """Symmetric matrices with eigenvalues from 1 down by a condition, in random directions."""
    turn = np.linalg.qr(rng.normal(size=(heads, size, size)))[0]
    return (turn * np.geomspace(1, 1 / condition, size)) @ turn.swapaxes(1, 2)


@pytest.mark.parametrize("size", [1, 2, 16, 17, 40, 129, 520])
@pytest.mark.parametrize("products", ["float32", "float64"])
def test_solving_undoes_the_curvature(size, products):
    """Float32 takes one way up to 512 columns and another beyond, float64 a third."""
    rng = np.random.default_rng(size)
    curvature, right = spread(rng, 3, size, 1e3), rng.normal(size=(3, size))
    penalty = np.append(np.geomspace(1e-3, 1, size - 1), 0) + np.zeros((3, size))
    with jax.enable_x64(True):
        given = [jax.device_put(part) for part in (curvature, penalty, np.float64(1))]
        made = factors.factor(given[0], given[1], given[2], products)
        solved = np.asarray(factors.solve(made, jax.device_put(right)))
    share = np.finfo(products).eps / size**0.5 + (size + 1) * np.finfo(float).eps
    lift = share * np.trace(curvature, axis1=1, axis2=2)
    whole = curvature + (penalty + lift[:, None])[:, None, :] * np.eye(size)
    expected = np.linalg.solve(whole, right[..., None])[..., 0]
    bound = 8 * size * np.finfo(float).eps * np.linalg.cond(whole).max()
    np.testing.assert_allclose(solved, expected, atol=bound * abs(expected).max(), rtol=0)


def test_no_matrix_that_is_not_positive_definite_is_solved_with():
    rng = np.random.default_rng(0)
    curvature = spread(rng, 3, 20, 10)
    curvature[1] *= -1
    with jax.enable_x64(True):
        given = [jax.device_put(part) for part in (curvature, np.zeros((3, 20)), np.float64(1))]
        made = factors.factor(given[0], given[1], given[2], "float32")
        solved = factors.solve(made, jax.device_put(np.ones((3, 20))))
    np.testing.assert_array_equal(np.isnan(np.asarray(solved)).any(1), [False, True, False])
