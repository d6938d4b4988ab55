"""Half the deviance of counts with the rates e^z: Poisson regression."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import AnyArray
from dlcore.heads.losses.base import Curvature, HeadLoss, NullModel, RowLoss, RowTerms, l2_of_mean_alpha
from dlcore.losses import half_poisson_deviance
from dlcore.metrics.regression import batched_d2_poisson, batched_poisson_deviance, half_poisson_deviances

LARGEST_LOG_RATE = 60.0
"""Logits above this are clipped in a pass, so that the rate of a trial step is finite."""

LARGEST_RATE = 1e20
"""The largest target that is accepted. It is far below exp(`LARGEST_LOG_RATE`)."""


def poisson_terms(logits: AnyArray, targets: AnyArray, xp: ModuleType = jnp) -> RowTerms:
    """Return the terms of half the deviance.

    Args:
      logits: logarithms of the rates, shape (B, 1, rows).
      targets: counts or rates of at least 0, shape (B, rows) or (1, rows).
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    z = xp.minimum(logits[:, 0], LARGEST_LOG_RATE)
    y = xp.broadcast_to(targets.astype(z.dtype), z.shape)
    value = half_poisson_deviances(z, y) if xp is np else jax.vmap(jax.vmap(half_poisson_deviance))(z, y)
    return RowTerms(value, (xp.exp(z) - y)[:, None], xp.ones(z.shape, bool))


def poisson_curvature(logits: AnyArray, xp: ModuleType = jnp) -> Curvature:
    """Return the rates of logits of shape (1, rows)."""
    return Curvature(xp.exp(xp.minimum(logits, LARGEST_LOG_RATE)))


def poisson_constant(y: np.ndarray, weights: np.ndarray, balance: None, *, fit_intercept: bool) -> NullModel:
    """Return the best constant prediction of each fit and target, the mean of the counts."""
    del balance
    total = np.repeat(weights.sum(1), y.shape[1])
    mean = (weights @ y).reshape(-1) / total if fit_intercept else np.ones(len(total))
    means = mean.reshape(len(weights), -1)
    fits = zip(weights, np.log(means), strict=True)
    value = [weight @ half_poisson_deviances(z[None], y) / weight.sum() for weight, z in fits]
    return NullModel(total, np.log(mean)[:, None], mean[:, None], np.concatenate(value))


def _check_targets(y: np.ndarray, weight: np.ndarray) -> None:
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(f"y: expected [n] or [n, targets], got shape {y.shape}")
    if (y > LARGEST_RATE).any():
        got = f"{float(y.max()):g}; divide y and l2 by the same number"
        raise ValueError(f"y: expected counts or rates of at most {LARGEST_RATE:g}, got {got}")
    if (y < 0).any():
        raise ValueError(f"y: expected counts or rates of at least 0, got {float(y.min()):g}")
    if not (y.reshape(len(y), -1)[weight > 0] > 0).any(0).all():
        raise ValueError("y: expected a positive number in rows of positive weight, got only zeros")


def _deviance(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return -batched_poisson_deviance(y, logits, weight)


def _d2(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return batched_d2_poisson(y, logits, weight)


def _predict(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(logits)


POISSON = HeadLoss(
    "poisson",
    {"d2": _d2, "poisson_deviance": _deviance},
    _predict,
    needs_positive=True,
    penalties={"alpha": l2_of_mean_alpha},
    row_loss=RowLoss(poisson_terms, poisson_curvature, poisson_constant),
    check_targets=_check_targets,
)
"""Half the mean deviance of counts."""
