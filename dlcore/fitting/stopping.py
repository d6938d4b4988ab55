"""Stopping rules of a fit: flatness, divergence, the precision floor, and the float64 certificate.

The compiled loop calls `stop_code` at every evaluation of J. Only the precision floor is detected elsewhere: in
`loop.py` if an update changes nothing, and in `fit.py` if the tolerance of `tighter_tol` underflows.

With `stop="certificate"` a `Certifier` checks the parameters on the host when the loop has ended. If J was flat
and the gap is too large, the loop continues with the tolerance of `tighter_tol`.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.array_checks import is_traced
from dlcore._core.status import Status
from dlcore._core.types import Array, Params
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.certificate.bounds.curvature import MAX_COEFS, MAX_PRODUCTS
from dlcore.fitting.null_model import NullModel
from dlcore.fitting.state import LoopState
from dlcore.losses import half_poisson_deviance, sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.objective import BlockedData, Objective
from dlcore.objective.value_scale import value_scale

CODES = (None, Status.CONVERGED, Status.OUT_OF_STEPS, Status.DIVERGED, Status.PRECISION_FLOOR)
"""The status of each code of the compiled loop. None means that the loop is running."""

RUNNING = 0
CONVERGED, OUT_OF_STEPS, DIVERGED, PRECISION_FLOOR = range(1, len(CODES))

DIVERGENCE_INTERVAL = 1_000
"""Number of steps between two comparisons of J with its start. It is constant, so no chunk changes the outcome."""

Scalar: TypeAlias = Array | np.floating | np.integer
"""A number of shape (), on the device or on the host."""

FitData: TypeAlias = BlockedData | Sequence[npt.ArrayLike]
"""The data of a fit: (x, y), (x, y, weights), or the result of `Objective.prepare`."""

LossName: TypeAlias = Literal["logistic", "poisson", "softmax", "squared"]
"""The name of a loss in `dlcore.certify`."""

CERTIFICATE_NAMES: dict[object, LossName] = {
    sigmoid_cross_entropy: "logistic",
    half_poisson_deviance: "poisson",
    softmax_cross_entropy: "softmax",
    squared_error: "squared",
}
"""The names in `dlcore.certify` of the losses with a known bound on J − J*."""


class StopLimits(NamedTuple):
    """Limits at which a fit stops. They are traced, so a change of value compiles nothing.

    Attributes:
      tol: relative tolerance.
      max_steps: maximum number of updates.
      null: the null model, which is the scale of J.
    """

    tol: Scalar
    max_steps: Scalar
    null: NullModel


def is_flat(state: LoopState, penalty: Array, l2: Array, limits: StopLimits) -> Array:
    r"""Return whether the objective is flat to the relative tolerance `limits.tol`.

    With a penalty the rule is $\|\nabla J\|^2 \le 2\lambda\,\mathrm{tol}\,s$. Here s is
    $\min(\max(J, 10^{-3}J_0), \max(J_0 - J, P))$, see `value_scale`. J is measured from `saturated_value`, and P
    is the penalty. For a convex loss with the bias at its optimum, J is then within that tolerance of its minimum.
    If no feature helps, w and s go to 0. Therefore tol·s is at least $(4\epsilon)^2$ times `rounding_scale`,
    unless tol is 0.

    Without a penalty this bound does not exist. The rule is then
    $\|\nabla J\| \le \mathrm{tol}\,\|\nabla J(\theta_0)\|$, where $\theta_0$ are the initial parameters.
    """
    null_value, saturated_value, rounding_scale = limits.null
    eps = float(jnp.finfo(state.value.dtype).eps)
    scale = value_scale(state.value - saturated_value, penalty, jnp.subtract(null_value, saturated_value), eps)
    # Norms instead of squares: the square of 1e-20 underflows in float32.
    root_gap = jnp.maximum(jnp.sqrt(limits.tol) * jnp.sqrt(scale), 4 * eps * jnp.sqrt(rounding_scale))
    penalized = state.gradient_norm <= jnp.sqrt(2 * l2) * jnp.where(limits.tol > 0, root_gap, 0)
    return jnp.where(l2 > 0, penalized, state.gradient_norm <= limits.tol * state.first_gradient_norm)


def stop_code(
    state: LoopState, penalty: Array, l2: Array, limits: StopLimits, interval: int = DIVERGENCE_INTERVAL
) -> Array:
    """Return the code of the loop at `state`, before its update.

    Args:
      state: the state with J and ‖∇J‖ at its parameters.
      penalty: the part of J that the penalty adds.
      l2: λ.
      limits: tolerance, maximum number of steps and scale of J.
      interval: number of steps between two comparisons of J with its start.
    """
    is_finite = jnp.isfinite(state.value) & jnp.isfinite(state.gradient_norm)
    # The margin exceeds what the rounding of J can explain.
    margin = jnp.sqrt(jnp.finfo(state.value.dtype).eps) * jnp.abs(state.first_value)
    is_compared = (state.step % interval == 0) | (state.step >= limits.max_steps)
    diverged = ~is_finite | (is_compared & (state.value > state.first_value + margin))
    flat = is_flat(state, penalty, l2, limits)
    code = jnp.where(state.step >= limits.max_steps, OUT_OF_STEPS, RUNNING)
    code = jnp.where(flat, CONVERGED, code)
    return jnp.where(diverged, DIVERGED, code).astype(jnp.int32)


class Certifier(NamedTuple):
    """A problem on the host, with the data as the caller passed it. Its certificate is computed in float64."""

    loss: LossName
    l2: float
    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None

    def certificate(self, params: Params) -> Certificate:
        """Return the certificate of a head with these parameters."""
        coef, intercept = np.asarray(params.weight, np.float64).T, np.asarray(params.bias, np.float64)
        return certify(LinearHeads(coef, intercept, self.l2, self.loss), self.x, self.y, self.weights)


def make_certifier(objective: Objective, raw_data: FitData, data: BlockedData, params: Params) -> Certifier:
    """Return the certifier of an objective, or raise an error with the reason why no certificate exists.

    Args:
      objective: the objective that the fit minimizes.
      raw_data: the data as the caller passed it.
      data: the blocked data made of `raw_data`.
      params: the initial parameters.
    """
    name = CERTIFICATE_NAMES.get(objective.loss)
    ndim = 2 if name == "softmax" else 1
    if name is None or not objective.model.affine or np.ndim(getattr(params, "weight", ())) != ndim:
        raise ValueError(
            "stop: 'certificate' needs a linear head with the loss sigmoid_cross_entropy, softmax_cross_entropy, "
            "squared_error or half_poisson_deviance; stop='flat' works with every loss"
        )
    if any(map(is_traced, (objective.l2, data.x, data.y))):
        raise TypeError("stop: a certificate is computed in NumPy and cannot be traced; use stop='flat'")
    l2 = float(np.asarray(objective.l2, np.float64))
    arrays = (data.x, data.y, data.weights) if isinstance(raw_data, BlockedData) else (*raw_data, None)[:3]
    x, y = (host_checks.as_numpy(name, array) for name, array in zip("xy", arrays[:2], strict=True))
    if y.ndim != 1:
        raise ValueError(
            f"stop: 'certificate' needs y with one number for each row, shape (n,), got shape {y.shape}"
        )
    weights = None if arrays[2] is None else host_checks.as_numpy("weights", arrays[2])
    size = sum(int(np.size(leaf)) for leaf in (params.weight, params.bias))
    if l2 == 0 and name != "squared" and (size > MAX_COEFS or len(x) * size**2 > MAX_PRODUCTS):
        raise ValueError(
            f"stop: at l2 = 0 the certificate of the {name} loss needs the curvature, for at most {MAX_COEFS} "
            f"coefficients and rows·coefficients² ≤ {MAX_PRODUCTS:.0e}; got {len(x)} rows and {size} coefficients"
        )
    return Certifier(name, l2, x, y, weights)


def tighter_tol(state: LoopState, l2: float, limits: StopLimits, certificate: Certificate, tol: float) -> float:
    """Return a tolerance that is 4 to 1,000 times smaller than the flatness of a state.

    Within this range the next gap is about half of the allowed gap. With a penalty the gap is about proportional
    to the tolerance. Without a penalty it is about proportional to the square of the tolerance.

    Args:
      state: the state in which J was flat.
      l2: λ.
      limits: the limits of the loop so far.
      certificate: the certificate of `state.params`, whose gap is too large.
      tol: the tolerance that the certificate must meet.
    """
    norm, first_norm = float(state.gradient_norm), float(state.first_gradient_norm)
    factor = 0.5 * certificate.gap_tol(tol) / certificate.gap
    if l2 > 0:
        saturated_value = float(np.asarray(limits.null.saturated_value))
        value = float(state.value) - saturated_value
        null_value = float(np.asarray(limits.null.null_value)) - saturated_value
        penalty = l2 / 2 * float((np.asarray(state.params.weight, np.float64) ** 2).sum())
        scale = value_scale(value, penalty, null_value, float(np.finfo(state.value.dtype).eps), np)
        flat_at = norm**2 / (2 * l2 * scale) if scale > 0 else 0.0
    else:
        flat_at, factor = norm / first_norm if first_norm else 0.0, factor**0.5
    return float(flat_at) * min(0.25, max(1e-3, factor))


def final_status(code: int, *, stopped: bool, certificate: Certificate | None, tol: float) -> Status:
    """Return the status of a fit.

    Args:
      code: the last code of the loop.
      stopped: whether the callback stopped the fit.
      certificate: the certificate of the final parameters, or None.
      tol: the tolerance of the fit.
    """
    if certificate is not None and certificate.gap <= certificate.gap_tol(tol):
        return Status.CONVERGED
    status = CODES[code] or Status.STOPPED
    return Status.STOPPED if stopped and status is Status.OUT_OF_STEPS else status


def stop_message(
    status: Status,
    steps: int,
    first: np.floating,
    last: np.floating,
    gradient_norm: np.floating,
    advice: str,
    *,
    is_flat: bool = True,
    tol_underflowed: bool = False,
) -> str:
    """Return the status as a sentence, with the remedy.

    Args:
      status: the reason why the fit ended.
      steps: number of updates.
      first: J at the start.
      last: J at the end, in the dtype of the arithmetic.
      gradient_norm: ‖∇J‖ at the end.
      advice: the remedy if the fit diverged.
      is_flat: whether J is flat at the end. If not, a certificate alone shows convergence.
      tol_underflowed: whether the precision floor is that of the tolerance which the certificate needs.
    """
    count = f"{steps} step" + "s" * (steps != 1)
    if status is Status.CONVERGED:
        return f"converged after {count}: J is {'flat at ' if is_flat else ''}{last:.6g}"
    if status is Status.OUT_OF_STEPS:
        return (
            f"ran out of steps after {count}: J is {last:.6g} and ‖∇J‖ still {gradient_norm:.1e}; raise max_steps"
        )
    if status is Status.PRECISION_FLOOR:
        remedy = "; use float64 to continue" if last.dtype != np.float64 else ""
        cause = "an update changed no bit"
        if tol_underflowed:
            cause = f"the tolerance that the certificate needs is below the range of {last.dtype}"
        return f"reached the floor of {last.dtype} after {count}: {cause}, ‖∇J‖ is {gradient_norm:.1e}{remedy}"
    if status is Status.DIVERGED and steps == 0:
        cause = f"J is {first:.6g} and ‖∇J‖ {gradient_norm:.6g} at the start"
        return f"{cause}, beyond the range of {last.dtype}: scale the columns of x, y or params"
    if status is Status.DIVERGED:
        return f"diverged at step {steps}: J went from {first:.6g} to {last:.6g}; {advice}"
    return f"stopped by the callback after {count}: J is {last:.6g}"
