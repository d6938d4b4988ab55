import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close, random_like

from dlcore import linalg, reference

SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 1, 3, 4), (5, 4, 6)),
    ((3, 0), (0, 2)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_matmul(left, right):
    a, b = random_like(0, *left), random_like(1, *right)
    product = linalg.matmul(a, b)
    expected = reference.linalg.matmul(a, b)
    scale = reference.linalg.matmul(np.abs(a), np.abs(b))
    assert_close(product, expected, units=left[-1], scale=scale)
    assert product.dtype == DTYPE
    np.testing.assert_allclose(
        expected, np.asarray(a, np.float64) @ np.asarray(b, np.float64), rtol=1e-12, atol=1e-12
    )


def test_golden_products():
    a, b = jnp.array([[1, 2], [3, 4], [5, 6]]), jnp.array([[1, 3, 5, 7], [2, 4, 6, 8]])
    np.testing.assert_array_equal(linalg.matmul(a, b), [[5, 11, 17, 23], [11, 25, 39, 53], [17, 39, 61, 83]])
    np.testing.assert_array_equal(linalg.matrix_transpose(a), [[1, 3, 5], [2, 4, 6]])
    row, column = random_like(0, 1, 4), random_like(1, 4, 1)
    assert linalg.matmul(row, column).shape == (1, 1)
    assert linalg.vecdot(row[0], column[:, 0]).shape == ()


def test_matmul_names_the_rule_and_both_shapes():
    with pytest.raises(ValueError, match=r"\(n, m\)\(m, p\) = \(n, p\).*\(3, 2\) and \(3, 2\)"):
        linalg.matmul(jnp.ones((3, 2)), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"\(\) and \(3,\)"):
        linalg.matmul(jnp.array(1.0), jnp.ones(3))
    with pytest.raises(TypeError, match="a: expected an array, got list"):
        linalg.matmul([[1.0]], jnp.ones((1, 1)))  # pyright: ignore[reportArgumentType]


def test_vecdot_and_outer():
    x, y = random_like(0, 3, 1, 5), random_like(1, 2, 5)
    with jax.numpy_rank_promotion("allow"):
        dots = linalg.vecdot(x, y)
    assert_close(dots, reference.linalg.vecdot(x, y), units=5, scale=5)
    assert_close(linalg.outer(x[0, 0], y[0]), reference.linalg.outer(x[0, 0], y[0]), units=1)
    with pytest.raises(ValueError, match="one length"):
        linalg.vecdot(jnp.ones(3), jnp.ones(4))
    with pytest.raises(ValueError, match="negative axis, counted from the last, got 0"):
        linalg.vecdot(jnp.ones(3), jnp.ones(3), axis=0)
    with pytest.raises(ValueError, match=r"x: expected 1-D"):
        linalg.outer(jnp.ones((2, 2)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"matrix_transpose.*\(3,\)"):
        linalg.matrix_transpose(jnp.ones(3))


def test_vecdot_along_another_axis():
    x, y = random_like(0, 5, 3), random_like(1, 5, 3)
    assert_close(linalg.vecdot(x, y, axis=-2), reference.linalg.vecdot(x, y, axis=-2), units=5, scale=5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_halves_are_summed_in_float32(dtype):
    """A running sum of ones stops at 256 in bfloat16 and at 2048 in float16."""
    ones = jnp.ones(4096, dtype)
    assert linalg.vecdot(ones, ones) == 4096
    assert linalg.matmul(ones, ones[:, None]).dtype == dtype
    assert linalg.matmul(ones, ones[:, None])[0] == 4096


@pytest.mark.parametrize("product", [linalg.matmul, linalg.vecdot])
def test_every_product_asks_for_the_highest_precision(product):
    """The program of the function and those of its derivatives state it."""
    a = jnp.ones((2, 2), DTYPE)
    both = jax.make_jaxpr(lambda a, b: jax.vjp(product, a, b)[1](product(a, b)))(a, a)
    precisions = [
        equation.params["precision"]
        for equation in equations(both.jaxpr)
        if equation.primitive.name == "dot_general"
    ]
    assert len(precisions) >= 3
    assert set(precisions) == {(jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)}


def equations(jaxpr):
    """Yield all equations of a program and of its inner programs."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from equations(inner.jaxpr)


ORDERS = [1, 2, 3, 1.5, 0.5, 0, -1, np.inf, -np.inf]


@pytest.mark.parametrize("ord", ORDERS)
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_vector_norm(ord, scale):
    x = random_like(0, 4, 7) * scale
    for axis, keepdims in itertools.product([None, 0, -1, (0, 1)], [False, True]):
        got = linalg.vector_norm(x, ord, axis=axis, keepdims=keepdims)
        expected = reference.linalg.vector_norm(x, ord, axis=axis, keepdims=keepdims)
        assert_close(got, expected, units=40 if ord == 0.5 else 16, scale=expected)


@pytest.mark.parametrize("ord", [1, 1.5, 2, 3, np.inf])
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_the_gradient_of_a_norm(ord, scale):
    x = random_like(0, 6) * scale
    v = np.asarray(x, np.float64)
    norm = reference.linalg.vector_norm(v, ord)
    if np.isinf(ord):
        expected = np.where(np.abs(v) == norm, np.sign(v), 0)
    else:
        expected = np.sign(v) * (np.abs(v) / norm) ** (ord - 1)
    assert_close(jax.grad(linalg.vector_norm)(x, ord), expected, units=16)
    assert_close(jax.grad(linalg.vector_norm)(jnp.zeros(3, DTYPE), ord), np.zeros(3), units=0)


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("ord", [1.5, 2, 3])
def test_norms_at_the_ends_of_the_range(ord, fraction):
    """1/x is no normal number, or x is close to the smallest normal number."""
    for entry in (fraction * float(np.finfo(DTYPE).max), 16 / fraction * float(np.finfo(DTYPE).tiny)):
        x = jnp.array([entry, 0.0], DTYPE)
        assert_close(linalg.vector_norm(x, ord), entry, units=4)
        assert_close(jax.grad(linalg.vector_norm)(x, ord)[0], 1.0, units=8)


def test_norms_of_halves_are_summed_in_float32():
    assert linalg.vector_norm(jnp.ones(70_000, jnp.float16)) == jnp.sqrt(70_000.0).astype(jnp.float16)
    assert linalg.matrix_norm(jnp.ones((300, 300), jnp.float16)) == 300


def test_norms_at_the_edges():
    assert linalg.vector_norm(jnp.zeros(0)) == 0
    assert jnp.isinf(linalg.vector_norm(jnp.array([1.0, jnp.inf])))
    assert jnp.isnan(linalg.vector_norm(jnp.array([1.0, jnp.nan])))
    assert linalg.vector_norm(jnp.array([3, 4])) == 5
    assert linalg.vector_norm(jnp.array([3 + 4j, 0])) == 5


MATRIX_ORDERS = ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf]


@pytest.mark.parametrize("ord", MATRIX_ORDERS)
def test_matrix_norm(ord):
    for shape in [(3, 4), (4, 3), (2, 5, 5)]:
        a = random_like(0, *shape)
        for keepdims in (False, True):
            got = linalg.matrix_norm(a, ord, keepdims=keepdims)
            expected = reference.linalg.matrix_norm(a, ord, keepdims=keepdims)
            assert_close(got, expected, units=16, scale=np.linalg.norm(a))
            np.testing.assert_allclose(
                expected, np.linalg.norm(np.asarray(a, np.float64), ord, (-2, -1), keepdims), rtol=1e-12
            )


def test_matrix_norm_refuses_unknown_orders():
    with pytest.raises(ValueError, match=r"expected ord.*got 3"):
        linalg.matrix_norm(jnp.ones((2, 2)), 3)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        linalg.matrix_norm(jnp.ones(3))


def test_spectral_norm_of_a_given_spectrum():
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    a = jnp.asarray(q @ np.diag([1, 2, 3, 4, 5, 7.0]) @ q.T, DTYPE)
    assert_close(linalg.spectral_norm(a), 7.0, units=16)
    assert linalg.spectral_norm(a.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    gradient = jax.grad(linalg.spectral_norm)(a)
    assert_close(gradient, np.outer(q[:, -1], q[:, -1]), units=64)


@pytest.mark.parametrize(
    ("left", "right"), [((5, 5), (5,)), ((5, 5), (5, 2)), ((3, 5, 5), (5, 2)), ((5, 5), (3, 5, 2))]
)
def test_solve(left, right):
    a, b = (
        random_like(0, *left) + 3 * jnp.eye(5, dtype=DTYPE).reshape((1,) * (len(left) - 2) + (5, 5)),
        random_like(1, *right),
    )
    expected = reference.linalg.solve(a, b)
    condition = np.linalg.cond(np.asarray(a)).max()
    assert_close(linalg.solve(a, b), expected, units=5 * condition)
    assert_close(jax.jit(linalg.solve)(a, b), expected, units=5 * condition)


@pytest.mark.parametrize(
    "singular", [[[0.1, 0.2], [0.3, 0.6]], [[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]
)
def test_a_singular_matrix_is_an_error(singular):
    a, b = jnp.array(singular, DTYPE), jnp.ones(2, DTYPE)
    with pytest.raises(np.linalg.LinAlgError, match="solve: a is singular"):
        linalg.solve(a, b)
    assert jnp.isnan(jax.jit(linalg.solve)(a, b)).all()
    batch = jax.jit(linalg.solve)(jnp.stack([a, jnp.eye(2, dtype=DTYPE)]), jnp.ones((2, 2, 1), DTYPE))
    assert jnp.isnan(batch[0]).all()
    assert_close(batch[1], np.ones((2, 1)), units=1)
    with pytest.raises(np.linalg.LinAlgError):
        reference.linalg.solve(a, b)


def test_solve_accepts_a_barely_regular_matrix():
    a = jnp.array([[1.0, 1.0], [1.0, 1.0 + 64 * EPS]], DTYPE)
    assert jnp.isfinite(linalg.solve(a, jnp.ones(2, DTYPE))).all()


@pytest.mark.parametrize("scale", [1e37, 1e-37])
def test_singularity_does_not_depend_on_scale(scale):
    a = jnp.array([[3.0, 1.0], [1.0, 3.0]], DTYPE) * scale
    assert_close(linalg.solve(a, scale * jnp.ones(2, DTYPE)), [0.25, 0.25], units=8)


def test_solve_of_nan_and_empty_systems():
    a = jnp.array([[1.0, jnp.nan], [0.0, 1.0]], DTYPE)
    assert jnp.isnan(linalg.solve(a, jnp.ones(2, DTYPE))).any()
    assert linalg.solve(jnp.ones((0, 0)), jnp.ones(0)).shape == (0,)
    assert linalg.solve(2 * jnp.eye(2, dtype=jnp.bfloat16), jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match=r"square.*\(2, 3\)"):
        linalg.solve(jnp.ones((2, 3)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(3,\)"):
        linalg.solve(jnp.ones((2, 2)), jnp.ones(3))


def test_the_derivative_of_solve():
    """d(A⁻¹b) = −A⁻¹ dA A⁻¹ b."""
    a, b, da = random_like(0, 4, 4) + 3 * jnp.eye(4, dtype=DTYPE), random_like(1, 4), random_like(2, 4, 4)
    tangent = jax.jvp(lambda a: linalg.solve(a, b), (a,), (da,))[1]
    inverse = np.linalg.inv(np.asarray(a, np.float64))
    expected = -inverse @ np.asarray(da, np.float64) @ inverse @ np.asarray(b, np.float64)
    assert_close(tangent, expected, units=100)
    cotangent = jax.grad(lambda a: linalg.solve(a, b)[0])(a)
    expected = -np.outer(inverse[0], inverse @ np.asarray(b, np.float64))
    assert_close(cotangent, expected, units=100)


@pytest.mark.parametrize("axis", [[0, 1], [0], np.array(0), jnp.int32(0), (0, 1)])
def test_an_axis_may_be_a_list_or_an_integer_of_any_library(axis: Any):
    x = np.arange(6.0, dtype=DTYPE).reshape(2, 3)
    expected = np.sqrt(np.square(x).sum() if np.size(axis) == 2 else np.square(x).sum(0))
    assert_close(linalg.vector_norm(x, axis=axis), expected, units=4)
    keepdims: Any = jnp.array(True)
    assert linalg.vector_norm(x, axis=axis, keepdims=keepdims).ndim == 2
