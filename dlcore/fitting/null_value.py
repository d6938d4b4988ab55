"""The objective of the best constant prediction, which the stopping rule measures a descent by."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._guards import is_traced
from dlcore._types import Array, Numeric, Params
from dlcore.linalg import matmul, vecdot
from dlcore.losses import facts_of
from dlcore.losses.facts import arguments_of
from dlcore.objective import BlockedData, Objective
from dlcore.objective.summands import dtype_of, in_working_dtype, losses

STEPS = 50
"""Most updates of the search for a loss that states no value."""
ENOUGH = 1e-4
"""Its relative accuracy: the value is a scale and no result."""
HALVINGS = 12


class Reference(NamedTuple):
    """What J is measured by: the value of the best constant prediction, and the least that any could have."""

    null_value: Numeric
    saturated_value: Numeric


def outputs_of(objective: Objective, data: BlockedData, params: Params) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of a prediction."""
    example = jax.ShapeDtypeStruct(data.x.shape[1:], dtype_of(params))
    return jax.eval_shape(lambda p, x: objective.model.apply(in_working_dtype(p), x), params, example)


def reference_of(
    objective: Objective, y: Any, weights: Any, outputs: jax.ShapeDtypeStruct, dtype: np.dtype
) -> Reference:
    """Compute J₀ and the saturated value, as arrays of shape ().

    The value is −∞ where the loss of no constant is finite: then the penalty alone is the scale.

    Args:
      objective: what is minimised; its penalty counts nothing here.
      y: shape (n, …), targets.
      weights: shape (n,), or None.
      outputs: the shape and dtype of a prediction.
      dtype: of the arithmetic.
    """
    facts, objective = facts_of(objective.loss), dataclasses.replace(objective, l2=0.0)
    if is_traced(y) or is_traced(weights):
        found = _searched(objective, y, weights, outputs=outputs)
        return Reference(*(jax.lax.stop_gradient(number).astype(dtype) for number in found))
    y = np.asarray(y)
    weights = None if weights is None else np.asarray(weights)
    if facts.null_value is None:
        found = Reference(*(np.asarray(number) for number in _searched(objective, y, weights, outputs=outputs)))
    else:
        share = np.full(len(y), 1 / len(y)) if weights is None else weights / weights.astype(np.float64).sum()
        aims = y if y.dtype.kind in "iu" else y.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            value = facts.null_value(aims[share > 0], share[share > 0], **arguments_of(objective.loss))
        found = Reference(value, 0.0)
    if not np.isfinite(found.null_value):
        found = Reference(-np.inf, 0.0)
    with np.errstate(over="ignore", under="ignore"):
        return Reference(*(jax.device_put(np.asarray(number, dtype)) for number in found))


@functools.partial(jax.jit, static_argnames="outputs")
def _searched(
    objective: Objective, y: Array, weights: Array | None, *, outputs: jax.ShapeDtypeStruct
) -> tuple[Array, Array]:
    """Minimise the mean loss over constant predictions by Newton's steps, or gradients, halved until J falls."""
    dtype = outputs.dtype
    scale = jnp.ones(len(y), dtype) if weights is None else weights.astype(dtype)
    rows = jnp.zeros((len(y), 0), dtype)

    def mean(constant: Array) -> Array:
        found = losses(objective, lambda _: constant.reshape(outputs.shape), rows, y)
        return vecdot(scale, jnp.where(scale > 0, found, 0)) / scale.sum()

    def improve(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        constant, value, _, step = carry
        gradient, hessian = jax.grad(mean)(constant), jax.hessian(mean)(constant)
        newton = matmul(jnp.linalg.pinv(hessian, hermitian=True), gradient)
        rates = 0.5 ** jnp.arange(HALVINGS, dtype=dtype)[:, None]
        trials = constant[None] - jnp.concatenate([rates * newton[None], rates * gradient[None]])
        values = jax.vmap(mean)(trials)
        values = jnp.where(jnp.isfinite(values), values, jnp.inf)
        best = values.argmin()
        lower = values[best] < value
        return (
            jnp.where(lower, trials[best], constant),
            jnp.where(lower, values[best], value),
            lower & (value - values[best] > ENOUGH * jnp.abs(value)),
            step + 1,
        )

    start = jnp.zeros(outputs.size, dtype)
    first = start, mean(start), jnp.asarray(True), jnp.int32(0)
    _, value, *_ = jax.lax.while_loop(lambda carry: carry[2] & (carry[3] < STEPS), improve, first)
    saturated = facts_of(objective.loss).saturated
    least = jnp.zeros((), dtype)
    if saturated is not None:
        found = jax.vmap(functools.partial(saturated, **arguments_of(objective.loss)))(y.astype(dtype))
        least = vecdot(scale, jnp.where(scale > 0, found, 0)) / scale.sum()
    return value, least
