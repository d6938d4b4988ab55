r"""Forward evaluation of a program, and reverse-mode differentiation of its output.

The derivative of the output with respect to itself is 1. The pullback of each operation maps the derivatives with
respect to its outputs to those with respect to its inputs:

$\bar x_i = \sum_{k:\, x_i \text{ feeds } v_k} \bar v_k\, \partial v_k / \partial x_i$

The contributions of all operations that use an array are added.
"""

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from dlcore.devices import to_device
from dlcore.graph.jaxpr import Operand, Operation, Program, Scalar, Value, bind, operation_key

NO_RULE = ("Reverse-mode differentiation does not work", "do not support JVP", "not supported")
"""Parts of the messages of JAX's ValueErrors for operations without a derivative: while_loop, callbacks."""

ZERO_DERIVATIVE = ("stop_gradient",)
"""Operations that define their derivative as 0."""

Values = tuple[Value, ...]
Evaluate = Callable[..., Values]
Pullback = Callable[[Values, Values], Values]


def has_derivative(value: Value) -> bool:
    """Return whether the output can have a derivative with respect to this array: real or complex, no key."""
    return jnp.issubdtype(value.dtype, jnp.inexact)


def forward(program: Program, arguments: Sequence[Value]) -> dict[int, Value]:
    """Return the value of every slot."""
    values = dict(zip(program.arguments, arguments, strict=True)) | program.constants
    for operation in program.operations:
        evaluate, _ = _functions_of(operation, ())
        outputs = evaluate(*to_device([_value_of(operand, values) for operand in operation.inputs]))
        values.update(zip(operation.outputs, outputs, strict=True))
    return values


def backward(
    program: Program, values: Mapping[int, Value], output: Operand
) -> tuple[dict[int, Value], dict[int, str]]:
    """Return the derivative of the output with respect to every slot on which it depends.

    Args:
      program: the program.
      values: the value of every slot.
      output: the operand of the result.

    Returns:
      The derivatives by slot, without slots on which the output does not depend.
      Second, by slot, the operation without a derivative through which the slot reaches the output. The derivative
      of this slot is unknown, even where another path contributes a part of it.
    """
    derivatives: dict[int, Value] = {}
    blocked_by: dict[int, str] = {}
    if isinstance(output, int):
        derivatives[output] = to_device(np.ones((), values[output].dtype))
    for operation in reversed(program.operations):
        blocker = next((blocked_by[slot] for slot in operation.outputs if slot in blocked_by), None)
        if blocker is None and not any(slot in derivatives for slot in operation.outputs):
            continue
        differentiable = {
            index: operand
            for index, operand in enumerate(operation.inputs)
            if isinstance(operand, int) and has_derivative(values[operand])
        }
        argnums = tuple(differentiable)
        parts = [None] * len(argnums) if blocker else _pull_back(operation, argnums, values, derivatives)
        name = operation.equation.primitive.name
        for slot, part in zip(differentiable.values(), parts, strict=True):
            if part is not None:
                derivatives[slot] = jax.lax.add(derivatives[slot], part) if slot in derivatives else part
            elif name not in ZERO_DERIVATIVE:
                blocked_by[slot] = blocker or name
    return derivatives, blocked_by


def _pull_back(
    operation: Operation, argnums: tuple[int, ...], values: Mapping[int, Value], derivatives: Mapping[int, Value]
) -> list[Value | None]:
    """Return the contribution of an operation to the derivative of some inputs; None where JAX has no rule."""
    inputs = tuple(_value_of(operand, values) for operand in operation.inputs)
    cotangents = tuple(
        derivatives[slot] if slot in derivatives else np.zeros(values[slot].shape, values[slot].dtype)
        for slot in operation.outputs
        if has_derivative(values[slot])
    )
    if not argnums:
        return []
    _, pullback = _functions_of(operation, argnums)
    try:
        return list(pullback(*to_device((inputs, cotangents))))
    except (NotImplementedError, ValueError) as error:
        if isinstance(error, ValueError) and not any(message in str(error) for message in NO_RULE):
            raise
    if len(argnums) == 1:
        return [None]
    return [_pull_back(operation, (index,), values, derivatives)[0] for index in argnums]


def _value_of(operand: Operand, values: Mapping[int, Value]) -> Value:
    return operand.value if isinstance(operand, Scalar) else values[operand]


def _functions_of(operation: Operation, argnums: tuple[int, ...]) -> tuple[Evaluate, Pullback]:
    """Return the value and the pullback of an operation, compiled once for all equal operations."""
    key = operation_key(operation.equation)
    if key is None:
        return _make_functions(operation.equation, argnums)
    return _compiled_functions(_KeyedEquation(key, operation.equation), argnums)


class _KeyedEquation:
    """An equation that equals every equation with the same key, as a key of the cache of compiled functions."""

    def __init__(self, key: Hashable, equation: core.JaxprEqn) -> None:
        self.key, self.equation = key, equation

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _KeyedEquation) and self.key == other.key


@functools.lru_cache(maxsize=2048)
def _compiled_functions(keyed: _KeyedEquation, argnums: tuple[int, ...]) -> tuple[Evaluate, Pullback]:
    evaluate, pullback = _make_functions(keyed.equation, argnums)
    return jax.jit(evaluate), jax.jit(pullback)


def _make_functions(equation: core.JaxprEqn, argnums: tuple[int, ...]) -> tuple[Evaluate, Pullback]:
    def evaluate(*inputs: Value) -> Values:
        return bind(equation, *inputs)

    def pullback(inputs: Values, cotangents: Values) -> Values:
        def differentiable_outputs(*selected: Value) -> Values:
            full = list(inputs)
            for index, value in zip(argnums, selected, strict=True):
                full[index] = value
            return tuple(output for output in evaluate(*full) if has_derivative(output))

        return jax.vjp(differentiable_outputs, *(inputs[index] for index in argnums))[1](cotangents)

    return evaluate, pullback
