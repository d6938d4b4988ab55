"""One pass over the data: a sum over rows and what is made of it, such as value, gradient and curvature."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import is_traced
from dlcore._core.programs import kept_programs
from dlcore._core.types import Array, Params
from dlcore.devices import to_device
from dlcore.linalg import matmul, matrix_transpose
from dlcore.objective.blocks import BlockedData, Rows, parts_of, run_program, sum_over_blocks
from dlcore.objective.data import blocked_as_is
from dlcore.objective.terms import (
    dtype_of,
    in_working_dtype,
    losses,
    penalty,
    sum_and_gradient,
    sum_of_losses,
    sums_and_gradients,
)
from dlcore.objective.threads import core_program, cores_for


class Pass(NamedTuple):
    """Two functions at module level: they are part of the compiled program.

    Attributes:
      of_rows: (objective, (x, y, weights) of some rows, params, ...) to their sum, a pytree of arrays.
      finish: (objective, sum over all rows, sum of their weights, params, ...) to the result.
    """

    of_rows: Callable[..., Any]
    finish: Callable[..., Any]


def run(work: Pass, objective: Any, data: Any, *arguments: Any) -> Any:
    """The result of a pass: of one program, or, where each core of a CPU has enough to do, of one on each.

    Args:
      work: what is summed.
      objective: an `Objective`.
      data: as `Objective.value` takes it.
      arguments: what `work` takes, the parameters first.
    """
    traced = any(map(is_traced, jax.tree.leaves((objective, data, arguments))))
    blocked = None if traced else blocked_as_is(objective, data)
    if not traced:
        objective, blocked, arguments = to_device((objective, blocked, arguments))
    if blocked is None or blocked.mesh is not None or blocked.batch is not None:
        given = data if blocked is None else blocked
        return run_program(lambda data: _run(objective, data, *arguments, work=work), given, objective, *arguments)
    parts = parts_for_cores(blocked, arguments[0])
    if len(parts) == 1:
        return _run(objective, blocked, *arguments, work=work)
    sums = sums_of_parts(work, objective, parts, *arguments)
    return _of_parts(objective, sums, *arguments, work=work, rows=blocked.x.shape[0])


def parts_for_cores(data: BlockedData, params: Params) -> list[BlockedData]:
    """The rows of one device, in as many parts as there are cores with enough to do in a pass."""
    return parts_of(data, cores_for(work_of(data, params), data.x))


def sums_of_parts(work: Pass, objective: Any, parts: list[BlockedData], *arguments: Any) -> list[Any]:
    """What `of_parts` takes: the sums over each part of the rows, each on a core of its own."""
    return _sum_of_part.on_each([(objective, part, *arguments) for part in parts], work=work)


def work_of(data: BlockedData, params: Params) -> int:
    """How many numbers a pass makes, about: those of x, times as many as each row is multiplied by."""
    entries = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    return data.x.size * max(1, entries * data.x.shape[0] // max(1, data.x.size))


@kept_programs("work")
def _run(objective: Any, data: Any, *arguments: Any, work: Pass) -> Any:
    data = blocked_as_is(objective, data)
    # Over several devices the weights are summed with the rest: one collective.
    weighed = data.mesh is not None and data.weights is not None and data.batch is None
    total, whole = _sums(work, objective, data, weighed, *arguments)
    if data.batch is not None:
        whole = data.batch.weight_sum
    elif not weighed:
        whole = sum_of_weights(data.weights, dtype_of(arguments[0]), data.x.shape[0])
    return work.finish(objective, total, whole, *arguments)


@core_program("work")
def _sum_of_part(objective: Any, data: BlockedData, *arguments: Any, work: Pass) -> Any:
    return _sums(work, objective, data, data.weights is not None, *arguments)


def of_parts(work: Pass, rows: int, objective: Any, sums: list[Any], *arguments: Any) -> Any:
    """The result from the sums of all parts, added in their order."""
    total, whole = functools.reduce(lambda one, other: jax.tree.map(jnp.add, one, other), sums)
    whole = sum_of_weights(None, dtype_of(arguments[0]), rows) if whole is None else whole
    return work.finish(objective, total, whole, *arguments)


@kept_programs("work", "rows")
def _of_parts(objective: Any, sums: list[Any], *arguments: Any, work: Pass, rows: int) -> Any:
    return of_parts(work, rows, objective, sums, *arguments)


def _sums(work: Pass, objective: Any, data: BlockedData, weighed: bool, *arguments: Any) -> Any:
    """The sum over the rows and, where it is asked for, that of their weights."""

    def of_rows(x: Array, y: Array, weights: Array | None, *arguments: Any) -> Any:
        summed = work.of_rows(objective, (x, y, weights), *arguments)
        return summed, sum_of_weights(weights, dtype_of(arguments[0])) if weighed else None

    return sum_over_blocks(of_rows, data, *arguments)


def sum_of_weights(weights: Array | None, dtype: np.dtype, rows: int = 0) -> Array:
    """S, the sum of the weights; without any, the number of rows."""
    if weights is None:
        return jnp.asarray(rows, dtype)
    return weights.astype(dtype).sum()


def _cast_like(tree: Params, params: Params) -> Params:
    """A tree in the dtypes of the parameters."""
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, jnp.result_type(like)), tree, params)


def _sum(objective: Any, rows: Rows, params: Params) -> Array:
    return sum_of_losses(objective, params, *rows)


def _mean(objective: Any, total: Array, weight_sum: Array, params: Params) -> Array:
    return total / weight_sum + penalty(objective, params)


VALUE = Pass(_sum, _mean)


def _sum_and_gradient(objective: Any, rows: Rows, params: Params) -> tuple[Array, Params]:
    return sum_and_gradient(objective, params, *rows)


def _mean_and_gradient(
    objective: Any, total: tuple[Array, Params], weight_sum: Array, params: Params
) -> tuple[Array, Params]:
    scale = 1 / weight_sum
    added, shrinkage = jax.value_and_grad(lambda p: penalty(objective, p))(in_working_dtype(params))
    gradient = jax.tree.map(lambda summed, shrunk: summed * scale + shrunk, total[1], shrinkage)
    return total[0] * scale + added, _cast_like(gradient, params)


VALUE_AND_GRAD = Pass(_sum_and_gradient, _mean_and_gradient)


def _sum_and_gradient_of_each(objective: Any, rows: Rows, params: Params, l2: Array | None) -> Any:
    del l2
    return sums_and_gradients(objective, params, *rows)


def _mean_and_gradient_of_each(
    objective: Any, total: Any, weight_sum: Array, params: Params, l2: Array | None
) -> Any:
    def mean(summed: Any, one: Params, own: Array | None) -> Any:
        penalised = objective if own is None else dataclasses.replace(objective, l2=own)
        return _mean_and_gradient(penalised, summed, weight_sum, one)

    return jax.vmap(mean, ((0, -1), -1, 0), (0, -1))(total, params, l2)


VALUES_AND_GRADS = Pass(_sum_and_gradient_of_each, _mean_and_gradient_of_each)
"""Of models with their axis behind every leaf."""


def _along(gradient: Callable[[Params], Params], params: Params, v: Params) -> Params:
    """The derivative of a gradient in the direction v."""
    params = in_working_dtype(params)
    return jax.jvp(gradient, (params,), (_cast_like(v, params),))[1]


def _curvature_along(objective: Any, rows: Rows, params: Params, v: Params) -> Params:
    return _along(jax.grad(lambda p: _sum(objective, rows, p)), params, v)


def _mean_along(objective: Any, total: Params, weight_sum: Array, params: Params, v: Params) -> Params:
    shrinkage = _along(jax.grad(lambda p: penalty(objective, p)), params, v)
    return _cast_like(jax.tree.map(lambda summed, shrunk: summed / weight_sum + shrunk, total, shrinkage), params)


HVP = Pass(_curvature_along, _mean_along)


def _curvature(objective: Any, rows: Rows, params: Params) -> Array:
    """Sum of sᵢ ℓ''ᵢ aᵢaᵢᵀ, where aᵢ is a row of x with a 1 behind it for the bias."""
    x, y, weights = rows
    params = in_working_dtype(params)
    x = x.astype(params.weight.dtype)
    slope = jax.grad(lambda predictions: losses(objective, lambda z: z, predictions, y).sum())
    predictions = matmul(x, params.weight) + params.bias
    second = jax.jvp(slope, (predictions,), (jnp.ones_like(predictions),))[1]
    if weights is not None:
        second = jnp.where(weights.astype(bool), weights.astype(second.dtype) * second, 0)
    extended = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1)
    return matmul(matrix_transpose(extended * second[:, None]), extended)


def _mean_curvature(objective: Any, total: Array, weight_sum: Array, _: Params) -> Array:
    ridge = jnp.full(len(total), jnp.asarray(objective.l2, total.dtype)).at[-1].set(0)
    # Rounding makes the two triangles differ; those of a Hessian do not.
    return (total + matrix_transpose(total)) / (2 * weight_sum) + jnp.diag(ridge)


HESSIAN = Pass(_curvature, _mean_curvature)
