"""Flat list of the operations of a function, read from its jaxpr.

Jaxprs nest: a `jit` inside a function is one equation that holds a jaxpr. `flatten` inlines these calls, so an
operation acts on arrays alone. Functions with a derivative rule (`custom_jvp`, `custom_vjp`) and control flow
(`scan`, `cond`, `while_loop`) remain one operation each. No other module knows the structure of jaxprs.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.extend import core

from dlcore._core.types import Array, ArrayTree

INLINED = ("jit", "pjit", "remat2", "checkpoint", "closed_call", "core_call", "call")
"""Primitives that only call the jaxpr inside them, under the names of the supported versions of JAX."""

Value = Array | np.ndarray
"""An array on the device or on the host."""


class Scalar(NamedTuple):
    """A scalar literal of the program, such as the 3 of 3·y."""

    value: np.ndarray


Operand = int | Scalar
"""An input of an operation: the slot of an array, or a scalar literal."""


class Operation(NamedTuple):
    """An equation of the jaxpr with the slots of its arrays.

    Attributes:
      equation: JAX's record of the operation.
      inputs: the operands.
      outputs: the slot of each output.
      scope: the enclosing functions and `jax.named_scope` names, outermost first.
    """

    equation: core.JaxprEqn
    inputs: tuple[Operand, ...]
    outputs: tuple[int, ...]
    scope: tuple[str, ...]


class Program(NamedTuple):
    """A function as a list of operations on arrays in numbered slots.

    Attributes:
      arguments: a slot for each leaf of the arguments.
      constants: the arrays that the function closes over, by slot.
      operations: in an order in which they can run.
      outputs: an operand for each leaf of the result.
      names: the names of `jax.ad_checkpoint.checkpoint_name`, by slot.
    """

    arguments: list[int]
    constants: dict[int, Value]
    operations: list[Operation]
    outputs: list[Operand]
    names: dict[int, str]


class _Call(NamedTuple):
    """A jaxpr that is being inlined.

    Attributes:
      outvars: its outputs.
      equations: its remaining equations.
      operands: the operand of each of its variables.
      scope: the scope of its equations.
      caller: the operands of the caller, which receive the results.
      results: the variables of the results in the caller.
    """

    outvars: Sequence[core.Var | core.Literal]
    equations: Iterator[core.JaxprEqn]
    operands: dict[Hashable, Operand]
    scope: tuple[str, ...]
    caller: dict[Hashable, Operand]
    results: Iterable[Hashable]


def make_program(f: Callable[..., object], arguments: Sequence[object]) -> tuple[Program, ArrayTree]:
    """Return the program of f for arguments of these shapes, and the shapes of its result as a tree."""
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(*arguments)
    return flatten(closed), shapes


def array_slots(operands: Iterable[Operand]) -> list[int]:
    """Return the slots among the operands, without the literals."""
    return [operand for operand in operands if isinstance(operand, int)]


def flatten(closed: core.ClosedJaxpr) -> Program:
    """Return the operations of a jaxpr, with every call in `INLINED` inlined to any depth, without recursion."""
    slots = itertools.count()
    program = Program([next(slots) for _ in closed.jaxpr.invars], {}, [], [], {})
    slot_of_constant: dict[int, int] = {}
    n_calls: dict[str, int] = {}

    def add_constant(value: Value) -> int:
        """Return the slot of a closed-over array; every use of one array has the same slot."""
        if id(value) not in slot_of_constant:
            slot_of_constant[id(value)] = next(slots)
            program.constants[slot_of_constant[id(value)]] = value
        return slot_of_constant[id(value)]

    def operand_of(call: _Call, atom: core.Var | core.Literal) -> Operand:
        if not isinstance(atom, core.Literal):
            return call.operands[atom]
        if np.ndim(atom.val):
            return add_constant(atom.val)
        return Scalar(np.asarray(atom.val, atom.aval.dtype))  # pyright: ignore[reportAttributeAccessIssue]

    def open_call(
        jaxpr: core.ClosedJaxpr | core.Jaxpr,
        arguments: Sequence[Operand],
        scope: tuple[str, ...],
        caller: dict[Hashable, Operand],
        results: Iterable[Hashable],
    ) -> _Call:
        """Return the call of a ClosedJaxpr, or of a Jaxpr without constants (JAX 0.12 merges the two types)."""
        inner = getattr(jaxpr, "jaxpr", jaxpr)
        operands: dict[Hashable, Operand] = dict(zip(inner.invars, arguments, strict=True))
        for variable, value in zip(inner.constvars, getattr(jaxpr, "consts", ()), strict=True):
            operands[variable] = add_constant(value)
        return _Call(inner.outvars, iter(inner.eqns), operands, scope, caller, results)

    results: dict[Hashable, Operand] = {}
    calls = [open_call(closed, program.arguments, (), results, range(len(closed.jaxpr.outvars)))]
    while calls:
        call = calls[-1]
        equation = next(call.equations, None)
        if equation is None:
            calls.pop()
            outputs = [operand_of(call, atom) for atom in call.outvars]
            call.caller.update(zip(call.results, outputs, strict=True))
            continue
        if any(hasattr(variable.aval, "inner_aval") for variable in (*equation.invars, *equation.outvars)):
            raise ValueError("a mutable reference (jax.new_ref) has no place in a graph: its value changes")
        inputs = [operand_of(call, atom) for atom in equation.invars]
        scope = call.scope + tuple(part for part in str(equation.source_info.name_stack).split("/") if part)
        jaxpr = _called_jaxpr(equation)
        if jaxpr is not None:
            label = display_name(equation.params.get("name") or equation.primitive.name)
            n_calls[label] = n_calls.get(label, 0) + 1
            scope += (label if n_calls[label] == 1 else f"{label} {n_calls[label]}",)
            calls.append(open_call(jaxpr, inputs, scope, call.operands, equation.outvars))
        elif _is_identity(equation):
            if equation.primitive.name == "name" and isinstance(inputs[0], int):
                program.names.setdefault(inputs[0], equation.params["name"])
            call.operands[equation.outvars[0]] = inputs[0]
        else:
            output_slots = tuple(next(slots) for _ in equation.outvars)
            call.operands.update(zip(equation.outvars, output_slots, strict=True))
            program.operations.append(Operation(equation, tuple(inputs), output_slots, scope))
    program.outputs.extend(results.values())
    return _without_dead_code(program)


def _called_jaxpr(equation: core.JaxprEqn) -> core.ClosedJaxpr | core.Jaxpr | None:
    """Return the jaxpr of an equation that only calls it, else None."""
    if equation.primitive.name not in INLINED:
        return None
    called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    jaxpr = getattr(called, "jaxpr", called)
    return called if jaxpr is not None and len(jaxpr.invars) == len(equation.invars) else None


def _is_identity(equation: core.JaxprEqn) -> bool:
    """Return whether an equation only names its input, or fixes the weak type of a Python number."""
    if equation.primitive.name == "name":
        return True
    dtypes = [getattr(atom.aval, "dtype", None) for atom in (equation.invars[:1] + equation.outvars[:1])]
    return equation.primitive.name == "convert_element_type" and dtypes[0] == dtypes[1]


def _without_dead_code(program: Program) -> Program:
    """Return the program without operations on which no output and no effect, such as a print, depends."""
    live = set(array_slots(program.outputs))
    operations = []
    for operation in reversed(program.operations):
        if operation.equation.effects or live.intersection(operation.outputs):
            operations.append(operation)
            live.update(array_slots(operation.inputs))
    constants = {slot: value for slot, value in program.constants.items() if slot in live}
    return program._replace(operations=operations[::-1], constants=constants)


def bind(equation: core.JaxprEqn, *inputs: Value) -> tuple[Value, ...]:
    """Return the outputs of an equation at some inputs, by JAX's rules, those for derivatives included."""
    bound = equation.primitive.get_bind_params(equation.params)
    subfunctions, params = bound if isinstance(bound, tuple) else ((), bound)  # a pair before JAX 0.10
    with equation.ctx.manager:
        outputs = equation.primitive.bind(*subfunctions, *inputs, **params)
    return tuple(outputs) if equation.primitive.multiple_results else (outputs,)


def operation_name(equation: core.JaxprEqn) -> str:
    """Return the name of the function that has a derivative rule, else the name of JAX's primitive."""
    inner = equation.params.get("call_jaxpr")
    if not equation.primitive.name.startswith("custom_") or inner is None:
        return equation.primitive.name
    debug_info = getattr(getattr(inner, "jaxpr", inner), "debug_info", None)
    return display_name(getattr(debug_info, "func_name", None) or equation.primitive.name)


def display_name(name: str) -> str:
    """Return the last part of a qualified name without underscores: `outer.<locals>._sigmoid` becomes sigmoid."""
    return str(name).rpartition(".")[2].strip("<>").lstrip("_") or "function"


def operation_key(equation: core.JaxprEqn) -> Hashable | None:
    """Return a key that all equations of an operation share, or None.

    An equation that holds a jaxpr or a function has no key: equality of functions is undecidable.
    """
    params = tuple((key, type(value), value) for key, value in sorted(equation.params.items()))
    if any(callable(value) or _contains_jaxpr(value) for _, _, value in params) or equation.effects:
        return None
    key = (equation.primitive, equation.ctx, params)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _contains_jaxpr(value: object) -> bool:
    def is_jaxpr(leaf: object) -> bool:
        return hasattr(leaf, "eqns")

    return any(map(is_jaxpr, jax.tree.leaves(value, is_leaf=is_jaxpr)))
