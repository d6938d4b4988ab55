"""The laws of linear algebra on random numbers, each with the bound to which rounding lets it hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dlcore import linalg, reference

fixed = settings(derandomize=True, deadline=None, max_examples=40, database=None)
entries = st.floats(-100, 100, width=32).map(lambda x: x if abs(x) > 1e-6 else 0.0)


def matrices(*shape):
    return arrays(DTYPE, shape, elements=entries)


matmul = jax.jit(linalg.matmul)


@given(matrices(3, 4), matrices(4, 5), matrices(4, 5))
@fixed
def test_la07_distributive(a, b, c):
    """|A(B + C) − (AB + AC)| ≤ (2m + 4)·eps·|A|(|B| + |C|), m the inner length."""
    left, right = matmul(a, linalg.add(b, c)), linalg.add(matmul(a, b), matmul(a, c))
    scale = np.abs(a).astype(float) @ (np.abs(b) + np.abs(c)).astype(float)
    assert_close(left, right, units=12, scale=scale)


@given(matrices(3, 4), matrices(4, 5), matrices(5, 2))
@fixed
def test_la07_associative(a, b, c):
    """|A(BC) − (AB)C| ≤ 2(m + p)·eps·|A||B||C|, m and p the inner lengths."""
    scale = np.abs(a).astype(float) @ np.abs(b).astype(float) @ np.abs(c).astype(float)
    assert_close(matmul(a, matmul(b, c)), matmul(matmul(a, b), c), units=18, scale=scale)


@given(matrices(3, 4), matrices(4, 5))
@fixed
def test_la08_the_transpose_of_a_product(a, b):
    scale = np.abs(b).T.astype(float) @ np.abs(a).T.astype(float)
    assert_close(matmul(a, b).T, matmul(b.T, a.T), units=8, scale=scale)


def test_la08_the_product_does_not_commute():
    a, b = jnp.array([[0, 1], [0, 0]]), jnp.array([[0, 0], [1, 0]])
    np.testing.assert_array_equal(linalg.matmul(a, b), [[1, 0], [0, 0]])
    np.testing.assert_array_equal(linalg.matmul(b, a), [[0, 0], [0, 1]])


NORMS = {
    ord: jax.jit(lambda x, ord=ord: linalg.vector_norm(x, ord)) for ord in (1, 1.0001, 1.5, 2, 3, 100, np.inf)
}


@pytest.mark.parametrize("ord", NORMS)
@given(x=matrices(6), y=matrices(6), factor=entries)
@fixed
def test_la17_the_axioms_of_a_norm(ord, x, y, factor):
    norm = NORMS[ord]
    nx, ny = float(norm(x)), float(norm(y))
    assert nx >= 0
    assert (nx == 0) == (not x.any())
    tolerance = 32 * EPS
    assert abs(float(norm(x * DTYPE.type(factor))) - abs(factor) * nx) <= tolerance * abs(factor) * nx
    assert float(norm(x + y)) <= (nx + ny) * (1 + tolerance)
    expected = reference.linalg.vector_norm(x, ord)
    assert abs(nx - expected) <= tolerance * expected


def test_la17_half_is_no_norm():
    """‖(1, 1)‖ = 4 > 1 + 1 = ‖(1, 0)‖ + ‖(0, 1)‖ at p = ½."""
    x, y = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    assert linalg.vector_norm(x + y, 0.5) == 4
    assert linalg.vector_norm(x, 0.5) + linalg.vector_norm(y, 0.5) == 2


@pytest.mark.parametrize("ord", [1.0001, 1.5, 3, 100])
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_norms_of_every_order(ord, scale):
    """The gradient is ∂‖x‖/∂xᵢ = sign(xᵢ)(|xᵢ|/‖x‖)^(p − 1)."""
    x = jnp.array([3.0, -4.0, 1.0, 0.0, 4.0], DTYPE) * scale
    v = np.asarray(x, np.float64)
    norm = reference.linalg.vector_norm(v, ord)
    assert_close(linalg.vector_norm(x, ord), norm, units=8)
    gradient = np.sign(v) * (np.abs(v) / norm) ** (ord - 1)
    assert_close(jax.grad(linalg.vector_norm)(x, ord), gradient, units=8 * max(ord, 4))
    assert_close(jax.grad(linalg.vector_norm)(0 * x, ord), np.zeros(5), units=0)


def test_la18_frobenius_is_the_norm_of_all_entries():
    a = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5)), DTYPE)
    expected = [np.linalg.norm(np.asarray(matrix, np.float64).ravel()) for matrix in a]
    assert_close(linalg.matrix_norm(a), expected, units=4)
    assert_close(linalg.vector_norm(a.reshape(3, 20), axis=-1), expected, units=4)
