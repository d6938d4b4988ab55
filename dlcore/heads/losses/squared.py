"""The squared loss, whose heads are solved exactly."""

import numpy as np

from dlcore._core import host_checks
from dlcore.heads.losses.base import HeadLoss


def r2(error: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Return 1 − error/height; a constant target has 1 for no error and else 0, as in scikit-learn."""
    constant = np.where(error == 0, 1.0, 0.0)
    return np.where(height > 0, 1 - error / np.where(height > 0, height, 1), constant)


def _r2(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    height = ((y - (y @ weight)[:, None]) ** 2) @ weight
    height = np.where(y.max(1) > y.min(1), height, 0)  # a mean rounds
    return r2(((logits - y) ** 2) @ weight, height)


def _check_targets(y: np.ndarray, weight: np.ndarray) -> None:
    del weight
    host_checks.check_squares("y", y)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(f"y: expected [n] or [n, targets], got shape {y.shape}")


def _predict(logits: np.ndarray) -> np.ndarray:
    return logits


SQUARED = HeadLoss("squared", {"r2": _r2}, _predict, check_targets=_check_targets)
"""The mean of squared errors."""
