"""Fully connected networks: affine layers with an activation after each except the last."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlcore import losses
from dlcore._core.host_checks import check_count
from dlcore._core.types import Array
from dlcore.models.base import LinearParams, Model
from dlcore.models.linear import affine


def mlp(sizes: Sequence[int], activation: Literal["tanh", "relu"] = "tanh") -> Model:
    r"""Return a network of fully connected layers, a `Model`.

    $h_0 = x$, $h_l = a(W_l^\top h_{l-1} + b_l)$, and the last layer without $a$

    The parameters are a tuple of `LinearParams`, one for each layer. `init(key)` draws the weights so that the
    layers keep the variance of a signal. They are uniform within $\pm\sqrt{6/(\text{in} + \text{out})}$ (Glorot),
    or normal with variance $2/\text{in}$ before a relu (He). Biases are 0. `apply` returns logits of shape
    (classes,), or one logit of shape () if the last size is 1. `predict` returns the probabilities of the softmax,
    or the probability of the sigmoid.

    Args:
      sizes: sizes of the input, of each hidden layer and of the output: at least two integers, each at least 1.
      activation: "tanh", or "relu", max(0, z), whose derivative at 0 is 0.

    Returns:
      A `Model`. The same arguments return the same object, so that nothing is compiled twice. Its functions take
      one example of shape (sizes[0],).

    Raises:
      ValueError: if there are fewer than two sizes, a size is below 1 or the activation is unknown.
      TypeError: if a size is not an integer; from `init`, if the key is not a single random key.

    Source: Rumelhart, Hinton and Williams (1986); Glorot and Bengio (2010), equation 16; He, Zhang, Ren and Sun
    (2015), Delving deep into rectifiers, equation 10.

    >>> network = mlp((64, 32, 10))
    >>> params = network.init(jax.random.key(0))
    >>> print(params[0].weight.shape, network.apply(params, jnp.ones(64)).shape)
    (64, 32) (10,)
    """
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise TypeError(f"sizes: expected a sequence of integers, got {sizes!r}")
    if len(sizes) < 2:
        raise ValueError(f"sizes: expected at least an input and an output, got {tuple(sizes)}")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(f"activation: expected {' or '.join(map(repr, ACTIVATIONS))}, got {activation!r}")
    return _mlp(tuple(check_count(f"sizes[{i}]", size) for i, size in enumerate(sizes)), activation)


class Activation(NamedTuple):
    """An activation function, and the distribution of the weights before it.

    Attributes:
      function: maps an array, element by element.
      draw: (key, inputs, outputs) to the weights of a layer before the activation.
    """

    function: Callable[[Array], Array]
    draw: Callable[[Array, int, int], Array]


def _relu(z: Array) -> Array:
    """Return max(0, z), with the derivative 0 at 0; nan stays nan."""
    return jnp.where(z <= 0, 0, z)


def _glorot(key: Array, inputs: int, outputs: int) -> Array:
    """Draw uniform weights of variance 2/(inputs + outputs)."""
    limit = math.sqrt(6 / (inputs + outputs))
    return jax.random.uniform(key, (inputs, outputs), jnp.result_type(float), -limit, limit)


def _he(key: Array, inputs: int, outputs: int) -> Array:
    """Draw normal weights of variance 2/inputs."""
    return math.sqrt(2 / inputs) * jax.random.normal(key, (inputs, outputs), jnp.result_type(float))


ACTIVATIONS = {"tanh": Activation(jnp.tanh, _glorot), "relu": Activation(_relu, _he)}


@functools.cache
def _mlp(sizes: tuple[int, ...], activation: str) -> Model:
    activate, draw_hidden = ACTIVATIONS[activation]
    layers = list(itertools.pairwise(sizes))

    @jax.jit
    def draw_params(key: Array) -> tuple[LinearParams, ...]:
        keys = jax.random.split(key, len(layers))
        draws = [draw_hidden] * (len(layers) - 1) + [_glorot]
        dtype = jnp.result_type(float)
        return tuple(
            LinearParams(draw(keys[i], *layer), jnp.zeros(layer[1], dtype))
            for i, (draw, layer) in enumerate(zip(draws, layers, strict=True))
        )

    def init(key: Array) -> tuple[LinearParams, ...]:
        _check_key(key)
        return draw_params(key)

    def apply(params: Sequence[LinearParams], x: Array) -> Array:
        _check_layers(params, layers)
        for layer in params[:-1]:
            x = activate(affine(layer, x))
        output = affine(params[-1], x)
        return output[0] if sizes[-1] == 1 else output

    def predict(params: Sequence[LinearParams], x: Array) -> Array:
        output = apply(params, x)
        return losses.sigmoid(output) if sizes[-1] == 1 else losses.softmax(output)

    return Model(init, apply, predict)


def _check_key(key: object) -> None:
    """Check that `key` is a single key of `jax.random`, typed or as its numbers."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32):
        got = "None" if key is None else type(key).__name__
        raise TypeError(f"key: the start is random, expected a key such as jax.random.key(0), got {got}")
    if shape != (() if jnp.issubdtype(dtype, jax.dtypes.prng_key) else (2,)):
        raise ValueError(f"key: expected one key, got shape {shape}; vmap for several")


def _check_layers(params: object, layers: list[tuple[int, int]]) -> None:
    """Check that `params` are the layers of the network, with weights of the right shapes."""
    if not isinstance(params, tuple | list) or not all(hasattr(layer, "weight") for layer in params):
        raise TypeError(f"params: expected a tuple of LinearParams(weight, bias), got {type(params).__name__}")
    shapes = [jnp.shape(layer.weight) for layer in params]
    if shapes != layers:
        raise ValueError(f"params: expected weights of the shapes {layers}, got {shapes}")
