"""References of `dlcore.losses`, element by element in float64, and their derivatives by hand."""

import numpy as np
from numpy.typing import ArrayLike


def squared_error(prediction: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $(\hat y - y)^2$."""
    residual = np.asarray(prediction, np.float64) - np.asarray(target, np.float64)
    return residual * residual


def squared_error_derivative(prediction: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $2(\hat y - y)$."""
    return 2 * (np.asarray(prediction, np.float64) - np.asarray(target, np.float64))


def absolute_error(prediction: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $|\hat y - y|$."""
    return np.abs(np.asarray(prediction, np.float64) - np.asarray(target, np.float64))


def absolute_error_derivative(prediction: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return -1, 0 or 1, the sign of $\hat y - y$."""
    return np.sign(np.asarray(prediction, np.float64) - np.asarray(target, np.float64))


def huber(prediction: ArrayLike, target: ArrayLike, delta: float = 1.0) -> np.ndarray:
    r"""Return $r^2/2$ where $|r| \le \delta$, else $\delta(|r| - \delta/2)$."""
    size = absolute_error(prediction, target)
    return np.where(size <= delta, size * size / 2, delta * (size - delta / 2))


def huber_derivative(prediction: ArrayLike, target: ArrayLike, delta: float = 1.0) -> np.ndarray:
    r"""Return $r$ where $|r| \le \delta$, else $\pm\delta$."""
    residual = np.asarray(prediction, np.float64) - np.asarray(target, np.float64)
    return np.where(np.abs(residual) <= delta, residual, delta * np.sign(residual))


def half_poisson_deviance(log_rate: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $e^z - yz - y + y\ln y$, where a target of 0 leaves $e^z$."""
    z, y = np.asarray(log_rate, np.float64), np.asarray(target, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # ln 0, 0·inf, and inf - inf at z = inf
        finite = np.exp(z) - np.where(y == 0, 0.0, y * (z + 1 - np.log(y)))
        return np.where(np.isposinf(z), z + 0 * y, finite)


def half_poisson_deviance_derivative(log_rate: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $e^z - y$."""
    with np.errstate(over="ignore"):
        return np.exp(np.asarray(log_rate, np.float64)) - np.asarray(target, np.float64)


def binary_cross_entropy(probability: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $-y\ln p - (1-y)\ln(1-p)$, where a term of weight 0 is 0."""
    p, y = np.asarray(probability, np.float64), np.asarray(target, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # ln 0 = -inf, and 0·inf in a term of weight 0
        positive, negative = y * np.log(p), (1 - y) * np.log1p(-p)
    return np.where(y == 0, 0.0, -positive) + np.where(y == 1, 0.0, -negative)


def binary_cross_entropy_derivative(probability: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $(1-y)/(1-p) - y/p$, where a term of weight 0 is 0."""
    p, y = np.asarray(probability, np.float64), np.asarray(target, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(y == 1, 0.0, (1 - y) / (1 - p)) - np.where(y == 0, 0.0, y / p)


def sigmoid(logit: ArrayLike) -> np.ndarray:
    """Return $1/(1 + e^{-z})$."""
    with np.errstate(over="ignore"):  # e^{-z} = inf gives 0, the nearest float64
        return 1 / (1 + np.exp(-np.asarray(logit, np.float64)))


def sigmoid_cross_entropy(logit: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $y\ln(1 + e^{-z}) + (1-y)\ln(1 + e^z)$, where a term of weight 0 is 0."""
    z, y = np.asarray(logit, np.float64), np.asarray(target, np.float64)
    with np.errstate(invalid="ignore"):  # 0·inf in a term of weight 0
        positive = np.where(y == 0, 0.0, y * np.logaddexp(0, -z))
        negative = np.where(y == 1, 0.0, (1 - y) * np.logaddexp(0, z))
    return positive + negative


def sigmoid_cross_entropy_derivative(logit: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return $\sigma(z) - y = (1-y)\sigma(z) - y\sigma(-z)$."""
    z, y = np.asarray(logit, np.float64), np.asarray(target, np.float64)
    return (1 - y) * sigmoid(z) - y * sigmoid(-z)


def softmax(logits: ArrayLike) -> np.ndarray:
    r"""Return $p_j = 1/\sum_k e^{z_k - z_j}$, over the last axis."""
    with np.errstate(over="ignore"):  # e^{z_k - z_j} = inf gives 0, the nearest float64
        return 1 / np.exp(differences(np.asarray(logits, np.float64))).sum(-1)


def softmax_cross_entropy(logits: ArrayLike, label: ArrayLike) -> np.ndarray:
    r"""Return $\sum_j t_j \ln(1 + \sum_{k \ne j} e^{z_k - z_j})$ over the last axis; a term of weight 0 is 0.

    Args:
      logits: shape (..., classes).
      label: shape (...), class numbers, integers; or (..., classes), probabilities t.

    Returns:
      Shape (...).
    """
    z = np.asarray(logits, np.float64)
    t = targets(label, z)
    surprise = np.logaddexp.reduce(differences(z), axis=-1)
    with np.errstate(invalid="ignore"):  # 0·inf of a class of weight 0
        return np.where(t == 0, 0.0, t * surprise).sum(-1)


def softmax_cross_entropy_derivative(logits: ArrayLike, label: ArrayLike) -> np.ndarray:
    r"""Return $p_j\sum_k t_k - t_j = \sum_k (t_k p_j - t_j p_k)$, shape (..., classes)."""
    p = softmax(logits)
    t = targets(label, p)
    return (t[..., None, :] * p[..., :, None] - t[..., :, None] * p[..., None, :]).sum(-1)


def differences(z: np.ndarray) -> np.ndarray:
    """Return z_k - z_j, shape (..., j, k), 0 for j = k and for two logits at -inf below a larger logit."""
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = z[..., None, :] - z[..., :, None]
    impossible = np.isneginf(z) & (z.max(-1, keepdims=True) > -np.inf)
    same = np.eye(z.shape[-1], dtype=bool) & ~np.isnan(z[..., None])
    return np.where(same | (impossible[..., None, :] & impossible[..., :, None]), 0.0, difference)


def targets(label: ArrayLike, logits: np.ndarray) -> np.ndarray:
    """Return class numbers as one-hot probabilities, and probabilities unchanged."""
    label = np.asarray(label)
    if label.ndim == logits.ndim:
        return label.astype(np.float64)
    return (np.arange(logits.shape[-1]) == label[..., None]).astype(np.float64)
