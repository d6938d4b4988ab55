"""Passes over the data: a sum over rows, and the value, gradient or curvature computed from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import is_traced
from dlcore._core.compilation.jit_cache import cached_jit
from dlcore._core.types import Array, ArrayTree, Params
from dlcore.devices import to_device
from dlcore.linalg import matrix_transpose
from dlcore.objective.blocks import BlockedData, Data, Rows
from dlcore.objective.data import block_arrays
from dlcore.objective.row_sums import sum_over_blocks
from dlcore.objective.sharding import run_program, shard_rows
from dlcore.objective.terms import (
    cast_like,
    dtype_of,
    in_working_dtype,
    penalty,
    sum_and_gradient,
    sum_of_hessians,
    sum_of_losses,
    sums_and_gradients,
)
from dlcore.objective.threads import cores_for, threaded_program

if TYPE_CHECKING:
    from dlcore.objective.objective import Objective

Result = TypeVar("Result")

RowSum = tuple[ArrayTree, Array | None]
"""The sum over rows, and the sum of their weights where it is needed."""


class RowReduction(NamedTuple, Generic[Result]):
    """A reduction over rows: two functions at module level, which are part of the compiled program.

    Attributes:
      map_rows: (objective, (x, y, weights) of a block, params, ...) to its sum, a pytree of arrays.
      finalize: (objective, sum over all rows, sum of their weights, params, ...) to the result.
    """

    map_rows: Callable[..., ArrayTree]
    finalize: Callable[..., Result]


def run(reduction: RowReduction[Result], objective: Objective, data: Data, *arguments: object) -> Result:
    """Return the result of a pass, computed by one program, or by one on each core with enough to do.

    Args:
      reduction: what is computed.
      objective: an `Objective`.
      data: as `Objective.value` takes it.
      arguments: arguments of the reduction, the parameters first.
    """
    if any(map(is_traced, jax.tree.leaves((objective, data, arguments)))):
        blocked = data
    else:
        objective, blocked, arguments = to_device((objective, block_arrays(objective, data), arguments))
        if blocked.mesh is None and blocked.batch is None:
            shards = shards_for_cores(blocked, arguments[0])
            if len(shards) > 1:
                sums, rows = sum_shards(reduction, objective, shards, *arguments), blocked.x.shape[0]
                return _finalize_shards(objective, sums, *arguments, reduction=reduction, rows=rows)
    return run_program(
        lambda data: _run(objective, data, *arguments, reduction=reduction), blocked, objective, *arguments
    )


def shards_for_cores(data: BlockedData, params: Params) -> list[BlockedData]:
    """Return the rows of one device in as many shards as there are cores with enough to do in a pass."""
    return shard_rows(data, cores_for(pass_cost(data, params), data.x))


def sum_shards(
    reduction: RowReduction[Result], objective: Objective, shards: list[BlockedData], *arguments: object
) -> list[RowSum]:
    """Return the sums over each shard of the rows, each computed by a core; see `combine_shards`."""
    return _sum_shard.map_threads([(objective, shard, *arguments) for shard in shards], reduction=reduction)


def combine_shards(
    reduction: RowReduction[Result], rows: int, objective: Objective, sums: list[RowSum], *arguments: object
) -> Result:
    """Return the result from the sums of all shards, added in their order."""
    total, weight_sum = functools.reduce(lambda sum_, shard: jax.tree.map(jnp.add, sum_, shard), sums)
    weight_sum = sum_of_weights(None, dtype_of(arguments[0]), rows) if weight_sum is None else weight_sum
    return reduction.finalize(objective, total, weight_sum, *arguments)


def pass_cost(data: BlockedData, params: Params) -> int:
    """Return about how many numbers a pass computes: those of x times the products of each row."""
    entries = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    return data.x.size * max(1, entries * data.x.shape[0] // max(1, data.x.size))


def sum_of_weights(weights: Array | None, dtype: np.dtype, rows: int = 0) -> Array:
    """Return S, the sum of the weights; without weights, the number of rows."""
    if weights is None:
        return jnp.asarray(rows, dtype)
    return weights.astype(dtype).sum()


@cached_jit("reduction")
def _run(objective: Objective, data: Data, *arguments: object, reduction: RowReduction[Result]) -> Result:
    data = block_arrays(objective, data)
    # Over several devices the weights are summed with the rows, by the same collective.
    with_weights = data.mesh is not None and data.weights is not None and data.batch is None
    total, weight_sum = _sum_rows(reduction, objective, data, with_weights, *arguments)
    if data.batch is not None:
        weight_sum = data.batch.weight_sum
    elif not with_weights:
        weight_sum = sum_of_weights(data.weights, dtype_of(arguments[0]), data.x.shape[0])
    return reduction.finalize(objective, total, weight_sum, *arguments)


@threaded_program("reduction")
def _sum_shard(
    objective: Objective, data: BlockedData, *arguments: object, reduction: RowReduction[Result]
) -> RowSum:
    return _sum_rows(reduction, objective, data, data.weights is not None, *arguments)


@cached_jit("reduction", "rows")
def _finalize_shards(
    objective: Objective, sums: list[RowSum], *arguments: object, reduction: RowReduction[Result], rows: int
) -> Result:
    return combine_shards(reduction, rows, objective, sums, *arguments)


def _sum_rows(
    reduction: RowReduction[Result],
    objective: Objective,
    data: BlockedData,
    with_weights: bool,
    *arguments: object,
) -> RowSum:
    """Return the sum over the rows, and that of their weights or None."""

    def sum_block(x: Array, y: Array, weights: Array | None, *arguments: object) -> RowSum:
        total = reduction.map_rows(objective, (x, y, weights), *arguments)
        return total, sum_of_weights(weights, dtype_of(arguments[0])) if with_weights else None

    return sum_over_blocks(sum_block, data, *arguments)


def _finalize_value(objective: Objective, total: Array, weight_sum: Array, params: Params) -> Array:
    return total / weight_sum + penalty(objective, params)


def _finalize_value_and_grad(
    objective: Objective, total: tuple[Array, Params], weight_sum: Array, params: Params
) -> tuple[Array, Params]:
    scale = 1 / weight_sum
    shrinkage, grad_shrinkage = jax.value_and_grad(lambda p: penalty(objective, p))(in_working_dtype(params))
    gradient = jax.tree.map(lambda summed, shrunk: summed * scale + shrunk, total[1], grad_shrinkage)
    return total[0] * scale + shrinkage, cast_like(gradient, params)


def _finalize_values_and_grads(
    objective: Objective, total: tuple[Array, Params], weight_sum: Array, params: Params, l2: Array | None
) -> tuple[Array, Params]:
    def finalize(summed: tuple[Array, Params], params: Params, l2: Array | None) -> tuple[Array, Params]:
        with_l2 = objective if l2 is None else dataclasses.replace(objective, l2=l2)
        return _finalize_value_and_grad(with_l2, summed, weight_sum, params)

    return jax.vmap(finalize, ((0, -1), -1, 0), (0, -1))(total, params, l2)


def _directional_derivative(gradient: Callable[[Params], Params], params: Params, v: Params) -> Params:
    """Return the derivative of a gradient in the direction v."""
    params = in_working_dtype(params)
    return jax.jvp(gradient, (params,), (cast_like(v, params),))[1]


def _sum_of_hvps(objective: Objective, rows: Rows, params: Params, v: Params) -> Params:
    return _directional_derivative(jax.grad(lambda p: sum_of_losses(objective, rows, p)), params, v)


def _finalize_hvp(objective: Objective, total: Params, weight_sum: Array, params: Params, v: Params) -> Params:
    shrinkage = _directional_derivative(jax.grad(lambda p: penalty(objective, p)), params, v)
    return cast_like(jax.tree.map(lambda summed, shrunk: summed / weight_sum + shrunk, total, shrinkage), params)


def _finalize_hessian(objective: Objective, total: Array, weight_sum: Array, _: Params) -> Array:
    ridge = jnp.full(len(total), jnp.asarray(objective.l2, total.dtype)).at[-1].set(0)
    # Rounding makes the two triangles of the sum differ; those of a Hessian are equal.
    return (total + matrix_transpose(total)) / (2 * weight_sum) + jnp.diag(ridge)


VALUE = RowReduction(sum_of_losses, _finalize_value)
VALUE_AND_GRAD = RowReduction(sum_and_gradient, _finalize_value_and_grad)
VALUES_AND_GRADS = RowReduction(sums_and_gradients, _finalize_values_and_grads)
"""The models' axis is the last of every leaf."""
HVP = RowReduction(_sum_of_hvps, _finalize_hvp)
HESSIAN = RowReduction(sum_of_hessians, _finalize_hessian)
