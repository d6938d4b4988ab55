"""What is summed over the rows, and the penalty that is added: pure functions of an objective's parts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._precision import working_dtype
from dlcore._types import Array, Params
from dlcore.linalg import vecdot
from dlcore.objective.labels import are_labels, as_labels


def losses(objective: Any, predict: Callable[[Array], Array], inputs: Array, y: Array) -> Array:
    """The loss of every row, with the model's output for a row as `predict` gives it."""

    def loss_of_one(row: Array, target: Array) -> Array:
        return objective.loss(predict(row), target)

    targets = as_labels(y) if are_labels(objective.loss, y) else y.astype(inputs.dtype)
    found = jax.vmap(loss_of_one)(inputs, targets)
    if found.ndim != 1:
        raise ValueError(f"loss: expected a scalar per example, got shape {found.shape[1:]}")
    return found


def sum_of_losses(objective: Any, params: Params, x: Array, y: Array, weights: Array | None) -> Array:
    """Sum of the losses of some rows, each times its weight."""
    dtype = dtype_of(params)
    params = in_working_dtype(params)
    found = losses(objective, lambda row: objective.model.apply(params, row), x.astype(dtype), y)
    if weights is None:
        return found.sum()
    # A row of weight 0 counts 0 also where its loss is infinite.
    return vecdot(weights.astype(dtype), jnp.where(weights.astype(bool), found, 0))


def penalty(objective: Any, params: Params) -> Array:
    """(l2/2)‖w‖² over every leaf called `weight`."""
    squares = sum(jnp.square(weight).sum() for weight in penalised(in_working_dtype(params)))
    return jnp.asarray(objective.l2, dtype_of(params)) / 2 * squares


def dtype_of(params: Params) -> np.dtype:
    """The dtype of the arithmetic: that of the parameters, float32 for halves."""
    dtype = jnp.result_type(*jax.tree.leaves(params))
    return working_dtype(jax.dtypes.canonicalize_dtype(dtype if jnp.issubdtype(dtype, jnp.floating) else float))


def in_working_dtype(params: Params) -> Params:
    """The parameters in the dtype of the arithmetic."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, working_dtype(jnp.result_type(leaf))), params)


def penalised(params: Params) -> list[Array]:
    """The leaves of `params` that l2 acts on: attributes and dictionary keys called `weight`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [leaf for path, leaf in leaves if path and _name(path[-1]) == "weight"]


def _name(key: Any) -> Any:
    """What the last step of a path is called: an attribute's name or a dictionary's key."""
    return getattr(key, "name", getattr(key, "key", None))
