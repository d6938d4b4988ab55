"""Terms of the objective: the losses of rows, their sums and derivatives, and the penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array, Params, working_dtype
from dlcore.linalg import matmul, matrix_transpose, vecdot
from dlcore.models import LinearParams
from dlcore.objective.blocks import Rows
from dlcore.objective.labels import are_labels, as_labels

if TYPE_CHECKING:
    from dlcore.objective.objective import Objective


def losses(objective: Objective, predict: Callable[[Array], Array], inputs: Array, y: Array) -> Array:
    """Return the loss of every row, where `predict` maps a row of `inputs` to the output of the model."""

    def loss_of_row(row: Array, target: Array) -> Array:
        return _loss(objective, predict(row), target)

    return jax.vmap(loss_of_row)(inputs, _targets(objective, y, inputs.dtype))


def sum_of_losses(objective: Objective, rows: Rows, params: Params) -> Array:
    """Return the weighted sum of the losses of rows."""
    x, y, weights = rows
    dtype = dtype_of(params)
    params = in_working_dtype(params)
    row_losses = losses(objective, lambda row: objective.model.apply(params, row), x.astype(dtype), y)
    if weights is None:
        return row_losses.sum()
    # A row of weight 0 counts 0 also where its loss is infinite.
    return vecdot(weights.astype(dtype), jnp.where(weights.astype(bool), row_losses, 0))


def sum_and_gradient(objective: Objective, rows: Rows, params: Params) -> tuple[Array, Params]:
    """Return the weighted sum of the losses of rows, and its gradient."""
    return jax.value_and_grad(lambda p: sum_of_losses(objective, rows, p))(in_working_dtype(params))


def sums_and_gradients(
    objective: Objective, rows: Rows, params: Params, _: Array | None = None
) -> tuple[Array, Params]:
    """Return the sums and the gradients of many models, whose axis is the last of every leaf.

    Affine models with one output are differentiated by hand. Neighbours in memory are then different models
    throughout. The elementwise work fills the vector units, and so do the sums over the rows, which are products.
    `vmap` of the derivative orders the products differently, and XLA transposes the derivatives of all rows.
    """
    if not objective.model.affine or jnp.ndim(params.bias) != 1:
        return jax.vmap(lambda model: sum_and_gradient(objective, rows, model), -1, (0, -1))(params)
    x, y, weights = rows
    dtype = dtype_of(params)
    params, x = in_working_dtype(params), x.astype(dtype)
    # Raise the errors of the model for parameters and x that do not fit.
    model = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), params)
    jax.eval_shape(objective.model.apply, model, jax.ShapeDtypeStruct(x.shape[1:], dtype))
    predictions = matmul(x, params.weight) + params.bias[None]
    loss_and_slope = jax.value_and_grad(lambda prediction, target: _loss(objective, prediction, target))
    row_losses, slopes = jax.vmap(jax.vmap(loss_and_slope, (0, None)))(predictions, _targets(objective, y, dtype))
    mass = jnp.ones(len(x), dtype)
    if weights is not None:
        # A row of weight 0 counts 0 also where its loss is infinite.
        mass, counts = weights.astype(dtype), weights.astype(bool)[:, None]
        row_losses, slopes = jnp.where(counts, row_losses, 0), jnp.where(counts, mass[:, None] * slopes, 0)
    # The barrier stores the transposed block, once for all steps of a loop if there is one block. XLA would fold
    # the transposition into a slower product.
    columns = jax.lax.optimization_barrier(matrix_transpose(x))
    gradient = type(params)(matmul(columns, slopes), matmul(jnp.ones_like(mass), slopes))
    return matmul(mass, row_losses), gradient


def sum_of_hessians(objective: Objective, rows: Rows, params: LinearParams) -> Array:
    """Return the sum of sᵢ ℓ''ᵢ aᵢaᵢᵀ, where aᵢ is a row of x followed by 1 for the bias."""
    x, y, weights = rows
    params = in_working_dtype(params)
    x = x.astype(params.weight.dtype)
    slopes = jax.grad(lambda predictions: losses(objective, lambda z: z, predictions, y).sum())
    predictions = matmul(x, params.weight) + params.bias
    curvature = jax.jvp(slopes, (predictions,), (jnp.ones_like(predictions),))[1]
    if weights is not None:
        curvature = jnp.where(weights.astype(bool), weights.astype(curvature.dtype) * curvature, 0)
    extended = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1)
    return matmul(matrix_transpose(extended * curvature[:, None]), extended)


def penalty(objective: Objective, params: Params) -> Array:
    """Return (l2/2)‖w‖² over every leaf called `weight`."""
    squares = sum(jnp.square(weight).sum() for weight in penalised(in_working_dtype(params)))
    return jnp.asarray(objective.l2, dtype_of(params)) / 2 * squares


def penalised(params: Params) -> list[Array]:
    """Return the leaves of `params` on which l2 acts: attributes and dictionary keys called `weight`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [leaf for path, leaf in leaves if path and _key_name(path[-1]) == "weight"]


def dtype_of(params: Params) -> np.dtype:
    """Return the dtype of the arithmetic: that of the parameters, float32 for halves."""
    dtype = jnp.result_type(*jax.tree.leaves(params))
    return working_dtype(jax.dtypes.canonicalize_dtype(dtype if jnp.issubdtype(dtype, jnp.floating) else float))


def in_working_dtype(params: Params) -> Params:
    """Return the parameters in the dtype of the arithmetic."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, working_dtype(jnp.result_type(leaf))), params)


def cast_like(tree: Params, params: Params) -> Params:
    """Return the tree in the dtypes of the parameters."""
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, jnp.result_type(like)), tree, params)


def _loss(objective: Objective, prediction: Array, target: Array) -> Array:
    """Return the loss of one example."""
    loss = objective.loss(prediction, target)
    if jnp.ndim(loss):
        raise ValueError(f"loss: expected a scalar per example, got shape {jnp.shape(loss)}")
    return loss


def _targets(objective: Objective, y: Array, dtype: np.dtype) -> Array:
    """Return labels as integers, and other targets in the dtype of the arithmetic."""
    return as_labels(y) if are_labels(objective.loss, y) else y.astype(dtype)


def _key_name(key: object) -> object:
    """Return the name of a key of a tree's path: an attribute's name or a dictionary's key."""
    return getattr(key, "name", getattr(key, "key", None))
