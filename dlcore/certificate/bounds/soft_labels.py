r"""Soft labels as weights: a row is replaced by one copy for each class, weighted by the probability of the class.

With the probability $y_{ik}$ of class k of row i, the cross-entropy is $\sum_k y_{ik}(-\ln p_{ik})$. That is the
sum of the losses of K copies of the row with the labels k and the weights $s_iy_{ik}$. Every bound on the
objective of labels is therefore a bound on that of soft labels.
"""

import numpy as np

from dlcore._core import host_checks
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.rounding.base import UNIT
from dlcore.certificate.rows import RowTable, RowWeights, TrainingData


def is_soft(data: TrainingData) -> bool:
    """Return whether the classes of rows are probabilities.

    For the squared loss, 2-D y are targets, so call this only for class losses.
    """
    return data.y.ndim == 2


def probabilities_of_soft_labels(y: np.ndarray, heads: HeadArrays, *, has_classes: bool) -> np.ndarray:
    """Return soft labels as probabilities of all classes, shape (n, K).

    Args:
      y: the result of `read_soft_labels`: shape (n, K) with `has_classes`, else the probabilities of class 1,
        shape (n,).
      heads: the heads.
      has_classes: whether the coefficients of a head have an axis of classes.

    Raises:
      ValueError: if the shape does not fit.
    """
    if not has_classes:
        host_checks.check_rank("y", y, 1, "[n]")
        return np.column_stack([1 - y, y])
    if y.shape[1] != heads.coef.shape[1]:
        raise ValueError(
            f"y: expected the probabilities of the {heads.coef.shape[1]} classes of heads.coef, got shape "
            f"{y.shape}"
        )
    return y


class RepeatedRows:
    """A view of a table in which each row occurs several times in succession.

    Attributes:
      table: rows, shape (n, m).
      times: how often each row occurs.
    """

    def __init__(self, table: RowTable, times: int) -> None:
        self.table, self.times = table, times
        self.shape = (len(table) * times, table.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if not isinstance(rows, slice):
            return self.table[np.arange(len(self))[rows] // self.times]
        start, stop, step = rows.indices(len(self))
        if step != 1 or stop <= start:
            return self.table[np.arange(start, stop, step) // self.times]
        first = start // self.times
        part = np.repeat(self.table[first : -(-stop // self.times)], self.times, axis=0)
        return part[start - first * self.times : stop - first * self.times]


def with_labels(data: TrainingData) -> TrainingData:
    """Return data with class indices: K weighted copies of each row.

    Data without soft labels are returned unchanged.
    """
    if not is_soft(data):
        return data
    rows, classes = data.y.shape
    values = np.repeat(data.weights.values.astype(np.float64), classes, axis=1) * data.y.reshape(1, -1)
    labels = np.tile(np.arange(classes), rows)
    return TrainingData(RepeatedRows(data.x, classes), labels, RowWeights(values, data.weights.exponent))


def soft_terms(
    powers: np.ndarray, shifted: np.ndarray, y: np.ndarray, row_weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return s(p − y), shape (H, K, n), the losses and s·r, shape (H, n) each, with r = Σ y(1 − p).

    The residual of the copies is $(1 - y_k)p_k - y_k(1 - p_k)$. Each sum over the other classes is computed
    without cancellation. The error of the residual is therefore a few u of $(1 - y_k)p_k + y_k(1 - p_k)$.

    Args:
      powers: $e^{z - \max z}$, shape (H, K, n).
      shifted: the exponents.
      y: probabilities, shape (n, K).
      row_weight: s, shape (1, n) or (H, n).
    """
    rest = _sum_of_others(powers, shifted.argmax(1))
    rest_of_top = rest.min(1, keepdims=True)
    y_rest, y = _sum_of_others(y.T[None], y.argmax(1)[None]), y.T[None]
    losses = (y * (np.log1p(rest_of_top) - shifted)).sum(1)
    rest /= 1 + rest_of_top  # the largest power is 1
    powers /= 1 + rest_of_top
    p_wrong = row_weight * (y * rest).sum(1)
    return (y_rest * powers - y * rest) * row_weight[:, None, :], losses, p_wrong


def _sum_of_others(numbers: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return the sum of the numbers of all other classes for each class, shape (H, K, n).

    Args:
      numbers: at least 0, shape (H, K, n).
      largest: index of the class with the largest number, shape (H, n).
    """
    index = largest[:, None, :]
    rest = numbers.copy()
    np.put_along_axis(rest, index, 0.0, axis=1)
    of_largest = rest.sum(1, keepdims=True)
    # A number that is not the largest is at most half of the whole, and the difference keeps its digits.
    others = of_largest + np.take_along_axis(numbers, index, axis=1) - numbers
    np.put_along_axis(others, index, of_largest, axis=1)
    return others


def err_copies(value: float, classes: int) -> float:
    r"""Bound the change of J − J* by the rounding of the weights of the copies.

    A weight $s_iy_{ik}$ has a relative error of 2u: u of the product, and u of the subtraction 1 − y. The sums
    $\sum_ky_{ik}$, by which the mean loss is divided, are 1 up to a relative error of Ku. J at the heads and J at
    the optimum, which is no larger, each change by at most a fraction (2K + 6)u.

    Args:
      value: J.
      classes: K.
    """
    return (4 * classes + 12) * UNIT * value
