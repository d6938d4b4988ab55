"""From a function and its arguments to its graph."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import as_array, is_traced
from dlcore.devices import to_device
from dlcore.graph.evaluate import backward, forward, has_derivative
from dlcore.graph.graph import Graph
from dlcore.graph.jaxpr import Number, Place, Program, operation_name, program_of
from dlcore.graph.node import Node
from dlcore.graph.render.formulas import formula, written


def trace(f: Callable[..., Any], *args: Any) -> Graph:
    r"""The computation graph of a function at a point: every intermediate with its value and its derivative.

    $\bar v = \partial f/\partial v$ of every node $v$, from one sweep backward:
    $\bar v_i = \sum_{k:\, v_i \text{ feeds } v_k} \bar v_k\, \partial v_k/\partial v_i$

    Args:
      f: any function that JAX can trace, with one scalar result of a real floating-point dtype. Calls of jitted
        functions inside it are opened; what has a derivative rule of its own, `scan` and `cond` are one node each.
      args: arrays, numbers and keys, or trees of them. Python's 3 is the number 3.0, unless f takes an integer
        alone, such as an index. An integer array stays one.

    Returns:
      A `Graph` of nodes, in the order in which they are computed, arguments first. The derivative of an argument
      is that of `jax.grad` up to rounding. It is 0 where the output does not depend on a node, as before a
      `stop_gradient`, and None for integers, booleans and keys, and for what reaches the output through an
      operation that JAX cannot differentiate backward, such as a `while_loop`. Inside what JAX differentiates by
      a theorem rather than by its steps, such as `solve`, the derivatives are those that JAX's rule uses. nan,
      infinities and empty arrays are values like others. Operations on which the output does not depend are
      left out. What passes through `jax.ad_checkpoint.checkpoint_name(v, "u")` is called u.

    Raises:
      TypeError: if f is no function, does not take these arguments, or its result is no real floating-point
        number; if an argument is no array.
      ValueError: if the result of f is not one scalar; if its values are not known yet, as under `jit`; if it uses
        mutable references.

    Source: Griewank and Walther, Evaluating Derivatives, section 3.2.

    >>> graph = trace(lambda x, y, z: x * (jnp.log(3 * y) + z**2), 1.0, 2.0, 3.0)
    >>> print(graph.to_text())
    name  formula   value     derivative
    x     argument  1         10.79176
    y     argument  2         0.5
    z     argument  3         6
    v1    3 · y     6         0.1666667
    v2    log(v1)   1.791759  1
    v3    z^2       9         1
    v4    v2 + v3   10.79176  1
    v5    x · v4    10.79176  1           output
    """
    if not callable(f):
        raise TypeError(f"f: expected a function, got {type(f).__name__}")
    names, leaves = _arguments(f, args)
    structure = jax.tree.structure(args)
    as_numbers = [_as_number(leaf) for leaf in jax.tree.leaves(args)]
    reals = [
        leaf if number is None else jnp.asarray(number) for leaf, number in zip(leaves, as_numbers, strict=True)
    ]
    try:
        program, shapes = program_of(f, jax.tree.unflatten(structure, reals))
        leaves = reals
    except (TypeError, ValueError, IndexError):  # such as of an index, or of a label
        if all(number is None for number in as_numbers):
            raise
        program, shapes = program_of(f, jax.tree.unflatten(structure, leaves))
    _check_result(f, shapes)
    values = forward(program, leaves)
    if any(is_traced(value) for value in values.values()):
        raise ValueError(f"{_name(f)}: its values are not known yet; a graph is traced outside jit, grad and vmap")
    derivatives, hidden = backward(program, values, program.outputs[0])
    return _graph(program, names, values, derivatives, hidden)


def _arguments(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[list[str], list[Any]]:
    """A name and an array for each leaf of the arguments."""
    try:
        bound = inspect.signature(f).bind(*args)
    except ValueError:  # a built-in without a signature
        parameters = [(f"x{index}", arg) for index, arg in enumerate(args)]
    except TypeError as error:
        raise TypeError(f"{_name(f)}: {error}; got {len(args)} arguments") from None
    else:
        parameters = list(bound.arguments.items())
    names, leaves = [], []
    for parameter, tree in parameters:
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            name = parameter + jax.tree_util.keystr(path)
            array = as_array(name, leaf)
            if is_traced(array):
                raise ValueError(
                    f"{name}: its value is not known yet; a graph is traced outside jit, grad and vmap"
                )
            names.append(name)
            leaves.append(array)
    return names, leaves


def _as_number(leaf: Any) -> float | None:
    """Return the number that an integer of Python's means; None of anything else."""
    return float(leaf) if isinstance(leaf, int) and not isinstance(leaf, bool) else None


def _check_result(f: Callable[..., Any], shapes: Any) -> None:
    """One scalar of a real floating-point dtype."""
    leaves = jax.tree.leaves(shapes)
    if len(leaves) != 1:
        raise ValueError(
            f"{_name(f)}: expected one scalar as its result, got {len(leaves)} arrays; return one of them"
        )
    (result,) = leaves
    if result.shape != ():
        raise ValueError(
            f"{_name(f)}: expected a scalar as its result, got shape {result.shape}; sum it, or pick one entry"
        )
    if not jnp.issubdtype(result.dtype, jnp.floating):
        hint = "; pass floats" if jnp.issubdtype(result.dtype, jnp.integer) else ""
        raise TypeError(f"{_name(f)}: expected a real floating-point result, got dtype {result.dtype}{hint}")


def _graph(
    program: Program, names: list[str], values: dict[int, Any], derivatives: dict[int, Any], hidden: dict[int, str]
) -> Graph:
    """The nodes of the slots that matter."""
    known = dict(zip(program.arguments, names, strict=True))
    unused = _Unused(names)
    nodes: list[Node] = []

    def add(slot: int, name: str, op: str, inputs: tuple[str, ...], text: str, scope: tuple[str, ...]) -> None:
        value = to_device(values[slot])
        derivative, note = None, ""
        if not has_derivative(value):
            note = str(value.dtype)
        elif slot in hidden:
            note = f"behind {hidden[slot]}"
        else:
            derivative = to_device(derivatives.get(slot, np.zeros(value.shape, value.dtype)))
        known[slot] = name
        nodes.append(Node(name, op, value, derivative, inputs, text, scope, note))

    def text_of(place: Place) -> str:
        return written(place.value) if isinstance(place, Number) else known[place]

    for slot, name in zip(program.arguments, names, strict=True):
        add(slot, name, "argument", (), "", ())
    for slot in program.constants:
        add(slot, unused.next("c"), "constant", (), "", ())
    used = {place for step in program.steps for place in step.inputs if isinstance(place, int)}
    used.update(place for place in program.outputs if isinstance(place, int))
    for step in program.steps:
        op = operation_name(step.equation)
        inputs = tuple(known[place] for place in step.inputs if isinstance(place, int))
        texts = [text_of(place) for place in step.inputs]
        for index, slot in enumerate(step.outputs):
            if slot in used:
                text = formula(op, texts, step.equation.params, values[slot].shape)
                which = f", output {index + 1} of {len(step.outputs)}" if len(step.outputs) > 1 else ""
                add(slot, unused.next("v", program.names.get(slot)), op, inputs, text + which, step.scope)
    (output,) = program.outputs
    if isinstance(output, Number):
        values[-1], derivatives[-1] = output.value, np.ones((), output.value.dtype)
        add(-1, unused.next("c"), "constant", (), "", ())
        output = -1
    return Graph(tuple(nodes), known[output])


class _Unused:
    """Names that no node has yet: v1, v2, … of a letter; a given one itself, then name_2 and so on."""

    def __init__(self, taken: list[str]) -> None:
        self.taken = set(taken)
        self.sequences: dict[str, Iterator[str]] = {}

    def next(self, letter: str, given: str | None = None) -> str:
        """The next name: of a letter, or the given one."""
        stem = letter if given is None else f"{given}_"
        if stem not in self.sequences:
            self.sequences[stem] = _numbered(letter, 1) if given is None else _numbered(stem, 2, given)
        name = next(name for name in self.sequences[stem] if name not in self.taken)
        self.taken.add(name)
        return name


def _numbered(stem: str, start: int, *first: str) -> Iterator[str]:
    yield from first
    for number in itertools.count(start):
        yield f"{stem}{number}"


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", type(f).__name__)
