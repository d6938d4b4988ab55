"""One test for each idea of the curriculum, named after its id, and a test that each can fail.

Each test says which public functions its idea is made of. The last test replaces each of them by one that returns
zeros of the right shape, and expects the test of the idea to fail.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DTYPE, EPS, assert_close, breast_cancer, random_like
from scipy.special import expit
from sklearn.datasets import load_diabetes, load_digits

import dlcore
from dlcore import calculus, descent, graph, linalg, losses, models, objective, reference, tensors
from dlcore.calculus import Differentiable
from dlcore.models import LinearParams

ROWS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {}


def about(*functions: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Return a decorator that records the public functions of an idea, by their names below `dlcore`."""

    def register(test: Callable[[], None]) -> Callable[[], None]:
        ROWS[test.__name__.split("_")[1]] = (test, functions)
        return test

    return register


def array(values: Any) -> jax.Array:
    return jnp.asarray(values, DTYPE)


# -- tensors -------------------------------------------------------------------------------------------------


@about("tensors.Layout.check")
def test_T01_a_scalar_has_no_axes():
    scalar = tensors.Layout("", over="")
    for number in (3, 2.5, 1 / 3):
        checked = scalar.check(number)
        assert checked.shape == ()
        assert_close(checked, number, units=1)
    with pytest.raises(ValueError, match=r"expected 0-D \[\], got 1-D"):
        scalar.check(jnp.ones(3))


@about("linalg.add", "linalg.multiply")
def test_T02_vectors_of_one_length_span_a_space():
    """Houses as [area, bedrooms, bathrooms, population density]: half of one and half of another is a third."""
    house1, house2 = array([100.0, 3, 1, 2000]), array([200.0, 5, 2, 1000])
    between = linalg.add(linalg.multiply(0.5, house1), linalg.multiply(0.5, house2))
    assert_close(between, [150, 4, 1.5, 1500], units=1)


@about("linalg.matmul")
def test_T03_a_matrix_is_an_image_and_a_linear_map():
    image = array([[0, 1, 2], [3, 4, 5]])
    assert image[1, 2] == 5
    x, y = array([1, 2, 3]), array([0, -1, 4])
    combined = linalg.matmul(image, 2 * x + 3 * y)
    assert_close(combined, 2 * np.array([8, 26]) + 3 * np.array([7, 16]), units=4)
    assert combined.shape == (2,)


@about("tensors.Layout.check")
def test_T04_a_tensor_has_any_number_of_axes():
    names = ["height", "width", "depth", "channel", "frame"]
    for ndim in range(6):
        layout = tensors.Layout(" ".join(names[:ndim]), over="")
        x = random_like(ndim, *range(2, 2 + ndim))
        assert layout.ndim == ndim
        np.testing.assert_array_equal(layout.check(x), x)


def over_a_layout(names: str, over: str, shape: tuple[int, ...]) -> None:
    """A function over the examples of a layout and its gradient equal a loop over the examples."""
    layout = tensors.Layout(names, over=over)
    x = random_like(1, *shape)
    axis = names.split().index(over)

    def energy(one):
        weights = jnp.arange(1, one.size + 1, dtype=one.dtype).reshape(one.shape) / one.size
        return jnp.sum(weights * one * one)

    def energy_numpy(one):
        return (np.arange(1, one.size + 1).reshape(one.shape) / one.size * one**2).sum()

    mapped = tensors.over_examples(energy, layout)
    expected = reference.tensors.over_examples(energy_numpy, np.asarray(x, np.float64), axis)
    assert_close(jax.jit(mapped)(x), expected, units=x.size / shape[axis])
    slope = jax.grad(lambda x: mapped(x).sum())(x)
    example_shape = tuple(np.delete(shape, axis))
    weights = np.expand_dims(
        np.arange(1, np.prod(example_shape) + 1).reshape(example_shape) / np.prod(example_shape), axis
    )
    assert_close(slope, 2 * weights * np.asarray(x, np.float64), units=4)


@about("tensors.over_examples")
def test_T05_a_table_is_examples_by_features():
    over_a_layout("example feature", "example", (9, 4))


@about("tensors.over_examples")
def test_T06_sequences_of_samples():
    over_a_layout("sequence sample", "sequence", (5, 12))


@about("tensors.over_examples")
def test_T07_sequences_of_samples_of_features():
    over_a_layout("sequence sample feature", "sequence", (5, 6, 3))


@about("tensors.over_examples")
def test_T08_gray_images_with_the_example_last():
    over_a_layout("height width example", "example", (5, 4, 7))


@about("tensors.over_examples")
def test_T09_colour_images_with_the_example_last():
    over_a_layout("height width channel example", "example", (5, 4, 3, 7))


@about("tensors.Layout.rearrange", "tensors.Layout.check")
def test_T10_one_colour_image():
    example_layout = tensors.Layout("height width channel example").of_one()
    assert example_layout.axes == ("height", "width", "channel")
    image = random_like(0, 5, 4, 3)
    np.testing.assert_array_equal(example_layout.check(image), image)
    np.testing.assert_array_equal(example_layout.rearrange(image, "channel height width")[1], image[:, :, 1])


@about("tensors.over_examples")
def test_T11_collections_and_video():
    over_a_layout("height width channel frame", "frame", (4, 3, 3, 5))
    over_a_layout("height width depth channel frame", "frame", (4, 3, 2, 3, 5))


@about("tensors.over_examples")
def test_T12_one_function_over_every_layout():
    """The same images, the example first, in the middle and last, give the same numbers as a loop."""
    images = np.asarray(random_like(0, 6, 5, 4))
    expected = np.array([np.tanh(image.astype(np.float64)).max() for image in images])
    for axis in range(3):
        names = ["height", "width"]
        names.insert(axis, "example")
        layout = tensors.Layout(" ".join(names))
        got = tensors.over_examples(lambda image: jnp.tanh(image).max(), layout)(
            jnp.moveaxis(jnp.asarray(images), 0, axis)
        )
        assert_close(got, expected, units=4)


# -- linear algebra ------------------------------------------------------------------------------------------

TALL = [[1, 2], [3, 4], [5, 6]]


@about("linalg.matrix_transpose")
def test_LA01_the_transpose():
    np.testing.assert_array_equal(linalg.matrix_transpose(array(TALL)), [[1, 3, 5], [2, 4, 6]])
    np.testing.assert_array_equal(linalg.matrix_transpose(array([[1, 3], [4, 2]])), [[1, 4], [3, 2]])


@about("linalg.add", "linalg.multiply")
def test_LA02_a_scalar_plus_and_times_a_matrix():
    a = array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(linalg.add(10, a), [[11, 12], [13, 14]])
    np.testing.assert_array_equal(linalg.multiply(10, a), [[10, 20], [30, 40]])


@about("linalg.add")
def test_LA03_the_sum_of_matrices():
    a, b = array([[1, 2], [3, 4]]), array([[10, 20], [30, 40]])
    np.testing.assert_array_equal(linalg.add(a, b), [[11, 22], [33, 44]])
    np.testing.assert_array_equal(linalg.add(a, array([10, 20])), [[11, 22], [13, 24]])
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(3,\)"):
        linalg.add(a, jnp.ones(3, DTYPE))


@about("linalg.matmul")
def test_LA04_the_product_of_matrices():
    wide = array([[1, 3, 5, 7], [2, 4, 6, 8]])
    expected = [[5, 11, 17, 23], [11, 25, 39, 53], [17, 39, 61, 83]]
    np.testing.assert_array_equal(linalg.matmul(array(TALL), wide), expected)
    np.testing.assert_array_equal(reference.linalg.matmul(TALL, wide), expected)
    with pytest.raises(ValueError, match=r"\(n, m\)\(m, p\) = \(n, p\).*\(3, 2\) and \(3, 2\)"):
        linalg.matmul(array(TALL), array(TALL))


@about("linalg.matmul", "linalg.multiply")
def test_LA05_the_product_is_not_the_hadamard_product():
    a, b = array([[1, 2], [3, 4]]), array([[5, 6], [7, 8]])
    np.testing.assert_array_equal(linalg.matmul(a, b), [[19, 22], [43, 50]])
    np.testing.assert_array_equal(linalg.multiply(a, b), [[5, 12], [21, 32]])


@about("linalg.matmul", "linalg.vecdot")
def test_LA06_rows_times_columns():
    row, column = array([[1, 2, 3]]), array([[4], [5], [6]])
    np.testing.assert_array_equal(linalg.matmul(row, column), [[32]])
    np.testing.assert_array_equal(linalg.matmul(array([[1, 2, 3], [0, 1, 0]]), column), [[32], [5]])
    inner = linalg.vecdot(row[0], column[:, 0])
    assert inner.shape == ()
    assert inner == 32


@about("linalg.matmul")
def test_LA07_the_product_distributes_and_associates():
    """Sums of k terms have errors of at most a few k·eps·|A||B|, and two products twice that."""
    a, b, c, d = random_like(0, 6, 5), random_like(1, 5, 7), random_like(2, 5, 7), random_like(3, 7, 4)
    size_ab = np.abs(a) @ (np.abs(b) + np.abs(c))
    together, apart = linalg.matmul(a, b + c), linalg.matmul(a, b) + linalg.matmul(a, c)
    assert_close(together, apart, units=2 * 5 + 2, scale=size_ab)
    size_abd = np.abs(a) @ np.abs(b) @ np.abs(d)
    left, right = linalg.matmul(linalg.matmul(a, b), d), linalg.matmul(a, linalg.matmul(b, d))
    assert_close(left, right, units=2 * (5 + 7), scale=size_abd)
    assert float(jnp.abs(together).max()) > 0.1
    assert float(jnp.abs(left).max()) > 0.1


@about("linalg.matmul", "linalg.matrix_transpose")
def test_LA08_the_product_does_not_commute():
    a, b = array([[1, 2], [3, 4]]), array([[0, 1], [1, 0]])
    np.testing.assert_array_equal(linalg.matmul(a, b), [[2, 1], [4, 3]])
    np.testing.assert_array_equal(linalg.matmul(b, a), [[3, 4], [1, 2]])
    product = linalg.matrix_transpose(linalg.matmul(a, b))
    np.testing.assert_array_equal(product, linalg.matmul(linalg.matrix_transpose(b), linalg.matrix_transpose(a)))
    np.testing.assert_array_equal(product, [[2, 4], [1, 3]])


@about("linalg.identity", "linalg.matmul")
def test_LA09_the_identity():
    x = random_like(0, 5)
    np.testing.assert_array_equal(linalg.matmul(linalg.identity(5, dtype=x.dtype), x), x)


@about("linalg.inv")
def test_LA10_the_inverse_undoes_a_linear_map():
    a = array([[2, 1], [1, 1]])
    assert_close(linalg.inv(a), [[1, -1], [-1, 2]], units=16)
    x = random_like(0, 2)
    assert_close(linalg.matmul(linalg.inv(a), linalg.matmul(a, x)), x, units=64)
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        linalg.inv(array([[1, 2], [2, 4]]))
    with pytest.raises(ValueError, match=r"square.*\(3, 2\)"):
        linalg.inv(array(TALL))


@about("linalg.inv", "linalg.solve", "linalg.lstsq")
def test_LA11_equations_by_inverse_by_factors_and_by_least_squares():
    a, x = random_like(0, 8, 8), np.arange(1, 9)
    b = array(np.asarray(a, np.float64) @ x)
    condition = np.linalg.cond(np.asarray(a, np.float64))
    for solution in (linalg.matmul(linalg.inv(a), b), linalg.solve(a, b), linalg.lstsq(a, b)[0]):
        assert_close(solution, x, units=8 * condition)
    # Factors leave a residual of eps·|A||x|; an inverse may leave one that is larger by the condition number.
    residual = np.asarray(a, np.float64) @ np.asarray(linalg.solve(a, b), np.float64) - np.asarray(b, np.float64)
    assert np.abs(residual).max() <= 8 * 8 * EPS * np.abs(a).sum(1).max() * 8


@about("linalg.pinv")
def test_LA12_the_pseudo_inverse_meets_its_four_conditions():
    tall, wide = np.asarray(random_like(0, 6, 3)), np.asarray(random_like(1, 3, 6))
    deficient = tall[:, :2] @ wide[:2]
    for a in (tall, wide, deficient):
        p = np.asarray(linalg.pinv(jnp.asarray(a)), np.float64)
        scale = np.abs(p).max()
        a = a.astype(np.float64)
        assert_close(a @ p @ a, a, units=400)
        assert_close(p @ a @ p, p, units=400 * (1 + scale))
        assert_close(a @ p, (a @ p).T, units=400 * (1 + scale))
        assert_close(p @ a, (p @ a).T, units=400 * (1 + scale))
        assert scale > 0.01


@about("linalg.are_orthogonal", "linalg.are_orthonormal", "linalg.angle", "linalg.vecdot")
def test_LA13_orthogonal_and_orthonormal_vectors():
    x, y = array([1, 2, 2]), array([2, 1, -2])
    assert bool(linalg.are_orthogonal(x, y))
    assert not bool(linalg.are_orthogonal(x, y + 0.1))
    assert not bool(linalg.are_orthonormal(jnp.stack([x, y])))
    assert bool(linalg.are_orthonormal(jnp.stack([x, y]) / 3))
    assert_close(linalg.angle(x, y), np.pi / 2, units=4)
    assert_close(linalg.angle(x, 2 * x + 3 * y), np.arctan2(3, 2), units=8)
    assert linalg.vecdot(x, x) == 9
    assert linalg.vecdot(x, y) == 0


@about("linalg.is_orthogonal", "linalg.inv", "linalg.matrix_transpose")
def test_LA14_rotations_are_orthogonal():
    turn = array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert bool(linalg.is_orthogonal(turn))
    assert not bool(linalg.is_orthogonal(1.01 * turn))
    assert_close(linalg.inv(turn), np.asarray(linalg.matrix_transpose(turn)), units=16, scale=1)
    assert_close(linalg.matrix_transpose(turn)[0, 1], np.sin(0.3), units=2)


@about("linalg.is_symmetric")
def test_LA15_symmetric_matrices():
    assert bool(linalg.is_symmetric(array([[1, 3], [3, 2]])))
    assert not bool(linalg.is_symmetric(array([[1, 3], [4, 2]])))


@about("linalg.vector_norm")
def test_LA16_the_norms_of_a_vector():
    x = array([3, 4])
    for ord, expected in ((1, 7), (2, 5), (np.inf, 4)):
        assert_close(linalg.vector_norm(x, ord), expected, units=2)
    assert_close(linalg.vector_norm(x, 3), (27 + 64) ** (1 / 3), units=4)


@about("linalg.vector_norm")
def test_LA17_what_makes_a_norm():
    vectors = random_like(0, 2, 100, 5)
    for ord in (1, 1.5, 2, 3, np.inf):
        x, y, both = (linalg.vector_norm(v, ord, axis=-1) for v in (*vectors, vectors[0] + vectors[1]))
        assert bool((x > 0).all())
        assert linalg.vector_norm(jnp.zeros(5, DTYPE), ord) == 0
        assert_close(linalg.vector_norm(-3 * vectors[0], ord, axis=-1), 3 * np.asarray(x, np.float64), units=16)
        assert bool((both <= (x + y) * (1 + 16 * EPS)).all())
    x, y = array([1, 0]), array([0, 1])
    assert_close(linalg.vector_norm(x + y, 0.5), 4, units=8)  # and 1 + 1 = 2 is less
    assert_close(linalg.vector_norm(x, 0.5) + linalg.vector_norm(y, 0.5), 2, units=8)


@about("linalg.matrix_norm")
def test_LA18_the_frobenius_norm():
    a = random_like(0, 4, 3)
    assert_close(linalg.matrix_norm(a), np.linalg.norm(np.asarray(a, np.float64)), units=8)
    assert_close(linalg.matrix_norm(a), linalg.vector_norm(a.ravel()), units=4)


# -- calculus ------------------------------------------------------------------------------------------------


@about("calculus.difference_quotient", "calculus.derivative")
def test_C01_the_derivative_as_a_limit():
    def line(x):
        return 2 * x + 1

    for x in (2.0, 1.0):
        assert_close(calculus.difference_quotient(line, x, 0.01), 2, units=8 / 0.01)
        assert_close(calculus.derivative(line)(x), 2, units=1)


@about("calculus.difference_quotient", "calculus.derivative")
def test_C02_the_slope_depends_on_x():
    def parabola(x):
        return x * x + 1

    for x, secant in ((2.0, 4.01), (1.0, 2.01)):
        assert_close(calculus.difference_quotient(parabola, x, 0.01), secant, units=8 / 0.01)
        assert_close(calculus.derivative(parabola)(x), 2 * x, units=1)


@about("calculus.difference_quotient", "calculus.central_difference")
def test_C03_truncation_then_rounding():
    """The best steps, near √eps and ∛eps, lie between large and tiny steps."""
    for quotient, order in ((calculus.difference_quotient, 1), (calculus.central_difference, 2)):
        best = EPS ** (1 / (order + 1))
        x = jnp.linspace(0.5, 1.5, 50, dtype=DTYPE)
        exact = np.exp(np.asarray(x, np.float64))
        large, good, tiny = (
            np.abs(np.asarray(quotient(jnp.exp, x, h), np.float64) - exact).max() for h in (0.5, best, 4 * EPS)
        )
        assert good < large / 50
        assert good < tiny / 50
        assert good < 50 * best**order


@about("calculus.derivative", "calculus.central_difference", "calculus.Differentiable")
def test_C04_the_table_of_derivatives():
    pairs: list[tuple[Any, Any]] = [
        (lambda x: jnp.ones_like(x), lambda x: 0.0),
        (lambda x: x, lambda x: 1.0),
        (lambda x: x**2, lambda x: 2 * x),
        (lambda x: x**3, lambda x: 3 * x**2),
        (jnp.sqrt, lambda x: 0.5 * x**-0.5),
        (jnp.log, lambda x: 1 / x),
        (jnp.exp, np.exp),
    ]
    for f, df in pairs:
        for x in (0.5, 2.0):
            assert_close(calculus.derivative(f)(x), df(x), units=4, scale=max(abs(df(x)), 1))
            h = EPS ** (1 / 3)
            assert_close(calculus.central_difference(f, x, h), df(x), units=40 / h, scale=8)
    rules = [calculus.X, calculus.X**2, calculus.X**3, calculus.SQRT, calculus.LN, calculus.EXP]
    for pair, (_, df) in zip(rules, pairs[1:], strict=True):
        assert_close(calculus.Differentiable(pair.f, pair.df).df(array(2.0)), df(2.0), units=8)


@about("calculus.Differentiable")
def test_C05_the_rules():
    f = calculus.Differentiable(jnp.sin, jnp.cos)
    g = calculus.Differentiable(jnp.cosh, jnp.sinh)
    x = 0.7
    value, slope, other, rise = np.sin(x), np.cos(x), np.cosh(x), np.sinh(x)
    for pair, expected in (
        (3 * f, 3 * slope),
        (f + g, slope + rise),
        (f * g, slope * other + value * rise),
        (1 / f, -slope / value**2),
        (f / g, (slope * other - value * rise) / other**2),
        (f(g), np.cos(other) * rise),
    ):
        assert_close(pair.df(array(x)), expected, units=16, scale=4)
        assert_close(calculus.derivative(pair)(x), expected, units=16, scale=4)


@about("calculus.Differentiable")
def test_C06_the_examples_of_the_rules():
    x_, ln, exp = calculus.X, calculus.LN, calculus.EXP
    rebuilt = {name: calculus.Differentiable(p.f, p.df) for name, p in (("x", x_), ("ln", ln), ("exp", exp))}
    x_, ln, exp = rebuilt["x"], rebuilt["ln"], rebuilt["exp"]
    x = 2.5
    for pair, expected in (
        (18 * x_**4, 18 * 4 * x**3),
        (ln - x_**2 + 5, 1 / x - 2 * x),
        (2 * exp * x_, 2 * (np.exp(x) + np.exp(x) * x)),
        (1 / ln, -1 / (x * np.log(x) ** 2)),
        (ln / x_**2, (1 - 2 * np.log(x)) / x**3),
        (exp(x_**2), 2 * x * np.exp(x**2)),
    ):
        assert_close(pair.df(array(x)), expected, units=64, scale=abs(expected))


@about("calculus.partial", "calculus.central_difference")
def test_C07_partial_derivatives():
    def f(x, y):
        return x**2 * y + jnp.sin(y)

    x, y = 1.5, 0.5
    h = EPS ** (1 / 3)
    assert_close(calculus.partial(f, 0)(x, y), 2 * x * y, units=4)
    assert_close(calculus.partial(f, 1)(x, y), x**2 + np.cos(y), units=4)
    assert_close(calculus.central_difference(lambda x: f(x, array(y)), x, h), 2 * x * y, units=40 / h)
    assert_close(calculus.central_difference(lambda y: f(array(x), y), y, h), x**2 + np.cos(y), units=40 / h)


@about("calculus.gradient", "calculus.directional_derivative")
def test_C08_the_gradient_points_uphill():
    x = random_like(0, 4)
    steepest = calculus.gradient(lambda x: jnp.sum(x**3))(x)
    assert_close(steepest, 3 * np.asarray(x, np.float64) ** 2, units=4)
    length = float(np.linalg.norm(3 * np.asarray(x, np.float64) ** 2))
    directions = np.random.default_rng(0).normal(size=(200, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for v in directions[:20]:
        slope = calculus.directional_derivative(lambda x: jnp.sum(x**3), x, array(v))
        assert_close(slope, v @ (3 * np.asarray(x, np.float64) ** 2), units=32, scale=length)
        assert float(slope) <= length * (1 + 32 * EPS)


@about("calculus.gradient")
def test_C09_the_gradient_in_a_matrix_has_its_shape():
    a = random_like(0, 3, 4)
    got = calculus.gradient(lambda a: jnp.sum(jnp.sin(a)))(a)
    assert_close(got, np.cos(np.asarray(a, np.float64)), units=4)


@about("calculus.derivative", "calculus.jacobian")
def test_C10_the_chain_rule():
    x = 0.6
    both = calculus.derivative(lambda x: jnp.exp(jnp.sin(x)))(x)
    assert_close(both, np.exp(np.sin(x)) * np.cos(x), units=8)
    v = array([0.5, -1.0, 2.0])

    def f(v):
        return jnp.stack([v[0] * v[1], v[1] + v[2] ** 2])

    def g(u):
        return jnp.stack([jnp.sin(u[0]), u[0] * u[1], u[1] ** 2])

    product = linalg.matmul(calculus.jacobian(g)(f(v)), calculus.jacobian(f)(v))
    u = np.array([-0.5, 3.0])
    by_hand = np.array([[np.cos(u[0]), 0], [u[1], u[0]], [0, 2 * u[1]]]) @ np.array([[-1, 0.5, 0], [0, 1, 4]])
    assert_close(product, by_hand, units=32)
    assert_close(calculus.jacobian(lambda v: g(f(v)))(v), by_hand, units=32)


def lecture(x, y, z):
    return x * (jnp.log(3 * y) + z**2)


@about("graph.trace")
def test_C11_the_computation_graph():
    nodes = graph.trace(lecture, array(1.0), array(2.0), array(3.0)).nodes
    derivatives = {node.name: np.asarray(node.derivative).item() for node in nodes if node.name in "xyz"}
    for name, expected in (("x", 10.791759), ("y", 0.5), ("z", 6.0)):
        assert derivatives[name] == pytest.approx(expected, rel=1e-6)
    pairs = [(float(node.value), float(node.derivative)) for node in nodes if node.derivative is not None]
    for value, derivative in ((1.791759, 1.0), (9.0, 1.0), (10.791759, 1.0)):
        assert any(
            v == pytest.approx(value, rel=1e-6) and d == pytest.approx(derivative, rel=1e-6) for v, d in pairs
        )
    assert float(nodes[-1].value) == pytest.approx(10.791759, rel=1e-6)


@about("models.mlp")
def test_C12_backpropagation_through_two_layers():
    """The gradient by hand in the reference equals the gradient of the model by JAX."""
    model = models.mlp((4, 5, 3))
    params = model.init(jax.random.key(0))
    x, label = random_like(1, 4), jnp.asarray(2)
    slope = jax.grad(lambda params: losses.softmax_cross_entropy(model.apply(params, x), label))(params)
    layers = reference.network.Layers(*map(np.asarray, jax.tree.leaves(params)))
    by_hand = reference.network.value_and_grad(layers, np.asarray(x)[None], [2])[1]
    for got, expected in zip(jax.tree.leaves(slope), by_hand, strict=True):
        assert_close(got, expected, units=64, scale=1)
        assert float(jnp.abs(got).max()) > 1e-3


# -- machine learning ----------------------------------------------------------------------------------------


@about("models.linear.apply", "models.linear.predict")
def test_ML01_an_estimate_is_a_function_of_parameters_and_one_example():
    params, x = LinearParams(array([2, -1]), array(0.5)), array([3, 4])
    for f in (models.linear.apply, models.linear.predict):
        assert_close(f(params, x), 2.5, units=4)
        assert_close(jax.jit(f)(params, x), 2.5, units=4)


@about("losses.squared_error")
def test_ML02_the_squared_error_and_its_mean():
    predictions, targets = array([1, 2, 4]), array([1, 4, 1])
    errors = jax.vmap(losses.squared_error)(predictions, targets)
    assert_close(errors.sum(), 13, units=2)
    assert_close(errors.mean(), 13 / 3, units=4)


@about("linalg.lstsq", "linalg.solve", "linalg.pinv", "fit")
def test_ML03_linear_regression_in_closed_form_and_by_descent():
    x, y = (np.asarray(part, np.float64) for part in load_diabetes(return_X_y=True))
    x, y = (x / x.std(0))[:, :4], (y - y.mean()) / y.std()
    expected = np.linalg.lstsq(x, y, rcond=None)[0]
    a, b = array(x), array(y)
    gram = linalg.matmul(linalg.matrix_transpose(a), a)
    assert_close(linalg.solve(gram, linalg.matmul(linalg.matrix_transpose(a), b)), expected, units=100)
    assert_close(linalg.lstsq(a, b)[0], expected, units=100)
    assert_close(linalg.matmul(linalg.pinv(a), b), expected, units=100)
    problem = dlcore.Objective(models.linear, losses.squared_error)
    rate = descent.lipschitz_step(problem, (a, b))
    fitted = dlcore.fit(problem, (a, b), descent.gradient_descent(rate), tol=0, max_steps=500)
    assert_close(fitted.params.weight, expected, units=2_000 if np.float32 == DTYPE else 1e6)


@about("fit")
def test_ML04_can_the_error_reach_zero():
    """The error reaches zero with as many weights as examples. With fewer weights the noise is left."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=6)
    problem = dlcore.Objective(models.linear, losses.squared_error)

    def left(features: int) -> float:
        x = np.random.default_rng(1).normal(size=(6, features))
        rate = descent.lipschitz_step(problem, (array(x), array(y)))
        fitted = dlcore.fit(problem, (array(x), array(y)), descent.gradient_descent(rate), tol=0, max_steps=5_000)
        extended = np.column_stack([x, np.ones(6)])
        floor = np.mean((extended @ np.linalg.lstsq(extended, y, rcond=None)[0] - y) ** 2)
        assert fitted.value == pytest.approx(floor, rel=1e-3, abs=1e-6)
        assert np.linalg.norm(fitted.params.weight) > 0.1
        return float(fitted.value)

    assert left(12) < 1e-6
    assert left(2) > 0.1


@about("descent.gradient_descent")
def test_ML05_local_minima():
    """x⁴ − 8x² + x has two minima, and the start decides which is found. One program runs all starts."""

    def f(x):
        return x**4 - 8 * x**2 + x

    def end(start):
        optimizer = descent.gradient_descent(0.01)

        def step(_, carried):
            x, state = carried
            update, state = optimizer.update(jax.grad(f)(x), state, x)
            return optax.apply_updates(x, update), state

        return jax.lax.fori_loop(0, 300, step, (start, optimizer.init(start)))[0]

    ends = jax.jit(jax.vmap(end))(jnp.linspace(-3, 3, 50, dtype=DTYPE))
    roots = np.sort(np.roots([4, 0, -16, 1]).real)
    expected = np.where(np.linspace(-3, 3, 50) < roots[1], roots[0], roots[2])
    assert_close(ends, expected, units=100)


@about("descent.gradient_descent")
def test_ML06_descent_at_small_good_and_too_large_rates():
    """Each step on c·x²/2 multiplies the error by 1 − rate·c, which diverges at rates above 2/c."""
    curvature = 4.0
    for rate, factor in ((0.01, 0.96), (0.25, 0.0), (0.45, -0.8), (0.55, -1.2)):
        optimizer = descent.gradient_descent(rate)
        x: Any = array(1.0)
        state = optimizer.init(x)
        for step in range(1, 6):
            update, state = optimizer.update(curvature * x, state, x)
            x = optax.apply_updates(x, update)
            assert_close(x, factor**step, units=32, scale=max(1, abs(factor) ** step))
        assert (abs(float(x)) < 1) == (rate < 2 / curvature)


@about("fit", "descent.gradient_descent")
def test_ML07_the_update_until_the_objective_is_flat():
    x, y = breast_cancer()
    problem = dlcore.Objective(models.logistic, losses.sigmoid_cross_entropy, l2=0.1)
    fitted = dlcore.fit(problem, (x, y), descent.gradient_descent(0.1), tol=1e-3)
    assert fitted.status is dlcore.Status.CONVERGED
    assert 10 < fitted.steps < 10_000
    first_step = dlcore.fit(problem, (x, y), descent.gradient_descent(0.1), max_steps=1)
    slope = reference.objective.value_and_grad("logistic", np.zeros(30), 0.0, x, y, l2=0.1)
    assert_close(first_step.params.weight, -0.1 * slope[1], units=600)
    assert_close(first_step.params.bias, -0.1 * slope[2], units=600)
    assert first_step.status is dlcore.Status.OUT_OF_STEPS
    weight, bias = fitted.params
    _, weight, bias = reference.objective.value_and_grad("logistic", weight, bias, x, y, l2=0.1)
    assert np.sqrt((np.asarray(weight) ** 2).sum() + bias**2) < 0.02


@about("models.logistic.predict", "losses.sigmoid")
def test_ML08_the_logistic_model_is_a_probability():
    params, x = LinearParams(array([1, -2]), array(0.5)), array([2, 0.5])
    assert_close(models.logistic.predict(params, x), expit(1.5), units=4)
    z = array([-1e4, -100, -2, 0, 2, 100, 1e4])
    got = losses.sigmoid(z)
    assert_close(got, expit(np.asarray(z, np.float64)), units=4)
    assert bool(jnp.isfinite(jax.vmap(jax.grad(losses.sigmoid))(z)).all())


@about("losses.sigmoid_cross_entropy")
def test_ML09_cross_entropy_from_logits():
    z = array([-50, -1, 0, 1, 50])
    for label, sign in ((0.0, 1), (1.0, -1)):
        got = jax.vmap(lambda z, y=label: losses.sigmoid_cross_entropy(z, array(y)))(z)
        assert_close(got, np.logaddexp(0, sign * np.asarray(z, np.float64)), units=4)
    assert losses.sigmoid_cross_entropy(array(1e4), array(0.0)) == 1e4
    assert losses.sigmoid_cross_entropy(array(1e4), array(1.0)) == 0


def loss_of_one(w, b, x, y):
    """Return the logistic loss of one example by its formula, which has every node of the lecture."""
    z = jnp.sum(w * x) + b
    p = 1 / (1 + jnp.exp(-z))
    return -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))


@about("graph.trace", "losses.sigmoid_cross_entropy")
def test_ML10_the_derivation_by_the_graph():
    w, b, x, y = array([0.5, -1.0]), array(0.25), array([2.0, 1.5]), array(1.0)
    z = 0.5 * 2 - 1.5 + 0.25
    p = expit(z)
    drawn = graph.trace(lambda w, b: loss_of_one(w, b, x, y), w, b)
    by_name = {node.name: node for node in drawn.nodes}
    assert_close(by_name["w"].derivative, (p - 1) * np.array([2, 1.5]), units=32)
    assert_close(by_name["b"].derivative, p - 1, units=32)

    def has(value, derivative):
        return any(
            np.shape(node.value) == np.shape(value)
            and node.derivative is not None
            and np.allclose(np.asarray(node.value, np.float64), value, rtol=1e-5)
            and np.allclose(np.asarray(node.derivative, np.float64), derivative, rtol=1e-5)
            for node in drawn.nodes
        )

    assert has([1.0, -1.5], [p - 1, p - 1])  # aⱼ = xⱼwⱼ
    assert has(z, p - 1)
    assert has(p, (p - 1) / (p * (1 - p)))
    slope = jax.grad(lambda z: losses.sigmoid_cross_entropy(z, y))(array(z))
    assert_close(slope, p - 1, units=4)


@about("objective.Objective.value_and_grad", "objective.Objective.value")
def test_ML11_the_gradient_is_the_mean_of_the_examples_gradients():
    x, y = breast_cancer()
    params = LinearParams(random_like(0, 30) / 10, array(0.3))
    problem = objective.Objective(models.logistic, losses.sigmoid_cross_entropy)
    value, slope = problem.value_and_grad(params, (x, y))
    p = expit(np.asarray(x, np.float64) @ np.asarray(params.weight, np.float64) + 0.3)
    assert_close(slope.weight, np.asarray(x, np.float64).T @ (p - y) / len(y), units=600, scale=1)
    assert_close(slope.bias, np.mean(p - y), units=600, scale=1)

    def of_one(params, x, y):
        return losses.sigmoid_cross_entropy(models.logistic.apply(params, x), y)

    each = jax.vmap(jax.grad(of_one), (None, 0, 0))(params, jnp.asarray(x), jnp.asarray(y))
    assert_close(slope.weight, np.asarray(each.weight, np.float64).mean(0), units=600, scale=1)
    loss = reference.losses.sigmoid_cross_entropy(x.astype(np.float64) @ np.asarray(params.weight) + 0.3, y).mean()
    assert_close(value, loss, units=600)
    assert_close(problem.value(params, (x, y)), loss, units=600)


@about("graph.trace")
def test_ML12_a_logistic_regression_is_the_simplest_network():
    params, x = LinearParams(array([0.5, -1.0]), array(0.25)), array([2.0, 1.5])

    def loss(params):
        return losses.sigmoid_cross_entropy(models.logistic.apply(params, x), array(1.0))

    drawn = graph.trace(loss, params)
    p = expit(0.5 * 2 - 1.5 + 0.25)
    inputs = [node for node in drawn.nodes if not node.inputs and node.derivative is not None]
    slopes = [np.asarray(node.derivative, np.float64) for node in inputs]
    assert any(s.shape == (2,) and np.allclose(s, (p - 1) * np.array([2, 1.5]), rtol=1e-5) for s in slopes)
    assert any(s.shape == () and np.allclose(s, p - 1, rtol=1e-5) for s in slopes)
    assert float(drawn.nodes[-1].value) == pytest.approx(-np.log(p), rel=1e-5)
    assert "<svg" in drawn.to_svg()


@about("models.mlp", "fit")
def test_ML13_a_deep_network_learns_images():
    """Three layers on scikit-learn's digits, [height, width, example]: most held-out images are right."""
    digits: Any = load_digits()
    images, labels = np.moveaxis(digits.images / 16, 0, -1), digits.target
    layout = tensors.Layout("height width example")
    x = np.asarray(tensors.over_examples(jnp.ravel, layout)(array(images)))
    model = models.mlp((64, 32, 16, 10))
    problem = dlcore.Objective(model, losses.softmax_cross_entropy, l2=1e-4)
    train, test = slice(0, 1200), slice(1200, None)
    start = model.init(jax.random.key(0))
    fitted = dlcore.fit(problem, (x[train], labels[train]), descent.adam(0.01), params=start, max_steps=200)
    predicted = jax.vmap(model.predict, (None, 0))(fitted.params, jnp.asarray(x[test])).argmax(1)
    right = float((np.asarray(predicted) == labels[test]).mean())
    assert right > 0.88


@about("objective.Objective.value_and_grad")
def test_ML14_a_sum_over_data_on_disk():
    """The objective of a memory-mapped file is summed block by block, with one block in memory at a time."""
    rows, features, piece = 60_000, 40, 8_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        x = np.lib.format.open_memmap(path, "w+", DTYPE, (rows, features))
        x[:] = np.random.default_rng(0).normal(size=(rows, features))
        x.flush()
        del x
        stored = np.load(path, mmap_mode="r")
        w = np.linspace(-1, 1, features)
        y = (np.asarray(stored @ w.astype(DTYPE)) > 0).astype(DTYPE)
        params = LinearParams(array(w / 3), array(0.1))
        problem = objective.Objective(models.logistic, losses.sigmoid_cross_entropy)
        total, slope = 0.0, np.zeros(features)
        for first in range(0, rows, piece):
            part = slice(first, first + piece)
            value, gradient = problem.value_and_grad(params, (np.array(stored[part]), y[part]))
            fraction = len(y[part]) / rows
            total += fraction * float(value)
            slope += fraction * np.asarray(gradient.weight, np.float64)
        expected = reference.objective.value_and_grad("logistic", w / 3, 0.1, np.asarray(stored), y)
        assert_close(total, expected[0], units=64)
        assert_close(slope, expected[1], units=64, scale=1)
        assert abs(total) > 0.1


# -- the tests of the ideas can fail -------------------------------------------------------------------------

IDS = [
    *(f"T{k:02}" for k in range(1, 13)),
    *(f"LA{k:02}" for k in range(1, 19)),
    *(f"C{k:02}" for k in range(1, 13)),
    *(f"ML{k:02}" for k in range(1, 15)),
]


def test_every_idea_has_a_test():
    assert sorted(ROWS) == sorted(IDS)


def zeros(result: Any) -> Any:
    """Return the same structure with every number 0. A function becomes a function that returns zeros."""
    if isinstance(result, jax.Array | np.ndarray | np.generic):
        if jnp.issubdtype(result.dtype, jax.dtypes.prng_key):
            return result
        return jnp.zeros_like(result) if isinstance(result, jax.Array) else np.zeros_like(result)
    if isinstance(result, bool | int | float):
        return type(result)(0)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(zeros, result))
    if isinstance(result, tuple | list):
        return type(result)(map(zeros, result))
    if isinstance(result, dict):
        return {key: zeros(value) for key, value in result.items()}
    if isinstance(result, Differentiable):
        return Differentiable(zeros(result.f), zeros(result.df))
    if isinstance(result, graph.Graph):
        return dataclasses.replace(result, nodes=type(result.nodes)(zero_node(node) for node in result.nodes))
    if isinstance(result, dlcore.Fit):
        return dataclasses.replace(result, params=zeros(result.params))
    if callable(result):
        return lambda *arguments, **options: zeros(result(*arguments, **options))
    return result


def zero_node(node: Any) -> Any:
    changed = {"value": zeros(node.value), "derivative": zeros(node.derivative)}
    return node._replace(**changed) if hasattr(node, "_replace") else dataclasses.replace(node, **changed)


def replaced(name: str, patch: pytest.MonkeyPatch) -> None:
    """Replace `dlcore.<name>` by a function that returns zeros."""
    *path, last = name.split(".")
    holder: Any = dlcore
    for step in path:
        holder = getattr(holder, step)
    original = getattr(holder, last)
    if isinstance(holder, models.Model):  # a tuple of functions: put another in its place
        module, model = path[0], path[-1]
        patch.setattr(getattr(dlcore, module), model, holder._replace(**{last: zeros(original)}))
    else:
        patch.setattr(holder, last, zeros(original))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "function"), [(row, name) for row, (_, names) in sorted(ROWS.items()) for name in names]
)
def test_an_idea_whose_function_returns_zeros_fails(row, function, monkeypatch):
    test, _ = ROWS[row]
    replaced(function, monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test()
