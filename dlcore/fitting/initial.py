"""Start of a fit: the arguments, the initial parameters and the initial state of the loop."""

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore._core import array_checks, host_checks
from dlcore._core.types import Array, Params, PRNGKey, working_dtype
from dlcore.fitting.state import LoopState
from dlcore.losses import get_loss_info
from dlcore.objective import BlockedData, Objective
from dlcore.objective.labels import class_count


def check_arguments(
    objective: Objective,
    callback: Callable[..., object] | None,
    callback_argument: str,
    max_steps: int,
    chunk: int | None,
) -> tuple[int, int | None]:
    """Check the arguments that `fit` and `sweep` share, and return `max_steps` and `chunk` as integers.

    Args:
      objective: the objective.
      callback: the callback, or None.
      callback_argument: the name of the class of the callback's argument.
      max_steps: maximum number of updates.
      chunk: number of steps between two callbacks, or None.
    """
    if not isinstance(objective, Objective):
        raise TypeError(f"objective: expected a dlcore.Objective, got {type(objective).__name__}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function of a {callback_argument}, got {callback!r}")
    max_steps = host_checks.check_count("max_steps", max_steps)
    return max_steps, None if chunk is None else host_checks.check_count("chunk", chunk)


def initial_params(objective: Objective, data: BlockedData, params: Params, key: PRNGKey | None) -> Params:
    """Return a copy of the initial parameters on the default device, in the dtype of the arithmetic."""
    model_dtype = None
    array_checks.check_key("key", key)
    if params is None:
        params = objective.model.init(key, *init_sizes(objective, data, key))
        model_dtype = working_dtype(data.x.dtype)

    def place(leaf: Array | np.ndarray) -> Array:
        array = leaf
        if not array_checks.is_traced(leaf):
            array = np.array(host_checks.as_numpy("params", leaf))
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"params: expected a floating-point dtype, got {array.dtype}")
        dtype = model_dtype or working_dtype(jax.dtypes.canonicalize_dtype(array.dtype))
        if isinstance(array, jax.Array):
            return array.astype(dtype)
        host_checks.check_finite("params", array)
        with np.errstate(over="ignore"):
            cast = array.astype(dtype)
        if not np.isfinite(cast).all():
            raise ValueError(f"params: expected numbers within the range of {dtype}")
        return jax.device_put(cast)

    params = jax.tree.map(place, params)
    check_initial_params(objective, data, params)
    return params


def check_initial_params(objective: Objective, data: BlockedData, params: Params) -> None:
    """Raise a ValueError if the shapes of the parameters do not fit the objective and the data."""
    objective.check_params(params)
    objective.check_classes(params, data)


def init_sizes(objective: Objective, data: BlockedData, key: PRNGKey | None) -> tuple[int, ...]:
    """Return the arguments of the model's `init` after the key.

    For an affine model, these are the number of features and, for class losses, the number of classes.
    """
    sizes = data.x.shape[1:] if objective.model.affine else ()
    if objective.model.affine and get_loss_info(objective.loss).classes:
        sizes = (*sizes, class_count(data.y))
    try:
        inspect.signature(objective.model.init).bind(key, *sizes)
    except TypeError:
        names = ", ".join(("key", "features", "classes")[: 1 + len(sizes)])
        raise TypeError(
            f"params: the model's init cannot be called with ({names}), which this fit passes; pass params"
        ) from None
    return sizes


def initial_state(optimizer: optax.GradientTransformationExtraArgs, params: Params) -> LoopState:
    """Return the state of the loop at step 0, with zeros in place of the optimizer's state."""
    shapes = jax.eval_shape(optimizer.init, params)
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in jax.tree.leaves(shapes)):
        placeholder = optimizer.init(params)  # random keys have no zeros
    else:
        placeholder = jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype)), shapes)
    zero = jax.device_put(np.zeros((), jnp.result_type(*jax.tree.leaves(params))))
    step = jax.device_put(np.int32(0))
    return LoopState(step, step, params, placeholder, zero, zero, zero, zero)
