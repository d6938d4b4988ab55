"""Operations and numbers as readable text."""

from collections.abc import Callable, Mapping, Sequence

import jax
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

DISPLAY_NAMES = {"logistic": "sigmoid", "dot_general": "dot"}

MAX_INPUTS = 6
"""The number of inputs that a formula lists; it counts the rest."""

Params = Mapping[str, object]
Formatter = Callable[[Sequence[str], Params, tuple[int, ...]], str]


def format_formula(op: str, inputs: Sequence[str], params: Params, shape: tuple[int, ...]) -> str:
    """Return one operation on names and numbers as text: `x · v4`, `log(v1)`, `sum(v3)`.

    Args:
      op: the name of the operation.
      inputs: its operands as text.
      params: its parameters in JAX.
      shape: the shape of its result.

    Returns:
      One line.
    """
    if op in INFIX and len(inputs) == 2:
        return f"{inputs[0]} {INFIX[op]} {inputs[1]}"
    if op in FORMATTERS:
        return FORMATTERS[op](inputs, params, shape)
    name = DISPLAY_NAMES.get(op, op.removeprefix("reduce_"))
    listed = _join(inputs[:MAX_INPUTS]) + (
        f", … {len(inputs) - MAX_INPUTS} more" if len(inputs) > MAX_INPUTS else ""
    )
    axes = params.get("axes") if op.startswith("reduce_") and shape else None
    return f"{name}({listed}, axes {','.join(map(str, axes))})" if isinstance(axes, tuple) else f"{name}({listed})"


def _join(parts: Sequence[object]) -> str:
    return ", ".join(map(str, parts))


def _select(inputs: Sequence[str]) -> str:
    return f"{inputs[2]} if {inputs[0]} else {inputs[1]}" if len(inputs) == 3 else f"select({_join(inputs)})"


FORMATTERS: dict[str, Formatter] = {
    "integer_pow": lambda inputs, params, shape: f"{inputs[0]}^{params['y']}",
    "broadcast_in_dim": lambda inputs, params, shape: f"broadcast({inputs[0]}) to [{_join(shape)}]",
    "reshape": lambda inputs, params, shape: f"reshape({inputs[0]}) to [{_join(shape)}]",
    "select_n": lambda inputs, params, shape: _select(inputs),
    "convert_element_type": lambda inputs, params, shape: f"{params['new_dtype']}({inputs[0]})",
    "neg": lambda inputs, params, shape: f"-{inputs[0]}",
}


def format_number(value: np.ndarray | np.generic) -> str:
    """Return a scalar in the digits that its dtype holds: 7, and 4 for bfloat16 and float16.

    >>> numbers = np.float32(10.791759), np.float64(1 / 3), np.int32(7), np.True_
    >>> print(*map(format_number, numbers))
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


def format_operand(value: np.ndarray) -> str:
    """Return a number inside a formula, in parentheses if it has a sign."""
    text = format_number(value)
    return f"({text})" if text.startswith("-") else text


def summarize(array: jax.Array | np.ndarray | np.generic) -> tuple[str, str]:
    """Return the dtype and shape of an array, and its content; scalars and short vectors have no dtype and shape.

    >>> print(summarize(np.float32(0.5)), summarize(np.array([1, 2])), summarize(np.arange(12.0).reshape(3, 4)))
    ('', '0.5') ('', '[1, 2]') ('float64[3, 4]', '0 … 11, norm 22.49')
    """
    kind = f"{array.dtype}[{_join(array.shape)}]"
    if not isinstance(array, np.ndarray | np.generic):  # keys, which NumPy cannot hold
        return kind, "key" if array.ndim == 0 else "keys"
    array = np.asarray(array)
    if array.ndim == 0:
        return "", format_number(array)
    if array.size == 0:
        return kind, "empty"
    if array.ndim == 1 and array.size <= 3:
        return "", f"[{', '.join(map(format_number, array))}]"
    if array.dtype == bool:
        return kind, f"{int(array.sum())} true"
    if array.dtype.kind in "iu":
        return kind, f"{array.min()} … {array.max()}"
    return kind, _range_and_norm(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))


def _range_and_norm(array: np.ndarray) -> str:
    """Return the range of the entries (of their absolute values if complex), the norm and the count of nan."""
    with np.errstate(all="ignore"):
        magnitudes = np.abs(array)
        valid = (magnitudes if array.dtype.kind == "c" else array)[~np.isnan(magnitudes)]
        if valid.size == 0:
            return "all nan"
        largest = np.abs(valid).max()
        norm = largest * np.sqrt(np.sum((valid / largest) ** 2)) if 0 < largest < np.inf else largest
    prefix = "|·| " if array.dtype.kind == "c" else ""
    missing = f", {array.size - valid.size} nan" if valid.size < array.size else ""
    return f"{prefix}{valid.min() + 0.0:.4g} … {valid.max() + 0.0:.4g}, norm {norm:.4g}{missing}"
