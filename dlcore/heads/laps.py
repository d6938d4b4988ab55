"""Passes over the rows, a move of all heads after each: in one program, or with every core at its own rows."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.devices import to_device
from dlcore.heads.quick_jit import QUICK, quick_jit
from dlcore.objective import BlockedData
from dlcore.objective.threads import threaded_program


class Method(NamedTuple):
    """Four functions of one object for all heads, at module level: they are part of the compiled program.

    Attributes:
      start: (given) to the state before the first pass; the state says in `active`, (K,), which heads go on.
      look: (given, state, data) to sums over the rows of `data`.
      move: (given, state, sums of each part of the rows) to the state before the next pass.
      finish: (given, state) to the result.
    """

    start: Callable[[Any], Any]
    look: Callable[[Any, Any, BlockedData], Any]
    move: Callable[[Any, Any, Sequence[Any]], Any]
    finish: Callable[[Any, Any], Any]


def run(method: Method, given: Any, parts: Sequence[BlockedData]) -> Any:
    """The result, in NumPy, once no head goes on.

    Args:
      method: what is done.
      given: what it is given; an array in it is data, so that any values run the same program.
      parts: of the rows. One part is worked on by one program from the first pass to the last. Of several, each
        core makes the pass over its own, and all of them the same move after it.
    """
    if len(parts) == 1:
        with jax.transfer_guard_host_to_device("allow"):  # a small table is over before `to_device` would be
            return jax.tree.map(np.asarray, _all_laps(given, parts[0], method=method))
    given = to_device(given)
    shapes = jax.eval_shape(functools.partial(_first, method=method), given, parts[0])
    # On the device as what follows: NumPy's arrays would be another program.
    state, sums, result = jax.device_put(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    each, begun = [sums] * len(parts), np.bool_(False)
    while True:
        found = _lap.map_threads([(given, part, begun, state, each) for part in parts], method=method)
        state, _, result = found[0]
        if not np.asarray(state.active).any():
            return jax.tree.map(np.asarray, result)
        each, begun = [own for _, own, _ in found], np.bool_(True)


@quick_jit("method")
def _all_laps(given: Any, data: BlockedData, *, method: Method) -> Any:
    def lap(state: Any) -> Any:
        return method.move(given, state, [method.look(given, state, data)])

    end = jax.lax.while_loop(lambda state: state.active.any(), lap, method.start(given))
    return method.finish(given, end)


@quick_jit("method")
def _first(given: Any, data: BlockedData, *, method: Method) -> tuple[Any, Any, Any]:
    """State, sums and result: what they look like."""
    state = method.start(given)
    return state, method.look(given, state, data), method.finish(given, state)


@threaded_program("method", cpu_options=QUICK)
def _lap(
    given: Any, data: BlockedData, begun: Array, state: Any, sums: list[Any], *, method: Method
) -> tuple[Any, Any, Any]:
    """The move after the last pass and, if a head goes on, a pass over these rows; if none does, the result."""
    state = jax.lax.cond(begun, lambda: method.move(given, state, sums), lambda: method.start(given))
    going = state.active.any()
    result = jax.eval_shape(method.finish, given, state)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (sums[0], result))
    return (
        state,
        jax.lax.cond(going, lambda: method.look(given, state, data), lambda: nothing[0]),
        jax.lax.cond(going, lambda: nothing[1], lambda: method.finish(given, state)),
    )
