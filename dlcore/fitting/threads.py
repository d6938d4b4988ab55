"""The loop of a fit on several threads of a CPU: each thread evaluates J on a shard of the rows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore._core.array_checks import is_traced
from dlcore._core.compilation.jit_cache import cached_jit
from dlcore._core.types import Array, Params
from dlcore.fitting.loop import Descent, LoopArguments, Record, StaticOptimizer, initialized, update
from dlcore.fitting.minibatches import Batches
from dlcore.fitting.state import HistoryBuffers, LoopState
from dlcore.fitting.stopping import RUNNING
from dlcore.objective import BlockedData, Objective
from dlcore.objective.passes import VALUE_AND_GRAD, RowSum, combine_shards, shards_for_cores, sum_shards


def choose_shards(
    objective: Objective,
    data: BlockedData,
    loop_args: LoopArguments,
    state: LoopState,
    static_optimizer: StaticOptimizer,
    batches: Batches | None,
) -> list[BlockedData]:
    """Return the rows of each thread, or a single shard if the loop is to be one program.

    The loop is one program in these cases:

    - The pass over the rows is short.
    - The data is on an accelerator or on several devices.
    - There are minibatches.
    - An argument is traced.
    - The optimizer evaluates J inside its update, as a line search does.
    """
    traced = any(map(is_traced, jax.tree.leaves((objective, data, loop_args, state))))
    if traced or batches is not None or data.mesh is not None:
        return [data]
    shards = shards_for_cores(data, state.params)
    if len(shards) > 1 and _evaluates_objective(static_optimizer.combine(loop_args.hyperparams), state):
        return [data]
    return shards


def advance_on_threads(
    objective: Objective,
    shards: list[BlockedData],
    loop_args: LoopArguments,
    state: LoopState,
    end_step: int,
    *,
    static_optimizer: StaticOptimizer,
    record: Record,
    capacity: int,
) -> tuple[LoopState, HistoryBuffers]:
    """Run the loop like `advance`, with two programs: a pass over the rows of a shard, and the rest of a step.

    Args:
      objective: the objective. Its l2 is traced.
      shards: the rows of each thread.
      loop_args: hyper-parameters and limits.
      state: the state after the previous call. At step 0 the optimizer's state is a placeholder.
      end_step: the first step that this call does not evaluate.
      static_optimizer: the static part of the optimizer.
      record: a function of the parameters.
      capacity: maximum number of evaluations.

    Returns:
      The state, and the history of this call on the host. Sums over the rows add the shards in their order. The
      bits therefore depend on the number of shards, and they do not depend on `end_step`.
    """
    rows, entries = shards[0].x.shape[0], []
    while True:
        sums = sum_shards(VALUE_AND_GRAD, objective, shards, state.params)
        state, entry = _update(
            objective, sums, loop_args, state, rows=rows, static_optimizer=static_optimizer, record=record
        )
        entries.append(jax.tree.map(np.asarray, entry))
        if int(state.code) != RUNNING or int(state.step) >= end_step or len(entries) == capacity:
            return state, jax.tree.map(lambda *leaves: np.stack(leaves), *entries)


@cached_jit("rows", "static_optimizer", "record")
def _update(
    objective: Objective,
    sums: list[RowSum],
    loop_args: LoopArguments,
    state: LoopState,
    *,
    rows: int,
    static_optimizer: StaticOptimizer,
    record: Record,
) -> tuple[LoopState, HistoryBuffers]:
    """Add the sums of the shards, apply the stopping rules and make an update."""
    descent = Descent(objective, static_optimizer.combine(loop_args.hyperparams), loop_args.limits)
    value, gradient = combine_shards(VALUE_AND_GRAD, rows, objective, sums, state.params)
    following = update(descent, _no_value_fn, initialized(descent.optimizer, state), value, gradient)
    return following, HistoryBuffers(following.value, following.gradient_norm, record(state.params))


def _no_value_fn(_: Params) -> Array:
    """Raise an error: an optimizer that evaluates J runs in one program."""
    raise AssertionError("an optimizer that evaluates J runs in one program: see `choose_shards`")


def _evaluates_objective(optimizer: optax.GradientTransformationExtraArgs, state: LoopState) -> bool:
    """Return whether the update of an optimizer evaluates J."""
    calls = []

    def value_fn(params: Params) -> Array:
        calls.append(params)
        return jnp.zeros_like(state.value)

    def trial(value: Array, params: Params) -> object:
        return optimizer.update(
            params, optimizer.init(params), params, value=value, grad=params, value_fn=value_fn
        )

    jax.eval_shape(trial, state.value, state.params)
    return bool(calls)
