"""Stopping with a proof: the float64 certificate of a linear head, asked for when the loop thinks it may hold."""

from typing import Any, NamedTuple

import numpy as np

from dlcore._core import host_checks
from dlcore._core.array_checks import is_traced
from dlcore._core.types import Params
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.certificate.bounds.curvature import AUTOMATIC, MOST
from dlcore.fitting.stopping import Limits
from dlcore.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.objective import BlockedData, Objective
from dlcore.objective.value_scale import value_scale

NAMES = {sigmoid_cross_entropy: "logistic", softmax_cross_entropy: "softmax", squared_error: "squared"}
"""The losses for which a bound is known, as `dlcore.certify` calls them."""


class Problem(NamedTuple):
    """What is certified: the data as it was given, on the host."""

    loss: str
    l2: float
    x: Any
    y: np.ndarray
    weights: np.ndarray | None

    def certificate(self, params: Params) -> Certificate:
        """Of a head with these parameters."""
        coef, intercept = np.asarray(params.weight, np.float64).T, np.asarray(params.bias, np.float64)
        return certify(LinearHeads(coef, intercept, self.l2, self.loss), self.x, self.y, self.weights)


def certifiable(objective: Objective, given: Any, data: BlockedData, params: Params) -> Problem:
    """The problem in float64, or why there is no certificate of it.

    Args:
      objective: what is minimised.
      given: the data as the caller passed it.
      data: what was made of it.
      params: where the descent starts.
    """
    name = NAMES.get(objective.loss)
    shape = {"logistic": 1, "squared": 1, "softmax": 2}.get(name or "")
    if name is None or not objective.model.affine or np.ndim(getattr(params, "weight", ())) != shape:
        raise ValueError(
            "stop: a certificate is known for linear heads with the losses sigmoid_cross_entropy, "
            "softmax_cross_entropy and squared_error; stop='flat' takes any"
        )
    if any(map(is_traced, (objective.l2, data.x, data.y))):
        raise TypeError("stop: a certificate is computed in NumPy and cannot be traced; use stop='flat'")
    l2 = float(np.asarray(objective.l2, np.float64))
    parts = (data.x, data.y, data.weights) if isinstance(given, BlockedData) else (*given, None)[:3]
    x, y = (host_checks.as_host_numbers(part, array) for part, array in zip("xy", parts[:2], strict=True))
    if y.ndim != 1:
        raise ValueError("stop: a certificate takes the numbers of classes, not their probabilities")
    weights = None if parts[2] is None else host_checks.as_host_numbers("weights", parts[2])
    size = sum(int(np.size(part)) for part in (params.weight, params.bias))
    if l2 == 0 and name != "squared" and (size > MOST or len(x) * size**2 > AUTOMATIC):
        raise ValueError(
            f"stop: without a penalty the certificate of a cross-entropy is by curvature, for at most {MOST} "
            f"coefficients and {AUTOMATIC:.0e} products, rows·coefficients²; got {len(x)} rows and {size} "
            "coefficients"
        )
    return Problem(name, l2, x, y, weights)


def aim_below(state: Any, l2: float, limits: Limits, certificate: Certificate, tol: float) -> float:
    """The tolerance of the loop at which the certificate may hold, below the one at which it is flat now."""
    norm, first_norm = float(state.gradient_norm), float(state.first_gradient_norm)
    if l2 > 0:
        value, null_value = float(state.value), float(limits.null_value)
        penalty = l2 / 2 * float((np.asarray(state.params.weight, np.float64) ** 2).sum())
        scale = value_scale(value, penalty, null_value, float(np.finfo(state.value.dtype).eps), np)
        flat_at = norm**2 / (2 * l2 * scale) if scale > 0 else 0.0
    else:
        flat_at = norm / first_norm if first_norm else 0.0
    return float(flat_at) * min(0.25, max(1e-3, 0.5 * certificate.gap_tol(tol) / certificate.gap))
