import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close, random_like

from dlcore import linalg, reference

SHAPES = [((3, 4), (3, 4)), ((3, 4), (4,)), ((), (3, 4)), ((2, 1, 4), (3, 1)), ((0, 4), (1, 4))]


@pytest.mark.parametrize("name", ["add", "multiply"])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_add_and_multiply(name, left, right):
    a, b = random_like(0, *left), random_like(1, *right)
    got = getattr(linalg, name)(a, b)
    expected = getattr(reference.linalg, name)(a, b)
    np.testing.assert_array_equal(
        expected, getattr(np, name)(np.asarray(a, np.float64), np.asarray(b, np.float64))
    )
    assert_close(got, expected, units=1, scale=np.abs(expected))
    assert got.dtype == DTYPE
    gradient = jax.grad(lambda a: getattr(linalg, name)(a, b).sum())(a)
    assert gradient.shape == left


def test_scalars_and_dtypes():
    a = jnp.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(linalg.add(a, 10), [[11, 12], [13, 14]])
    np.testing.assert_array_equal(linalg.multiply(2, a), [[2, 4], [6, 8]])
    np.testing.assert_array_equal(linalg.multiply(a, a), [[1, 4], [9, 16]])
    assert linalg.add(a, 1).dtype == a.dtype
    assert linalg.add(jnp.ones(2, jnp.bfloat16), 1.0).dtype == jnp.bfloat16


@pytest.mark.parametrize("function", [linalg.add, linalg.multiply])
def test_shapes_that_do_not_broadcast(function):
    with pytest.raises(ValueError, match=r"axes, counted from the last.*\(3, 2\) and \(3,\)"):
        function(jnp.ones((3, 2)), jnp.ones(3))
    with pytest.raises(TypeError, match="a: expected an array, got list"):
        function([1.0], jnp.ones(1))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_identity(n):
    assert_close(linalg.identity(n), reference.linalg.identity(n), units=0)
    assert linalg.identity(n).dtype == DTYPE
    assert linalg.identity(n, jnp.int8).dtype == jnp.int8
    x = random_like(0, n)
    np.testing.assert_array_equal(linalg.matmul(linalg.identity(n), x), x)


def test_identity_refuses_invalid_sizes():
    with pytest.raises(ValueError, match="n: expected an integer of at least 0, got -1"):
        linalg.identity(-1)
    with pytest.raises(TypeError, match=r"n: expected an integer, got 2\.5"):
        linalg.identity(2.5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (2, 5, 3), (0, 3)])
@pytest.mark.parametrize("offset", [0, 1, -2, 9])
def test_trace(shape, offset):
    a = random_like(0, *shape)
    expected = reference.linalg.trace(a, offset)
    np.testing.assert_allclose(expected, np.trace(np.asarray(a, np.float64), offset, -2, -1), rtol=1e-13)
    assert_close(linalg.trace(a, offset), expected, units=4, scale=10)


def test_trace_of_halves_and_integers():
    """A running sum of 512 ones in bfloat16 would stop at 256."""
    assert linalg.trace(jnp.eye(512, dtype=jnp.bfloat16)) == 512
    assert linalg.trace(jnp.eye(512, dtype=jnp.bfloat16)).dtype == jnp.bfloat16
    assert linalg.trace(jnp.array([[1, 2], [3, 4]])) == 5
    with pytest.raises(ValueError, match=r"trace.*\(3,\)"):
        linalg.trace(jnp.ones(3))
