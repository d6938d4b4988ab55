"""Checks of values on the host, before anything is compiled. NumPy alone, no JAX.

An error says the name of the argument, the expected value and the actual value.
A `ValueError` is for a shape or a value, a `TypeError` for a dtype or a kind of object.
"""

import contextlib
import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any, Protocol, SupportsIndex, cast

import numpy as np

from dlcore._core.tables.sparse import SparseRows, is_sparse, to_dense_call


class Shaped(Protocol):
    """An array of any library."""

    @property
    def ndim(self) -> int:
        """The number of axes."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        ...


# -- hyper-parameters ----------------------------------------------------------------------------------------


def check_number(name: str, value: object, *, above: float | None = None, minimum: float | None = None) -> None:
    """Raise unless a real number or an array of them is finite, above `above` and at least `minimum`."""
    if isinstance(value, str | bytes) or not (np.isscalar(value) or hasattr(value, "__array__")):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    check_array_type(name, value)
    array = np.asarray(value)
    if array.dtype.kind not in "iufV" or array.dtype.names:
        raise TypeError(f"{name}: expected a real number, got {value!r}")
    array = array.astype(np.float64)
    if above is not None and not (np.isfinite(array) & (array > above)).all():
        raise ValueError(f"{name}: expected a finite number above {above:g}, got {value!r}")
    if minimum is not None and not (np.isfinite(array) & (array >= minimum)).all():
        raise ValueError(f"{name}: expected a finite number of at least {minimum:g}, got {value!r}")


def check_fraction(name: str, value: object) -> None:
    """Raise unless a number lies in [0, 1)."""
    check_number(name, value, minimum=0)
    if not (np.asarray(value) < 1).all():
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")


def check_count(name: str, value: object, minimum: int = 1, maximum: int = 2**31 - 2) -> int:
    """Return a Python integer from `minimum` to `maximum`. Refuse 1.5, True and "3"."""
    try:
        count = operator.index(cast("SupportsIndex", value))
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if count < minimum:
        raise ValueError(f"{name}: expected an integer of at least {minimum}, got {count}")
    if count > maximum:
        raise ValueError(f"{name}: expected an integer of at most {maximum}, got {count}")
    return count


def check_rank(name: str, array: Shaped, rank: int, axes: str) -> None:
    """Raise unless an array has `rank` axes. `axes` describes them in the error."""
    if array.ndim != rank:
        raise ValueError(f"{name}: expected {rank}-D {axes}, got {array.ndim}-D with shape {array.shape}")


# -- conversion of data --------------------------------------------------------------------------------------


def as_numpy(name: str, data: object) -> np.ndarray:
    """Return data as a NumPy array of real numbers in native byte order, without a copy if none is needed.

    Lists, data frames, arrays that NumPy can read, Python numbers, booleans and integers are accepted.
    Strings, other objects, complex numbers, `np.matrix`, sparse and masked arrays are refused.
    Floating-point dtypes wider than float64 become float64.
    """
    if data is None:
        raise ValueError(f"{name}: expected an array, got None")
    check_array_type(name, data)
    check_dense(name, data)
    if hasattr(data, "detach"):
        data = _detach(name, data)
    try:
        array = np.asarray(data)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name}: expected a rectangular array of numbers, got {error}") from None
    except TypeError as error:  # such as a value that is traced
        kind = type(data).__name__
        raise TypeError(f"{name}: expected an array whose numbers are known, got {kind}") from error
    if array.dtype == object and array.ndim:
        array = objects_as_numbers(name, array)
    if array.dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers are not supported, got dtype {array.dtype}")
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return _as_float64(name, array)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def as_numpy_or_sparse(name: str, data: object) -> np.ndarray | SparseRows:
    """Return a SciPy table as `SparseRows`, and any other data as `as_numpy(name, data)`."""
    if isinstance(data, SparseRows):
        return data
    if is_sparse(data) and hasattr(data, "tocsr"):  # SciPy's of any format
        return SparseRows(name, data)
    check_dense(name, data, " or a sparse table of SciPy's")
    return as_numpy(name, data)


def as_penalties(name: str, l2: object) -> np.ndarray:
    """Return penalties in float64. Refuse numbers that are negative or not finite."""
    penalties = as_numpy(name, l2)
    if penalties.dtype == bool:
        raise TypeError(f"{name}: expected numbers, got {l2!r}")
    penalties = penalties.astype(np.float64)
    if not (np.isfinite(penalties) & (penalties >= 0)).all():
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {penalties}")
    return penalties


def objects_as_numbers(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array of Python numbers in the dtype of a list of them: boolean, int64, else float64.

    Raises:
      TypeError: if an entry is no real number; the first of these is named.
      ValueError: if a number is beyond the range of float64.
    """
    kinds = set()
    for index, entry in np.ndenumerate(array):
        if not isinstance(entry, numbers.Real | np.bool_):
            raise TypeError(f"{name}: expected numbers, got {entry!r} (first at index {index})")
        kinds.add(type(entry))
    if all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return array.astype(bool)
    if all(issubclass(kind, numbers.Integral) for kind in kinds):
        with contextlib.suppress(OverflowError):  # beyond 64 bits they are float64
            return array.astype(np.int64)
    return _as_float64(name, array)


def _as_float64(name: str, array: np.ndarray) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            converted = array.astype(np.float64)
        overflowed = np.isinf(converted) & (array != converted)
    except OverflowError:  # of Python's integers
        overflowed = converted = np.array(True)
    if overflowed.any():
        raise ValueError(f"{name}: expected numbers within the range of float64; scale them")
    return converted


def _detach(name: str, tensor: Any) -> np.ndarray:
    """Return the numbers of a torch tensor. NumPy may not be able to read its dtype or device."""
    try:
        return np.asarray(tensor.detach())
    except (TypeError, RuntimeError) as error:
        hint = f"pass {name}.cpu().float()"
        raise TypeError(f"{name}: expected a tensor that NumPy reads, got {error}; {hint}") from None


def check_array_type(name: str, data: object) -> None:
    """Refuse `np.matrix`, whose products differ, and masked arrays, whose masks would be lost."""
    if isinstance(data, np.matrix):
        raise TypeError(f"{name}: np.matrix is not supported, pass np.asarray({name})")
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{name}: masked arrays are not supported, fill or drop the masked entries first")


def check_dense(name: str, data: object, alternative: str = "") -> None:
    """Refuse sparse data. The error says how to make it dense, and which alternative form is accepted."""
    call = to_dense_call(data)
    if call is not None:
        raise TypeError(f"{name}: sparse input is not supported here, pass {name}.{call}{alternative}")


# -- values and shapes of data -------------------------------------------------------------------------------


def check_finite(name: str, array: np.ndarray | SparseRows) -> None:
    """Raise if an array holds nan or infinity."""
    if isinstance(array, SparseRows):
        if not np.isfinite(array.csr.data).all():
            raise ValueError(f"{name}: expected finite numbers, got nan or infinity in a sparse table")
        return
    if array.dtype.kind in "biu":
        return
    with np.errstate(all="ignore"):  # a finite sum has only finite terms, and needs no array of booleans
        if math.isfinite(float(array.sum(dtype=np.promote_types(array.dtype, np.float32)))):
            return
    finite = np.isfinite(array)
    if not finite.all():
        kind = "nan" if np.isnan(array).any() else "infinity"
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name}: expected finite numbers, got {kind} (first at index {index})")


def check_squares(name: str, array: np.ndarray | SparseRows, hint: str = "scale them") -> None:
    """Raise if the sum of the squares of an array overflows float64."""
    values = array.csr.data if isinstance(array, SparseRows) else array
    if values.dtype != np.float64:  # squares of narrower dtypes do not overflow float64
        return
    with np.errstate(over="ignore"):
        total = float(np.einsum("ij,ij->", *[values.reshape(len(values), -1)] * 2))
    if not math.isfinite(total):
        largest = max(abs(float(values.max())), abs(float(values.min())))
        raise ValueError(
            f"{name}: expected numbers whose squares add up in the range of float64, got {largest:g}; {hint}"
        )


def check_matrix(name: str, x: np.ndarray | SparseRows) -> None:
    """Raise unless an array has shape (n, features) with at least one row and one column."""
    if x.ndim != 2:
        hint = f"; a single feature is {name}[:, None]" if x.ndim == 1 else ""
        raise ValueError(f"{name}: expected 2-D [n, features], got {x.ndim}-D with shape {x.shape}{hint}")
    if 0 in x.shape:
        raise ValueError(f"{name}: expected at least one row and one column, got shape {x.shape}")


def check_same_length(**arrays: np.ndarray | SparseRows) -> None:
    """Raise unless all arrays have the same number of rows, and at least one."""
    for name, array in arrays.items():
        if array.ndim == 0:
            raise ValueError(f"{name}: expected an array with a row per example, got a scalar")
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise ValueError(f"expected one row per example in each of {', '.join(rows)}, but {counts}")
    if 0 in rows.values():
        raise ValueError(f"{next(iter(rows))}: expected at least one row, got none")


def check_weights(weights: np.ndarray, rows: int, name: str = "weights", table: str = "x") -> None:
    """Raise unless weights have shape (rows,), are finite, nowhere negative and not all zero.

    `table` is the name of the argument whose rows are weighted.
    """
    if weights.shape != (rows,):
        raise ValueError(f"{name}: expected shape ({rows},), one per row of {table}, got {weights.shape}")
    check_finite(name, weights)
    if (weights < 0).any():
        raise ValueError(f"{name}: expected numbers of at least 0, got {weights.min()}")
    if not (weights > 0).any():
        raise ValueError(f"{name}: expected at least one positive number, got only zeros")


MULTICLASS_HINT = "the loss softmax_cross_entropy and the model softmax"
"""What `Objective` takes for more than two classes."""


def check_binary_labels(
    y: np.ndarray, weights: np.ndarray | None = None, multiclass_hint: str = MULTICLASS_HINT
) -> None:
    """Raise unless labels are 0 and 1, both in rows of positive weight.

    Args:
      y: labels, shape (n,).
      weights: weights of the rows, shape (n,). None if each row weighs 1.
      multiclass_hint: what an error recommends for more than two classes.
    """
    check_rank("y", y, 1, "[n]")
    values = np.unique(y)
    if not np.isin(values, (0, 1)).all():
        hint = _label_hint(values, multiclass_hint)
        raise ValueError(f"y: expected labels 0 and 1, got the values {_list_values(values)}{hint}")
    _check_two_classes(y, values, weights, "both classes 0 and 1")


def _list_values(values: np.ndarray) -> str:
    """Return the first five values as text."""
    return ", ".join(f"{value:g}" for value in values[:5].astype(float)) + (", …" if len(values) > 5 else "")


def _label_hint(values: np.ndarray, multiclass_hint: str) -> str:
    """Return the advice for labels other than 0 and 1: a comparison, or a multiclass loss."""
    if len(values) == 2:
        return f"; pass y == {float(values[1]):g}"
    integral = len(values) > 2 and (values.astype(np.float64) == np.floor(values.astype(np.float64))).all()
    return f"; for {len(values)} classes pass {multiclass_hint}" if integral else ""


def _check_two_classes(y: np.ndarray, values: np.ndarray, weights: np.ndarray | None, expected: str) -> None:
    """Raise unless the rows of positive weight hold at least two labels."""
    present = values if weights is None else np.unique(y[weights > 0])
    if len(present) < 2:
        weighted = "" if weights is None else " in rows of positive weight"
        raise ValueError(f"y: expected {expected}{weighted}, got only {float(present[0]):g}")


def check_class_labels(y: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Raise unless labels are class numbers 0, 1, 2, … or rows of probabilities.

    At least two class numbers must have rows of positive weight.
    """
    if y.ndim == 2:
        check_probabilities(y)
        return
    if y.ndim != 1:
        raise ValueError(
            "y: expected 1-D [n], the number of each row's class, or 2-D [n, classes], its probabilities, got "
            f"{y.ndim}-D with shape {y.shape}"
        )
    values = np.unique(y).astype(np.float64)
    if not ((values >= 0) & (values < 2**31 - 1) & (values == np.floor(values))).all():
        raise ValueError(
            f"y: expected labels 0, 1, 2, …, the numbers of the classes, got the values {_list_values(values)}"
        )
    _check_two_classes(y, values, weights, "at least two classes")


def check_probabilities(y: np.ndarray, name: str = "y") -> None:
    """Raise unless every row of `y` is a probability distribution over at least two classes."""
    if y.shape[1] < 2:
        raise ValueError(
            f"{name}: expected 2-D [n, classes] with at least two classes, got shape {y.shape}; "
            f"labels are 1-D, {name}[:, 0]"
        )
    if not (y >= 0).all():
        raise ValueError(f"{name}: expected probabilities of at least 0, got {y.min()}")
    eps = 2.0**-8 if y.dtype.name == "bfloat16" else np.finfo(y.dtype).eps if y.dtype.kind == "f" else 0
    invalid = np.abs(y.sum(1, dtype=np.float64) - 1) > max(1e-6, y.shape[1] * eps)
    if invalid.any():
        row = int(np.argmax(invalid))
        total = y[row].sum(dtype=np.float64)
        raise ValueError(f"{name}: expected the probabilities of each row to sum to 1, got {total:g} in row {row}")


def check_real_targets(y: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Raise unless `y` has one number per row. Any value and any weights will do."""
    del weights
    check_rank("y", y, 1, "[n]")


# -- argument names of other libraries -------------------------------------------------------------------------

PENALTY_ALIASES = (
    *("C", "Cs", "alpha", "alphas", "lam", "lamb", "lambd", "lambda_", "lmbda", "reg", "reg_lambda"),
    *("reg_param", "reg_strength", "regularization", "l2_reg", "penalty", "weight_decay"),
)
"""Names that other libraries give the strength of a penalty."""

PENALTY_HELP = (
    "l2, the strength of the penalty{where}: l2 = 1/(C·S) for the C of scikit-learn, l2 = 2·alpha/S for the alpha "
    "of its Ridge, S the sum of the weights of the rows (without weights their number)"
)


def reject_unknown_arguments(
    function: str, unknown: Iterable[str], penalty_owner: str = "", **replacements: str
) -> None:
    """Raise a `TypeError` for the first unknown argument, naming the argument to use instead.

    Args:
      function: the name of the function.
      unknown: the names of arguments that the function does not have.
      penalty_owner: the object that has `l2`, such as " of the Objective", if the function has no `l2`.
      replacements: the names of this library, by the names of other libraries.
    """
    for name in unknown:
        reason = f"; it takes {replacements[name]}" if name in replacements else ""
        if name in PENALTY_ALIASES or (penalty_owner and name == "l2"):
            reason = f"; it takes {PENALTY_HELP.format(where=penalty_owner)}"
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{reason}")
