"""References of `dlcore.objective` for linear heads: value and gradient derived by hand, in float64."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from dlcore.reference import losses

LOSSES = {
    "logistic": (losses.sigmoid_cross_entropy, losses.sigmoid_cross_entropy_derivative),
    "squared": (losses.squared_error, losses.squared_error_derivative),
    "absolute": (losses.absolute_error, losses.absolute_error_derivative),
    "huber": (losses.huber, losses.huber_derivative),
    "poisson": (losses.half_poisson_deviance, losses.half_poisson_deviance_derivative),
    "softmax": (losses.softmax_cross_entropy, losses.softmax_cross_entropy_derivative),
}


def value_and_grad(
    loss: Literal["logistic", "squared", "absolute", "huber", "poisson", "softmax"],
    weight: ArrayLike,
    bias: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    l2: float = 0.0,
) -> tuple[float, np.ndarray, np.ndarray]:
    r"""Return $J$, $\partial J/\partial w$ and $\partial J/\partial b$.

    $J = \frac1S\sum_i s_i\ell_i + \frac{\lambda}{2}\|w\|^2$,
    $\nabla_w J = \frac1S X^\top(s \circ \ell') + \lambda w$, $\partial J/\partial b = \frac1S\sum_i s_i\ell'_i$

    with $\ell' = \hat y - y$ for a cross-entropy and $2(\hat y - y)$ for the squared error. A softmax has a column
    for each class.

    Args:
      loss: "logistic" (sigmoid cross-entropy), "softmax" (softmax cross-entropy) or the name of a regression loss.
      weight: shape (m,), or (m, classes).
      bias: a number, or shape (classes,).
      x: shape (n, m).
      y: shape (n,).
      weights: weights s of the rows, shape (n,). None if each row weighs 1.
      l2: λ.

    Returns:
      A number, and the shapes of weight and bias; float64.
    """
    loss_value, loss_derivative = LOSSES[loss]
    w, x = np.asarray(weight, np.float64), np.asarray(x, np.float64)
    z = x @ w + np.asarray(bias, np.float64)
    s = np.full(len(x), 1.0) if weights is None else np.asarray(weights, np.float64)
    dz = (s * loss_derivative(z, y).T).T / s.sum()
    value = (s * loss_value(z, y)).sum() / s.sum() + l2 / 2 * (w * w).sum()
    return float(value), x.T @ dz + l2 * w, dz.sum(0)
