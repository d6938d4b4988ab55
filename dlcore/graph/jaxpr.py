"""The program of a function as a flat list of steps. The one place that knows how JAX writes programs down.

JAX's programs (jaxprs) nest: a `jit` inside a function is one equation that holds a program of its own. Here such
calls are opened, so that a step is one operation on arrays; what has a derivative rule of its own (`custom_jvp`,
`custom_vjp`) or a control flow of its own (`scan`, `cond`, `while_loop`) stays one step.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

OPENED = ("jit", "pjit", "remat2", "checkpoint", "closed_call", "core_call", "call")
"""Calls that are nothing but the program inside them, under the names that the versions of JAX give them."""


class Number(NamedTuple):
    """A number that stands in the program itself, such as the 3 of 3·y."""

    value: np.ndarray


Place = int | Number
"""Where an input comes from: the slot of an array, or a number in the program."""


class Step(NamedTuple):
    """One operation.

    Attributes:
      equation: JAX's own record of it.
      inputs: where each input comes from.
      outputs: the slot of each output.
      scope: the functions inside which it stands, outermost first, and the names given by `jax.named_scope`.
    """

    equation: Any
    inputs: tuple[Place, ...]
    outputs: tuple[int, ...]
    scope: tuple[str, ...]


class Program(NamedTuple):
    """A function as steps; arrays live in numbered slots.

    Attributes:
      arguments: a slot for each leaf of the arguments.
      constants: the arrays that the function closes over, by slot.
      steps: in an order in which they can be run.
      outputs: a place for each leaf of the result.
      names: what `jax.ad_checkpoint.checkpoint_name` calls a slot.
    """

    arguments: list[int]
    constants: dict[int, Any]
    steps: list[Step]
    outputs: list[Place]
    names: dict[int, str]


class _Frame(NamedTuple):
    """A program that is being opened, and where its results go."""

    program: Any
    equations: Iterator[Any]
    places: dict[Any, Place]
    scope: tuple[str, ...]
    caller: dict[Any, Place]
    results: list[Any]


def flatten(closed: Any) -> Program:
    """The steps of a jaxpr, with every call in `OPENED` opened, however deep. Needs no recursion."""
    slots = iter(range(2**62))
    flat = Program([next(slots) for _ in closed.jaxpr.invars], {}, [], [], {})
    known: dict[int, int] = {}
    calls: dict[str, int] = {}

    def constant(value: Any) -> int:
        """The slot of a closed-over array; the same array has one, wherever it is used."""
        if id(value) not in known:
            known[id(value)] = next(slots)
            flat.constants[known[id(value)]] = value
        return known[id(value)]

    def place(frame: _Frame, atom: Any) -> Place:
        if not isinstance(atom, core.Literal):
            return frame.places[atom]
        if np.ndim(atom.val):
            return constant(atom.val)
        return Number(np.asarray(atom.val, atom.aval.dtype))  # pyright: ignore[reportAttributeAccessIssue]

    def open_program(
        inner: Any, arguments: list[Place], scope: tuple[str, ...], caller: Any, results: Any
    ) -> _Frame:
        """`inner` is a ClosedJaxpr, or a Jaxpr without constants: JAX 0.12 drops the difference."""
        program = getattr(inner, "jaxpr", inner)
        places: dict[Any, Place] = dict(zip(program.invars, arguments, strict=True))
        for variable, value in zip(program.constvars, getattr(inner, "consts", ()), strict=True):
            places[variable] = constant(value)
        return _Frame(program, iter(program.eqns), places, scope, caller, results)

    results: dict[Any, Place] = {}
    frames = [open_program(closed, list(flat.arguments), (), results, range(len(closed.jaxpr.outvars)))]
    while frames:
        frame = frames[-1]
        equation = next(frame.equations, None)
        if equation is None:
            frames.pop()
            frame.caller.update(
                zip(frame.results, (place(frame, out) for out in frame.program.outvars), strict=True)
            )
            continue
        if any(hasattr(variable.aval, "inner_aval") for variable in (*equation.invars, *equation.outvars)):
            raise ValueError("a mutable reference (jax.new_ref) has no place in a graph: its value changes")
        inputs = [place(frame, atom) for atom in equation.invars]
        scope = frame.scope + tuple(part for part in str(equation.source_info.name_stack).split("/") if part)
        inner = _inside(equation)
        if inner is not None:
            label = plain_name(equation.params.get("name") or equation.primitive.name)
            calls[label] = calls.get(label, 0) + 1
            scope += (label if calls[label] == 1 else f"{label} {calls[label]}",)
            frames.append(open_program(inner, inputs, scope, frame.places, equation.outvars))
        elif _changes_nothing(equation):
            if equation.primitive.name == "name" and isinstance(inputs[0], int):
                flat.names.setdefault(inputs[0], equation.params["name"])
            frame.places[equation.outvars[0]] = inputs[0]
        else:
            outputs = tuple(next(slots) for _ in equation.outvars)
            frame.places.update(zip(equation.outvars, outputs, strict=True))
            flat.steps.append(Step(equation, tuple(inputs), outputs, scope))
    flat.outputs.extend(results.values())
    return _needed(flat)


def _inside(equation: Any) -> Any:
    """The program that an equation calls, if it does nothing else."""
    if equation.primitive.name not in OPENED:
        return None
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    program = getattr(inner, "jaxpr", inner)
    return inner if program is not None and len(program.invars) == len(equation.invars) else None


def _changes_nothing(equation: Any) -> bool:
    """Whether an equation only gives a name, or makes a Python number's type firm: same dtype, same bits."""
    if equation.primitive.name == "name":
        return True
    if equation.primitive.name != "convert_element_type":
        return False
    return equation.invars[0].aval.dtype == equation.outvars[0].aval.dtype


def _needed(flat: Program) -> Program:
    """Without the steps on which neither the outputs nor an effect, such as a print, depend."""
    needed = {place for place in flat.outputs if isinstance(place, int)}
    steps = []
    for step in reversed(flat.steps):
        if step.equation.effects or needed.intersection(step.outputs):
            steps.append(step)
            needed.update(place for place in step.inputs if isinstance(place, int))
    constants = {slot: value for slot, value in flat.constants.items() if slot in needed}
    return flat._replace(steps=steps[::-1], constants=constants)


def bind(equation: Any, *inputs: Any) -> tuple[Any, ...]:
    """The outputs of an equation at some inputs, by JAX's own rules, those for derivatives included."""
    bound = equation.primitive.get_bind_params(equation.params)
    subfunctions, params = bound if isinstance(bound, tuple) else ((), bound)  # a pair before JAX 0.10
    with equation.ctx.manager:
        outputs = equation.primitive.bind(*subfunctions, *inputs, **params)
    return tuple(outputs) if equation.primitive.multiple_results else (outputs,)


def operation_name(equation: Any) -> str:
    """What an equation does: the function's name where that has a derivative rule of its own, else JAX's word."""
    inner = equation.params.get("call_jaxpr")
    if not equation.primitive.name.startswith("custom_") or inner is None:
        return equation.primitive.name
    named = getattr(getattr(inner, "jaxpr", inner), "debug_info", None)
    return plain_name(getattr(named, "func_name", None) or equation.primitive.name)


def plain_name(name: str) -> str:
    """A function's name as a reader knows it: `outer.<locals>._sigmoid` is sigmoid."""
    return str(name).rpartition(".")[2].strip("<>").lstrip("_") or "function"


def identity(equation: Any) -> tuple[Any, ...] | None:
    """What makes two equations the same operation; None where that cannot be told.

    An equation that holds a program or a function is the same as no other: whether two functions compute the
    same cannot be told.
    """
    params = tuple((key, type(value), value) for key, value in sorted(equation.params.items()))
    if any(callable(value) or _holds_programs(value) for _, _, value in params) or equation.effects:
        return None
    key = (equation.primitive, equation.ctx, params)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _holds_programs(value: Any) -> bool:
    return any(
        hasattr(leaf, "eqns") for leaf in jax.tree.leaves(value, is_leaf=lambda leaf: hasattr(leaf, "eqns"))
    )


def program_of(f: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Program, Any]:
    """The steps of f at arguments of these shapes, and the shapes of its result as a tree."""
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(*arguments)
    return flatten(closed), shapes
