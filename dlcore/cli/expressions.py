"""Parser of expressions and of numbers: text becomes a function and arrays, and no code is executed.

Python's own parser reads the text. The syntax tree is then evaluated node by node, for a few kinds of nodes only:
no attributes, no strings, no functions except those listed here.
"""

import ast
import inspect
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import linalg, losses

Value = Any
"""Value of a node: a number, an array, a truth value, or a tuple of values."""


class RequestError(Exception):
    """Error in a user's request; the message says what is possible."""


def _with_float_arguments(f: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Return `f` with Python integers converted to floats: a loss refuses integers."""
    return lambda *args, **options: f(*(float(a) if isinstance(a, int) else a for a in args), **options)


ELEMENTWISE = """
abs arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil clip cos cosh exp exp2 expm1 floor hypot log
log10 log1p log2 logaddexp maximum minimum power sign sin sinc sinh sqrt square tan tanh where
"""

ARRAYS = "concatenate cumsum diff max mean min prod ravel reshape sort stack std sum trace transpose var"

ACTIVATIONS = "elu gelu leaky_relu log_sigmoid log_softmax logsumexp relu selu silu softmax softplus"

ALGEBRA = "matmul matrix_norm outer solve vecdot vector_norm"

NOT_LOSSES = ("get_loss_info", "with_loss_info")
"""Functions of `dlcore.losses` that compute no loss."""

FUNCTIONS: dict[str, Callable[..., Value]] = {
    **{name: getattr(jnp, name) for name in f"{ELEMENTWISE} {ARRAYS}".split()},
    **{name: getattr(jax.nn, name) for name in ACTIVATIONS.split()},
    **{name: getattr(linalg, name) for name in ALGEBRA.split()},
    **{
        name: _with_float_arguments(getattr(losses, name))
        for name in losses.__all__
        if inspect.isfunction(getattr(losses, name)) and name not in NOT_LOSSES
    },
}
"""Functions that an expression may call. All of them compute; none of them reads or writes files."""

NUMBERS = {"pi": np.pi, "e": np.e, "inf": np.inf, "nan": np.nan}

OPERATORS: dict[type[ast.AST], Callable[..., Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.MatMult: linalg.matmul,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)


def parse_value(text: str) -> tuple[str, jax.Array]:
    """Parse `x=[1, 2]` or `3:int` into a name, empty if there is none, and an array."""
    name, _, value = text.partition("=") if re.match(r"[^\W\d]\w*=", text) else ("", "", text)
    numbers, colon, kind = value.partition(":")
    if colon and kind != "int":
        raise RequestError(f"{text}: expected numbers, or numbers:int for whole numbers")
    try:
        array = np.array(_parse_numbers(ast.parse(numbers.strip(), mode="eval").body))
    except PARSE_ERRORS:
        raise RequestError(f"{text}: expected a number or an array such as [1, 2.5] or [[1, 2], [3, 4]]") from None
    if kind == "int":
        if (array != np.floor(array)).any() or (np.abs(array) >= 2**31).any():
            raise RequestError(f"{text}: expected whole numbers")
        array = array.astype(np.int32)
    return name, jax.device_put(array if kind == "int" else array.astype(jnp.result_type(float)))


def _parse_numbers(node: ast.AST) -> float | list[Any]:
    """Return a number or nested lists of numbers; anything else is a `ValueError`."""
    match node:
        case ast.List(elts=entries) | ast.Tuple(elts=entries):
            return [_parse_numbers(entry) for entry in entries]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _parse_numbers(operand)
            if isinstance(number, float):
                return -number if isinstance(sign, ast.USub) else number
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id="inf" | "nan" as name):
            return NUMBERS[name]
    raise ValueError


def parse_expression(
    text: str, values: Sequence[tuple[str, jax.Array]]
) -> tuple[Callable[..., jax.Array], list[jax.Array]]:
    """Return an expression as a function of its names, and the values of the names in the same order."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        nodes.sort(key=lambda node: (node.lineno, node.col_offset))
        names = list(dict.fromkeys(node.id for node in nodes))
    except PARSE_ERRORS as error:
        raise RequestError(f"{text!r} is no expression: {getattr(error, 'msg', None) or error}") from None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    functions = {node.id for node in nodes if id(node) in called}
    if unknown := sorted(functions - set(FUNCTIONS)):
        raise RequestError(f"there is no function {', '.join(unknown)}; there are {', '.join(sorted(FUNCTIONS))}")
    if any(not name for name, _ in values):
        raise RequestError("an expression takes its values by name, such as x=1")
    value_of_name = dict(values)
    if len(value_of_name) < len(values):
        raise RequestError("a name was given twice")
    variables = [name for name in names if name in value_of_name or name not in functions | set(NUMBERS)]
    if missing := [name for name in variables if name not in value_of_name]:
        example = " ".join(f"{name}=1" for name in missing)
        raise RequestError(f"no value for {', '.join(missing)}; add {example}")
    if extra := [name for name in value_of_name if name not in variables]:
        raise RequestError(f"{', '.join(extra)} does not occur in {text!r}")
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in variables]

    def f(*arguments: jax.Array) -> jax.Array:
        return _evaluate(tree, dict(zip(variables, arguments, strict=True)))

    f.__name__ = "expression"
    f.__signature__ = inspect.Signature(parameters)
    return f, [value_of_name[name] for name in variables]


def _evaluate(node: ast.AST, variables: Mapping[str, jax.Array]) -> Value:
    """Evaluate numbers, names, arithmetic, comparisons, entries, arrays and calls of `FUNCTIONS`."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in variables or name in NUMBERS:
            return variables[name] if name in variables else NUMBERS[name]
        case ast.BinOp(op=op, left=left, right=right) if type(op) in OPERATORS:
            a, b = _evaluate(left, variables), _evaluate(right, variables)
            if isinstance(a, int | float) and isinstance(b, int | float):  # 9**9**9 of integers would never end
                a, b = float(a), float(b)
            return OPERATORS[type(op)](a, b)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_evaluate(operand, variables))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_evaluate(left, variables), _evaluate(right, variables))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in FUNCTIONS:
            options = {keyword.arg: _evaluate(keyword.value, variables) for keyword in keywords if keyword.arg}
            if len(options) == len(keywords):
                return FUNCTIONS[name](*(_evaluate(argument, variables) for argument in args), **options)
        case ast.Tuple(elts=entries):
            return tuple(_evaluate(entry, variables) for entry in entries)
        case ast.List(elts=entries):
            return jnp.stack([jnp.asarray(_evaluate(entry, variables)) for entry in entries])
        case ast.Subscript(value=value, slice=index):
            return _get_item(_evaluate(value, variables), _evaluate(index, variables))
        case _:
            pass
    raise RequestError(f"{ast.unparse(node)!r} cannot stand in an expression")


def _get_item(array: Value, index: Value) -> Value:
    """Return an entry or a row; an index out of bounds, which JAX would clamp, is an error."""
    indices = index if isinstance(index, tuple) else (index,)
    shape = jnp.shape(array)
    if len(indices) > len(shape) or not all(
        isinstance(i, int) and -size <= i < size for i, size in zip(indices, shape, strict=False)
    ):
        raise RequestError(f"[{', '.join(map(str, indices))}] is no entry of an array of shape {shape}")
    return array[index]
