"""The compiled loop of a sweep: a fixed number of slots, each refilled from the queue when its model is done."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore._core.types import Array, Params, working_dtype
from dlcore.fitting import stopping
from dlcore.fitting.loop import LoopState, Rule, judge_and_update
from dlcore.fitting.stopping import RUNNING
from dlcore.objective import BlockedData, Objective
from dlcore.objective.threads import core_program
from dlcore.sweeping.settings import Traced


class Queue(NamedTuple):
    """What differs between models, one row for each; the last rows may be padding.

    Attributes:
      rule: what the optimizer is made of.
      l2: (rows,).
      seed: (rows,), or None where all start alike.
      weights, targets: (rows, n), or None where those of the data serve every model.
      null_value, saturated_value, unit_value: (rows,), see `fitting.stopping.Limits`.
    """

    rule: Any
    l2: Array
    seed: Array | None
    weights: Array | None
    targets: Array | None
    null_value: Array
    saturated_value: Array
    unit_value: Array


class Limits(NamedTuple):
    """What all models have in common and is data: how many there are, and when each stops."""

    size: Array
    tol: Array
    max_steps: Array


class Table(NamedTuple):
    """One row for each model: its start until a slot takes it, then how it stood when a slot was last refilled."""

    params: Params
    steps: Array
    code: Array
    value: Array
    gradient_norm: Array
    first_value: Array


class Slots(NamedTuple):
    """The models that are being fitted.

    Attributes:
      row: (slots,), which row of the queue each one is; as many as there are rows for none.
      setting: their rows of the queue.
      state: theirs of the loop of one fit.
    """

    row: Array
    setting: Queue
    state: LoopState


class SweepState(NamedTuple):
    """All that the next piece of the loop needs from the one before.

    Attributes:
      started: whether the table holds the starts; false before the first piece.
      next: the row of the queue that the next free slot takes.
      table, slots: results and models at work.
    """

    started: Array
    next: Array
    table: Table
    slots: Slots


class Passed(NamedTuple):
    """History of one piece of the loop, (capacity, slots) each: which model, at which step, and how it stood."""

    row: Array
    step: Array
    value: Array
    gradient_norm: Array


class Program(NamedTuple):
    """What is compiled in.

    Attributes:
      rule: makes the optimizer of a row of the queue.
      sizes: what `init` takes after the key; None where the start is given.
      capacity: length of the history of one piece; 0 keeps none.
    """

    rule: Rule | Traced
    sizes: tuple[int, ...] | None
    capacity: int


def first_params(objective: Objective, x: Array, origin: Any, sizes: tuple[int, ...], seed: Any) -> Params:
    """What `init` gives for a seed folded into the key, in the dtype of the arithmetic."""
    params = objective.model.init(jax.random.fold_in(origin, seed), *sizes)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, working_dtype(x.dtype)), params)


def fresh_state(optimizer: optax.GradientTransformation, params: Params) -> LoopState:
    """One model before its first step."""
    nothing = jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))
    zero = jnp.int32(0)
    return LoopState(zero, zero, params, optimizer.init(params), nothing, nothing, nothing, nothing)


@core_program("program")
def advance(
    objective: Objective,
    data: BlockedData,
    queue: Queue,
    limits: Limits,
    origin: Any,
    state: SweepState,
    budget: Array,
    *,
    program: Program,
) -> tuple[SweepState, Passed | None, Array]:
    """Make `budget` steps of all slots, or fewer if all models are done. The only program that a sweep compiles.

    The inner loop runs until some model is done, and touches nothing but the slots; the outer one then writes
    that model's row of the table and puts the next row of the queue in its place.

    Args:
      objective: its l2 is that of the queue.
      data: placed and blocked, one copy for all.
      queue: rows of settings.
      limits: their number and when each stops.
      origin: the parameters to start from, or the key that a seed is folded into.
      state: of the piece before.
      budget: at most program.capacity where a history is kept.
      program: what is compiled in.

    Returns:
      The state, the history of this piece, and how many of its rows are filled.
    """
    rows = queue.l2.shape[0]

    def optimizer_of(setting: Queue) -> optax.GradientTransformationExtraArgs:
        return program.rule.with_arrays(setting.rule)

    def own(setting: Queue) -> tuple[Objective, BlockedData]:
        """What one model minimises."""
        y = data.y if setting.targets is None else setting.targets
        weights = data.weights if setting.weights is None else setting.weights
        return dataclasses.replace(objective, l2=setting.l2), dataclasses.replace(data, y=y, weights=weights)

    def evaluate(settings: Queue, params: Params) -> tuple[Array, Params]:
        """J and its gradient of every slot."""
        if settings.targets is None and settings.weights is None:
            return objective.values_and_grads(params, data, settings.l2)

        def one(setting: Queue, params: Params) -> tuple[Array, Params]:
            objective, data = own(setting)
            return objective.value_and_grad(params, data)

        return jax.vmap(one)(settings, params)

    def judge_and_update_one(setting: Queue, now: LoopState, value: Array, gradient: Params) -> LoopState:
        objective, data = own(setting)
        return judge_and_update(
            objective,
            lambda params: objective.value(params, data),
            optimizer_of(setting),
            stopping.Limits(
                limits.tol, limits.max_steps, setting.null_value, setting.saturated_value, setting.unit_value
            ),
            now,
            value,
            gradient,
        )

    def starts() -> Params:
        if program.sizes is None:
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape)), origin)
        return jax.vmap(functools.partial(first_params, objective, data.x, origin, program.sizes))(queue.seed)

    def is_live(slots: Slots) -> Array:
        return slots.row < limits.size

    def refill(state: SweepState) -> SweepState:
        """Write all models into the table, which drops those of row `rows`, and fill free slots from the queue."""
        table, slots, models = state.table, state.slots, state.slots.state
        done = models.code != RUNNING
        results = Table(
            models.params, models.step, models.code, models.value, models.gradient_norm, models.first_value
        )
        table = jax.tree.map(lambda old, new: old.at[slots.row].set(new, mode="drop"), table, results)

        free = done | ~is_live(slots)
        order = state.next + jnp.cumsum(free.astype(jnp.int32)) - 1
        taken = jnp.where(order < limits.size, order, rows)
        row = jnp.where(free, taken, slots.row)
        known = jnp.minimum(row, rows - 1)
        setting = jax.tree.map(lambda array: array[known], queue)

        def filled(free: Array, setting: Queue, params: Params, old: LoopState) -> LoopState:
            new = fresh_state(optimizer_of(setting), params)
            return jax.tree.map(lambda a, b: jnp.where(free, a, b), new, old)

        params = jax.tree.map(lambda array: array[known], table.params)
        models = jax.vmap(filled)(free, setting, params, models)
        following = jnp.minimum(state.next + free.sum(dtype=jnp.int32), limits.size)
        return SweepState(state.started, following, table, Slots(row, setting, models))

    def run(carry: tuple[SweepState, Any, Array]) -> tuple[SweepState, Any, Array]:
        """Steps of all slots until one model is done; then its slot is refilled."""
        state, passed, made = carry
        row, setting, _ = state.slots
        live = is_live(state.slots)

        def iterate(inner: tuple[LoopState, Any, Array]) -> tuple[LoopState, Any, Array]:
            now, passed, made = inner
            after = jax.vmap(judge_and_update_one)(setting, now, *evaluate(setting, now.params))
            if program.capacity:
                entry = Passed(row, now.step, after.value, after.gradient_norm)
                passed = jax.tree.map(lambda buffer, new: buffer.at[made].set(new), passed, entry)
            return after, passed, made + 1

        def going(inner: tuple[LoopState, Any, Array]) -> Array:
            now, _, made = inner
            return (made < budget) & ~(live & (now.code != RUNNING)).any()

        models, passed, made = jax.lax.while_loop(going, iterate, (state.slots.state, passed, made))
        return refill(state._replace(slots=state.slots._replace(state=models))), passed, made

    def unfinished(carry: tuple[SweepState, Any, Array]) -> Array:
        state, _, made = carry
        return (made < budget) & is_live(state.slots).any()

    table = state.table._replace(params=jax.lax.cond(state.started, lambda: state.table.params, starts))
    state = refill(state._replace(started=jnp.asarray(True), table=table))
    passed = None
    if program.capacity:
        shape, dtype = (program.capacity, state.slots.row.shape[0]), state.slots.state.value.dtype
        passed = Passed(
            jnp.zeros(shape, jnp.int32),
            jnp.zeros(shape, jnp.int32),
            jnp.zeros(shape, dtype),
            jnp.zeros(shape, dtype),
        )
    return jax.lax.while_loop(unfinished, run, (state, passed, jnp.int32(0)))
