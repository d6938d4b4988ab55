"""The compiled loop: one program, run in pieces of any length, that makes steps and keeps their history."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore._types import Array, Params
from dlcore.fitting.stopping import PRECISION_FLOOR, RUNNING, judge
from dlcore.linalg import vector_norm
from dlcore.objective import BlockedData, Objective

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
    """

    step: Array
    code: Array
    params: Params
    optimizer: Any
    value: Array
    gradient_norm: Array
    first_value: Array
    first_gradient_norm: Array


class Trace(NamedTuple):
    """History of one piece of the loop: buffers [capacity] of which the first few entries are filled."""

    value: Array
    gradient_norm: Array
    recorded: Any


class Hyper(NamedTuple):
    """What steers the loop and is data: the leaves of the rule that are arrays, and the limits."""

    rule: tuple[Any, ...]
    tol: Any
    max_steps: Any


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


@functools.partial(jax.jit, static_argnames=("rule", "record", "capacity"))
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
) -> tuple[LoopState, Trace]:
    """Make steps until `stop`, `capacity` of them, or the end. The only program that a fit compiles.

    Args:
      objective: its l2 is data.
      data: placed and blocked.
      hyper: rates and limits.
      state: of the piece before; at step 0 the rule's own state is a blank.
      stop: no step from this number on is evaluated.
      rule: the functions of the rule.
      record: of the parameters, kept at every step.
      capacity: length of the history's buffers, at least stop - state.step.

    Returns:
      The state, and the history of this piece: entry i is of step `state.step + i`.
    """
    optimizer = rule.with_arrays(hyper.rule)

    def iterate(carry: tuple[LoopState, Trace]) -> tuple[LoopState, Trace]:
        now, trace = carry
        after = step(objective, data, optimizer, hyper.tol, hyper.max_steps, now)
        entry = jax.lax.stop_gradient(Trace(after.value, after.gradient_norm, record(now.params)))
        index = now.step - state.step
        return after, jax.tree.map(lambda buffer, new: buffer.at[index].set(new), trace, entry)

    def unfinished(carry: tuple[LoopState, Trace]) -> Array:
        return (carry[0].code == RUNNING) & (carry[0].step < stop)

    entry = jax.eval_shape(lambda p: Trace(state.value, state.gradient_norm, record(p)), state.params)
    buffers = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), entry)
    # The state of the rule is made here on the first step, so that a fit is one program and no more.
    optimizer_state = jax.lax.cond(state.step == 0, lambda: optimizer.init(state.params), lambda: state.optimizer)
    return jax.lax.while_loop(unfinished, iterate, (state._replace(optimizer=optimizer_state), buffers))


def step(
    objective: Objective,
    data: BlockedData,
    optimizer: optax.GradientTransformationExtraArgs,
    tol: Any,
    max_steps: Any,
    now: LoopState,
) -> LoopState:
    """Evaluate J and its gradient at `now.params`, judge how things stand and, if they go on, make one update."""
    value, gradient = objective.value_and_grad(now.params, data)
    return judge_and_update(objective, data, optimizer, tol, max_steps, now, value, gradient)


def judge_and_update(
    objective: Objective,
    data: BlockedData,
    optimizer: optax.GradientTransformationExtraArgs,
    tol: Any,
    max_steps: Any,
    now: LoopState,
    value: Array,
    gradient: Params,
) -> LoopState:
    """The rest of `step`, with J and its gradient at `now.params`."""

    def value_fn(params: Params) -> Array:
        return objective.value(params, data)

    norm = tree_norm(gradient)
    started = now.step > 0
    first_value = jnp.where(started, now.first_value, value)
    first_norm = jnp.where(started, now.first_gradient_norm, norm)
    l2, tol = jnp.asarray(objective.l2, value.dtype), jnp.asarray(tol, value.dtype)
    code = judge(now.step, max_steps, value, first_value, norm, first_norm, l2, tol)

    updates, optimizer_state = optimizer.update(
        gradient, now.optimizer, now.params, value=value, grad=gradient, value_fn=value_fn
    )
    params = optax.apply_updates(now.params, updates)
    # Where no bit of all that the next step depends on changed, no later step can change one.
    stuck = same_bits((params, optimizer_state), (now.params, now.optimizer))
    code = jnp.where((code == RUNNING) & stuck, PRECISION_FLOOR, code)
    going = code == RUNNING

    def keep(new: Array, old: Array) -> Array:
        return jnp.where(going, new, old)

    return LoopState(
        step=now.step + going.astype(jnp.int32),
        code=code,
        params=jax.tree.map(keep, params, now.params),
        optimizer=jax.tree.map(keep, optimizer_state, now.optimizer),
        value=value,
        gradient_norm=norm,
        first_value=first_value,
        first_gradient_norm=first_norm,
    )


def tree_norm(tree: Params) -> Array:
    """The Euclidean norm of all leaves as one vector."""
    return vector_norm(jnp.stack([vector_norm(leaf) for leaf in jax.tree.leaves(tree)]))


def same_bits(one: Any, other: Any) -> Array:
    """Whether two trees are equal in every leaf. A nan is not equal to itself."""
    equal = jax.tree.map(lambda a, b: jnp.all(a == b), one, other)
    return jnp.stack([*jax.tree.leaves(equal), jnp.asarray(True)]).all()
