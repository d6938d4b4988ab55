"""The compiled loop of a fit: one program that the host calls for any number of steps. It keeps a history."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from dlcore._core.compilation.jit_cache import cached_jit
from dlcore._core.types import Array, Numeric, Params, PRNGKey
from dlcore.fitting.minibatches import Batches, batch_order, is_evaluated, take_batch
from dlcore.fitting.state import HistoryBuffers, LoopProgress, LoopState, PyTree
from dlcore.fitting.stopping import DIVERGENCE_INTERVAL, PRECISION_FLOOR, RUNNING, StopLimits, stop_code
from dlcore.linalg import vector_norm
from dlcore.objective import BlockedData, Objective
from dlcore.objective.passes import sum_of_weights
from dlcore.objective.sharding import constrain_replicated, replicate
from dlcore.objective.terms import penalty

Record = Callable[[Params], object]
"""A pure function of the parameters. Its result is stored at every evaluation of J."""

Count = TypeVar("Count", int, Array)


class LoopArguments(NamedTuple):
    """Traced arguments of the loop: hyper-parameters of the optimizer, limits, and the key of the batches."""

    hyperparams: tuple[Numeric | None, ...]
    limits: StopLimits
    key: PRNGKey | None = None


class StaticOptimizer(NamedTuple):
    """An optimizer without its hyper-parameters: the hashable part, which is compiled into the program."""

    functions: tuple[Callable[..., object] | None, ...]
    structure: Any

    def combine(self, hyperparams: tuple[Numeric | None, ...]) -> optax.GradientTransformationExtraArgs:
        """Return the optimizer with these hyper-parameters. It accepts Optax's extra arguments."""
        leaves = [
            number if function is None else function
            for function, number in zip(self.functions, hyperparams, strict=True)
        ]
        return optax.with_extra_args_support(jax.tree.unflatten(self.structure, leaves))


class Descent(NamedTuple):
    """The objective, the optimizer and the limits of a fit, as a step takes them."""

    objective: Objective
    optimizer: optax.GradientTransformationExtraArgs
    limits: StopLimits


def split_optimizer(
    optimizer: optax.GradientTransformation,
) -> tuple[StaticOptimizer, tuple[Numeric | None, ...]]:
    """Split an optimizer into its functions, which are compared by identity, and its hyper-parameters."""
    leaves, structure = jax.tree.flatten(optimizer)
    functions = tuple(leaf if callable(leaf) else None for leaf in leaves)
    return StaticOptimizer(functions, structure), tuple(None if callable(leaf) else leaf for leaf in leaves)


@cached_jit("static_optimizer", "record", "capacity", "batches")
def advance(
    objective: Objective,
    data: BlockedData,
    loop_args: LoopArguments,
    state: LoopState,
    end_step: Array | int,
    *,
    static_optimizer: StaticOptimizer,
    record: Record,
    capacity: int,
    batches: Batches | None = None,
) -> tuple[LoopState, HistoryBuffers]:
    """Run the loop until step `end_step` or the end.

    A fit on one thread compiles this program. It also compiles the search for the null model if that is needed.

    Args:
      objective: the objective. Its l2 is traced.
      data: placed and blocked data.
      loop_args: hyper-parameters, limits and key.
      state: the state after the previous call. At step 0 the optimizer's state is a placeholder.
      end_step: the first step that this call does not evaluate.
      static_optimizer: the static part of the optimizer.
      record: a function of the parameters, called at every evaluation of the whole objective.
      capacity: length of the history's buffers, at least the number of evaluations.
      batches: the minibatches, or None if every step takes all rows.

    Returns:
      The state, and the history of this call. Entry i belongs to the i-th evaluation of the whole objective since
      `state.step`. Without minibatches every step is an evaluation.
    """
    descent = Descent(objective, static_optimizer.combine(loop_args.hyperparams), loop_args.limits)
    weight_sum = sum_of_weights(None if batches is None else data.weights, state.value.dtype, data.x.shape[0])

    def body(carry: tuple[LoopState, HistoryBuffers]) -> tuple[LoopState, HistoryBuffers]:
        current, buffers = carry
        if batches is None:
            following = full_step(descent, data, current)
            index = current.step - state.step
        else:
            following = batch_step(descent, data, current, batches, loop_args.key, weight_sum)
            count = evaluations(current.step, batches.per_epoch) - evaluations(state.step, batches.per_epoch)
            # `capacity` is outside of the buffers, so that nothing is stored for a step without an evaluation.
            index = jnp.where(is_evaluated(current.step, descent.limits.max_steps, batches), count, capacity)
        entry = HistoryBuffers(following.value, following.gradient_norm, record(current.params))
        entry = jax.lax.stop_gradient(entry)
        return following, jax.tree.map(lambda buffer, new: buffer.at[index].set(new, mode="drop"), buffers, entry)

    def is_unfinished(carry: tuple[LoopState, HistoryBuffers]) -> Array:
        return (carry[0].code == RUNNING) & (carry[0].step < end_step)

    entry = jax.eval_shape(lambda p: HistoryBuffers(state.value, state.gradient_norm, record(p)), state.params)
    buffers = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), entry)
    result = jax.lax.while_loop(is_unfinished, body, (initialized(descent.optimizer, state), buffers))
    return constrain_replicated(result, data.mesh)


def initialized(optimizer: optax.GradientTransformationExtraArgs, state: LoopState) -> LoopState:
    """Return the state. At step 0, initialize the optimizer's state, so that `init` needs no separate program."""
    optimizer_state = jax.lax.cond(state.step == 0, lambda: optimizer.init(state.params), lambda: state.optimizer)
    return state._replace(optimizer=optimizer_state)


def evaluations(step: Count, per_epoch: int) -> Count:
    """Return the number of evaluations of the whole objective before `step`: one at the start of each epoch."""
    return -(-step // per_epoch)


def full_step(descent: Descent, data: BlockedData, state: LoopState) -> LoopState:
    """Evaluate J and ∇J on all rows and, unless a stopping rule holds, make an update."""
    value_and_grad = descent.objective.value_and_grad(state.params, data)
    return update(descent, lambda params: descent.objective.value(params, data), state, *value_and_grad)


def update(
    descent: Descent, value_fn: Callable[[Params], Array], state: LoopState, value: Array, gradient: Params
) -> LoopState:
    """Apply the stopping rules and, unless one of them holds, make an update.

    Args:
      descent: objective, optimizer and limits.
      value_fn: J as a function of the parameters, for line searches.
      state: the state before the update.
      value: J at `state.params`.
      gradient: ∇J at `state.params`.
    """
    evaluated = _evaluated(descent, state, value, gradient, DIVERGENCE_INTERVAL)
    updates, optimizer_state = descent.optimizer.update(
        gradient, state.optimizer, state.params, value=value, grad=gradient, value_fn=value_fn
    )
    params = optax.apply_updates(state.params, updates)
    # The next step depends only on these arrays. If all of them are unchanged, every later step repeats this step.
    is_stuck = all_equal((params, optimizer_state), (state.params, state.optimizer))
    code = jnp.where((evaluated.code == RUNNING) & is_stuck, PRECISION_FLOOR, evaluated.code)
    return _with_update(evaluated._replace(code=code), params, optimizer_state)


def batch_step(
    descent: Descent,
    data: BlockedData,
    state: LoopState,
    batches: Batches,
    key: PRNGKey | None,
    weight_sum: Array,
) -> LoopState:
    """Make an update on one batch. At the start of an epoch, evaluate J and shuffle the batches first.

    The precision floor is not tested. After an update without effect, the next batch may still change the
    parameters.
    """
    assert key is not None

    def evaluate() -> LoopState:
        value, gradient = descent.objective.value_and_grad(state.params, data)
        evaluated = _evaluated(descent, state, value, gradient, batches.divergence_interval)
        return evaluated._replace(order=batch_order(batches, key, state.step))

    evaluated = jax.lax.cond(is_evaluated(state.step, descent.limits.max_steps, batches), evaluate, lambda: state)
    index = evaluated.order[state.step % batches.per_epoch]
    batch = take_batch(data, batches, index, weight_sum)
    value, gradient = descent.objective.value_and_grad(state.params, batch)
    updates, optimizer_state = descent.optimizer.update(
        gradient,
        state.optimizer,
        state.params,
        value=value,
        grad=gradient,
        value_fn=lambda params: descent.objective.value(params, batch),
    )
    return _with_update(evaluated, optax.apply_updates(state.params, updates), optimizer_state)


def _evaluated(
    descent: Descent, state: LoopState, value: Array, gradient: Params, divergence_interval: int
) -> LoopState:
    """Return the state with J, ‖∇J‖ and the code at `state.params`."""
    norm = tree_norm(gradient)
    has_started = state.step > 0
    first_value = jnp.where(has_started, state.first_value, value)
    first_norm = jnp.where(has_started, state.first_gradient_norm, norm)
    l2 = jnp.asarray(descent.objective.l2, value.dtype)
    limits = descent.limits._replace(tol=jnp.asarray(descent.limits.tol, value.dtype))
    added = penalty(descent.objective, state.params).astype(value.dtype)
    evaluated = state._replace(
        value=value, gradient_norm=norm, first_value=first_value, first_gradient_norm=first_norm
    )
    return evaluated._replace(code=stop_code(evaluated, added, l2, limits, divergence_interval))


def _with_update(state: LoopState, params: Params, optimizer_state: optax.OptState) -> LoopState:
    """Return the state after an update, or the state itself if the loop has ended."""
    is_running = state.code == RUNNING

    def select(new: Array, old: Array) -> Array:
        return jnp.where(is_running, new, old)

    return state._replace(
        step=state.step + is_running.astype(jnp.int32),
        params=jax.tree.map(select, params, state.params),
        optimizer=jax.tree.map(select, optimizer_state, state.optimizer),
    )


def tree_norm(tree: Params) -> Array:
    """Return the Euclidean norm of all leaves as one vector."""
    return vector_norm(jnp.stack([vector_norm(leaf) for leaf in jax.tree.leaves(tree)]))


def all_equal(left: PyTree, right: PyTree) -> Array:
    """Return whether two trees are equal in every leaf. −0 equals 0, and nan does not equal nan."""
    equal = jax.tree.map(lambda a, b: jnp.all(a == b), left, right)
    return jnp.stack([*jax.tree.leaves(equal), jnp.asarray(True)]).all()


def rewind(progress: LoopProgress, mesh: Mesh | None) -> LoopProgress:
    """Return the progress without its last evaluation, so that the loop repeats that evaluation."""
    state = progress.state._replace(code=replicate(jax.device_put(np.int32(RUNNING)), mesh))
    last = jax.tree.map(lambda buffer: buffer[:-1], progress.histories[-1])
    return LoopProgress(state, [*progress.histories[:-1], last])
