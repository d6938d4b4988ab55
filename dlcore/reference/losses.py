"""Twins of `dlcore.losses`, element by element in float64, and their derivatives by hand."""

import numpy as np
from numpy.typing import ArrayLike


def squared_error(prediction: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""$(\hat y - y)^2$."""
    residual = np.asarray(prediction, np.float64) - np.asarray(target, np.float64)
    return residual * residual


def squared_error_derivative(prediction: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""$2(\hat y - y)$."""
    return 2 * (np.asarray(prediction, np.float64) - np.asarray(target, np.float64))


def sigmoid(logit: ArrayLike) -> np.ndarray:
    """$1/(1 + e^{-z})$."""
    with np.errstate(over="ignore"):  # e^{-z} = inf gives 0, which is the nearest float64 there
        return 1 / (1 + np.exp(-np.asarray(logit, np.float64)))


def sigmoid_cross_entropy(logit: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""$y\ln(1 + e^{-z}) + (1-y)\ln(1 + e^z)$, a side of weight 0 counting 0."""
    z, y = np.asarray(logit, np.float64), np.asarray(target, np.float64)
    with np.errstate(invalid="ignore"):  # 0·inf on the side that does not count
        positive = np.where(y == 0, 0.0, y * np.logaddexp(0, -z))
        negative = np.where(y == 1, 0.0, (1 - y) * np.logaddexp(0, z))
    return positive + negative


def sigmoid_cross_entropy_derivative(logit: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""$\sigma(z) - y = (1-y)\sigma(z) - y\sigma(-z)$."""
    z, y = np.asarray(logit, np.float64), np.asarray(target, np.float64)
    return (1 - y) * sigmoid(z) - y * sigmoid(-z)
