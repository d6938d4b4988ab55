"""Checks of values, where they enter: the name, what came, what is wanted. NumPy alone, no jax.

Data is checked once, on the host, before anything is compiled. `ValueError` is for a shape or a value,
`TypeError` for a dtype or a kind of object.
"""

import contextlib
import math
import numbers
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore._core.sparse import SparseRows, is_sparse, made_dense_by

# -- hyper-parameters ----------------------------------------------------------------------------------------


def check_number(name: str, value: Any, *, above: float | None = None, least: float | None = None) -> None:
    """`value`, a real number or an array of them, is finite, above `above` and at least `least`."""
    if isinstance(value, str | bytes) or not (np.isscalar(value) or hasattr(value, "__array__")):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    check_plain(name, value)
    found = np.asarray(value)
    if found.dtype.kind not in "iufV" or found.dtype.names:
        raise TypeError(f"{name}: expected a real number, got {value!r}")
    found = found.astype(np.float64)
    if above is not None and not (np.isfinite(found) & (found > above)).all():
        raise ValueError(f"{name}: expected a finite number above {above:g}, got {value!r}")
    if least is not None and not (np.isfinite(found) & (found >= least)).all():
        raise ValueError(f"{name}: expected a finite number of at least {least:g}, got {value!r}")


def check_fraction(name: str, value: Any) -> None:
    """`value` lies in [0, 1)."""
    check_number(name, value, least=0)
    if not (np.asarray(value) < 1).all():
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")


def check_count(name: str, value: Any, least: int = 1, most: int = 2**31 - 2) -> int:
    """`value` as a Python integer from `least` to `most`; 1.5, True and "3" are refused."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if count < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {count}")
    if count > most:
        raise ValueError(f"{name}: expected an integer of at most {most}, got {count}")
    return count


def check_rank(name: str, array: Any, rank: int, axes: str) -> None:
    """`array` has `rank` axes, written out in `axes`."""
    if array.ndim != rank:
        raise ValueError(f"{name}: expected {rank}-D {axes}, got {array.ndim}-D with shape {array.shape}")


# -- data, where it enters: values ---------------------------------------------------------------------------


def as_host_numbers(name: str, data: Any) -> np.ndarray:
    """`data` as a NumPy array of real numbers in native byte order, without a copy where none is needed.

    Lists, data frames, arrays of any library that NumPy can read, arrays of Python's numbers, booleans and
    integers are accepted; strings, other objects, complex numbers, `np.matrix`, sparse and masked arrays are
    refused. What is wider than float64 becomes float64.
    """
    if data is None:
        raise ValueError(f"{name}: expected an array, got None")
    check_plain(name, data)
    _check_dense(name, data)
    if hasattr(data, "detach"):
        data = _detached(name, data)
    try:
        array = np.asarray(data)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name}: expected a rectangular array of numbers, got {error}") from None
    except TypeError as error:  # such as a value that is traced
        kind = type(data).__name__
        raise TypeError(f"{name}: expected an array whose numbers are known, got {kind}") from error
    if array.dtype == object and array.ndim:
        array = from_objects(name, array)
    if array.dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers are not supported, got dtype {array.dtype}")
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return _as_float64(name, array)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def from_objects(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array of Python's real numbers as NumPy has a list of them: booleans, int64, else float64.

    Raises:
      TypeError: if an entry is anything else; the first is named.
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
            found = array.astype(np.float64)
        lost = np.isinf(found) & (array != found)
    except OverflowError:  # of Python's integers
        lost = found = np.array(True)
    if lost.any():
        raise ValueError(f"{name}: expected numbers within the range of float64; scale them")
    return found


def as_strengths(name: str, l2: Any) -> np.ndarray:
    """The strengths of penalties in float64, finite and at least 0."""
    found = as_host_numbers(name, l2)
    if found.dtype == bool:
        raise TypeError(f"{name}: expected numbers, got {l2!r}")
    found = found.astype(np.float64)
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {found}")
    return found


def check_plain(name: str, data: Any) -> None:
    """`data` is no kind of NumPy array whose products or missing entries would be lost without a word."""
    if isinstance(data, np.matrix):
        raise TypeError(f"{name}: np.matrix is not supported, pass np.asarray({name})")
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{name}: masked arrays are not supported, fill or drop the masked entries first")


def _detached(name: str, tensor: Any) -> np.ndarray:
    """Return the numbers of a tensor of torch; its dtype or device may be one that NumPy cannot read."""
    try:
        return np.asarray(tensor.detach())
    except (TypeError, RuntimeError) as error:
        hint = f"pass {name}.cpu().float()"
        raise TypeError(f"{name}: expected a tensor that NumPy reads, got {error}; {hint}") from None


def _check_dense(name: str, data: Any, other: str = "") -> None:
    """`data` is not sparse; the message says how to make it dense, and what `other` form is taken."""
    call = made_dense_by(data)
    if call is not None:
        raise TypeError(f"{name}: sparse input is not supported here, pass {name}.{call}{other}")


def as_host_rows(name: str, data: Any) -> Any:
    """`data` as `as_host_numbers` has it; a sparse table as rows, dense once they are read."""
    if isinstance(data, SparseRows):
        return data
    if is_sparse(data) and hasattr(data, "tocsr"):  # SciPy's of any format
        return SparseRows(name, data)
    _check_dense(name, data, " or a sparse table of SciPy's")
    return as_host_numbers(name, data)


def check_finite(name: str, array: np.ndarray | SparseRows) -> None:
    """No nan and no infinity in `array`."""
    if isinstance(array, SparseRows):
        if not np.isfinite(array.stored.data).all():
            raise ValueError(f"{name}: expected finite numbers, got nan or infinity in a sparse table")
        return
    if array.dtype.kind in "biu":
        return
    with np.errstate(all="ignore"):  # a sum that is finite has only finite terms, and needs no array of booleans
        if math.isfinite(float(array.sum(dtype=np.promote_types(array.dtype, np.float32)))):
            return
    finite = np.isfinite(array)
    if not finite.all():
        what = "nan" if np.isnan(array).any() else "infinity"
        where = tuple(int(index) for index in np.argwhere(~finite)[0])
        raise ValueError(f"{name}: expected finite numbers, got {what} (first at index {where})")


def check_squares(name: str, array: np.ndarray | SparseRows, hint: str = "scale them") -> None:
    """The squares of `array` have a sum in the range of float64."""
    kept = array.stored.data if isinstance(array, SparseRows) else array
    if kept.dtype != np.float64:  # no square of a narrower dtype is out of that range
        return
    with np.errstate(over="ignore"):
        total = float(np.einsum("ij,ij->", *[kept.reshape(len(kept), -1)] * 2))
    if not math.isfinite(total):
        largest = max(abs(float(kept.max())), abs(float(kept.min())))
        raise ValueError(
            f"{name}: expected numbers whose squares add up in the range of float64, got {largest:g}; {hint}"
        )


def check_matrix(name: str, x: np.ndarray | SparseRows) -> None:
    """`x` is [n, features] with at least one of each."""
    if x.ndim != 2:
        hint = f"; a single feature is {name}[:, None]" if x.ndim == 1 else ""
        raise ValueError(f"{name}: expected 2-D [n, features], got {x.ndim}-D with shape {x.shape}{hint}")
    if 0 in x.shape:
        raise ValueError(f"{name}: expected at least one row and one column, got shape {x.shape}")


def check_rows(**arrays: np.ndarray | SparseRows) -> None:
    """All arrays have the same number of rows, and at least one."""
    for name, array in arrays.items():
        if array.ndim == 0:
            raise ValueError(f"{name}: expected an array with a row per example, got a scalar")
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise ValueError(f"expected one row per example in each of {', '.join(rows)}, but {listed}")
    if 0 in rows.values():
        raise ValueError(f"{next(iter(rows))}: expected at least one row, got none")


def check_weights(weights: np.ndarray, rows: int, name: str = "weights") -> None:
    """`weights` is [rows], finite, nowhere negative and not all zero."""
    if weights.shape != (rows,):
        raise ValueError(f"{name}: expected shape ({rows},), one per row of x, got {weights.shape}")
    check_finite(name, weights)
    if (weights < 0).any():
        raise ValueError(f"{name}: expected numbers of at least 0, got {weights.min()}")
    if not (weights > 0).any():
        raise ValueError(f"{name}: expected at least one positive number, got only zeros")


MANY_CLASSES = "the loss softmax_cross_entropy and the model softmax"
"""What `Objective` takes for more than two classes."""


def check_binary_labels(y: np.ndarray, weights: np.ndarray | None = None, many: str = MANY_CLASSES) -> None:
    """`y` holds 0 and 1, both of them in rows of positive weight; for more classes there is `many`."""
    check_rank("y", y, 1, "[n]")
    values = np.unique(y)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"y: expected labels 0 and 1, got the values {_listed(values)}{_advice(values, many)}")
    present = values if weights is None else np.unique(y[weights > 0])
    if len(present) < 2:
        weighted = "" if weights is None else " in rows of positive weight"
        raise ValueError(f"y: expected both classes 0 and 1{weighted}, got only {float(present[0]):g}")


def _listed(values: np.ndarray) -> str:
    """The first five of them."""
    return ", ".join(f"{value:g}" for value in values[:5].astype(float)) + (", …" if len(values) > 5 else "")


def _advice(values: np.ndarray, many: str) -> str:
    """Say what labels other than 0 and 1 need: numbers of their own, or a loss of many classes."""
    if len(values) == 2:
        return f"; pass y == {float(values[1]):g}"
    whole = len(values) > 2 and (values.astype(np.float64) == np.floor(values.astype(np.float64))).all()
    return f"; for {len(values)} classes pass {many}" if whole else ""


def check_class_labels(y: np.ndarray, weights: np.ndarray | None = None) -> None:
    """`y` holds numbers 0, 1, 2, … of classes, two in rows of positive weight, or rows of probabilities."""
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
            f"y: expected labels 0, 1, 2, …, the numbers of the classes, got the values {_listed(values)}"
        )
    present = values if weights is None else np.unique(y[weights > 0])
    if len(present) < 2:
        weighted = "" if weights is None else " in rows of positive weight"
        raise ValueError(f"y: expected at least two classes{weighted}, got only {float(present[0]):g}")


def check_probabilities(y: np.ndarray) -> None:
    """Every row of `y` is a probability distribution over at least two classes."""
    if y.shape[1] < 2:
        raise ValueError(
            f"y: expected 2-D [n, classes] with at least two classes, got shape {y.shape}; labels are 1-D, y[:, 0]"
        )
    if not (y >= 0).all():
        raise ValueError(f"y: expected probabilities of at least 0, got {y.min()}")
    eps = 2.0**-8 if y.dtype.name == "bfloat16" else np.finfo(y.dtype).eps if y.dtype.kind == "f" else 0
    wrong = np.abs(y.sum(1, dtype=np.float64) - 1) > max(1e-6, y.shape[1] * eps)
    if wrong.any():
        row = int(np.argmax(wrong))
        total = y[row].sum(dtype=np.float64)
        raise ValueError(f"y: expected the probabilities of each row to sum to 1, got {total:g} in row {row}")


def check_real_targets(y: np.ndarray, weights: np.ndarray | None = None) -> None:
    """`y` is one real number per row; any value will do."""
    del weights
    check_rank("y", y, 1, "[n]")


# -- arguments by the names of other libraries -----------------------------------------------------------------

STRENGTHS = (
    *("C", "Cs", "alpha", "alphas", "lam", "lamb", "lambd", "lambda_", "lmbda", "reg", "reg_lambda"),
    *("reg_param", "reg_strength", "regularization", "l2_reg", "penalty", "weight_decay"),
)
"""Names of the strength of a penalty elsewhere."""

STRENGTH = (
    "l2, the strength of the penalty{where}: l2 = 1/(C·S) for the C of scikit-learn, l2 = 2·alpha/S for the alpha "
    "of its Ridge, S the sum of the weights of the rows (without weights their number)"
)


def refuse_arguments(function: str, given: Mapping[str, Any], where: str = "", **here: str) -> None:
    """Raise a `TypeError` for an argument that a function does not have; it says what is taken instead.

    Args:
      function: its name.
      given: the arguments that it does not have.
      where: what l2 belongs to, where the function has no argument of that name.
      here: what other arguments are called here, by their names elsewhere.
    """
    for name in given:
        reason = f"; it takes {here[name]}" if name in here else ""
        if name in STRENGTHS or (where and name == "l2"):
            reason = f"; it takes {STRENGTH.format(where=where)}"
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{reason}")
