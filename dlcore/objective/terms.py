"""What is summed over the rows, and the penalty that is added: pure functions of an objective's parts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array, Params, working_dtype
from dlcore.linalg import matmul, matrix_transpose, vecdot
from dlcore.objective.labels import are_labels, as_labels


def losses(objective: Any, predict: Callable[[Array], Array], inputs: Array, y: Array) -> Array:
    """The loss of every row, with the model's output for a row as `predict` gives it."""

    def loss_of_one(row: Array, target: Array) -> Array:
        return _loss(objective, predict(row), target)

    return jax.vmap(loss_of_one)(inputs, _targets(objective, y, inputs.dtype))


def sum_of_losses(objective: Any, params: Params, x: Array, y: Array, weights: Array | None) -> Array:
    """Sum of the losses of some rows, each times its weight."""
    dtype = dtype_of(params)
    params = in_working_dtype(params)
    found = losses(objective, lambda row: objective.model.apply(params, row), x.astype(dtype), y)
    if weights is None:
        return found.sum()
    # A row of weight 0 counts 0 also where its loss is infinite.
    return vecdot(weights.astype(dtype), jnp.where(weights.astype(bool), found, 0))


def sum_and_gradient(
    objective: Any, params: Params, x: Array, y: Array, weights: Array | None
) -> tuple[Array, Params]:
    """The same, and its gradient."""
    return jax.value_and_grad(lambda p: sum_of_losses(objective, p, x, y, weights))(in_working_dtype(params))


def sums_and_gradients(
    objective: Any, params: Params, x: Array, y: Array, weights: Array | None
) -> tuple[Array, Params]:
    """The same of many models, an axis of them behind every leaf.

    Of affine models with one output by hand: in memory neighbours are then different models all along, so that the
    elementwise work fills the vector units and the sums over the rows, written as products, do so too. `vmap` of
    the derivative arranges the products otherwise, and XLA transposes the slopes of all rows between them.
    """
    if not objective.model.affine or jnp.ndim(params.bias) != 1:
        each = jax.vmap(lambda one: sum_and_gradient(objective, one, x, y, weights), -1, (0, -1))
        return each(params)
    dtype = dtype_of(params)
    params, x = in_working_dtype(params), x.astype(dtype)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), params)
    jax.eval_shape(
        objective.model.apply, one, jax.ShapeDtypeStruct(x.shape[1:], dtype)
    )  # raises what does not fit
    predicted = matmul(x, params.weight) + params.bias[None]
    of_one = jax.value_and_grad(lambda prediction, target: _loss(objective, prediction, target))
    found, slope = jax.vmap(jax.vmap(of_one, (0, None)))(predicted, _targets(objective, y, dtype))
    mass = jnp.ones(len(x), dtype)
    if weights is not None:
        # A row of weight 0 counts 0 also where its loss is infinite.
        mass, counts = weights.astype(dtype), weights.astype(bool)[:, None]
        found, slope = jnp.where(counts, found, 0), jnp.where(counts, mass[:, None] * slope, 0)
    # The barrier keeps the transposed block in memory of its own, for all steps of a loop if it is the only block:
    # XLA would fold the transposition into a slower product.
    columns = jax.lax.optimization_barrier(matrix_transpose(x))
    gradient = type(params)(matmul(columns, slope), matmul(jnp.ones_like(mass), slope))
    return matmul(mass, found), gradient


def _loss(objective: Any, prediction: Array, target: Array) -> Array:
    """The loss of one example."""
    found = objective.loss(prediction, target)
    if jnp.ndim(found):
        raise ValueError(f"loss: expected a scalar per example, got shape {jnp.shape(found)}")
    return found


def _targets(objective: Any, y: Array, dtype: np.dtype) -> Array:
    """Numbers of classes as integers, all else in the dtype of the arithmetic."""
    return as_labels(y) if are_labels(objective.loss, y) else y.astype(dtype)


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
