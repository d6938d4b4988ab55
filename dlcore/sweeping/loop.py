"""The compiled loop of a sweep: a fixed number of slots, each refilled from the queue when its model has ended."""

import dataclasses
import functools
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore._core.types import Array, Params, PRNGKey, working_dtype
from dlcore.fitting.loop import Descent, StaticOptimizer, update
from dlcore.fitting.null_model import NullModel
from dlcore.fitting.state import LoopState, PyTree
from dlcore.fitting.stopping import RUNNING, StopLimits
from dlcore.objective import BlockedData, Objective
from dlcore.objective.threads import threaded_program
from dlcore.sweeping.settings import TracedOptimizer

Column: TypeAlias = Array | np.ndarray
"""An array with an entry for each setting, on the device or on the host."""

Start: TypeAlias = Params | PRNGKey
"""The initial parameters of all models, or the key that a seed is folded into."""


class Queue(NamedTuple):
    """The settings, with a row for each model. The last rows may be padding.

    Attributes:
      hyperparams: the hyper-parameters of the optimizer, or the numbers that the program makes it from.
      l2: λ, shape (rows,).
      seed: seeds of the initial parameters, shape (rows,), or None if all models start alike.
      weights: weights, shape (rows, n), or None to use those of the data.
      targets: targets, shape (rows, n), or None to use those of the data.
      null: the null models, with arrays of shape (rows,).
    """

    hyperparams: PyTree
    l2: Column
    seed: Column | None
    weights: Column | None
    targets: Column | None
    null: NullModel


class SweepLimits(NamedTuple):
    """Limits that all models share. They are data, so other values compile nothing.

    Attributes:
      size: number of models.
      tol: relative tolerance.
      max_steps: maximum number of updates of each model.
      budget: maximum number of steps of this piece of the loop.
    """

    size: Array
    tol: Array
    max_steps: Array
    budget: Array


class ResultTable(NamedTuple):
    """Results, with a row for each model. `params` holds the initial parameters until a slot takes the model."""

    params: Params
    steps: Array
    code: Array
    value: Array
    gradient_norm: Array
    first_value: Array


class Slots(NamedTuple):
    """The models that the loop is fitting.

    Attributes:
      row: the row of each model in the queue, shape (slots,). An empty slot has the number of rows.
      setting: the settings of the models.
      state: the loop states of the models.
    """

    row: Array
    setting: Queue
    state: LoopState


class SweepState(NamedTuple):
    """State of the loop between two pieces.

    Attributes:
      started: whether the table holds the initial parameters. It is false before the first piece.
      next: the row of the queue that the next free slot takes.
      table: the results.
      slots: the models that the loop is fitting.
    """

    started: Array
    next: Array
    table: ResultTable
    slots: Slots


class SweepHistory(NamedTuple):
    """History of a piece of the loop: the model, its step, J and ‖∇J‖, each of shape (capacity, slots)."""

    row: Array
    step: Array
    value: Array
    gradient_norm: Array


class SweepProgram(NamedTuple):
    """The static part of the loop.

    Attributes:
      rule: makes the optimizer of a row of the queue.
      sizes: the arguments of the model's `init` after the key, or None if the initial parameters are given.
      capacity: length of the history of a piece. 0 keeps no history.
    """

    rule: StaticOptimizer | TracedOptimizer
    sizes: tuple[int, ...] | None
    capacity: int


def seeded_params(objective: Objective, x: Array, key: PRNGKey, sizes: tuple[int, ...], seed: Column) -> Params:
    """Return the model's initial parameters for a seed folded into the key, in the dtype of the arithmetic."""
    params = objective.model.init(jax.random.fold_in(key, seed), *sizes)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, working_dtype(x.dtype)), params)


def traced_initial_state(optimizer: optax.GradientTransformation, params: Params) -> LoopState:
    """Return the state of a model at step 0, inside the program."""
    zero = jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))
    step = jnp.int32(0)
    return LoopState(step, step, params, optimizer.init(params), zero, zero, zero, zero)


def results_of(state: LoopState) -> ResultTable:
    """Return the columns of the table from the states of models."""
    return ResultTable(state.params, state.step, state.code, state.value, state.gradient_norm, state.first_value)


@threaded_program("program")
def advance(
    objective: Objective,
    data: BlockedData,
    queue: Queue,
    limits: SweepLimits,
    start: Start,
    state: SweepState,
    *,
    program: SweepProgram,
) -> tuple[SweepState, SweepHistory | None, Array]:
    """Run all slots for `limits.budget` steps or until all models have ended.

    The inner loop runs until a model ends, and changes the slots alone. The outer loop then writes the models of
    all slots to the table, and puts the next row of the queue into a slot that is free.

    Args:
      objective: the objective. Its l2 is ignored, because the queue has one for each model.
      data: placed and blocked data, a single copy for all models.
      queue: the settings.
      limits: the number of models, their limits, and the budget. With a history the budget is at most
        `program.capacity`.
      start: the initial parameters, or the key that a seed is folded into.
      state: the state after the previous piece.
      program: the static part of the loop.

    Returns:
      The state, the history of this piece, and the number of rows of the history that are filled.
    """
    rows = queue.l2.shape[0]

    def optimizer_of(setting: Queue) -> optax.GradientTransformationExtraArgs:
        return program.rule.combine(setting.hyperparams)

    def problem_of(setting: Queue) -> tuple[Objective, BlockedData]:
        y = data.y if setting.targets is None else setting.targets
        weights = data.weights if setting.weights is None else setting.weights
        return dataclasses.replace(objective, l2=setting.l2), dataclasses.replace(data, y=y, weights=weights)

    def values_and_grads(settings: Queue, params: Params) -> tuple[Array, Params]:
        if settings.targets is None and settings.weights is None:
            return objective.values_and_grads(params, data, settings.l2)

        def value_and_grad(setting: Queue, params: Params) -> tuple[Array, Params]:
            objective, data = problem_of(setting)
            return objective.value_and_grad(params, data)

        return jax.vmap(value_and_grad)(settings, params)

    def update_model(setting: Queue, model: LoopState, value: Array, gradient: Params) -> LoopState:
        objective, data = problem_of(setting)
        stop_limits = StopLimits(limits.tol, limits.max_steps, setting.null)
        descent = Descent(objective, optimizer_of(setting), stop_limits)
        return update(descent, lambda params: objective.value(params, data), model, value, gradient)

    def initial_params() -> Params:
        if program.sizes is None or queue.seed is None:
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape)), start)
        return jax.vmap(functools.partial(seeded_params, objective, data.x, start, program.sizes))(queue.seed)

    def is_occupied(slots: Slots) -> Array:
        return slots.row < limits.size

    def refill(state: SweepState) -> SweepState:
        """Write all models to the table, which drops those of empty slots, and fill free slots from the queue."""
        table, slots, models = state.table, state.slots, state.slots.state
        results = results_of(models)
        table = jax.tree.map(lambda old, new: old.at[slots.row].set(new, mode="drop"), table, results)

        is_free = (models.code != RUNNING) | ~is_occupied(slots)
        order = state.next + jnp.cumsum(is_free.astype(jnp.int32)) - 1
        row = jnp.where(is_free, jnp.where(order < limits.size, order, rows), slots.row)
        row_in_range = jnp.minimum(row, rows - 1)
        setting = jax.tree.map(lambda array: array[row_in_range], queue)

        def filled(is_free: Array, setting: Queue, params: Params, old: LoopState) -> LoopState:
            new = traced_initial_state(optimizer_of(setting), params)
            return jax.tree.map(lambda a, b: jnp.where(is_free, a, b), new, old)

        params = jax.tree.map(lambda array: array[row_in_range], table.params)
        models = jax.vmap(filled)(is_free, setting, params, models)
        next_row = jnp.minimum(state.next + is_free.sum(dtype=jnp.int32), limits.size)
        return SweepState(state.started, next_row, table, Slots(row, setting, models))

    def run_until_model_ends(
        carry: tuple[SweepState, SweepHistory | None, Array],
    ) -> tuple[SweepState, SweepHistory | None, Array]:
        """Run all slots until a model ends, and refill its slot."""
        state, history, count = carry
        row, setting, _ = state.slots
        occupied = is_occupied(state.slots)

        def body(
            carry: tuple[LoopState, SweepHistory | None, Array],
        ) -> tuple[LoopState, SweepHistory | None, Array]:
            models, history, count = carry
            following = jax.vmap(update_model)(setting, models, *values_and_grads(setting, models.params))
            if history is not None:
                entry = SweepHistory(row, models.step, following.value, following.gradient_norm)
                history = jax.tree.map(lambda buffer, new: buffer.at[count].set(new), history, entry)
            return following, history, count + 1

        def all_running(carry: tuple[LoopState, SweepHistory | None, Array]) -> Array:
            models, _, count = carry
            return (count < limits.budget) & ~(occupied & (models.code != RUNNING)).any()

        models, history, count = jax.lax.while_loop(all_running, body, (state.slots.state, history, count))
        return refill(state._replace(slots=state.slots._replace(state=models))), history, count

    def is_unfinished(carry: tuple[SweepState, SweepHistory | None, Array]) -> Array:
        state, _, count = carry
        return (count < limits.budget) & is_occupied(state.slots).any()

    table = state.table._replace(params=jax.lax.cond(state.started, lambda: state.table.params, initial_params))
    state = refill(state._replace(started=jnp.asarray(True), table=table))
    history = None
    if program.capacity:
        shape, dtype = (program.capacity, state.slots.row.shape[0]), state.slots.state.value.dtype
        dtypes = jnp.int32, jnp.int32, dtype, dtype
        history = SweepHistory(*(jnp.zeros(shape, dtype) for dtype in dtypes))
    return jax.lax.while_loop(is_unfinished, run_until_model_ends, (state, history, jnp.int32(0)))
