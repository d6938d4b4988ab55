r"""Every value, in one sweep forward, and every derivative of the output, in one sweep backward.

The chain rule in reverse: the derivative of the output with respect to the output is 1; a step that made `outputs`
from `inputs` turns the derivatives with respect to the former into those with respect to the latter,

$\bar x_i = \sum_{k:\, x_i \text{ feeds } v_k} \bar v_k\, \partial v_k / \partial x_i$

and the derivatives that arrive at a slot over several ways are added.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.devices import to_device
from dlcore.graph.jaxpr import Number, Place, Program, Step, bind, identity

NO_RULE = ("Reverse-mode differentiation does not work", "do not support JVP", "not supported")
"""How JAX words it, within a ValueError, that there is no derivative: of a while_loop, a callback, a function."""

BLOCKING = ("stop_gradient",)
"""Operations whose derivative is 0 whatever is behind them."""


def has_derivative(value: Any) -> bool:
    """Whether the output can have a derivative with respect to this: real or complex numbers, not keys."""
    return jnp.issubdtype(value.dtype, jnp.inexact)


def forward(program: Program, arguments: list[Any]) -> dict[int, Any]:
    """The value of every slot."""
    values = dict(zip(program.arguments, arguments, strict=True)) | program.constants
    for step in program.steps:
        run, _ = _functions(step, ())
        outputs = run(*to_device([_at(values, place) for place in step.inputs]))
        values.update(zip(step.outputs, outputs, strict=True))
    return values


def backward(program: Program, values: Mapping[int, Any], output: Place) -> tuple[dict[int, Any], dict[int, str]]:
    """The derivative of the output with respect to every slot on which it depends.

    Args:
      program: the steps.
      values: of every slot.
      output: where the result stands.

    Returns:
      The derivatives by slot, without the slots on which the output does not depend; and, by slot, the name of
      the operation for which JAX has no derivative, where that hides the slot's: what came over other ways is
      then a part of it only.
    """
    derivatives: dict[int, Any] = {}
    hidden: dict[int, str] = {}
    if isinstance(output, int):
        derivatives[output] = to_device(np.ones((), values[output].dtype))
    for step in reversed(program.steps):
        name = step.equation.primitive.name
        behind = next((hidden[slot] for slot in step.outputs if slot in hidden), None)
        if behind is None and not any(slot in derivatives for slot in step.outputs):
            continue
        wanted = tuple(
            index
            for index, place in enumerate(step.inputs)
            if isinstance(place, int) and has_derivative(values[place])
        )
        parts = [None] * len(wanted) if behind else _passed_back(step, wanted, values, derivatives)
        for index, part in zip(wanted, parts, strict=True):
            slot = step.inputs[index]
            assert isinstance(slot, int)
            if part is not None:
                derivatives[slot] = jax.lax.add(derivatives[slot], part) if slot in derivatives else part
            elif name not in BLOCKING:
                hidden[slot] = behind or name
    return derivatives, hidden


def _passed_back(
    step: Step, wanted: tuple[int, ...], values: Mapping[int, Any], derivatives: Mapping[int, Any]
) -> list[Any]:
    """What a step passes back to some of its inputs; None where JAX has no derivative with respect to one."""
    inputs = tuple(_at(values, place) for place in step.inputs)
    arriving = tuple(
        derivatives[slot] if slot in derivatives else np.zeros(values[slot].shape, values[slot].dtype)
        for slot in step.outputs
        if has_derivative(values[slot])
    )
    if not wanted:
        return []
    _, pull = _functions(step, wanted)
    try:
        return list(pull(*to_device((inputs, arriving))))
    except (NotImplementedError, ValueError) as error:
        if isinstance(error, ValueError) and not any(words in str(error) for words in NO_RULE):
            raise
    if len(wanted) == 1:
        return [None]
    return [_passed_back(step, (index,), values, derivatives)[0] for index in wanted]


def _at(values: Mapping[int, Any], place: Place) -> Any:
    return place.value if isinstance(place, Number) else values[place]


def _functions(step: Step, wanted: tuple[int, ...]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A step's value and pullback: compiled once for all the steps that do the same, where that can be told."""
    key = identity(step.equation)
    return _make(step.equation, wanted) if key is None else _compiled(_Same(key, step.equation), wanted)


class _Same:
    """An equation that is equal to every other one of the same operation: what the cache below goes by."""

    def __init__(self, key: tuple[Any, ...], equation: Any) -> None:
        self.key, self.equation = key, equation

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.key == other.key


@functools.lru_cache(maxsize=2048)
def _compiled(same: _Same, wanted: tuple[int, ...]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    value, pull = _make(same.equation, wanted)
    return jax.jit(value), jax.jit(pull)


def _make(equation: Any, wanted: tuple[int, ...]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def value(*inputs: Any) -> tuple[Any, ...]:
        return bind(equation, *inputs)

    def pull(inputs: tuple[Any, ...], arriving: tuple[Any, ...]) -> tuple[Any, ...]:
        def of_wanted(*chosen: Any) -> tuple[Any, ...]:
            full = list(inputs)
            for index, one in zip(wanted, chosen, strict=True):
                full[index] = one
            return tuple(out for out in value(*full) if has_derivative(out))

        return jax.vjp(of_wanted, *(inputs[index] for index in wanted))[1](arriving)

    return value, pull
