"""Text as computation: an expression as a function, numbers and lists of them as arrays. Nothing is executed.

The text is parsed by Python's own parser, and what stands in the tree is computed node by node if it is one of a
few kinds: no attributes, no strings, no functions but those listed here.
"""

import ast
import inspect
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import linalg, losses


class RequestError(Exception):
    """What the user asked for cannot be done; the message says what would."""


def _of_real_numbers(f: Callable[..., Any]) -> Callable[..., Any]:
    """f, with whole numbers among its arguments taken as real ones: a loss refuses integers."""
    return lambda *args, **options: f(*(float(a) if isinstance(a, int) else a for a in args), **options)


ELEMENTWISE = """
abs arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil clip cos cosh exp exp2 expm1 floor hypot log
log10 log1p log2 logaddexp maximum minimum power sign sin sinc sinh sqrt square tan tanh where
"""

ARRAYS = "concatenate cumsum diff max mean min prod ravel reshape sort stack std sum trace transpose var"

NETWORKS = "elu gelu leaky_relu log_sigmoid log_softmax logsumexp relu selu silu softmax softplus"

ALGEBRA = "matmul matrix_norm outer solve vecdot vector_norm"

MACHINERY = ("facts_of", "with_facts")
"""Of `dlcore.losses`, what computes no loss."""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(jnp, name) for name in f"{ELEMENTWISE} {ARRAYS}".split()},
    **{name: getattr(jax.nn, name) for name in NETWORKS.split()},
    **{name: getattr(linalg, name) for name in ALGEBRA.split()},
    **{
        name: _of_real_numbers(getattr(losses, name))
        for name in losses.__all__
        if inspect.isfunction(getattr(losses, name)) and name not in MACHINERY
    },
}
"""What an expression may call. All of it computes; none of it reads or writes."""

NUMBERS = {"pi": np.pi, "e": np.e, "inf": np.inf, "nan": np.nan}

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
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


def value_of(text: str) -> tuple[str, Any]:
    """The name, empty where there is none, and the array that `x=[1, 2]` or `3:int` stand for."""
    name, equals, rest = text.partition("=") if re.match(r"[^\W\d]\w*=", text) else ("", "", text)
    del equals
    numbers, colon, kind = rest.partition(":")
    if colon and kind != "int":
        raise RequestError(f"{text}: expected numbers, or numbers:int for whole numbers")
    try:
        array = np.array(_literal(ast.parse(numbers.strip(), mode="eval").body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise RequestError(f"{text}: expected a number or an array such as [1, 2.5] or [[1, 2], [3, 4]]") from None
    if kind == "int":
        if (array != np.floor(array)).any() or (np.abs(array) >= 2**31).any():
            raise RequestError(f"{text}: expected whole numbers")
        array = array.astype(np.int32)
    return name, jax.device_put(array if kind == "int" else array.astype(jnp.result_type(float)))


def _literal(node: ast.AST) -> Any:
    """A number, or lists of numbers; nothing else."""
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(entry) for entry in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _literal(node.operand)
        if isinstance(inner, float):
            return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
        return NUMBERS[node.id]
    raise ValueError


def function_of(text: str, values: Sequence[tuple[str, Any]]) -> tuple[Callable[..., Any], list[Any]]:
    """An expression as a function of the names in it, and their values in the same order."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        found.sort(key=lambda node: (node.lineno, node.col_offset))
        names = list(dict.fromkeys(node.id for node in found))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RequestError(f"{text!r} is no expression: {getattr(error, 'msg', None) or error}") from None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    functions = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) in called}
    if unknown := sorted(functions - set(FUNCTIONS)):
        raise RequestError(f"there is no function {', '.join(unknown)}; there are {', '.join(sorted(FUNCTIONS))}")
    if any(not name for name, _ in values):
        raise RequestError("an expression takes its values by name, such as x=1")
    given = dict(values)
    if len(given) < len(values):
        raise RequestError("a name was given twice")
    variables = [name for name in names if name in given or name not in functions | set(NUMBERS)]
    if missing := [name for name in variables if name not in given]:
        example = " ".join(f"{name}=1" for name in missing)
        raise RequestError(f"no value for {', '.join(missing)}; add {example}")
    if extra := [name for name in given if name not in variables]:
        raise RequestError(f"{', '.join(extra)} does not occur in {text!r}")
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in variables]

    def f(*arguments: Any) -> Any:
        return _compute(tree, dict(zip(variables, arguments, strict=True)))

    f.__name__ = "expression"
    f.__signature__ = inspect.Signature(parameters)
    return f, [given[name] for name in variables]


def _compute(node: ast.AST, known: dict[str, Any]) -> Any:
    """An expression of numbers, names, arithmetic, comparisons, entries, arrays and the functions above."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in known or name in NUMBERS:
            return known[name] if name in known else NUMBERS[name]
        case ast.BinOp(op=op, left=left, right=right) if type(op) in OPERATORS:
            pair = _compute(left, known), _compute(right, known)
            if all(isinstance(one, int | float) for one in pair):  # in whole numbers 9**9**9 would never end
                pair = float(pair[0]), float(pair[1])
            return OPERATORS[type(op)](*pair)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_compute(operand, known))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_compute(left, known), _compute(right, known))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in FUNCTIONS:
            options = {keyword.arg: _compute(keyword.value, known) for keyword in keywords if keyword.arg}
            if len(options) == len(keywords):
                return FUNCTIONS[name](*(_compute(argument, known) for argument in args), **options)
        case ast.Tuple(elts=entries):
            return tuple(_compute(entry, known) for entry in entries)
        case ast.List(elts=entries):
            return jnp.stack([jnp.asarray(_compute(entry, known)) for entry in entries])
        case ast.Subscript(value=value, slice=index):
            return _entry(_compute(value, known), _compute(index, known))
        case _:
            pass
    raise RequestError(f"{ast.unparse(node)!r} cannot stand in an expression")


def _entry(array: Any, index: Any) -> Any:
    """One entry, or one row; an index beyond the end, which JAX would clamp, is refused."""
    places = index if isinstance(index, tuple) else (index,)
    shape = jnp.shape(array)
    if len(places) > len(shape) or not all(
        isinstance(place, int) and -size <= place < size for place, size in zip(places, shape, strict=False)
    ):
        raise RequestError(f"[{', '.join(map(str, places))}] is no entry of an array of shape {shape}")
    return array[index]
