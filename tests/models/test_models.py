"""Models against their NumPy references: predictions, gradients, starts and errors."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close, random_like

from dlcore import Objective, reference
from dlcore.losses import sigmoid, softmax_cross_entropy
from dlcore.models import LinearParams, linear, logistic, mlp, softmax
from dlcore.reference.network import Layers

SCALAR_MODELS = pytest.mark.parametrize("model", [linear, logistic])


@SCALAR_MODELS
def test_models_equal_their_references(model):
    params = LinearParams(random_like(0, 5), random_like(1))
    x = random_like(2, 7, 5)
    z = jax.vmap(model.apply, (None, 0))(params, x)
    assert_close(z, reference.models.linear(params.weight, params.bias, x), units=8)
    predicted = jax.vmap(model.predict, (None, 0))(params, x)
    expected = reference.models.logistic if model is logistic else reference.models.linear
    assert_close(predicted, expected(params.weight, params.bias, x), units=16)


def test_softmax_equals_its_reference():
    params = LinearParams(random_like(0, 5, 3), random_like(1, 3))
    x = random_like(2, 7, 5)
    logits = jax.vmap(softmax.apply, (None, 0))(params, x)
    assert_close(logits, reference.models.affine(params.weight, params.bias, x), units=8)
    predicted = jax.vmap(softmax.predict, (None, 0))(params, x)
    assert_close(predicted, reference.models.softmax(params.weight, params.bias, x), units=16)


@SCALAR_MODELS
def test_the_start_is_zero_and_compiles_nothing(model, compiles):
    params = model.init(None, 4)
    assert compiles() == 0
    assert params.weight.shape == (4,)
    assert params.bias.shape == ()
    assert params.weight.dtype == DTYPE
    assert not params.weight.any()
    with pytest.raises(ValueError, match="features: expected an integer of at least 1, got 0"):
        model.init(None, 0)


def test_the_start_of_softmax_has_a_column_for_each_class(compiles):
    params = softmax.init(None, 4, 3)
    assert compiles() == 0
    assert (params.weight.shape, params.bias.shape, params.weight.dtype) == ((4, 3), (3,), DTYPE)
    assert not params.weight.any()
    with pytest.raises(ValueError, match="features: expected an integer of at least 1, got 0"):
        softmax.init(None, 0, 3)
    with pytest.raises(ValueError, match="classes: expected an integer of at least 2, got 1"):
        softmax.init(None, 4, 1)


def test_models_take_a_single_example():
    params = linear.init(None, 3)
    with pytest.raises(ValueError, match=r"x \(5, 3\) and weight \(3,\); vmap"):
        linear.apply(params, jnp.ones((5, 3), DTYPE))
    with pytest.raises(ValueError, match=r"x \(4,\)"):
        logistic.apply(params, jnp.ones(4, DTYPE))
    with pytest.raises(ValueError, match=r"x \(4,\) and weight \(3, 2\); vmap"):
        softmax.apply(softmax.init(None, 3, 2), jnp.ones(4, DTYPE))
    with pytest.raises(ValueError, match=r"bias: expected one for each output, got weight \(3,\) and bias \(2,\)"):
        linear.apply(params._replace(bias=jnp.ones(2)), jnp.ones(3, DTYPE))


def test_probabilities_at_large_logits():
    params = LinearParams(jnp.ones(1, DTYPE), jnp.zeros((), DTYPE))
    p = jax.vmap(logistic.predict, (None, 0))(params, jnp.array([[-1e4], [0.0], [1e4]], DTYPE))
    np.testing.assert_array_equal(p, [0, 0.5, 1])
    params = LinearParams(jnp.array([[1.0, 0.0]], DTYPE), jnp.zeros(2, DTYPE))
    p = jax.vmap(softmax.predict, (None, 0))(params, jnp.array([[-1e4], [0.0], [1e4]], DTYPE))
    np.testing.assert_array_equal(p, [[0, 1], [0.5, 0.5], [1, 0]])


# -- networks ------------------------------------------------------------------------------------------------


def problem(activation: Any, rows: int = 40) -> tuple[Any, Any, Any]:
    """Return parameters with nonzero biases, x and y of a network with layers 6, 5 and 4."""
    params = mlp((6, 5, 4), activation).init(jax.random.key(0))
    params = tuple(LinearParams(w, random_like(i, *b.shape) / 2) for i, (w, b) in enumerate(params))
    return params, np.asarray(random_like(7, rows, 6)), np.random.default_rng(1).integers(0, 4, rows)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradients_of_a_network_equal_the_backward_pass_of_the_reference(activation):
    """The reference, the objective, `jax.grad` and a forward derivative agree for all weights and biases."""
    params, x, y = problem(activation)
    objective = Objective(mlp((6, 5, 4), activation), softmax_cross_entropy, 0.3)
    flat = Layers(*(np.asarray(leaf, float) for layer in params for leaf in layer))
    expected, slopes = reference.network.value_and_grad(flat, x, y, activation, 0.3)
    value, gradient = objective.value_and_grad(params, (x, y))
    assert_close(value, expected, units=32)
    for tree in (gradient, jax.grad(objective.value)(params, (x, y))):
        for actual, slope in zip(jax.tree.leaves(tree), slopes, strict=True):
            assert_close(actual, slope, units=64, scale=1)
    direction = jax.tree.map(lambda leaf: random_like(leaf.size, *leaf.shape), params)
    forward = jax.jvp(lambda p: objective.value(p, (x, y)), (params,), (direction,))[1]
    directional = sum(
        (np.asarray(d, float) * s).sum() for d, s in zip(jax.tree.leaves(direction), slopes, strict=True)
    )
    assert_close(forward, directional, units=128, scale=1)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_backward_pass_of_the_reference_is_the_derivative_of_its_value(activation):
    """The oracle is a central difference in float64 along each parameter."""
    params, x, y = problem(activation)
    layers = Layers(*(np.asarray(leaf, float) for layer in params for leaf in layer))
    _, slopes = reference.network.value_and_grad(layers, x, y, activation, 0.3)
    h = 1e-6
    for number, (leaf, slope) in enumerate(zip(layers, slopes, strict=True)):
        for index in np.ndindex(leaf.shape):
            moved = [leaf.copy(), leaf.copy()]
            moved[0][index] += h
            moved[1][index] -= h
            up, down = (
                reference.network.value_and_grad(
                    Layers(*(m if i == number else layer for i, layer in enumerate(layers))), x, y, activation, 0.3
                )[0]
                for m in moved
            )
            assert abs((up - down) / (2 * h) - slope[index]) < 1e-8


def test_a_network_applies_its_layers_in_order():
    params, x, _ = problem("relu")
    network: Any = mlp((6, 5, 4), "relu")
    hidden = np.maximum(reference.models.affine(params[0].weight, params[0].bias, x), 0)
    logits = jax.vmap(network.apply, (None, 0))(params, x)
    assert_close(logits, reference.models.affine(params[1].weight, params[1].bias, hidden), units=32)
    predicted = jax.vmap(network.predict, (None, 0))(params, x)
    assert_close(predicted, reference.models.softmax(params[1].weight, params[1].bias, hidden), units=64)


def test_a_network_with_one_output_gives_a_number():
    network = mlp((3, 1))
    params = network.init(jax.random.key(0))
    x = random_like(0, 3)
    logit = network.apply(params, x)
    assert logit.shape == ()
    assert_close(logit, reference.models.linear(params[0].weight[:, 0], 0, x), units=8)
    assert_close(network.predict(params, x), sigmoid(logit), units=0)


def test_relu_at_0_and_at_nan():
    """The derivative of relu is 0 at 0, and nan stays nan."""
    network = mlp((1, 1, 1), "relu")
    layer = LinearParams(jnp.ones((1, 1), DTYPE), jnp.zeros(1, DTYPE))

    def f(x):
        return network.apply((layer, layer), jnp.reshape(x, (1,)))

    for x, value, slope in ((-2.0, 0, 0), (0.0, 0, 0), (3.0, 3, 1), (np.inf, np.inf, 1)):
        assert_close(f(jnp.asarray(x, DTYPE)), value, units=0)
        assert_close(jax.grad(f)(jnp.asarray(x, DTYPE)), slope, units=0)
    assert jnp.isnan(f(jnp.asarray(np.nan, DTYPE)))


def test_the_start_of_a_network():
    """Variances are Glorot's and He's to five standard errors, biases are 0, and keys give different weights."""
    for activation, variance in (("tanh", 2 / (300 + 400)), ("relu", 2 / 300)):
        params = mlp((300, 400, 10), cast(Any, activation)).init(jax.random.key(1))
        assert [layer.weight.shape for layer in params] == [(300, 400), (400, 10)]
        assert [layer.bias.shape for layer in params] == [(400,), (10,)]
        assert all(not layer.bias.any() and layer.weight.dtype == DTYPE for layer in params)
        for layer, expected in zip(params, (variance, 2 / 410), strict=True):
            drawn = np.asarray(layer.weight, float)
            error = np.sqrt(2 / drawn.size)
            assert abs(drawn.mean()) < 5 * np.sqrt(expected / drawn.size)
            assert abs(drawn.var() / expected - 1) < 5 * error
        if activation == "tanh":
            assert np.abs(params[0].weight).max() <= np.sqrt(6 / 700)
    network = mlp((3, 2))
    weights = [np.asarray(network.init(jax.random.key(k))[0].weight) for k in (0, 0, 1)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()
    from_raw_key = network.init(jax.random.PRNGKey(0))[0].weight
    np.testing.assert_array_equal(from_raw_key, weights[0])
    batch = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 4))
    assert batch[0].weight.shape == (4, 3, 2)


def test_equal_arguments_give_the_same_model():
    assert mlp((3, 4, 2)) is mlp([3, 4, 2], "tanh")
    assert mlp((3, 4, 2)) is not mlp((3, 4, 2), "relu")


def test_wrong_networks_are_named():
    for sizes, error, message in (
        (3, TypeError, "sizes: expected a sequence of integers, got 3"),
        ("34", TypeError, "sizes: expected a sequence of integers, got '34'"),
        ((3,), ValueError, r"sizes: expected at least an input and an output, got \(3,\)"),
        ((3, 0), ValueError, r"sizes\[1\]: expected an integer of at least 1, got 0"),
        ((3.0, 2), TypeError, r"sizes\[0\]: expected an integer, got 3.0"),
    ):
        with pytest.raises(error, match=message):
            mlp(cast(Any, sizes))
    with pytest.raises(ValueError, match="activation: expected 'tanh' or 'relu', got 'cube'"):
        mlp((3, 2), cast(Any, "cube"))
    network: Any = mlp((3, 2))
    for key, got in ((None, "None"), (0, "int"), (jnp.zeros(2), "ArrayImpl")):
        with pytest.raises(TypeError, match=rf"key: the start is random, expected a key .*, got {got}"):
            network.init(key)
    with pytest.raises(ValueError, match=r"key: expected one key, got shape \(2,\); vmap"):
        network.init(jax.random.split(jax.random.key(0)))
    params = network.init(jax.random.key(0))
    with pytest.raises(
        ValueError, match=r"params: expected weights of the shapes \[\(3, 2\)\], got \[\(3, 2\), \(3"
    ):
        network.apply(params * 2, jnp.ones(3, DTYPE))
    with pytest.raises(TypeError, match=r"params: expected a tuple of LinearParams\(weight, bias\), got dict"):
        network.apply({}, jnp.ones(3, DTYPE))
    with pytest.raises(ValueError, match=r"x \(5, 3\) and weight \(3, 2\); vmap"):
        network.apply(params, jnp.ones((5, 3), DTYPE))
