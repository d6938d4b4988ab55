"""References of `dlcore.models`, for one example or many."""

import numpy as np
from numpy.typing import ArrayLike

from dlcore.reference import losses


def linear(weight: ArrayLike, bias: ArrayLike, x: ArrayLike) -> np.ndarray:
    r"""Return $\sum_j w_j x_j + b$, over the last axis of `x`."""
    products = np.asarray(x, np.float64) * np.asarray(weight, np.float64)
    return products.sum(-1) + np.asarray(bias, np.float64)


def logistic(weight: ArrayLike, bias: ArrayLike, x: ArrayLike) -> np.ndarray:
    r"""Return $\sigma(\sum_j w_j x_j + b)$, as `logistic.predict` does. `logistic.apply` is `linear`."""
    return losses.sigmoid(linear(weight, bias, x))


def affine(weight: ArrayLike, bias: ArrayLike, x: ArrayLike) -> np.ndarray:
    r"""Return $\sum_j w_{jk} x_j + b_k$ for each output k, over the last axis of `x`, as `softmax.apply` does."""
    products = np.asarray(x, np.float64)[..., :, None] * np.asarray(weight, np.float64)
    return products.sum(-2) + np.asarray(bias, np.float64)


def softmax(weight: ArrayLike, bias: ArrayLike, x: ArrayLike) -> np.ndarray:
    """Return the softmax of `affine`, as `softmax.predict` does."""
    return losses.softmax(affine(weight, bias, x))
