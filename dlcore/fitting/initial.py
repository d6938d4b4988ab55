"""Where a fit starts: the caller's parameters or the model's own, checked and placed."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore._core import array_checks, host_checks
from dlcore._core.types import Array, Params, working_dtype
from dlcore.fitting.loop import LoopState
from dlcore.losses import facts_of
from dlcore.objective import BlockedData, Objective
from dlcore.objective.labels import class_count


def start(objective: Objective, data: BlockedData, params: Params, key: Array | None) -> Params:
    """The parameters to start from: a copy on the default device, in the dtype of the arithmetic."""
    chosen = None
    array_checks.check_key("key", key)
    if params is None:
        params = _first(objective, data, key)
        chosen = working_dtype(data.x.dtype)

    def place(leaf: Any) -> Array:
        if not array_checks.is_traced(leaf):
            leaf = np.array(host_checks.as_host_numbers("params", leaf))
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"params: expected a floating-point dtype, got {leaf.dtype}")
        dtype = chosen or working_dtype(jax.dtypes.canonicalize_dtype(leaf.dtype))
        if array_checks.is_traced(leaf):
            return leaf.astype(dtype)
        host_checks.check_finite("params", leaf)
        with np.errstate(over="ignore"):
            cast = leaf.astype(dtype)
        if not np.isfinite(cast).all():
            raise ValueError(f"params: expected numbers within the range of {dtype}")
        return jax.device_put(cast)

    params = jax.tree.map(place, params)
    check_start(objective, data, params)
    return params


def check_start(objective: Objective, data: BlockedData, params: Params) -> None:
    """A ValueError if the objective has no use for such parameters; of them, only shapes matter."""
    objective.check_params(params)
    objective.check_classes(params, data)


def _first(objective: Objective, data: BlockedData, key: Array | None) -> Params:
    """What the model's `init` gives."""
    return objective.model.init(key, *init_sizes(objective, data, key))


def init_sizes(objective: Objective, data: BlockedData, key: Array | None) -> tuple[int, ...]:
    """What `init` takes besides the key: of an affine model, how many features and classes there are."""
    sizes = data.x.shape[1:] if objective.model.affine else ()
    if objective.model.affine and facts_of(objective.loss).classes:
        sizes = (*sizes, class_count(data.y))
    try:
        inspect.signature(objective.model.init).bind(key, *sizes)
    except TypeError:
        asked = ", ".join(("key", "features", "classes")[: 1 + len(sizes)])
        raise TypeError(
            f"params: the model's init does not take ({asked}) as this fit needs; pass params"
        ) from None
    return sizes


def before_start(optimizer: optax.GradientTransformationExtraArgs, params: Params) -> LoopState:
    """The state of the loop before its first step: shapes and dtypes, the rule's own state still blank."""
    shapes = jax.eval_shape(optimizer.init, params)
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in jax.tree.leaves(shapes)):
        blank = optimizer.init(params)  # random keys have no blank
    else:
        blank = jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype)), shapes)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    nothing = jax.device_put(np.zeros((), dtype))
    zero = jax.device_put(np.int32(0))
    return LoopState(zero, zero, params, blank, nothing, nothing, nothing, nothing)
