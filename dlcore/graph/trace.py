"""Conversion of a function and its arguments to a computation graph."""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import as_array, is_traced
from dlcore._core.types import Array, ArrayTree
from dlcore.devices import to_device
from dlcore.graph.evaluate import backward, forward, has_derivative
from dlcore.graph.graph import Graph
from dlcore.graph.jaxpr import Operand, Program, Scalar, Value, array_slots, make_program, operation_name
from dlcore.graph.node import Node
from dlcore.graph.render.formulas import format_formula, format_operand


def trace(f: Callable[..., object], *args: object) -> Graph:
    r"""Return the computation graph of a function at a point, with the value and derivative of every intermediate.

    One backward pass computes $\bar v = \partial f/\partial v$ of every node $v$:
    $\bar v_i = \sum_{k:\, v_i \text{ feeds } v_k} \bar v_k\, \partial v_k/\partial v_i$

    Args:
      f: a function that JAX can trace, with one scalar result of a real floating-point dtype. Calls of jitted
        functions are inlined. A function with a derivative rule, a `scan` and a `cond` are one node each.
      args: arrays, numbers and keys, or trees of them. Python's 3 is the number 3.0, unless f accepts only an
        integer, such as an index. An integer array remains an integer array.

    Returns:
      A `Graph` of nodes in the order of computation, arguments first.
      The derivative of an argument is that of `jax.grad` up to rounding.
      It is 0 where the output does not depend on a node, as before a `stop_gradient`.
      It is None for integers, booleans and keys. It is also None for nodes that reach the output through an
      operation without reverse-mode derivative, such as a `while_loop`.
      Some functions, such as `solve`, are differentiated by a theorem. Inside them the derivatives are those that
      JAX's rule uses.
      nan, infinities and empty arrays are ordinary values. Operations on which the output does not depend are
      omitted. A value that passes through `jax.ad_checkpoint.checkpoint_name(v, "u")` is named u.

    Raises:
      TypeError: if f is not a function, does not accept these arguments, or returns no real floating-point
        number; if an argument is not an array.
      ValueError: if the result of f is not one scalar; if its values are unknown, as under `jit`; if it uses
        mutable references.

    Source: Griewank and Walther, Evaluating Derivatives, section 3.2.

    >>> graph = trace(lambda x, y, z: x * (jnp.log(3 * y) + z**2), 1.0, 2.0, 3.0)
    >>> graph
    Graph(8 nodes, output v5 = 10.8)
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
    names, leaves = _named_leaves(f, args)
    structure = jax.tree.structure(args)
    are_integers = [isinstance(leaf, int) and not isinstance(leaf, bool) for leaf in jax.tree.leaves(args)]
    with_floats = [
        jnp.asarray(float(leaf)) if is_integer else leaf
        for leaf, is_integer in zip(leaves, are_integers, strict=True)
    ]
    try:
        program, shapes = make_program(f, jax.tree.unflatten(structure, with_floats))
        leaves = with_floats
    except (TypeError, ValueError, IndexError):  # the function needs an integer, such as an index or a label
        if not any(are_integers):
            raise
        program, shapes = make_program(f, jax.tree.unflatten(structure, leaves))
    _check_result(f, shapes)
    values = forward(program, leaves)
    if any(is_traced(value) for value in values.values()):
        raise ValueError(f"{_name(f)}: its values are not known yet; a graph is traced outside jit, grad and vmap")
    derivatives, blocked_by = backward(program, values, program.outputs[0])
    return _build_graph(program, names, values, derivatives, blocked_by)


def _named_leaves(f: Callable[..., object], args: tuple[object, ...]) -> tuple[list[str], list[Array]]:
    """Return a name and an array for each leaf of the arguments."""
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


def _check_result(f: Callable[..., object], shapes: ArrayTree) -> None:
    """Raise unless the result is one scalar of a real floating-point dtype."""
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


def _build_graph(
    program: Program,
    names: Sequence[str],
    values: Mapping[int, Value],
    derivatives: Mapping[int, Value],
    blocked_by: Mapping[int, str],
) -> Graph:
    """Return the graph of the arguments, the constants and the used results of operations."""
    unique = _UniqueNames(names)
    name_of: dict[int, str] = {}
    nodes: list[Node] = []

    def add(
        name: str,
        op: str,
        slot: int,
        inputs: tuple[str, ...] = (),
        formula: str = "",
        scope: tuple[str, ...] = (),
    ) -> None:
        value = cast(Array, to_device(values[slot]))
        derivative, note = None, ""
        if not has_derivative(value):
            note = str(value.dtype)
        elif slot in blocked_by:
            note = f"behind {blocked_by[slot]}"
        else:
            derivative = cast(Array, to_device(derivatives.get(slot, np.zeros(value.shape, value.dtype))))
        name_of[slot] = name
        nodes.append(Node(name, op, value, derivative, inputs, formula, scope, note))

    def text_of(operand: Operand) -> str:
        return format_operand(operand.value) if isinstance(operand, Scalar) else name_of[operand]

    for slot, name in zip(program.arguments, names, strict=True):
        add(name, "argument", slot)
    for slot in program.constants:
        add(unique.numbered("c"), "constant", slot)
    used = set(array_slots(program.outputs)).union(*(array_slots(item.inputs) for item in program.operations))
    for operation in program.operations:
        op = operation_name(operation.equation)
        inputs = tuple(name_of[slot] for slot in array_slots(operation.inputs))
        texts = [text_of(operand) for operand in operation.inputs]
        n_outputs = len(operation.outputs)
        for index, slot in enumerate(operation.outputs):
            if slot in used:
                formula = format_formula(op, texts, operation.equation.params, values[slot].shape)
                formula += f", output {index + 1} of {n_outputs}" if n_outputs > 1 else ""
                name = unique.preferred(program.names[slot]) if slot in program.names else unique.numbered("v")
                add(name, op, slot, inputs, formula, operation.scope)
    (output,) = program.outputs
    if isinstance(output, int):
        return Graph(tuple(nodes), name_of[output])
    values, derivatives = {-1: output.value}, {-1: np.ones((), output.value.dtype)}
    add(unique.numbered("c"), "constant", -1)
    return Graph(tuple(nodes), name_of[-1])


class _UniqueNames:
    """Generator of names that no node has yet."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = set(names)
        self.counters: dict[str, itertools.count[int]] = {}

    def numbered(self, prefix: str, start: int = 1) -> str:
        """Return the next of prefix1, prefix2, …."""
        counter = self.counters.setdefault(prefix, itertools.count(start))
        name = next(name for number in counter if (name := f"{prefix}{number}") not in self.names)
        self.names.add(name)
        return name

    def preferred(self, name: str) -> str:
        """Return the name if it is free, else the next of name_2, name_3, …."""
        if name in self.names:
            return self.numbered(f"{name}_", 2)
        self.names.add(name)
        return name


def _name(f: Callable[..., object]) -> str:
    return getattr(f, "__name__", type(f).__name__)
