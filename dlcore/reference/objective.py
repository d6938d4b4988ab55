"""Twins of `dlcore.objective` for linear heads: the value and the gradient derived by hand, in float64."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from dlcore.reference import losses

LOSSES = {
    "logistic": (losses.sigmoid_cross_entropy, losses.sigmoid_cross_entropy_derivative),
    "squared": (losses.squared_error, losses.squared_error_derivative),
}


def value_and_grad(
    loss: Literal["logistic", "squared"],
    weight: ArrayLike,
    bias: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    weights: ArrayLike | None = None,
    l2: float = 0.0,
) -> tuple[float, np.ndarray, float]:
    r"""$J$, $\partial J/\partial w$ and $\partial J/\partial b$.

    $J = \frac1S\sum_i s_i\ell_i + \frac{\lambda}{2}\|w\|^2$,
    $\nabla_w J = \frac1S X^\top(s \circ \ell') + \lambda w$, $\partial J/\partial b = \frac1S\sum_i s_i\ell'_i$

    with $\ell' = \hat y - y$ for the cross-entropy and $2(\hat y - y)$ for the squared error.

    Args:
      loss: "logistic" (cross-entropy of a sigmoid) or "squared".
      weight: shape (m,).
      bias: a number.
      x: shape (n, m).
      y: shape (n,).
      weights: shape (n,), s; None weighs every row 1.
      l2: λ.

    Returns:
      A number, shape (m,), a number; float64.
    """
    value_of, derivative_of = LOSSES[loss]
    w, x = np.asarray(weight, np.float64), np.asarray(x, np.float64)
    z = x @ w + float(np.asarray(bias))
    s = np.full(len(x), 1.0) if weights is None else np.asarray(weights, np.float64)
    slope = s * derivative_of(z, y) / s.sum()
    value = (s * value_of(z, y)).sum() / s.sum() + l2 / 2 * (w * w).sum()
    return float(value), slope @ x + l2 * w, float(slope.sum())
