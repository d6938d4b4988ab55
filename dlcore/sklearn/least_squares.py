"""Linear regression by least squares, of minimum norm where the solution is not unique."""

from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn import linear_model
from sklearn.base import _fit_context

from dlcore.certificate.rows import DataLike
from dlcore.devices import DeviceName
from dlcore.sklearn.fits.settings import FitSettings, certificate_at
from dlcore.sklearn.fits.squared import fit_squared
from dlcore.sklearn.inputs import RegressorInputs, read_numbers, read_weights, with_device_and_dtype
from dlcore.sklearn.types import FloatName


class LinearRegression(RegressorInputs, linear_model.LinearRegression):
    """Least squares, scikit-learn's `LinearRegression` with a certificate.

    The solution is exact and, where it is not unique, the shortest. `positive=True` is refused.

    Args:
      fit_intercept: whether the intercept is fitted.
      copy_X: has no effect; X is never written to.
      tol: the relative size below which a singular value does not count in `rank_`.
      n_jobs: has no effect.
      positive: must be False.
      device: "cpu", "gpu" or "tpu"; None for JAX's default device.
      dtype: "float32" or "float64", the dtype in which X is kept; None keeps the dtype of X.

    Attributes:
      certificate_: the `Certificate` of the head, or of one head for each target.
      coef_, intercept_, rank_, singular_, n_features_in_, feature_names_in_: as in scikit-learn.

    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> model = LinearRegression().fit(X, 2 * X[:, 0] + 1)
    >>> print(model.coef_.round(6), round(float(model.intercept_), 6), model.certificate_.gap < 1e-12)
    [2.] 1.0 True
    """

    _parameter_constraints = with_device_and_dtype(linear_model.LinearRegression._parameter_constraints)

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        tol: float = 1e-6,
        n_jobs: int | None = None,
        positive: bool = False,
        device: DeviceName | None = None,
        dtype: FloatName | None = None,
    ) -> None:
        super().__init__(fit_intercept=fit_intercept, copy_X=copy_X, tol=tol, n_jobs=n_jobs, positive=positive)
        self.device: DeviceName | None = device
        self.dtype: FloatName | None = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: DataLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Fit the coefficients to X, (n, m), and y, (n,) or (n, targets), with weights of the rows, (n,)."""
        if self.positive:
            raise ValueError(
                "positive=True is not supported by dlcore.sklearn; sklearn.linear_model.LinearRegression has it."
            )
        X, y = read_numbers(self, X, y, self.dtype)
        weight = read_weights(sample_weight, X)
        settings = FitSettings(self.fit_intercept, self.device)
        heads = fit_squared(X, y.reshape(len(y), -1), np.zeros(1), weight, settings)
        one = y.ndim == 1
        self.coef_ = heads.coef[0, 0].astype(X.dtype) if one else heads.coef[:, 0].astype(X.dtype)
        intercept = heads.intercept[:, 0].astype(X.dtype)
        self.intercept_ = (intercept[0] if one else intercept) if self.fit_intercept else 0.0
        self.certificate_ = certificate_at(heads.certificate, (0, 0) if one else (slice(None), 0))
        if isinstance(X, np.ndarray):
            self._set_rank(X, weight)
        return self

    def _set_rank(self, X: np.ndarray, weight: np.ndarray) -> None:
        """Set the singular values of the rows as they are solved, and their rank."""
        rows = X.astype(np.float64)
        if self.fit_intercept:
            rows -= np.average(rows, axis=0, weights=weight)
        rows *= np.sqrt(weight)[:, None]
        self.singular_ = np.linalg.svdvals(rows)
        self.rank_ = int((self.singular_ > self.tol * self.singular_.max()).sum())
