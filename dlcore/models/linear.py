"""Linear heads: affine maps of the features to a number, a logit or the logits of classes."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import losses
from dlcore._core.array_checks import as_array
from dlcore._core.host_checks import check_count
from dlcore._core.types import Array
from dlcore.linalg import matmul, vecdot
from dlcore.models.base import LinearParams, Model


def _zeros(key: Array | None, features: int) -> LinearParams:
    """Return weights and bias 0 in the default floating-point dtype.

    The objective is convex: every start leads to the same optimum, and zeros need no `key`.
    """
    del key
    return _zero_params((check_count("features", features),), ())


def _class_zeros(key: Array | None, features: int, classes: int) -> LinearParams:
    """Return a column of weights and a bias for each class, all 0; see `_zeros`."""
    del key
    features, classes = check_count("features", features), check_count("classes", classes, minimum=2)
    return _zero_params((features, classes), (classes,))


def _zero_params(weight: tuple[int, ...], bias: tuple[int, ...]) -> LinearParams:
    dtype = jnp.result_type(float)
    return LinearParams(jax.device_put(np.zeros(weight, dtype)), jax.device_put(np.zeros(bias, dtype)))


def affine(params: LinearParams, x: Array) -> Array:
    r"""Return $w^\top x + b$ of one example: a number, or a vector with an entry for each column of $w$."""
    if not (hasattr(params, "weight") and hasattr(params, "bias")):
        raise TypeError(f"params: expected LinearParams(weight, bias), got {type(params).__name__}")
    weight, bias, x = as_array("weight", params.weight), as_array("bias", params.bias), as_array("x", x)
    if weight.ndim not in (1, 2) or x.shape != weight.shape[:1]:
        raise ValueError(
            f"x: expected one example of shape (features,) like the weights, got x {x.shape} and "
            f"weight {weight.shape}; vmap over the axis of the examples"
        )
    if bias.shape != weight.shape[1:]:
        raise ValueError(f"bias: expected one for each output, got weight {weight.shape} and bias {bias.shape}")
    return (vecdot(weight, x) if weight.ndim == 1 else matmul(x, weight)) + bias


def _probability(params: LinearParams, x: Array) -> Array:
    r"""Return $\sigma(w^\top x + b)$ of one example."""
    return losses.sigmoid(affine(params, x))


def _probabilities(params: LinearParams, x: Array) -> Array:
    r"""Return $\mathrm{softmax}(W^\top x + b)$ of one example."""
    return losses.softmax(affine(params, x))


linear = Model(init=_zeros, apply=affine, predict=affine, affine=True)
r"""Linear regression, $\hat y = w^\top x + b$. Its losses: `squared_error`, `absolute_error`, `huber`."""

logistic = Model(init=_zeros, apply=affine, predict=_probability, affine=True)
r"""Logistic regression, $P(y = 1 \mid x) = \sigma(w^\top x + b)$. Its loss: `sigmoid_cross_entropy`."""

softmax = Model(init=_class_zeros, apply=affine, predict=_probabilities, affine=True)
r"""Softmax regression, $P(y = k \mid x) = \mathrm{softmax}(W^\top x + b)_k$, W of shape (features, classes). Its
loss: `softmax_cross_entropy`."""
