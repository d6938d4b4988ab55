"""Curvature of the objective, and many models in one pass."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close, random_like
from jax.flatten_util import ravel_pytree

from dlcore import Objective
from dlcore.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.models import LinearParams, Model, logistic, mlp, softmax
from dlcore.objective import BlockedData

ROWS, BLOCK = 1_003, 100
OBJECTIVE = Objective(logistic, sigmoid_cross_entropy, 0.3)
PARAMS = LinearParams(random_like(3, 5), random_like(4))


def example(weighted: bool = True, dtype: Any = DTYPE) -> BlockedData:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(ROWS, 5)), dtype)
    y = jnp.asarray(rng.random(ROWS) < 0.4, DTYPE)
    s = jnp.asarray(rng.random(ROWS) * (rng.random(ROWS) < 0.8), DTYPE) if weighted else None
    return BlockedData(x, y, s, BLOCK)


def close(a, b, units=64, dtype=DTYPE):
    """Each entry within 64 units of rounding of numbers of size 1: means of 1,003 terms."""
    jax.tree.map(lambda one, other: assert_close(one, np.asarray(other), units=units, scale=1, dtype=dtype), a, b)


@pytest.mark.parametrize("weighted", [False, True])
def test_many_models_are_each_of_them(weighted):
    data = example(weighted)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, -2 * leaf, 0 * leaf]), PARAMS)
    values, gradients = OBJECTIVE.values_and_grads(stacked, data)
    for index in range(3):
        one = jax.tree.map(lambda leaf, index=index: leaf[index], stacked)
        value, gradient = OBJECTIVE.value_and_grad(one, data)
        close(values[index], value)
        close(jax.tree.map(lambda leaf, index=index: leaf[index], gradients), gradient)


def test_each_of_many_models_may_have_its_own_penalty():
    data, l2 = example(), jnp.asarray([0.0, 2.0, 0.5], DTYPE)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, -2 * leaf, 3 * leaf]), PARAMS)
    expected = jax.vmap(lambda own, one: Objective(logistic, sigmoid_cross_entropy, own).value_and_grad(one, data))
    close(OBJECTIVE.values_and_grads(stacked, data, l2), expected(l2, stacked))
    head = LinearParams(random_like(1, 3, 5, 2), random_like(2, 3, 2))
    classes = BlockedData(data.x, data.y.astype(jnp.int32), data.weights, BLOCK)
    expected = jax.vmap(
        lambda own, one: Objective(softmax, softmax_cross_entropy, own).value_and_grad(one, classes)
    )
    close(Objective(softmax, softmax_cross_entropy).values_and_grads(head, classes, l2), expected(l2, head))
    with pytest.raises(ValueError, match=r"l2: expected one for each of the models \(3,\), got \(2,\)"):
        OBJECTIVE.values_and_grads(stacked, data, l2[:2])


def test_many_models_under_transformations():
    """The gradient of a sum of values is the gradients; a derivative of those, the Hessian-vector product."""
    data = example()
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, -2 * leaf]), PARAMS)
    _, gradients = OBJECTIVE.values_and_grads(stacked, data)
    close(jax.grad(lambda p: OBJECTIVE.values_and_grads(p, data)[0].sum())(stacked), gradients)
    along = jax.jvp(lambda p: OBJECTIVE.values_and_grads(p, data)[1], (stacked,), (stacked,))[1]
    for index in range(2):
        one = jax.tree.map(lambda leaf, index=index: leaf[index], stacked)
        close(jax.tree.map(lambda leaf, index=index: leaf[index], along), OBJECTIVE.hvp(one, one, data), units=128)


def test_a_row_of_weight_zero_counts_for_none_of_many_models():
    """Not even where its loss and slope are infinite."""
    x = jnp.asarray([[1.0], [np.finfo(DTYPE).max]], DTYPE)
    data = BlockedData(x, jnp.ones(2, DTYPE), jnp.asarray([1.0, 0.0], DTYPE), 1)
    params = LinearParams(jnp.asarray([[0.0], [-3.0]], DTYPE), jnp.zeros(2, DTYPE))
    values, gradients = Objective(logistic, squared_error).values_and_grads(params, data)
    np.testing.assert_array_equal(values, [1, 16])
    np.testing.assert_array_equal(gradients.weight, [[-2], [-8]])
    np.testing.assert_array_equal(gradients.bias, [-2, -8])


def test_a_loss_of_many_numbers_is_refused():
    wrong = Objective(logistic, lambda z, y: jnp.stack([z, y]))
    stacked = jax.tree.map(lambda leaf: leaf[None], PARAMS)
    for call in (lambda: wrong.value(PARAMS, example()), lambda: wrong.values_and_grads(stacked, example())):
        with pytest.raises(ValueError, match=r"loss: expected a scalar per example, got shape \(2,\)"):
            call()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_curvature_of_halves_is_computed_in_float32(dtype):
    data = example(dtype=dtype)
    wide = BlockedData(data.x.astype(jnp.float32), data.y, data.weights, BLOCK)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PARAMS)
    found = OBJECTIVE.hessian(params, data)
    assert found.dtype == jnp.float32
    close(found, OBJECTIVE.hessian(params, wide), dtype=jnp.float32)


def dense(objective, params, data):
    """The Hessian by jax.hessian, without blocks."""
    whole = BlockedData(data.x, data.y, data.weights, len(data.x))
    flat, build = ravel_pytree(params)
    return jax.hessian(lambda theta: objective.value(build(theta), whole))(flat)


@pytest.mark.parametrize("loss", [sigmoid_cross_entropy, squared_error, lambda z, y: jnp.cos(z) * y])
def test_the_hessian_is_the_second_derivative(loss):
    """The last loss is not convex: its ℓ'' has either sign."""
    objective, data = Objective(logistic, loss, 0.3), example()
    found = objective.hessian(PARAMS, data)
    expected = dense(objective, PARAMS, data)
    close(found, expected, units=128)
    np.testing.assert_array_equal(found, found.T)
    close(jax.jit(objective.hessian)(PARAMS, data), expected, units=128)


def test_hvp_is_the_hessian_times_a_vector():
    data = example()
    network = mlp([5, 3, 1])
    problems: list[tuple[Objective, Any]] = [
        (OBJECTIVE, PARAMS),
        (Objective(network, sigmoid_cross_entropy, 0.3), network.init(jax.random.key(0))),
    ]
    classes = BlockedData(data.x, data.y.astype(jnp.int32), data.weights, BLOCK)
    head = LinearParams(random_like(1, 5, 2), random_like(2, 2))
    problems.append((Objective(softmax, softmax_cross_entropy, 0.3), head))
    for objective, params in problems:
        given = classes if objective.model is softmax else data
        flat, build = ravel_pytree(params)
        v = random_like(9, flat.size)
        found = ravel_pytree(objective.hvp(params, build(v), given))[0]
        expected = np.asarray(dense(objective, params, given), float) @ np.asarray(v, float)
        assert_close(found, expected, units=256, scale=1)


def test_curvature_says_what_it_cannot_do():
    data = example()
    with pytest.raises(ValueError, match="hvp: expected v of the shapes of params"):
        OBJECTIVE.hvp(PARAMS, LinearParams(random_like(0, 4), random_like(0)), data)
    head = LinearParams(random_like(1, 5, 2), random_like(2, 2))
    with pytest.raises(ValueError, match="hessian: expected a linear head with one output"):
        Objective(softmax, softmax_cross_entropy).hessian(head, data)
    curved = Model(logistic.init, logistic.apply, logistic.predict)
    with pytest.raises(ValueError, match="hessian: expected a linear head"):
        Objective(curved, sigmoid_cross_entropy).hessian(PARAMS, data)
    with pytest.raises(ValueError, match="params: expected an axis of the models"):
        OBJECTIVE.values_and_grads(PARAMS, data)


def test_a_row_of_weight_zero_has_no_curvature():
    x = jnp.asarray([[1.0], [np.sqrt(np.finfo(DTYPE).max)]], DTYPE)
    data = BlockedData(x, jnp.ones(2, DTYPE), jnp.asarray([1.0, 0.0], DTYPE), 1)
    found = Objective(logistic, squared_error).hessian(
        LinearParams(jnp.ones(1, DTYPE), jnp.zeros((), DTYPE)), data
    )
    np.testing.assert_array_equal(found, [[2, 2], [2, 2]])


def test_many_models_are_two_products_per_block():
    """Vmap makes of the product with X, and of that with its transpose, one matrix product for all models."""
    models, data = 7, example(weighted=False)
    data = BlockedData(data.x[:1_000], data.y[:1_000], None, BLOCK)
    params = LinearParams(random_like(0, models, 5), random_like(1, models))
    for f in (OBJECTIVE.values_and_grads, jax.vmap(OBJECTIVE.value_and_grad, (0, None))):
        text = jax.jit(f).lower(params, data).as_text()
        dots = re.findall(r"stablehlo\.dot_general.*-> tensor<([0-9x]*)xf", text)
        shapes = sorted(tuple(sorted(map(int, shape.split("x")))) for shape in dots if "x" in shape)
        assert shapes == [(5, models), (models, BLOCK)]
