"""When a descent stops, decided inside the compiled loop from numbers alone."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dlcore._core.status import Status
from dlcore._core.types import Array
from dlcore.objective.value_scale import value_scale

CODES = (None, Status.CONVERGED, Status.OUT_OF_STEPS, Status.DIVERGED, Status.PRECISION_FLOOR)
"""The status that each code of the compiled loop stands for; None: still running."""

RUNNING = 0
CONVERGED, OUT_OF_STEPS, DIVERGED, PRECISION_FLOOR = range(1, len(CODES))

DIVERGENCE_INTERVAL = 1_000
"""Every how many steps J is compared with its start. Fixed, so that the outcome depends on no chunk."""


class Limits(NamedTuple):
    """When a descent stops, as data.

    Attributes:
      tol: relative.
      max_steps: most updates.
      null_value: J₀, that of the best constant prediction.
      saturated_value: the least that J could be.
      unit_value: a J of the size of the targets; a gap below its rounding, twice over, is none.
    """

    tol: Any
    max_steps: Any
    null_value: Any
    saturated_value: Any
    unit_value: Any


def is_flat(
    value: Array, penalty: Array, gradient_norm: Array, first_gradient_norm: Array, l2: Array, limits: Limits
) -> Array:
    r"""Return whether the objective is flat to the relative accuracy `limits.tol`.

    $\|\nabla J\|^2 \le 2\lambda\,\mathrm{tol}\,s$ where $\lambda > 0$, with s the `value_scale` of J, or
    $\min(\max(J, 10^{-3}J_0), \max(J_0 - J, P))$ with the penalty's part P: for a convex loss, with the bias at
    its optimum, J is then within that tolerance of its minimum. Where no feature helps, w* = 0 and s falls with
    w: there $(4\epsilon)^2$ of a J of the targets' size will do.

    Without a penalty there is no such bound and the rule is $\|\nabla J\| \le \mathrm{tol}\,\|\nabla J\|$ at the
    start.
    """
    least = limits.saturated_value
    eps = float(jnp.finfo(value.dtype).eps)
    scale = value_scale(value - least, penalty, limits.null_value - least, eps)
    # As norms, not squares: in float32 the square of 1e-20 is 0.
    enough = jnp.maximum(jnp.sqrt(limits.tol) * jnp.sqrt(scale), 4 * eps * jnp.sqrt(limits.unit_value))
    penalised = gradient_norm <= jnp.sqrt(2 * l2) * jnp.where(limits.tol > 0, enough, 0)
    return jnp.where(l2 > 0, penalised, gradient_norm <= limits.tol * first_gradient_norm)


def judge(
    step: Array,
    value: Array,
    penalty: Array,
    first_value: Array,
    gradient_norm: Array,
    first_gradient_norm: Array,
    l2: Array,
    limits: Limits,
    interval: int = DIVERGENCE_INTERVAL,
) -> Array:
    """The code of how things stand at `step`, before its update; J is compared with its start every `interval`."""
    finite = jnp.isfinite(value) & jnp.isfinite(gradient_norm)
    # Above its start by more than the rounding of J could account for.
    margin = jnp.sqrt(jnp.finfo(value.dtype).eps) * jnp.abs(first_value)
    looked_at = (step % interval == 0) | (step >= limits.max_steps)
    diverged = ~finite | (looked_at & (value > first_value + margin))
    flat = is_flat(value, penalty, gradient_norm, first_gradient_norm, l2, limits)
    code = jnp.where(step >= limits.max_steps, OUT_OF_STEPS, RUNNING)
    code = jnp.where(flat, CONVERGED, code)
    return jnp.where(diverged, DIVERGED, code).astype(jnp.int32)


def sentence(status: Status, steps: int, first: Any, last: Any, gradient_norm: Any, advice: str) -> str:
    """The status as a sentence, with what to do about it.

    Args:
      status: why the descent ended.
      steps: how many updates were made.
      first: J at the start.
      last: J at the end, in the dtype of the arithmetic.
      gradient_norm: ‖∇J‖ at the end.
      advice: what to do if it diverged.
    """
    made = f"{steps} step" + "s" * (steps != 1)
    if status is Status.CONVERGED:
        return f"converged after {made}: J is flat at {last:.6g}"
    if status is Status.OUT_OF_STEPS:
        return (
            f"ran out of steps after {made}: J is {last:.6g} and ‖∇J‖ still {gradient_norm:.1e}; raise max_steps"
        )
    if status is Status.PRECISION_FLOOR:
        more = "; float64 goes on" if last.dtype != np.float64 else ""
        reached = f"reached the floor of {last.dtype} after {made}"
        return f"{reached}: an update changed no bit, ‖∇J‖ is {gradient_norm:.1e}{more}"
    if status is Status.DIVERGED and steps == 0:
        where = f"J is {first:.6g} and ‖∇J‖ {gradient_norm:.6g} where it starts"
        return f"{where}, beyond the range of {last.dtype}: scale the columns of x, y or params"
    if status is Status.DIVERGED:
        return f"diverged at step {steps}: J went from {first:.6g} to {last:.6g}; {advice}"
    return f"stopped by the callback after {made}: J is {last:.6g}"
