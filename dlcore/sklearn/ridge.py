"""Ridge regression and the classifier that fits the numbers −1 and 1."""

import warnings
from collections.abc import Callable
from typing import Self, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn import linear_model
from sklearn.base import _fit_context

from dlcore.certificate import Certificate
from dlcore.certificate.rows import DataLike
from dlcore.devices import DeviceName
from dlcore.heads.data.class_weights import ClassWeightLike
from dlcore.sklearn.fits.settings import FitSettings, certificate_at
from dlcore.sklearn.fits.squared import fit_squared
from dlcore.sklearn.inputs import (
    ClassifierInputs,
    RegressorInputs,
    as_floats,
    on_host,
    read_numbers,
    read_weights,
    with_device_and_dtype,
)
from dlcore.sklearn.types import Features, FloatName, RandomState, RidgeSolver

WITHOUT_STEPS = ("svd", "cholesky", "sparse_cg")
"""Solvers for which scikit-learn gives no `n_iter_`."""
DENSE_INTERCEPT = ("svd", "cholesky", "saga")
"""Solvers with which scikit-learn fits no intercept to sparse rows."""


class Ridge(RegressorInputs, linear_model.Ridge):
    r"""Ridge regression, scikit-learn's `Ridge` with a certificate.

    It minimises $\sum_i s_i(y_i - x_i^\top w - b)^2 + \alpha\|w\|^2$, exactly, whatever `solver` is named.
    `positive=True`, and with it the solver "lbfgs", is refused.

    Args:
      alpha: the penalty, a number or one for each target.
      fit_intercept: whether the intercept is fitted.
      copy_X: has no effect; X is never written to.
      max_iter: has no effect; the solution takes one pass.
      tol: has no effect.
      solver: any of scikit-learn's names for this objective.
      positive: must be False.
      random_state: has no effect.
      device: "cpu", "gpu" or "tpu"; None for JAX's default device.
      dtype: "float32" or "float64", the dtype in which X is kept; None keeps the dtype of X.

    Attributes:
      certificate_: the `Certificate` of the head, or of one head for each target.
      solver_: the name that scikit-learn gives; the solution does not depend on it.
      coef_, intercept_, n_iter_, n_features_in_, feature_names_in_: as in scikit-learn.

    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> model = Ridge(alpha=2.0).fit(X, [1.0, 3.0, 5.0])
    >>> print(model.coef_.round(6), model.predict([[1.0]]).round(6))
    [1.] [3.]
    """

    certificate_: Certificate

    _parameter_constraints = with_device_and_dtype(linear_model.Ridge._parameter_constraints)

    def __init__(
        self,
        alpha: npt.ArrayLike = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        solver: RidgeSolver = "auto",
        positive: bool = False,
        random_state: RandomState | None = None,
        device: DeviceName | None = None,
        dtype: FloatName | None = None,
    ) -> None:
        cast("Callable[..., None]", super().__init__)(
            alpha=alpha,
            fit_intercept=fit_intercept,
            copy_X=copy_X,
            max_iter=max_iter,
            tol=tol,
            solver=solver,
            positive=positive,
            random_state=random_state,
        )
        self.device: DeviceName | None = device
        self.dtype: FloatName | None = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: DataLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Fit the coefficients to X, (n, m), and y, (n,) or (n, targets), with weights of the rows, (n,)."""
        X, y = read_numbers(self, X, y, self.dtype)
        fit_ridge(self, X, y, read_weights(sample_weight, X))
        return self


class RidgeClassifier(ClassifierInputs, linear_model.RidgeClassifier):
    """Ridge regression on −1 and 1, scikit-learn's `RidgeClassifier` with a certificate.

    Args:
      alpha: the penalty.
      fit_intercept: whether the intercept is fitted.
      copy_X: has no effect; X is never written to.
      max_iter: has no effect; the solution takes one pass.
      tol: has no effect.
      class_weight: None, "balanced" or the weight of each class.
      solver: any of scikit-learn's names for this objective.
      positive: must be False.
      random_state: has no effect.
      device: "cpu", "gpu" or "tpu"; None for JAX's default device.
      dtype: "float32" or "float64", the dtype in which X is kept; None keeps the dtype of X.

    Attributes:
      certificate_: the `Certificate` of the head, or of one head for each class.
      solver_: the name that scikit-learn gives; the solution does not depend on it.
      coef_, intercept_, n_iter_, classes_, n_features_in_, feature_names_in_: as in scikit-learn.

    >>> model = RidgeClassifier().fit([[0.0], [1.0], [4.0], [5.0]], ["no", "no", "yes", "yes"])
    >>> print(*model.predict([[0.5], [4.5]]))
    no yes
    """

    certificate_: Certificate

    _parameter_constraints = with_device_and_dtype(linear_model.RidgeClassifier._parameter_constraints)

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        class_weight: ClassWeightLike | None = None,
        solver: RidgeSolver = "auto",
        positive: bool = False,
        random_state: RandomState | None = None,
        device: DeviceName | None = None,
        dtype: FloatName | None = None,
    ) -> None:
        super().__init__(
            alpha=alpha,
            fit_intercept=fit_intercept,
            copy_X=copy_X,
            max_iter=max_iter,
            tol=tol,
            class_weight=class_weight,
            solver=solver,
            positive=positive,
            random_state=random_state,
        )
        self.device: DeviceName | None = device
        self.dtype: FloatName | None = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: DataLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Fit the coefficients to X, (n, m), and labels y, (n,), with weights of the rows, (n,)."""
        rows, _, weight, Y = self._prepare_data(on_host(X), on_host(y), on_host(sample_weight), self.solver)
        features = as_floats(cast("Features", rows), self.dtype)
        fit_ridge(self, features, np.asarray(Y, np.float64), read_weights(weight, features))
        return self


def fit_ridge(estimator: Ridge | RidgeClassifier, X: Features, y: np.ndarray, weight: np.ndarray) -> None:
    """Fit the heads of a `Ridge` or `RidgeClassifier` and set its attributes."""
    check_solver(estimator, X)
    Y = y.reshape(len(y), -1)
    alpha = np.ravel(np.asarray(estimator.alpha, np.float64))
    if len(alpha) not in (1, Y.shape[1]):
        raise ValueError(
            f"Number of targets and number of penalties do not correspond: {len(alpha)} != {Y.shape[1]}"
        )
    alphas, chosen = np.unique(alpha, return_inverse=True)
    where = np.arange(Y.shape[1]), np.broadcast_to(chosen, Y.shape[1])
    settings = FitSettings(estimator.fit_intercept, estimator.device)
    heads = fit_squared(X, Y, alphas, weight, settings)
    set_coefficients(estimator, heads.coef[where], heads.intercept[where], X.dtype, one=y.ndim == 1)
    estimator.certificate_ = certificate_at(
        heads.certificate, (0, where[1][0]) if y.ndim == 1 or Y.shape[1] == 1 else where
    )
    estimator.n_iter_ = None if estimator.solver in WITHOUT_STEPS else heads.steps[where].astype(np.int32)
    auto = "sparse_cg" if sparse.issparse(X) else "cholesky"
    estimator.solver_ = auto if estimator.solver == "auto" else estimator.solver


def set_coefficients(
    estimator: linear_model.Ridge | linear_model.RidgeClassifier | linear_model.RidgeCV,
    coef: np.ndarray,
    intercept: np.ndarray,
    dtype: np.dtype,
    *,
    one: bool,
) -> None:
    """Set `coef_` and `intercept_` from heads (targets, m) and (targets,), shaped as in scikit-learn."""
    coef, intercept = coef.astype(dtype), intercept.astype(dtype)
    estimator.coef_ = coef[0] if len(coef) == 1 else coef
    estimator.intercept_ = (intercept[0] if one else intercept) if estimator.fit_intercept else 0.0


def check_solver(estimator: Ridge | RidgeClassifier, X: Features) -> None:
    """Refuse what scikit-learn's solver of that name refuses, and positive coefficients."""
    solver, is_sparse = estimator.solver, sparse.issparse(X)
    if solver == "lbfgs" and not estimator.positive:
        raise ValueError("'lbfgs' solver can be used only when positive=True. Please use another solver.")
    if estimator.positive:
        raise ValueError(
            f"positive=True with solver={solver!r}: dlcore.sklearn does not support positive coefficients; "
            f"sklearn.linear_model.{type(estimator).__name__} has them."
        )
    if not is_sparse:
        return
    if estimator.fit_intercept and solver in DENSE_INTERCEPT:
        raise ValueError(
            f"solver='{solver}' does not support fitting the intercept on sparse data. Please set the solver to "
            "'auto', 'lsqr', 'sparse_cg' or 'sag', or set fit_intercept=False."
        )
    if solver == "svd":
        raise TypeError("SVD solver does not support sparse inputs; please set the solver to 'auto'.")
    if solver == "sag" and estimator.fit_intercept and estimator.max_iter is None and estimator.tol > 1e-4:
        warnings.warn(
            '"sag" solver requires many iterations to fit an intercept with sparse inputs in scikit-learn; '
            "here the name of the solver has no effect.",
            stacklevel=4,
        )
