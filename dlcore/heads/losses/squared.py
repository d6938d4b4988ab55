"""The squared loss, whose heads are solved exactly."""

import numpy as np

from dlcore._core import host_checks
from dlcore.heads.losses.base import HeadLoss, l2_of_ridge_alpha
from dlcore.metrics.regression import batched_pearson_r, batched_r2


def _r2(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return batched_r2(y, logits, weight)


def _pearson_r(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return Pearson's r, or 0 if the targets or the predictions are constant."""
    r = batched_pearson_r(y, logits, weight)
    return np.where(np.isnan(r), 0.0, r)


def _check_targets(y: np.ndarray, weight: np.ndarray) -> None:
    del weight
    host_checks.check_squares("y", y)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(f"y: expected [n] or [n, targets], got shape {y.shape}")


def _predict(logits: np.ndarray) -> np.ndarray:
    return logits


SQUARED = HeadLoss(
    "squared",
    {"r2": _r2, "pearson_r": _pearson_r},
    _predict,
    penalties={"alpha": l2_of_ridge_alpha},
    check_targets=_check_targets,
)
"""The mean of squared errors."""
