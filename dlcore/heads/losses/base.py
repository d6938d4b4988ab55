"""The record of a loss: everything that `fit_heads` needs of it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from dlcore._core.types import AnyArray


class RowTerms(NamedTuple):
    """Loss of each row and its derivatives, for B heads with K logits each.

    Attributes:
      value: at least 0, shape (B, rows).
      residual: derivative with respect to each logit, shape (B, K, rows).
      misclassified: whether another class is at least as probable as the class of the row, shape (B, rows). True
        if there are no classes.
    """

    value: AnyArray
    residual: AnyArray
    misclassified: AnyArray


class NullModel(NamedTuple):
    """The best constant prediction of P problems.

    Attributes:
      total: sum of the weights, shape (P,).
      intercept: the logits of the prediction, shape (P, K).
      spread: scale of the curvature of each logit at the constant prediction, shape (P, K). It is p(1 − p) for the
        logistic loss, the mean for counts, and the fraction π_k of the class for the softmax. It is 0 for an
        absent class.
      value: mean loss, shape (P,).
    """

    total: np.ndarray
    intercept: np.ndarray
    spread: np.ndarray
    value: np.ndarray


Conversion = Callable[[np.ndarray, float], np.ndarray]
"""A function of C or alpha and of the sum of the weights that returns λ."""

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A function of logits, targets and weights that returns H scores. Larger is better.

Logits have shape (H, rows) or (H, K, rows), targets (H, rows). Targets of a classifier are class numbers in an
integer dtype. The weights, shape (rows,), are positive, the largest in [½, 1).
"""


class Curvature(NamedTuple):
    """Second derivatives of the loss of each row, C, of one head.

    Attributes:
      diagonal: C_kk, shape (K, rows).
      probability: p with C_kl = −p_k·p_l for k ≠ l, shape (K, rows); None for K = 1.
    """

    diagonal: AnyArray
    probability: AnyArray | None = None


class RowLoss(NamedTuple):
    """A loss of rows that L-BFGS and Newton's method minimise.

    Attributes:
      terms: values and derivatives, from logits (B, K, rows), targets (B or 1, rows) and the module of the arrays.
      curvature: second derivatives of one head, from its logits, shape (K, rows), and the module of the arrays.
      constant: a function of targets (n, T), weights (F, n) of F fits, class factors (T, 2) or None, and
        `fit_intercept`. It returns the `NullModel` of F·T problems; problem p is target p % T of fit p // T.
    """

    terms: Callable[..., RowTerms]
    curvature: Callable[..., Curvature]
    constant: Callable[..., NullModel]


class HeadLoss(NamedTuple):
    """A loss of linear heads.

    Attributes:
      name: the name that `fit_heads` takes.
      metrics: scores by name. The first is the default of `scoring`.
      rankings: names of the scores that rank rows, for which every class must have rows.
      top_k: k of each top-k score, by the name of the score.
      predict: a function of the logits of one head that returns the prediction for a scoring function.
      is_classifier: whether the targets are classes.
      has_classes: whether a head has a logit for each class.
      needs_positive: whether an intercept needs a positive target.
      penalties: the conversion to λ of each penalty argument of scikit-learn's estimator.
      row_loss: the loss of rows for the iterative solvers; None if heads are solved exactly.
      check_targets: a function of y and the weights of the rows. It raises an error for invalid targets. None for
        labels of classes.
      hard_name: for a loss of soft labels, the name of the same loss of hard labels; None otherwise.
    """

    name: str
    metrics: Mapping[str, Metric]
    predict: Callable[[np.ndarray], np.ndarray]
    rankings: tuple[str, ...] = ()
    top_k: Mapping[str, int] = MappingProxyType({})
    is_classifier: bool = False
    has_classes: bool = False
    needs_positive: bool = False
    penalties: Mapping[str, Conversion] = MappingProxyType({})
    row_loss: RowLoss | None = None
    check_targets: Callable[[np.ndarray, np.ndarray], None] | None = None
    hard_name: str | None = None

    @property
    def is_soft(self) -> bool:
        """Return whether the targets are probabilities of classes."""
        return self.hard_name is not None

    @property
    def is_exact(self) -> bool:
        """Return whether heads are solved exactly, by a factorisation."""
        return self.row_loss is None

    @property
    def has_distributions(self) -> bool:
        """Return whether a row of the targets has the probabilities of all classes."""
        return self.is_soft and self.has_classes

    @property
    def certified_name(self) -> str:
        """Return the name that `certify` and `Heads` use."""
        return self.hard_name or self.name


def l2_of_c(c: np.ndarray, total: float) -> np.ndarray:
    """Return λ = 1/(C·S), for scikit-learn's logistic regression."""
    return 1 / (c * total)


def l2_of_ridge_alpha(alpha: np.ndarray, total: float) -> np.ndarray:
    """Return λ = 2·alpha/S, for scikit-learn's Ridge."""
    return 2 * alpha / total


def l2_of_mean_alpha(alpha: np.ndarray, total: float) -> np.ndarray:
    """Return λ = alpha, for scikit-learn's PoissonRegressor, whose loss is a mean."""
    del total
    return alpha
