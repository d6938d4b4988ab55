"""The loop where a pass over the rows is long: each core of a CPU makes it over its own, from a host thread."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore._core.array_checks import is_traced
from dlcore._core.programs import kept_programs
from dlcore._core.types import Array, Params
from dlcore.fitting.loop import Hyper, LoopState, Record, Rule, Trace, begun, judge_and_update
from dlcore.fitting.minibatches import Batches
from dlcore.fitting.stopping import RUNNING
from dlcore.objective import BlockedData, Objective
from dlcore.objective.passes import VALUE_AND_GRAD, of_parts, parts_for_cores, sums_of_parts


def parts_of_fit(
    objective: Objective, data: BlockedData, hyper: Hyper, state: LoopState, rule: Rule, batches: Batches | None
) -> list[BlockedData]:
    """The rows of each core; one part where the loop is one program.

    That is so where a pass is short, on an accelerator, over several devices, with batches, where something is
    traced, and for a rule that evaluates J itself, as a line search does: it does so inside the program.
    """
    traced = any(map(is_traced, jax.tree.leaves((objective, data, hyper, state))))
    if traced or batches is not None or data.mesh is not None:
        return [data]
    parts = parts_for_cores(data, state.params)
    if len(parts) > 1 and _evaluates(rule.with_arrays(hyper.rule), state):
        return [data]
    return parts


def advance_on_cores(
    objective: Objective,
    parts: list[BlockedData],
    hyper: Hyper,
    state: LoopState,
    stop: int,
    *,
    rule: Rule,
    record: Record,
    capacity: int,
) -> tuple[LoopState, Trace]:
    """What `advance` does, of two programs: a pass over the rows of one core, and all else of a step.

    Args:
      objective: its l2 is data.
      parts: of the rows, one for each core.
      hyper: rates and limits.
      state: of the piece before; at step 0 the rule's own state is a blank.
      stop: no step from this number on is evaluated.
      rule: the functions of the rule.
      record: of the parameters.
      capacity: most evaluations.

    Returns:
      The state, and the history of this piece, on the host. A sum is that of the parts in their order: the bits
      depend on their number, and on `stop` no more than those of `advance`.
    """
    rows, entries = parts[0].x.shape[0], []
    while True:
        sums = sums_of_parts(VALUE_AND_GRAD, objective, parts, state.params)
        state, entry = _move(objective, sums, hyper, state, rows=rows, rule=rule, record=record)
        entries.append(jax.tree.map(np.asarray, entry))
        code, step = int(state.code), int(state.step)
        if code != RUNNING or step >= stop or len(entries) == capacity:
            return state, jax.tree.map(lambda *each: np.stack(each), *entries)


@kept_programs("rows", "rule", "record")
def _move(
    objective: Objective, sums: list[Any], hyper: Hyper, state: LoopState, *, rows: int, rule: Rule, record: Record
) -> tuple[LoopState, Trace]:
    """Judge how things stand after a pass and, if they go on, make one update."""
    optimizer = rule.with_arrays(hyper.rule)
    value, gradient = of_parts(VALUE_AND_GRAD, rows, objective, sums, state.params)
    after = judge_and_update(
        objective, _unknown, optimizer, hyper.limits, begun(optimizer, state), value, gradient
    )
    return after, Trace(after.value, after.gradient_norm, record(state.params))


def _unknown(_: Params) -> Array:
    """J as a function, for rules that do not ask."""
    raise AssertionError("a rule that evaluates J runs in one program: see `parts_of_fit`")


def _evaluates(optimizer: optax.GradientTransformationExtraArgs, state: LoopState) -> bool:
    """Whether the rule evaluates J at other parameters."""
    asked = []

    def value_fn(params: Params) -> Array:
        asked.append(params)
        return jnp.zeros_like(state.value)

    def update(value: Array, params: Params) -> Any:
        return optimizer.update(
            params, optimizer.init(params), params, value=value, grad=params, value_fn=value_fn
        )

    jax.eval_shape(update, state.value, state.params)
    return bool(asked)
