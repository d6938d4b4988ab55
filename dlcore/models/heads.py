"""Linear heads: an affine map of the features, read as a number or as a logit."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._checks import check_count
from dlcore._guards import as_array
from dlcore._types import Array
from dlcore.linalg import vecdot
from dlcore.losses import sigmoid
from dlcore.models.interface import LinearParams, Model


def _zeros(key: Array | None, features: int) -> LinearParams:
    """Weights and bias 0 in the default floating-point dtype.

    The objective is convex, so every start leads to the same optimum, and this one needs no `key`.
    """
    del key
    features = check_count("features", features)
    dtype = jnp.result_type(float)
    return LinearParams(jax.device_put(np.zeros(features, dtype)), jax.device_put(np.zeros((), dtype)))


def _affine(params: LinearParams, x: Array) -> Array:
    r"""$w^\top x + b$ of one example."""
    if not (hasattr(params, "weight") and hasattr(params, "bias")):
        raise TypeError(f"params: expected LinearParams(weight, bias), got {type(params).__name__}")
    weight, bias, x = as_array("weight", params.weight), as_array("bias", params.bias), as_array("x", x)
    if x.shape != weight.shape or x.ndim != 1:
        raise ValueError(
            f"x: expected one example of shape (features,) like the weights, got x {x.shape} and "
            f"weight {weight.shape}; vmap over the axis of the examples"
        )
    return vecdot(weight, x) + bias


def _probability(params: LinearParams, x: Array) -> Array:
    r"""$\sigma(w^\top x + b)$ of one example."""
    return sigmoid(_affine(params, x))


linear = Model(init=_zeros, apply=_affine, predict=_affine, affine=True)
r"""Linear regression, $\hat y = w^\top x + b$. Takes `squared_error`."""

logistic = Model(init=_zeros, apply=_affine, predict=_probability, affine=True)
r"""Logistic regression, $P(y = 1 \mid x) = \sigma(w^\top x + b)$. Takes `sigmoid_cross_entropy`."""
