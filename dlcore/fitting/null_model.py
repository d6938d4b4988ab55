"""Null model of an objective: the best constant prediction. Its J is the scale of the stopping rule."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import is_traced
from dlcore._core.compilation.jit_cache import cached_jit
from dlcore._core.types import Array, ArrayLike, Numeric, Params
from dlcore.devices import to_device
from dlcore.linalg import matmul, vecdot
from dlcore.losses import get_loss_info
from dlcore.losses.metadata import bound_arguments
from dlcore.objective import BlockedData, Objective
from dlcore.objective.terms import dtype_of, in_working_dtype, losses

SEARCH_STEPS = 50
"""Maximum number of updates of the search for the null model."""
RELATIVE_TOL = 1e-4
"""Relative tolerance of the search. It may be loose, because J₀ is only a scale."""
STEP_SIZES = 12
"""Number of step sizes that the line search compares: 1, ½, ¼, …"""
NEWTON_OUTPUTS = 8
"""Maximum number of outputs for Newton's method, whose Hessian is a sum over all rows."""


class NullModel(NamedTuple):
    """Scales of J for the stopping rule.

    Attributes:
      null_value: J₀, the objective of the best constant prediction.
      saturated_value: lower bound on J, the mean of the least loss of each row.
      rounding_scale: the magnitude of J of which its rounding is a fraction. With a search for J₀ it is |mean
        loss| at the prediction 0. Without a search it is max(J₀, 1) for class indices and for losses without a
        curvature. For other losses it is max(J₀, mean of y²).
    """

    null_value: ArrayLike
    saturated_value: ArrayLike
    rounding_scale: ArrayLike


def prediction_struct(objective: Objective, data: BlockedData, params: Params) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of a prediction."""
    example = jax.ShapeDtypeStruct(data.x.shape[1:], dtype_of(params))
    return jax.eval_shape(lambda p, x: objective.model.apply(in_working_dtype(p), x), params, example)


def null_model_of(
    objective: Objective,
    y: Array | np.ndarray,
    weights: Array | np.ndarray | None,
    l2: Numeric,
    outputs: jax.ShapeDtypeStruct,
    dtype: np.dtype,
) -> NullModel:
    """Compute J₀, the saturated value and the rounding scale, as arrays of shape ().

    A formula gives J₀ if the loss has a `null_value` and no `saturated`, and nothing is traced. Otherwise J₀ is
    searched. J₀ is −∞ if no constant has a finite loss, or if another number of the result is not finite. The
    penalty alone is then the scale.

    Args:
      objective: the objective. Its penalty is ignored.
      y: targets, shape (n_rows, …).
      weights: weights of the rows, shape (n_rows,), or None.
      l2: λ. At 0 the values are not used. They are then 0, unless y, the weights or the loss are traced.
      outputs: the shape and dtype of a prediction.
      dtype: the dtype of the arithmetic.
    """
    info, objective = get_loss_info(objective.loss), dataclasses.replace(objective, l2=0.0)
    loss_arguments = bound_arguments(objective.loss)
    if any(map(is_traced, (y, weights, *loss_arguments.values()))):
        values = _search_null_model(objective, y, weights, outputs=outputs)
        return NullModel(*(jax.lax.stop_gradient(number).astype(dtype) for number in values))
    y = np.asarray(y)
    weights = None if weights is None else np.asarray(weights)
    if not is_traced(l2) and float(np.asarray(l2)) == 0:
        model = NullModel(0.0, 0.0, 0.0)
    elif info.null_value is None or info.saturated is not None:
        values = _search_null_model(*to_device((objective, y, weights)), outputs=outputs)
        model = NullModel(*(np.asarray(number) for number in values))
    else:
        share = np.full(len(y), 1 / len(y)) if weights is None else weights / weights.astype(np.float64).sum()
        targets = y if y.dtype.kind in "iu" else y.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            targets, share = targets[share > 0], share[share > 0]
            value = float(info.null_value(targets, share, **loss_arguments))
            # Class indices have size 1. A loss without a curvature grows linearly in y. A loss with a curvature
            # grows quadratically.
            size = 1.0 if info.curvature is None or info.classes else float(share @ targets**2)
        model = NullModel(value, 0.0, max(value, size))
    if not np.isfinite(np.array(model, np.float64)).all():
        model = NullModel(-np.inf, 0.0, 0.0)
    with np.errstate(over="ignore", under="ignore"):
        return NullModel(*(jax.device_put(np.asarray(number, dtype)) for number in model))


@cached_jit("outputs")
def _search_null_model(
    objective: Objective, y: Array, weights: Array | None, *, outputs: jax.ShapeDtypeStruct
) -> tuple[Array, Array, Array]:
    """Minimize the mean loss over constant predictions by Newton or gradient steps.

    Each step tries all step sizes along Newton's step and along the negative gradient, and takes the smallest
    value. With more than `NEWTON_OUTPUTS` outputs, only the gradient is used.

    Returns:
      The minimum (−∞ if none is finite), the mean of the least loss of each row, and the absolute mean loss at the
      prediction 0 (0 if it is not finite).
    """
    dtype = outputs.dtype
    row_weights = jnp.ones(len(y), dtype) if weights is None else weights.astype(dtype)
    rows = jnp.zeros((len(y), 0), dtype)

    def mean_loss(constant: Array) -> Array:
        row_losses = losses(objective, lambda _: constant.reshape(outputs.shape), rows, y)
        return vecdot(row_weights, jnp.where(row_weights > 0, row_losses, 0)) / row_weights.sum()

    def improve(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        constant, value, _, step = carry
        gradient = newton = jax.grad(mean_loss)(constant)
        if outputs.size <= NEWTON_OUTPUTS:
            newton = matmul(jnp.linalg.pinv(jax.hessian(mean_loss)(constant), hermitian=True), gradient)
        step_sizes = 0.5 ** jnp.arange(STEP_SIZES, dtype=dtype)[:, None]
        trials = constant[None] - jnp.concatenate([step_sizes * newton[None], step_sizes * gradient[None]])
        values = jax.lax.map(mean_loss, trials)
        values = jnp.where(jnp.isfinite(values), values, jnp.inf)
        best = values.argmin()
        improved = values[best] < value
        return (
            jnp.where(improved, trials[best], constant),
            jnp.where(improved, values[best], value),
            improved & (value - values[best] > RELATIVE_TOL * jnp.abs(value)),
            step + 1,
        )

    start = jnp.zeros(outputs.size, dtype)
    first = start, mean_loss(start), jnp.asarray(True), jnp.int32(0)
    _, value, *_ = jax.lax.while_loop(lambda carry: carry[2] & (carry[3] < SEARCH_STEPS), improve, first)
    saturated = get_loss_info(objective.loss).saturated
    saturated_value = jnp.zeros((), dtype)
    if saturated is not None:
        row_minima = jax.vmap(functools.partial(saturated, **bound_arguments(objective.loss)))(y.astype(dtype))
        saturated_value = vecdot(row_weights, jnp.where(row_weights > 0, row_minima, 0)) / row_weights.sum()
    at_zero = jnp.abs(first[1])
    is_finite = jnp.isfinite(value) & jnp.isfinite(saturated_value)
    return (
        jnp.where(is_finite, value, -jnp.inf),
        jnp.where(is_finite, saturated_value, 0),
        jnp.where(is_finite & jnp.isfinite(at_zero), at_zero, 0),
    )
