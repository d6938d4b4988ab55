"""Probabilities from logits, accurate near 0 and near 1."""

import numpy as np


def probability(logit: np.ndarray) -> np.ndarray:
    """Return 1/(1 + exp(-z)) of logits of any shape."""
    tail = np.exp(-abs(logit))
    return np.where(logit > 0, 1, tail) / (1 + tail)


def probabilities(logits: np.ndarray, axis: int) -> np.ndarray:
    """Return the probabilities of all classes, along an axis."""
    powers = np.exp(logits - logits.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)
