"""The compiled loop: one program, run in pieces of any length, that makes steps and keeps their history."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore._core.programs import kept_programs
from dlcore._core.types import Array, Params
from dlcore.fitting.minibatches import Batches, shuffled, take_batch
from dlcore.fitting.stopping import DIVERGENCE_INTERVAL, PRECISION_FLOOR, RUNNING, Limits, judge
from dlcore.linalg import vector_norm
from dlcore.objective import BlockedData, Objective
from dlcore.objective.passes import sum_of_weights
from dlcore.objective.sharding import kept_replicated
from dlcore.objective.terms import penalty

Record = Callable[[Params], Any]


class LoopState(NamedTuple):
    """All that the next piece of the loop needs from the one before.

    Attributes:
      step: how many updates were made.
      code: `stopping.RUNNING`, or why the loop ended.
      params: the parameters after `step` updates.
      optimizer: the state of the rule.
      value, gradient_norm: J and ‖∇J‖ where they were last evaluated: at `params` once the loop has ended,
        one update before it while it runs.
      first_value, first_gradient_norm: the same at the start.
      order: of the batches of this epoch; nothing where every step takes all rows.
    """

    step: Array
    code: Array
    params: Params
    optimizer: Any
    value: Array
    gradient_norm: Array
    first_value: Array
    first_gradient_norm: Array
    order: Any = ()


class Trace(NamedTuple):
    """History of one piece of the loop: buffers [capacity] of which the first few entries are filled."""

    value: Array
    gradient_norm: Array
    recorded: Any


class Hyper(NamedTuple):
    """What steers the loop and is data: the arrays of the rule, the limits, and the key of the batches' order."""

    rule: tuple[Any, ...]
    limits: Limits
    key: Any = None


class Rule(NamedTuple):
    """What steers the loop and is part of the program: the rule without its arrays, hashable."""

    functions: tuple[Any, ...]
    structure: Any

    def with_arrays(self, arrays: tuple[Any, ...]) -> optax.GradientTransformationExtraArgs:
        """The rule with its hyper-parameters put back, taking Optax's extra arguments or ignoring them."""
        leaves = [
            array if function is None else function for function, array in zip(self.functions, arrays, strict=True)
        ]
        return optax.with_extra_args_support(jax.tree.unflatten(self.structure, leaves))


def split_rule(rule: optax.GradientTransformation) -> tuple[Rule, tuple[Any, ...]]:
    """Separate a rule into what is compiled (functions, compared by identity) and its hyper-parameters."""
    leaves, structure = jax.tree.flatten(rule)
    functions = tuple(leaf if callable(leaf) else None for leaf in leaves)
    return Rule(functions, structure), tuple(None if callable(leaf) else leaf for leaf in leaves)


@kept_programs("rule", "record", "capacity", "batches")
def advance(
    objective: Objective,
    data: BlockedData,
    hyper: Hyper,
    state: LoopState,
    stop: Array | int,
    *,
    rule: Rule,
    record: Record,
    capacity: int,
    batches: Batches | None = None,
) -> tuple[LoopState, Trace]:
    """Make steps until `stop` or the end. The only program that a fit compiles, but for one on several cores.

    Args:
      objective: its l2 is data.
      data: placed and blocked.
      hyper: rates and limits.
      state: of the piece before; at step 0 the rule's own state is a blank.
      stop: no step from this number on is evaluated.
      rule: the functions of the rule.
      record: of the parameters, kept whenever the whole objective is evaluated.
      capacity: length of the history's buffers, at least as many as there are evaluations.
      batches: of rows, where a step does not take all.

    Returns:
      The state, and the history of this piece: entry i is of the i-th evaluation of the whole objective since
      `state.step`, every step without batches.
    """
    optimizer = rule.with_arrays(hyper.rule)
    weight_sum = sum_of_weights(None if batches is None else data.weights, state.value.dtype, data.x.shape[0])

    def iterate(carry: tuple[LoopState, Trace]) -> tuple[LoopState, Trace]:
        now, trace = carry
        if batches is None:
            after = step(objective, data, optimizer, hyper.limits, now)
            index = now.step - state.step
        else:
            after = batch_step(objective, data, optimizer, hyper, now, batches, weight_sum)
            made = evaluations(now.step, batches.per_epoch) - evaluations(state.step, batches.per_epoch)
            index = jnp.where(is_evaluated(now.step, hyper.limits.max_steps, batches), made, capacity)
        entry = jax.lax.stop_gradient(Trace(after.value, after.gradient_norm, record(now.params)))
        return after, jax.tree.map(lambda buffer, new: buffer.at[index].set(new, mode="drop"), trace, entry)

    def unfinished(carry: tuple[LoopState, Trace]) -> Array:
        return (carry[0].code == RUNNING) & (carry[0].step < stop)

    entry = jax.eval_shape(lambda p: Trace(state.value, state.gradient_norm, record(p)), state.params)
    buffers = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), entry)
    ended = jax.lax.while_loop(unfinished, iterate, (begun(optimizer, state), buffers))
    return kept_replicated(ended, data.mesh)


def begun(optimizer: optax.GradientTransformationExtraArgs, state: LoopState) -> LoopState:
    """The state with that of the rule, made on the first step inside the program: so a fit needs no other one."""
    made = jax.lax.cond(state.step == 0, lambda: optimizer.init(state.params), lambda: state.optimizer)
    return state._replace(optimizer=made)


def evaluations(step: Any, count: int) -> Any:
    """How often the whole objective has been evaluated before `step`: at the beginning of every epoch."""
    return -(-step // count)


def is_evaluated(step: Array, max_steps: Any, batches: Batches) -> Array:
    """Whether the whole objective is evaluated at `step`."""
    return (step % batches.per_epoch == 0) | (step >= max_steps)


def step(
    objective: Objective,
    data: BlockedData,
    optimizer: optax.GradientTransformationExtraArgs,
    limits: Limits,
    now: LoopState,
) -> LoopState:
    """Evaluate J and its gradient at `now.params`, judge how things stand and, if they go on, make one update."""
    value, gradient = objective.value_and_grad(now.params, data)

    def value_fn(params: Params) -> Array:
        return objective.value(params, data)

    return judge_and_update(objective, value_fn, optimizer, limits, now, value, gradient)


def judge_and_update(
    objective: Objective,
    value_fn: Callable[[Params], Array],
    optimizer: optax.GradientTransformationExtraArgs,
    limits: Limits,
    now: LoopState,
    value: Array,
    gradient: Params,
) -> LoopState:
    """The rest of `step`, with J and its gradient at `now.params`, and J as a function."""
    seen = _judged(objective, limits, now, value, gradient, DIVERGENCE_INTERVAL)
    updates, optimizer_state = optimizer.update(
        gradient, now.optimizer, now.params, value=value, grad=gradient, value_fn=value_fn
    )
    params = optax.apply_updates(now.params, updates)
    # Where no bit of all that the next step depends on changed, no later step can change one.
    stuck = same_bits((params, optimizer_state), (now.params, now.optimizer))
    code = jnp.where((seen.code == RUNNING) & stuck, PRECISION_FLOOR, seen.code)
    return _moved(seen._replace(code=code), params, optimizer_state)


def _judged(
    objective: Objective, limits: Limits, now: LoopState, value: Array, gradient: Params, interval: int
) -> LoopState:
    """How things stand, with J and its gradient at `now.params`."""
    norm = tree_norm(gradient)
    started = now.step > 0
    first_value = jnp.where(started, now.first_value, value)
    first_norm = jnp.where(started, now.first_gradient_norm, norm)
    l2, limits = jnp.asarray(objective.l2, value.dtype), limits._replace(tol=jnp.asarray(limits.tol, value.dtype))
    added = penalty(objective, now.params).astype(value.dtype)
    code = judge(now.step, value, added, first_value, norm, first_norm, l2, limits, interval)
    return now._replace(
        code=code, value=value, gradient_norm=norm, first_value=first_value, first_gradient_norm=first_norm
    )


def batch_step(
    objective: Objective,
    data: BlockedData,
    optimizer: optax.GradientTransformationExtraArgs,
    hyper: Hyper,
    now: LoopState,
    batches: Batches,
    weight_sum: Array,
) -> LoopState:
    """At the beginning of an epoch shuffle the batches, evaluate J and judge; then make one update on one batch.

    That an update changes no bit proves nothing here: the next batch may.
    """

    def evaluate() -> LoopState:
        value, gradient = objective.value_and_grad(now.params, data)
        seen = _judged(objective, hyper.limits, now, value, gradient, batches.interval)
        return seen._replace(order=shuffled(batches, hyper.key, now.step))

    seen = jax.lax.cond(is_evaluated(now.step, hyper.limits.max_steps, batches), evaluate, lambda: now)
    batch = take_batch(data, batches, seen.order[now.step % batches.per_epoch], weight_sum)

    def value_fn(params: Params) -> Array:
        return objective.value(params, batch)

    value, gradient = objective.value_and_grad(now.params, batch)
    updates, optimizer_state = optimizer.update(
        gradient, now.optimizer, now.params, value=value, grad=gradient, value_fn=value_fn
    )
    return _moved(seen, optax.apply_updates(now.params, updates), optimizer_state)


def _moved(seen: LoopState, params: Params, optimizer_state: Any) -> LoopState:
    """One update further, unless the descent has ended."""
    going = seen.code == RUNNING

    def keep(new: Array, old: Array) -> Array:
        return jnp.where(going, new, old)

    return seen._replace(
        step=seen.step + going.astype(jnp.int32),
        params=jax.tree.map(keep, params, seen.params),
        optimizer=jax.tree.map(keep, optimizer_state, seen.optimizer),
    )


def tree_norm(tree: Params) -> Array:
    """The Euclidean norm of all leaves as one vector."""
    return vector_norm(jnp.stack([vector_norm(leaf) for leaf in jax.tree.leaves(tree)]))


def same_bits(one: Any, other: Any) -> Array:
    """Whether two trees are equal in every leaf. A nan is not equal to itself."""
    equal = jax.tree.map(lambda a, b: jnp.all(a == b), one, other)
    return jnp.stack([*jax.tree.leaves(equal), jnp.asarray(True)]).all()
