"""The objective of the best constant prediction, which the stopping rule measures a descent by."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import is_traced
from dlcore._core.programs import kept_programs
from dlcore._core.types import Array, Numeric, Params
from dlcore.devices import to_device
from dlcore.linalg import matmul, vecdot
from dlcore.losses import facts_of
from dlcore.losses.metadata import arguments_of
from dlcore.objective import BlockedData, Objective
from dlcore.objective.terms import dtype_of, in_working_dtype, losses

STEPS = 50
"""Most updates of the search for a loss that states no value."""
ENOUGH = 1e-4
"""Its relative accuracy: the value is a scale and no result."""
HALVINGS = 12
FEW = 8
"""Outputs up to which the search takes Newton's steps: their Hessians are made of every row."""


class Reference(NamedTuple):
    """Values that J is measured by.

    Attributes:
      null_value: J of the best constant prediction.
      saturated_value: the least that J could be.
      unit_value: a J of the targets' size.
    """

    null_value: Numeric
    saturated_value: Numeric
    unit_value: Numeric


def outputs_of(objective: Objective, data: BlockedData, params: Params) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of a prediction."""
    example = jax.ShapeDtypeStruct(data.x.shape[1:], dtype_of(params))
    return jax.eval_shape(lambda p, x: objective.model.apply(in_working_dtype(p), x), params, example)


def reference_of(
    objective: Objective, y: Any, weights: Any, l2: Any, outputs: jax.ShapeDtypeStruct, dtype: np.dtype
) -> Reference:
    """Compute J₀, the saturated value and that of the targets' size, as arrays of shape ().

    J₀ is −∞ where the loss of no constant is finite: then the penalty alone is the scale.

    Args:
      objective: what is minimised; its penalty counts nothing here.
      y: shape (n, …), targets.
      weights: shape (n,), or None.
      l2: λ; at 0 nothing is measured so.
      outputs: the shape and dtype of a prediction.
      dtype: of the arithmetic.
    """
    facts, objective = facts_of(objective.loss), dataclasses.replace(objective, l2=0.0)
    bound = arguments_of(objective.loss)
    if any(map(is_traced, (y, weights, *bound.values()))):
        found = _searched(objective, y, weights, outputs=outputs)
        return Reference(*(jax.lax.stop_gradient(number).astype(dtype) for number in found))
    y = np.asarray(y)
    weights = None if weights is None else np.asarray(weights)
    if not is_traced(l2) and float(np.asarray(l2)) == 0:  # nothing asks for it
        found = Reference(0.0, 0.0, 0.0)
    elif facts.null_value is None or facts.saturated is not None:
        found = Reference(
            *(np.asarray(number) for number in _searched(*to_device((objective, y, weights)), outputs=outputs))
        )
    else:
        share = np.full(len(y), 1 / len(y)) if weights is None else weights / weights.astype(np.float64).sum()
        aims = y if y.dtype.kind in "iu" else y.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            aims, share = aims[share > 0], share[share > 0]
            value = float(facts.null_value(aims, share, **bound))
            # Labels are of size 1; a loss without curvature grows with its target, another with the square.
            size = 1.0 if facts.curvature is None or facts.classes else float(share @ aims**2)
        found = Reference(value, 0.0, max(value, size))
    if not np.isfinite(np.array(found, np.float64)).all():
        found = Reference(-np.inf, 0.0, 0.0)
    with np.errstate(over="ignore", under="ignore"):
        return Reference(*(jax.device_put(np.asarray(number, dtype)) for number in found))


@kept_programs("outputs")
def _searched(
    objective: Objective, y: Array, weights: Array | None, *, outputs: jax.ShapeDtypeStruct
) -> tuple[Array, Array, Array]:
    """Minimise the mean loss over constant predictions by Newton's steps, or gradients, halved until J falls.

    Returns:
      The least mean, −∞ where none is finite; that of saturated predictions; and the mean at 0, or 0.
    """
    dtype = outputs.dtype
    scale = jnp.ones(len(y), dtype) if weights is None else weights.astype(dtype)
    rows = jnp.zeros((len(y), 0), dtype)

    def mean(constant: Array) -> Array:
        found = losses(objective, lambda _: constant.reshape(outputs.shape), rows, y)
        return vecdot(scale, jnp.where(scale > 0, found, 0)) / scale.sum()

    def improve(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        constant, value, _, step = carry
        gradient = newton = jax.grad(mean)(constant)
        if outputs.size <= FEW:
            newton = matmul(jnp.linalg.pinv(jax.hessian(mean)(constant), hermitian=True), gradient)
        rates = 0.5 ** jnp.arange(HALVINGS, dtype=dtype)[:, None]
        trials = constant[None] - jnp.concatenate([rates * newton[None], rates * gradient[None]])
        values = jax.lax.map(mean, trials)
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
    at_zero = jnp.abs(first[1])
    known = jnp.isfinite(value) & jnp.isfinite(least)
    return (
        jnp.where(known, value, -jnp.inf),
        jnp.where(known, least, 0),
        jnp.where(known & jnp.isfinite(at_zero), at_zero, 0),
    )
