"""Operations and numbers as a reader writes them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

INFIX = {
    "add": "+",
    "add_any": "+",
    "sub": "-",
    "mul": "·",
    "div": "/",
    "rem": "%",
    "pow": "^",
    "eq": "=",
    "ne": "≠",
    "lt": "<",
    "le": "≤",
    "gt": ">",
    "ge": "≥",
    "and": "and",
    "or": "or",
}

WORDS = {"logistic": "sigmoid", "dot_general": "dot"}

SHOWN = 6
"""Inputs that a formula lists before it says how many more there are."""


def formula(op: str, inputs: Sequence[str], params: dict[str, Any], shape: tuple[int, ...]) -> str:
    """One operation on names and numbers: `x · v4`, `log(v1)`, `sum(v3)`.

    Args:
      op: the name of the operation.
      inputs: what it works on, as text.
      params: JAX's parameters of it.
      shape: of what it makes.

    Returns:
      One line.
    """
    if op in INFIX and len(inputs) == 2:
        return f"{inputs[0]} {INFIX[op]} {inputs[1]}"
    if op in SPECIAL:
        return SPECIAL[op](inputs, params, shape)
    name = WORDS.get(op, op.removeprefix("reduce_"))
    listed = ", ".join(inputs[:SHOWN]) + (f", … {len(inputs) - SHOWN} more" if len(inputs) > SHOWN else "")
    along = f", axes {','.join(map(str, params['axes']))}" if op.startswith("reduce_") and shape else ""
    return f"{name}({listed}{along})"


def _power(inputs: Sequence[str], params: dict[str, Any], shape: tuple[int, ...]) -> str:
    del shape
    return f"{inputs[0]}^{params['y']}"


def _reshaped(word: str) -> Callable[[Sequence[str], dict[str, Any], tuple[int, ...]], str]:
    return lambda inputs, params, shape: f"{word}({inputs[0]}) to [{', '.join(map(str, shape))}]"


def _choice(inputs: Sequence[str], params: dict[str, Any], shape: tuple[int, ...]) -> str:
    del params, shape
    if len(inputs) == 3:
        return f"{inputs[2]} if {inputs[0]} else {inputs[1]}"
    return f"select({', '.join(inputs)})"


def _cast(inputs: Sequence[str], params: dict[str, Any], shape: tuple[int, ...]) -> str:
    del shape
    return f"{jnp.dtype(params['new_dtype']).name}({inputs[0]})"


def _negated(inputs: Sequence[str], params: dict[str, Any], shape: tuple[int, ...]) -> str:
    del params, shape
    return f"-{inputs[0]}"


SPECIAL: dict[str, Callable[[Sequence[str], dict[str, Any], tuple[int, ...]], str]] = {
    "integer_pow": _power,
    "broadcast_in_dim": _reshaped("broadcast"),
    "reshape": _reshaped("reshape"),
    "select_n": _choice,
    "convert_element_type": _cast,
    "neg": _negated,
}


def number(value: Any) -> str:
    """A scalar in as many digits as its dtype holds: 7, and 4 for halves.

    >>> print(number(np.float32(10.791759)), number(np.float64(1 / 3)), number(np.int32(7)), number(np.True_))
    10.79176 0.3333333 7 true
    """
    value = np.asarray(value)
    if value.dtype == bool:
        return "true" if value else "false"
    if value.dtype.kind in "iu":
        return str(value)
    digits = 4 if value.dtype.itemsize < 4 else 7
    if value.dtype.kind == "c":
        return f"{complex(value):.{digits}g}"
    return f"{float(value) + 0.0:.{digits}g}"  # -0 reads as 0


def written(value: Any) -> str:
    """A number inside a formula, in parentheses where it begins with a sign."""
    text = number(value)
    return f"({text})" if text.startswith("-") else text


def summary(array: Any) -> tuple[str, str]:
    """An array in a few words: what kind it is, empty for a number and a short vector, and what is in it.

    >>> print(summary(np.float32(0.5)), summary(np.array([1, 2])), summary(np.arange(12.0).reshape(3, 4)))
    ('', '0.5') ('', '[1, 2]') ('float64[3, 4]', '0 … 11, norm 22.49')
    """
    kind = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
    if not isinstance(array, np.ndarray | np.generic):  # keys, which NumPy does not know
        return kind, "key" if array.ndim == 0 else "keys"
    array = np.asarray(array)
    if array.ndim == 0:
        return "", number(array)
    if array.size == 0:
        return kind, "empty"
    if array.ndim == 1 and array.size <= 3:
        return "", f"[{', '.join(number(entry) for entry in array)}]"
    if array.dtype == bool:
        return kind, f"{int(array.sum())} true"
    if array.dtype.kind in "iu":
        return kind, f"{array.min()} … {array.max()}"
    return kind, _spread(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))


def _spread(array: np.ndarray) -> str:
    """Least and greatest entry, of complex numbers their absolute values, and the Euclidean norm, nan apart."""
    with np.errstate(all="ignore"):
        sizes = np.abs(array)
        known = (sizes if array.dtype.kind == "c" else array)[~np.isnan(sizes)]
        if known.size == 0:
            return "all nan"
        largest = np.abs(known).max()
        norm = largest * np.sqrt(np.sum((known / largest) ** 2)) if 0 < largest < np.inf else largest
    absolute = "|·| " if array.dtype.kind == "c" else ""
    missing = f", {array.size - known.size} nan" if known.size < array.size else ""
    return f"{absolute}{known.min() + 0.0:.4g} … {known.max() + 0.0:.4g}, norm {norm:.4g}{missing}"
