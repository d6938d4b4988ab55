"""Labels of classes: any numbers or strings, and their codes 0, 1, …, in sorted order."""

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks

SHOWN = 5
"""Labels that a message shows."""


def read_labels(name: str, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the code of every label, and the classes that the codes stand for.

    Args:
      name: the argument, for messages.
      y: labels of any shape: numbers, booleans or strings, in NumPy or what NumPy reads. Categories of pandas and
        polars and dictionaries of Arrow count as the values that they stand for.

    Returns:
      Codes of the shape of `y` and dtype intp, and the classes that occur, sorted: shape (classes,).

    Raises:
      TypeError: if labels are neither numbers nor strings, or both.
      ValueError: if a label is missing or not finite.

    >>> codes, classes = read_labels("y", ["dog", "cat", "dog"])
    >>> print(codes, classes)
    [1 0 1] ['cat' 'dog']
    """
    labels = labels_as_numpy(name, y)
    classes, codes = np.unique(labels, return_inverse=True)
    return codes.reshape(labels.shape), classes


def codes_of(name: str, y: npt.ArrayLike, classes: np.ndarray) -> np.ndarray:
    """Return the codes of labels among known classes.

    Args:
      name: the argument, for messages.
      y: labels, as `read_labels` takes them.
      classes: sorted, shape (classes,).

    Raises:
      TypeError: if labels are neither numbers nor strings, or both.
      ValueError: if a label is missing, or is none of the classes.

    >>> print(codes_of("y", [-1, 1], np.array([-1, 1])))
    [0 1]
    """
    labels = labels_as_numpy(name, y)
    if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise ValueError(f"{name}: expected labels among {shown(classes)}, got {shown(labels.reshape(-1)[:1])}")
    codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    unknown = np.unique(labels[classes[codes] != labels])
    if len(unknown):
        raise ValueError(f"{name}: expected labels among {shown(classes)}, got {shown(unknown)}")
    return codes


def shown(labels: np.ndarray) -> str:
    """Return the first labels as text.

    >>> print(shown(np.array(["a", "b"])), "|", shown(np.arange(8)))
    'a', 'b' | 0, 1, 2, 3, 4, …
    """
    texts = [repr(label) for label in labels[:SHOWN].tolist()]
    return ", ".join(texts) + (", …" if len(labels) > SHOWN else "")


def labels_as_numpy(name: str, y: npt.ArrayLike) -> np.ndarray:
    """Return labels as NumPy numbers, booleans or strings.

    Raises:
      TypeError: if labels are neither numbers nor strings, or both.
      ValueError: if a label is missing or not finite.
    """
    if hasattr(y, "dtype") and hasattr(y, "__dlpack__") and not isinstance(y, np.ndarray):
        return _numbers(name, y)
    host_checks.check_array_type(name, y)
    host_checks.check_dense(name, y)
    if y is None:
        return _numbers(name, y)
    try:
        given = np.asarray(y)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name}: expected a rectangular array of labels, got {error}") from None
    if given.dtype.kind == "T":
        given = given.astype(object)
    if given.dtype.kind in "mMV":
        raise TypeError(
            f"{name}: expected labels, whole numbers or strings, got dtype {given.dtype}; pass {name}.astype(str)"
        )
    if given.dtype.kind == "U" and not isinstance(y, np.ndarray):
        given = np.asarray(y, object)  # NumPy makes strings of the numbers of a list that has both
    if given.dtype.kind == "S":
        given = np.char.decode(given, "utf-8")
    if given.dtype.kind == "U":
        return given.astype(np.str_)
    if given.dtype.kind != "O":
        return _numbers(name, given)
    missing = _is_missing(given)
    if missing.any():
        raise ValueError(
            f"{name}: expected a label in every row, got none in row {int(np.argwhere(missing)[0][0])}"
        )
    is_text = np.array([isinstance(label, str | bytes) for label in given.flat], bool)
    if not is_text.any():
        return _numbers(name, given)
    if not is_text.all():
        other = given.reshape(-1)[~is_text][0]
        raise TypeError(f"{name}: expected labels of one type, got strings and {type(other).__name__} {other!r}")
    texts = [label.decode("utf-8") if isinstance(label, bytes) else label for label in given.flat]
    return np.array(texts, np.str_).reshape(given.shape)


def _numbers(name: str, y: npt.ArrayLike) -> np.ndarray:
    """Return whole numbers as booleans or integers."""
    labels = host_checks.as_numpy(name, y)
    host_checks.check_finite(name, labels)
    if labels.dtype.kind in "biu":
        return labels
    wide = labels.astype(np.float64)
    part = wide[(wide != np.floor(wide)) | (np.abs(wide) >= 2**53)]
    if part.size:
        raise ValueError(f"{name}: expected labels, whole numbers or strings, got {part[0]:g}")
    return wide.astype(np.int64)


def _is_missing(labels: np.ndarray) -> np.ndarray:
    """Return which entries of an array of objects are None, nan, NaT or the NA of pandas."""

    def is_missing(label: object) -> bool:
        return label is None or type(label).__name__ in ("NAType", "NaTType") or (label != label) is True

    return np.array([is_missing(label) for label in labels.flat], bool).reshape(labels.shape)
