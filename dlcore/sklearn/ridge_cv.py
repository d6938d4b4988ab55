"""Ridge regression that chooses alpha by leaving out each row, or by folds."""

import numbers
from collections.abc import Callable, Mapping
from typing import Literal, Self, cast

import numpy as np
import numpy.typing as npt
from sklearn import linear_model
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.linear_model._ridge import _check_gcv_mode
from sklearn.utils import check_scalar
from sklearn.utils.metadata_routing import _raise_for_params

from dlcore.certificate.rows import DataLike
from dlcore.devices import DeviceName
from dlcore.sklearn.fits.settings import FitSettings, certificate_at, warn_of_gaps
from dlcore.sklearn.fits.squared import fit_squared, fit_squared_folds, squared_rounding
from dlcore.sklearn.folds import params_of_rows, read_folds, route, takes_weights
from dlcore.sklearn.inputs import RegressorInputs, on_host, read_numbers, read_weights, with_device_and_dtype
from dlcore.sklearn.ridge import Ridge, set_coefficients
from dlcore.sklearn.types import CvLike, Features, FloatName, Scorer


class _Predicted(RegressorMixin, BaseEstimator):
    """A regressor whose features are its predictions, for scorers."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return X."""
        return X


class RidgeCV(RegressorInputs, linear_model.RidgeCV):
    """Ridge regression with a search for alpha, scikit-learn's `RidgeCV` with a certificate.

    Without `cv` each row is predicted by the fit of the others, from the one factorisation of all rows.

    Args:
      alphas: the penalties, above 0 without `cv`.
      fit_intercept: whether the intercept is fitted.
      scoring: a scorer of scikit-learn's, its name, or None.
      cv: None for leave-one-out, or folds as scikit-learn has them.
      gcv_mode: has no effect.
      store_cv_results: whether `cv_results_` is kept, without `cv`.
      alpha_per_target: whether each target has its own alpha, without `cv`.
      device: "cpu", "gpu" or "tpu"; None for JAX's default device.
      dtype: "float32" or "float64", the dtype in which X is kept; None keeps the dtype of X.

    Attributes:
      certificate_: the `Certificate` of the head of the best alpha, or of one head for each target.
      alpha_, best_score_, cv_results_, coef_, intercept_, n_features_in_, feature_names_in_: as in scikit-learn.

    >>> import numpy as np
    >>> X = np.arange(8.0)[:, None]
    >>> print(RidgeCV(alphas=[0.1, 10.0]).fit(X, 2 * X[:, 0] + 1).alpha_)
    0.1
    """

    _parameter_constraints = with_device_and_dtype(linear_model.RidgeCV._parameter_constraints)

    def __init__(
        self,
        alphas: npt.ArrayLike = (0.1, 1.0, 10.0),
        *,
        fit_intercept: bool = True,
        scoring: str | Scorer | None = None,
        cv: CvLike | None = None,
        gcv_mode: Literal["auto", "svd", "eigen"] | None = None,
        store_cv_results: bool = False,
        alpha_per_target: bool = False,
        device: DeviceName | None = None,
        dtype: FloatName | None = None,
    ) -> None:
        cast("Callable[..., None]", super().__init__)(
            alphas=alphas,
            fit_intercept=fit_intercept,
            scoring=scoring,
            cv=cv,
            gcv_mode=gcv_mode,
            store_cv_results=store_cv_results,
            alpha_per_target=alpha_per_target,
        )
        self.device: DeviceName | None = device
        self.dtype: FloatName | None = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: DataLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, **params: object
    ) -> Self:
        """Fit to X, (n, m), and y, (n,) or (n, targets), with weights of the rows, (n,).

        `params` are routed to the splitter and the scorer.
        """
        _raise_for_params(params, self, "fit")
        alphas = self._read_alphas()
        for name in ("store_cv_results", "alpha_per_target"):
            if self.cv is not None and getattr(self, name):
                raise ValueError(f"cv!=None and {name}=True are incompatible")
        X, y = read_numbers(self, X, y, self.dtype)
        if sample_weight is not None:
            params["sample_weight"] = on_host(sample_weight)
        weight = read_weights(sample_weight, X)
        if self.cv is None:
            self._fit_left_out(X, y, alphas, weight, params)
        else:
            self._fit_folds(X, y, alphas, weight, params)
        return self

    def _read_alphas(self) -> np.ndarray:
        """Return the penalties, shape (L,)."""
        bounds = "neither" if self.cv is None else "left"
        given = [self.alphas] if np.ndim(self.alphas) == 0 else list(self.alphas)
        for index, alpha in enumerate(given):
            name = f"alphas[{index}]" if len(given) > 1 else "alphas"
            check_scalar(alpha, name, target_type=numbers.Real, min_val=0.0, include_boundaries=bounds)
        return np.asarray(given, np.float64)

    def _fit_left_out(
        self, X: Features, y: np.ndarray, alphas: np.ndarray, weight: np.ndarray, params: Mapping[str, object]
    ) -> None:
        """Choose alpha by the prediction of each row by the others."""
        _check_gcv_mode(X, self.gcv_mode)  # it warns
        if (rows := int((weight > 0).sum())) < 2:
            raise ValueError(f"RidgeCV leaves out each row: expected 2 rows of positive weight, got {rows} sample")
        Y = y.reshape(len(y), -1)
        found: list[np.ndarray] = []

        def keep(aim: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> float:  # noqa: ARG001
            found.append(prediction)
            return 0.0

        settings = FitSettings(self.fit_intercept, self.device)
        heads = fit_squared(X, Y, alphas, weight, settings, keep)
        predicted = np.empty((len(y), Y.shape[1], len(alphas)))
        predicted[weight > 0] = np.reshape(found, (len(alphas), Y.shape[1], -1)).transpose(2, 1, 0)
        if rows < len(y):  # a row without weight is predicted by the fit on all rows
            rest = X[weight == 0] @ heads.coef.reshape(-1, X.shape[1]).T
            predicted[weight == 0] = rest.reshape(-1, Y.shape[1], len(alphas)) + heads.intercept
        per_target = self.alpha_per_target and Y.shape[1] > 1
        scored_with = {name: part for name, part in params.items() if name == "sample_weight"}
        score_params = route(self, scored_with, params).score
        if self.scoring is None:
            results = weight[:, None, None] * (Y[..., None] - predicted) ** 2
            scores = -results.mean(axis=0 if per_target else (0, 1))
        else:
            results = predicted
            scores = self._scores(y, predicted, score_params, per_target=per_target)
        best = scores.argmax(-1)  # the first of equals
        targets = np.arange(Y.shape[1])
        where = targets, np.broadcast_to(best, targets.shape)
        set_coefficients(self, heads.coef[where], heads.intercept[where], X.dtype, one=y.ndim == 1)
        self.alpha_ = alphas[best] if per_target else float(alphas[best])
        self.best_score_ = scores[targets, best] if per_target else float(scores[best])
        one = len(targets) == 1
        self.certificate_ = certificate_at(heads.certificate, (0, where[1][0]) if one else where)
        if self.store_cv_results:
            self.cv_results_ = (results[:, 0] if y.ndim == 1 else results).astype(X.dtype)

    def _scores(
        self, y: np.ndarray, predicted: np.ndarray, score_params: Mapping[str, object], *, per_target: bool
    ) -> np.ndarray:
        """Return the scores of predictions (n, targets, L): shape (L,), or (targets, L)."""
        scorer = cast("Scorer", self._get_scorer())
        if per_target:
            return np.array(
                [
                    [scorer(_Predicted(), one, y[:, target], **score_params) for one in predicted[:, target].T]
                    for target in range(y.shape[1])
                ],
                np.float64,
            )
        of_alphas = np.moveaxis(predicted, -1, 0)
        return np.array(
            [scorer(_Predicted(), one.reshape(y.shape), y, **score_params) for one in of_alphas], np.float64
        )

    def _fit_folds(
        self, X: Features, y: np.ndarray, alphas: np.ndarray, weight: np.ndarray, params: Mapping[str, object]
    ) -> None:
        """Choose alpha by the mean score of the folds, and fit all rows."""
        scorer = cast("Scorer", self._get_scorer())
        weighted = params if takes_weights(scorer) else {}
        weighted = {name: part for name, part in weighted.items() if name == "sample_weight"}
        routed = route(self, weighted, params)
        folds = read_folds(self.cv, X, y, routed.split, classifier=False)
        settings = FitSettings(self.fit_intercept, self.device)
        Y, scores = y.reshape(len(y), -1), np.empty((len(folds), len(alphas)))
        rows = X if isinstance(X, np.ndarray) else X.tocsr()
        whole, of_folds = fit_squared_folds(rows, Y, alphas, weight, [fold.train for fold in folds], settings)
        for fold, (heads, (_, test)) in enumerate(zip(of_folds, folds, strict=True)):
            score_params = params_of_rows(X, routed.score, test)
            for index, alpha in enumerate(alphas):
                model = Ridge(alpha, fit_intercept=self.fit_intercept)
                model.n_features_in_ = X.shape[1]
                set_coefficients(model, heads.coef[:, index], heads.intercept[:, index], X.dtype, one=y.ndim == 1)
                scores[fold, index] = scorer(model, rows[test], y[test], **score_params)
        mean = scores.mean(0)
        best = int(np.where(np.isnan(mean), -np.inf, mean).argmax())
        chosen = slice(best, best + 1)
        certificate = certificate_at(whole.certificate, (slice(None), chosen))
        status, steps = whole.status[:, chosen], whole.steps[:, chosen]
        warn_of_gaps(certificate, status, steps, settings, squared_rounding(Y, weight))
        set_coefficients(self, whole.coef[:, best], whole.intercept[:, best], X.dtype, one=y.ndim == 1)
        self.alpha_, self.best_score_ = float(alphas[best]), float(mean[best])
        self.certificate_ = certificate_at(whole.certificate, (0 if Y.shape[1] == 1 else slice(None), best))
