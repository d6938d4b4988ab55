"""Logistic regression with an l2 penalty: the labels and weights of classes, and the fit."""

import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, Self, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn import linear_model
from sklearn.base import _fit_context
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from dlcore.certificate import LinearHeads, certify
from dlcore.certificate.rows import DataLike
from dlcore.devices import DeviceName
from dlcore.heads.data.class_weights import ClassWeightLike
from dlcore.sklearn.fits.classes import ClassHeads, fit_classes
from dlcore.sklearn.fits.settings import FitSettings, certificate_at
from dlcore.sklearn.inputs import ClassifierInputs, float_dtypes, read_weights, validated, with_device_and_dtype
from dlcore.sklearn.penalties import read_penalty, refuse_liblinear
from dlcore.sklearn.types import Features, FloatName, LogisticSolver, Penalty, RandomState


class LogisticParams(Protocol):
    """The parameters that both logistic regressions have."""

    fit_intercept: bool
    tol: float
    max_iter: int
    verbose: int
    solver: str
    class_weight: ClassWeightLike | None
    device: DeviceName | None
    dtype: FloatName | None


class ClassData(NamedTuple):
    """Rows with labels.

    Attributes:
      X: shape (n, m), NumPy or a sparse table by rows.
      y: labels as given, shape (n,).
      classes: the labels, ascending.
      labels: the number of the class of each row, shape (n,).
      weight: the weight of each row times that of its class, float64, shape (n,).
    """

    X: Features
    y: np.ndarray
    classes: np.ndarray
    labels: np.ndarray
    weight: np.ndarray


class LogisticRegression(ClassifierInputs, linear_model.LogisticRegression):
    r"""Logistic regression, scikit-learn's `LogisticRegression` with a certificate.

    It minimises $C\sum_i s_i\ell_i + \frac12\|w\|^2$, with the cross-entropy of all classes for more than two.

    Args:
      penalty: deprecated by scikit-learn; "l2" or None.
      C: the inverse of the penalty, above 0; infinity for none.
      l1_ratio: must be 0.
      dual: must be False.
      tol: the gap that is certified is at most tol², and between 1e-12 and 1e-6, relative to the objective.
      fit_intercept: whether the intercept is fitted. It is not penalised.
      intercept_scaling: has no effect.
      class_weight: None, "balanced" or the weight of each class.
      random_state: has no effect.
      solver: any of scikit-learn's names but "liblinear", which penalises the intercept.
      max_iter: the most passes over the rows.
      verbose: above 0 a fit of more than two seconds prints its progress on standard error.
      warm_start: whether the coefficients of the last fit are kept if they are proven to be within the tolerance.
      n_jobs: deprecated by scikit-learn; has no effect.
      device: "cpu", "gpu" or "tpu"; None for JAX's default device.
      dtype: "float32" or "float64", the dtype in which X is kept; None keeps the dtype of X.

    Attributes:
      certificate_: the `Certificate` of the head.
      classes_, coef_, intercept_, n_iter_, n_features_in_, feature_names_in_: as in scikit-learn.

    >>> model = LogisticRegression().fit([[0.0], [1.0], [4.0], [5.0]], ["no", "no", "yes", "yes"])
    >>> print(*model.predict([[0.5], [4.5]]), model.certificate_.gap < 1e-6)
    no yes True
    """

    _parameter_constraints = with_device_and_dtype(linear_model.LogisticRegression._parameter_constraints)

    def __init__(
        self,
        penalty: Penalty | Literal["deprecated"] = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: ClassWeightLike | None = None,
        random_state: RandomState | None = None,
        solver: LogisticSolver = "lbfgs",
        max_iter: int = 100,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
        device: DeviceName | None = None,
        dtype: FloatName | None = None,
    ) -> None:
        cast("Callable[..., None]", super().__init__)(
            penalty=penalty,
            C=C,
            l1_ratio=l1_ratio,
            dual=dual,
            tol=tol,
            fit_intercept=fit_intercept,
            intercept_scaling=intercept_scaling,
            class_weight=class_weight,
            random_state=random_state,
            solver=solver,
            max_iter=max_iter,
            verbose=verbose,
            warm_start=warm_start,
            n_jobs=n_jobs,
        )
        self.device: DeviceName | None = device
        self.dtype: FloatName | None = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: DataLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Fit the coefficients to X, (n, m), and labels y, (n,), with weights of the rows, (n,)."""
        read_penalty(self, "l1_ratio")
        C = self.C
        if self.penalty is None:
            if C != 1.0:
                warnings.warn("Setting penalty=None will ignore the C and l1_ratio parameters", stacklevel=3)
            C = np.inf
        if self.n_jobs is not None:
            warnings.warn(
                "'n_jobs' has no effect since scikit-learn 1.8 and will be removed in 1.10.",
                FutureWarning,
                stacklevel=3,
            )
        if getattr(self, "_skl_callbacks", None):
            raise ValueError("set_callbacks: callbacks are not supported by dlcore.sklearn, got some")
        data = read_classes(self, X, y, sample_weight)
        self.classes_ = data.classes
        settings = settings_of(self)
        found = self._kept(data, C, settings) if self.warm_start and hasattr(self, "coef_") else None
        if found is None:
            found = fit_classes(data.X, data.labels, len(data.classes), np.array([C]), data.weight, settings)
        if found.certificate is None:
            raise ValueError(only_one_class(data.classes[data.labels[data.weight > 0][0]]))
        self.coef_ = found.coef[0].astype(data.X.dtype)
        self.intercept_ = found.intercept[0].astype(data.X.dtype)
        self.n_iter_ = found.steps.astype(np.int32)
        self.certificate_ = certificate_at(found.certificate, 0)
        return self

    def _kept(self, data: ClassData, C: float, settings: FitSettings) -> ClassHeads | None:
        """Return the heads of the last fit if they are within the tolerance of this one."""
        loss = "logistic" if len(data.classes) == 2 else "softmax"
        shape = (1, data.X.shape[1]) if loss == "logistic" else (len(data.classes), data.X.shape[1])
        if sparse.issparse(self.coef_) or self.coef_.shape != shape or not np.isfinite(self.intercept_).all():
            return None
        coef, intercept = self.coef_[None].astype(np.float64), self.intercept_[None].astype(np.float64)
        bias = intercept if self.fit_intercept else None
        l2 = 1 / (C * data.weight.sum())
        if loss == "logistic":
            heads = LinearHeads(coef[:, 0], None if bias is None else bias[:, 0], l2, loss)
        else:
            heads = LinearHeads(coef, bias, l2, loss)
        certificate = certify(heads, data.X, data.labels, data.weight)
        if not (certificate.gap <= certificate.gap_tol(settings.gap)).all():
            return None
        return ClassHeads(coef, intercept, np.zeros(1, np.int64), certificate)


def settings_of(estimator: LogisticParams) -> FitSettings:
    """Return the settings of a logistic regression."""
    return FitSettings(
        estimator.fit_intercept,
        estimator.device,
        estimator.tol,
        int(estimator.max_iter),
        estimator.solver,
        verbose=bool(estimator.verbose),
    )


def read_classes(
    estimator: LogisticParams, X: DataLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> ClassData:
    """Return the checked rows, their labels and weights.

    Raises:
      ValueError: if the rows or labels are invalid, all of one class, or the solver is "liblinear".
    """
    X, y = validated(
        estimator,
        X,
        y,
        accept_sparse="csr",
        dtype=float_dtypes(estimator.dtype),
        order="C",
        accept_large_sparse=estimator.solver not in ("liblinear", "sag", "saga"),
    )
    check_classification_targets(y)
    classes, labels = np.unique(y, return_inverse=True)
    refuse_liblinear(estimator.solver, len(classes))
    if len(classes) < 2:
        raise ValueError(only_one_class(classes[0]))
    weight = read_weights(sample_weight, X)
    if estimator.class_weight is not None:
        of_classes = compute_class_weight(estimator.class_weight, classes=classes, y=y, sample_weight=weight)
        if not (np.isfinite(of_classes) & (of_classes >= 0)).all():
            raise ValueError(f"class_weight: expected finite numbers of at least 0, got {of_classes}")
        weight = weight * of_classes[labels]
    return ClassData(X, y, classes, labels, weight)


def only_one_class(label: object) -> str:
    """Return the message of the error that only one class is there."""
    return (
        "This solver needs samples of at least 2 classes in the data, "
        f"but the data contains only one class: {label!r}"
    )
