"""Linear heads as plain numbers: the public `LinearHeads`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.tables import columns
from dlcore.certificate.head_arrays import HeadArrays as HeadArrays
from dlcore.certificate.losses import certified_loss


def as_labels(predicted: np.ndarray, classes: npt.ArrayLike | None) -> np.ndarray:
    """Return the labels of predicted class indices, or the predictions themselves if `classes` is None."""
    return predicted if classes is None else np.asarray(classes)[predicted]


class LinearHeads(NamedTuple):
    r"""One linear head, or several on the same data, as plain numbers. `certify` checks them.

    Attributes:
      coef: coefficients, shape (m,) for one head, (models, m) for several. With the loss "softmax" the shape is
        (classes, m) or (models, classes, m). With the loss "squared" and y of shape (n, targets) it is (targets,
        m) or (models, targets, m), and each target is a problem by itself.
      intercept: the shape of `coef` without its last axis, or a number, or None for heads without an intercept.
      l2: the penalty λ of each fit: a number, shape (models,), or a number for each problem. It is 1/(C·S) for
        scikit-learn's C, 2·alpha/S for its Ridge and alpha for its PoissonRegressor. S is the sum of the weights.
      loss: "logistic" is the mean cross-entropy of a sigmoid, and "softmax" that of a softmax. "squared" is the
        mean of (ŷ − y)². "poisson" is the mean half deviance of counts with the rates exp(x·w + b).
      scale: σ above 0, shape (m,). The penalty is $\frac\lambda2\sum_j(\sigma_jw_j)^2$. It equals the penalty of a
        head on the columns x/σ. With standard deviations as σ, it is the penalty of standardized columns. None
        penalizes the coefficients as they are.
      classes_: the labels of the classes 0, 1, …, shape (classes,), which `predict` returns. None for 0, 1, ….
      feature_names: the names of the m columns. A data frame is then read by these names, in any order. None if
        any names will do.
      class_weight: numbers above 0, shape (classes,). `certify` multiplies the weight of each row by that of its
        class. None multiplies nothing.
    """

    coef: npt.ArrayLike
    intercept: npt.ArrayLike | None
    l2: npt.ArrayLike
    loss: str = "logistic"
    scale: npt.ArrayLike | None = None
    classes_: npt.ArrayLike | None = None
    feature_names: Sequence[str] | None = None
    class_weight: npt.ArrayLike | None = None

    def predict(self, x: npt.ArrayLike) -> np.ndarray:
        """Return the predictions of each head.

        They are labels of `classes_`, or class indices without `classes_`. With the loss "squared" they are real
        numbers, and with the loss "poisson" rates of counts.

        Args:
          x: shape (n, m), real numbers. The columns of a data frame are taken by name if the heads have
            `feature_names`.

        Returns:
          Shape (n,) for one head, (models, n) for several. Heads of several targets return (targets, n) or
          (models, targets, n).

        Raises:
          ValueError: if x and the heads differ in the columns, or the loss is unknown.

        >>> print(LinearHeads([1.0, -1.0], 0.0, 0.1).predict([[2.0, 1.0], [1.0, 2.0]]))
        [1 0]
        """
        return as_labels(certified_loss("loss", self.loss).predict(self._logits(x)), self.classes_)

    def predict_proba(self, x: npt.ArrayLike) -> np.ndarray:
        """Return the probabilities of all classes, shape (n, classes) or (models, n, classes).

        Args:
          x: shape (n, m), real numbers.

        Raises:
          ValueError: if x and the heads differ in the number of columns, or the loss is not one of classes.
        """
        predict_proba = certified_loss("loss", self.loss).predict_proba
        if predict_proba is None:
            raise ValueError(f"predict_proba: expected heads with loss 'logistic' or 'softmax', got {self.loss!r}")
        return predict_proba(self._logits(x))

    def _logits(self, x: npt.ArrayLike) -> np.ndarray:
        """Return the outputs of the heads, the axis of rows last."""
        names = None if self.feature_names is None else tuple(self.feature_names)
        order = columns.column_order("x", columns.feature_names("x", x), names)
        rows = columns.take_columns(host_checks.as_numpy_or_sparse("x", x), order)
        host_checks.check_matrix("x", rows)
        host_checks.check_finite("x", rows)
        coef = np.asarray(self.coef, np.float64)
        if rows.shape[1] != coef.shape[-1]:
            raise ValueError(f"x: expected {coef.shape[-1]} columns, got {rows.shape[1]}")
        intercept = np.zeros(coef.shape[:-1]) if self.intercept is None else np.asarray(self.intercept, np.float64)
        return (
            coef @ np.ascontiguousarray(rows[:], np.float64).T
            + np.broadcast_to(intercept, coef.shape[:-1])[..., None]
        )
