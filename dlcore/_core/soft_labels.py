"""Soft labels: the probabilities of classes in place of a label."""

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks


def read_soft_labels(name: str, y: npt.ArrayLike, *, has_classes: bool) -> np.ndarray | None:
    """Return soft labels in float64, or None if `y` has no soft labels.

    Args:
      name: the argument, for messages.
      y: soft labels are floating-point numbers. With `has_classes` their shape is (n, classes), and each row sums
        to 1. Otherwise they are probabilities of class 1, of which some are strictly between 0 and 1.
      has_classes: whether a row has the probability of each class.

    Returns:
      Probabilities in the shape of `y`. Rows of probabilities of all classes are divided by their sums.

    Raises:
      ValueError: if a number is not finite or not in [0, 1], or a row of probabilities of all classes does not sum
        to 1.

    >>> print(read_soft_labels("y", [0.25, 1.0], has_classes=False))
    [0.25 1.  ]
    >>> print(read_soft_labels("y", [0.0, 1.0], has_classes=False))
    None
    """
    try:
        given = host_checks.as_numpy(name, y)
    except (TypeError, ValueError):  # strings and missing labels, of which `read_labels` gives the reason
        return None
    if given.dtype.kind in "biu":
        return None
    is_soft = given.ndim == 2 if has_classes else ((given > 0) & (given < 1)).any()
    return check_soft_labels(name, given, has_classes=has_classes) if is_soft else None


def check_soft_labels(name: str, y: np.ndarray, *, has_classes: bool) -> np.ndarray:
    """Return soft labels in float64. Rows of probabilities of all classes are divided by their sums.

    Args:
      name: the argument, for messages.
      y: probabilities of all classes, shape (n, classes), or of class 1.
      has_classes: whether a row has the probability of each class.

    Raises:
      ValueError: as `read_soft_labels`.

    >>> print(check_soft_labels("y", np.array([[1.0, 0.0], [0.25, 0.75]]), has_classes=True))
    [[1.   0.  ]
     [0.25 0.75]]
    """
    host_checks.check_finite(name, y)
    wide = y.astype(np.float64)
    if has_classes:
        host_checks.check_probabilities(y, name)
        return wide / wide.sum(1, keepdims=True)
    outside = np.argwhere((wide < 0) | (wide > 1))
    if len(outside):
        index = tuple(outside[0])
        raise ValueError(
            f"{name}: expected labels, whole numbers or strings, or probabilities of class 1 in [0, 1], got "
            f"{wide[index]:g} in row {index[0]}"
        )
    return wide
