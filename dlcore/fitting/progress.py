"""How far a fit is: what goes from one call of the compiled loop to the next, and into a checkpoint."""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from dlcore.fitting.loop import LoopState, Record, Trace, evaluations
from dlcore.fitting.stopping import CODES, RUNNING
from dlcore.objective.sharding import replicated


class Reached(NamedTuple):
    """How far a fit is: always a state and the history that belongs to it."""

    state: LoopState
    traces: list[Trace]


def whole(traces: list[Trace]) -> Trace:
    """All pieces of the history, one after another."""
    return jax.tree.map(lambda *pieces: np.concatenate(pieces), *traces)


def reopened(reached: Reached, mesh: Mesh | None) -> Reached:
    """As before the last evaluation, which will be made and judged again."""
    state = reached.state._replace(code=replicated(jax.device_put(np.int32(RUNNING)), mesh))
    last = jax.tree.map(lambda buffer: buffer[:-1], reached.traces[-1])
    return Reached(state, [*reached.traces[:-1], last])


def saved_as(reached: Reached) -> tuple[LoopState, Trace]:
    """What a checkpoint holds."""
    return reached.state, whole(reached.traces)


def blank_of(state: LoopState, record: Record) -> tuple[LoopState, Trace]:
    """What a checkpoint of such a fit looks like."""
    entry = jax.eval_shape(lambda: Trace(state.value, state.gradient_norm, record(state.params)))
    return state, jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), entry)


def check_saved(saved: tuple[LoopState, Trace], epoch: int) -> None:
    """Raise a ValueError unless a state is one that a fit reaches, and the history is as long as its steps."""
    state, trace = saved
    step, code, length = int(state.step), int(state.code), len(trace.value)
    if step < 0 or code not in range(len(CODES)):
        raise ValueError(f"expected a step of at least 0 and a known code, got {step} and {code}")
    if length != (wanted := evaluations(step, epoch) + (code != RUNNING)):
        raise ValueError(f"expected a history of {wanted} evaluations, got {length}")


def resumed(saved: tuple[LoopState, Trace], mesh: Mesh | None) -> Reached:
    """Where a checkpoint left off; if that was the end, before its last evaluation."""
    state, trace = saved
    reached = Reached(replicated(jax.device_put(state), mesh), [trace])
    return reached if int(state.code) == RUNNING else reopened(reached, mesh)


def filled_part(trace: Trace, count: int) -> Trace:
    """The first `count` entries of a trace, on the host, in memory of their own."""
    return jax.tree.map(lambda buffer: np.array(np.asarray(buffer)[:count]), trace)
