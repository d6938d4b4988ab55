"""Reference of a two-layer `dlcore.models.mlp` with softmax cross-entropy: the backward pass by hand."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dlcore.reference import losses


class Layers(NamedTuple):
    """Parameters of two layers, or derivatives with respect to them.

    Attributes:
      weight1: shape (features, hidden).
      bias1: shape (hidden,).
      weight2: shape (hidden, classes).
      bias2: shape (classes,).
    """

    weight1: np.ndarray
    bias1: np.ndarray
    weight2: np.ndarray
    bias2: np.ndarray


def forward(layers: Layers, x: ArrayLike, activation: Literal["tanh", "relu"]) -> tuple[np.ndarray, ...]:
    r"""Return $A_1 = X W_1 + b_1$, $H = a(A_1)$, $Z = H W_2 + b_2$ for X of shape (n, features).

    Returns:
      (A₁, H, Z): shapes (n, hidden), (n, hidden), (n, classes).
    """
    preactivation = np.asarray(x, np.float64) @ layers.weight1 + layers.bias1
    hidden = np.tanh(preactivation) if activation == "tanh" else np.maximum(preactivation, 0)
    return preactivation, hidden, hidden @ layers.weight2 + layers.bias2


def value_and_grad(
    layers: Layers, x: ArrayLike, y: ArrayLike, activation: Literal["tanh", "relu"] = "tanh", l2: float = 0.0
) -> tuple[float, Layers]:
    r"""Return the objective and its derivatives, last layer first.

    $E = \frac1n\sum_i \ell_i + \frac\lambda2(\|W_1\|^2 + \|W_2\|^2)$,

    $\partial E/\partial Z = (P - Y)/n$,
    $\partial E/\partial W_2 = H^\top\,\partial E/\partial Z + \lambda W_2$,
    $\partial E/\partial b_2 = \sum_i \partial E/\partial Z_i$,
    $\partial E/\partial A_1 = (\partial E/\partial Z\; W_2^\top) \circ a'(A_1)$,
    $\partial E/\partial W_1 = X^\top\,\partial E/\partial A_1 + \lambda W_1$,
    $\partial E/\partial b_1 = \sum_i \partial E/\partial A_{1i}$

    with $a' = 1 - H^2$ for tanh, and 1 where $A_1 > 0$ and 0 elsewhere for relu.

    Args:
      layers: the parameters.
      x: shape (n, features).
      y: shape (n,), class numbers.
      activation: the activation of the hidden layer.
      l2: λ.

    Returns:
      E and its derivatives; float64.
    """
    x = np.asarray(x, np.float64)
    layers = Layers(*(np.asarray(leaf, np.float64) for leaf in layers))
    preactivation, hidden, logits = forward(layers, x, activation)
    penalty = l2 / 2 * ((layers.weight1**2).sum() + (layers.weight2**2).sum())
    value = losses.softmax_cross_entropy(logits, y).mean() + penalty
    d_logits = losses.softmax_cross_entropy_derivative(logits, y) / len(x)
    d_activation = 1 - hidden * hidden if activation == "tanh" else np.where(preactivation > 0, 1.0, 0.0)
    d_preactivation = (d_logits @ layers.weight2.T) * d_activation
    gradient = Layers(
        weight1=x.T @ d_preactivation + l2 * layers.weight1,
        bias1=d_preactivation.sum(0),
        weight2=hidden.T @ d_logits + l2 * layers.weight2,
        bias2=d_logits.sum(0),
    )
    return float(value), gradient
