"""Logistic regression that chooses C by folds."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
from sklearn import linear_model
from sklearn.base import _fit_context
from sklearn.metrics import get_scorer
from sklearn.utils.metadata_routing import _raise_for_params

from dlcore.certificate.rows import DataLike
from dlcore.devices import DeviceName
from dlcore.heads.data.class_weights import ClassWeightLike
from dlcore.sklearn.fits.classes import ClassHeads, fit_class_folds
from dlcore.sklearn.fits.settings import certificate_at
from dlcore.sklearn.folds import Fold, params_of_rows, read_folds, route, with_all_classes
from dlcore.sklearn.inputs import ClassifierInputs, on_host, with_device_and_dtype
from dlcore.sklearn.logistic import ClassData, LogisticRegression, only_one_class, read_classes, settings_of
from dlcore.sklearn.penalties import read_penalty
from dlcore.sklearn.types import CvLike, FloatName, LogisticSolver, Penalty, RandomState, Scorer


class Paths(NamedTuple):
    """Heads and scores of the folds, for F folds, L strengths and K heads (1 for two classes).

    Attributes:
      coef: coefficients and, with an intercept, it last, shape (F, L, K, m + 1).
      scores: shape (F, L).
      steps: passes over the rows, shape (F, L).
      whole: a function that gives the head of all rows for the C at an index.
    """

    coef: np.ndarray
    scores: np.ndarray
    steps: np.ndarray
    whole: Callable[[int], ClassHeads]


class LogisticRegressionCV(ClassifierInputs, linear_model.LogisticRegressionCV):
    """Logistic regression with a search for C, scikit-learn's `LogisticRegressionCV` with a certificate.

    A fold keeps C, so that its λ is 1/(C·S) with the sum S of its own weights.

    Args:
      Cs: the strengths, or how many from 1e-4 to 1e4.
      l1_ratios: must be 0.
      fit_intercept: whether the intercept is fitted. It is not penalised.
      cv: folds as scikit-learn has them; None for 5.
      dual: must be False.
      penalty: deprecated by scikit-learn; "l2".
      scoring: a scorer of scikit-learn's, its name, or None for the accuracy.
      solver: any of scikit-learn's names but "liblinear", which penalises the intercept.
      tol: the gap that is certified is at most tol², and between 1e-12 and 1e-6, relative to the objective.
      max_iter: the most passes over the rows for one head.
      class_weight: None, "balanced" over all rows, or the weight of each class.
      n_jobs: has no effect.
      verbose: above 0 a fit of more than two seconds prints its progress on standard error.
      refit: whether the best C is fitted to all rows; else the heads of the folds are averaged.
      intercept_scaling: has no effect.
      random_state: has no effect.
      use_legacy_attributes: the form of the attributes, see scikit-learn.
      device: "cpu", "gpu" or "tpu"; None for JAX's default device.
      dtype: "float32" or "float64", the dtype in which X is kept; None keeps the dtype of X.

    Attributes:
      certificate_: the `Certificate` of the head of the best C; None without `refit`.
      C_, Cs_, l1_ratio_, l1_ratios_, scores_, coefs_paths_, n_iter_: as in scikit-learn.
      classes_, coef_, intercept_, n_features_in_, feature_names_in_: as in scikit-learn.

    >>> import numpy as np
    >>> X = np.arange(12.0)[:, None]
    >>> y = np.where(X[:, 0] > 5, "yes", "no")
    >>> search = LogisticRegressionCV(Cs=[0.1, 1.0], cv=3, l1_ratios=(0,), scoring="neg_log_loss",
    ...                               use_legacy_attributes=False)
    >>> print(search.fit(X, y).C_, search.scores_.shape)
    1.0 (3, 1, 2)
    """

    _parameter_constraints = with_device_and_dtype(linear_model.LogisticRegressionCV._parameter_constraints)

    def __init__(
        self,
        *,
        Cs: int | npt.ArrayLike = 10,
        l1_ratios: Sequence[float] | np.ndarray | Literal["warn"] | None = "warn",
        fit_intercept: bool = True,
        cv: CvLike | None = None,
        dual: bool = False,
        penalty: Penalty | Literal["deprecated"] = "deprecated",
        scoring: str | Scorer | None = "warn",
        solver: LogisticSolver = "lbfgs",
        tol: float = 1e-4,
        max_iter: int = 100,
        class_weight: ClassWeightLike | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        refit: bool = True,
        intercept_scaling: float = 1.0,
        random_state: RandomState | None = None,
        use_legacy_attributes: bool | Literal["warn"] = "warn",
        device: DeviceName | None = None,
        dtype: FloatName | None = None,
    ) -> None:
        cast("Callable[..., None]", super().__init__)(
            Cs=Cs,
            l1_ratios=l1_ratios,
            fit_intercept=fit_intercept,
            cv=cv,
            dual=dual,
            penalty=penalty,
            scoring=scoring,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
            class_weight=class_weight,
            n_jobs=n_jobs,
            verbose=verbose,
            refit=refit,
            intercept_scaling=intercept_scaling,
            random_state=random_state,
            use_legacy_attributes=use_legacy_attributes,
        )
        self.device: DeviceName | None = device
        self.dtype: FloatName | None = dtype

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: DataLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, **params: object
    ) -> Self:
        """Fit to X, (n, m), and labels y, (n,), with weights of the rows, (n,).

        `params` are routed to the splitter and the scorer.
        """
        _raise_for_params(params, self, "fit")
        _, ratios = read_penalty(self, "l1_ratios")
        scoring, legacy = self._read_defaults()
        data = read_classes(self, X, y, sample_weight)
        if isinstance(self.class_weight, dict) and not set(self.class_weight) <= set(data.classes):
            raise ValueError(
                "The given class_weight dict must have the class labels as keys; "
                f"classes={data.classes} but key={self.class_weight.keys()}"
            )
        self.classes_ = data.classes
        self.Cs_ = np.logspace(-4, 4, self.Cs) if np.ndim(self.Cs) == 0 else np.asarray(self.Cs, np.float64)
        if not (self.Cs_ > 0).all():
            raise ValueError(f"Cs: expected numbers above 0, got {self.Cs!r}")
        weights = {} if sample_weight is None else {"sample_weight": on_host(sample_weight)}
        routed = route(self, {**params, **weights}, {**params, "sample_weight": weights.get("sample_weight")})
        folds = read_folds(self.cv, data.X, data.y, routed.split, classifier=True)
        score_params = weights if scoring is None else routed.score
        paths = self._fit_folds(data, folds, get_scorer(scoring), score_params)
        coef, C = self._fit_best(data, paths)
        self.coef_ = coef[:, : data.X.shape[1]]
        self.intercept_ = coef[:, -1] if self.fit_intercept else np.zeros(len(coef))
        self._set_paths(paths, C, ratios, legacy=legacy)
        return self

    def _read_defaults(self) -> tuple[str | Scorer | None, bool]:
        """Return `scoring` and `use_legacy_attributes`, with scikit-learn's warnings of new defaults."""
        scoring, legacy = self.scoring, self.use_legacy_attributes
        if isinstance(scoring, str) and scoring == "warn":
            scoring = None
            warnings.warn(
                "The default value of the parameter 'scoring' will change from None, the accuracy, to "
                "'neg_log_loss' in scikit-learn 1.11. Set scoring to avoid this warning.",
                FutureWarning,
                stacklevel=4,
            )
        if isinstance(legacy, str):
            legacy = True
            warnings.warn(
                "The default value of use_legacy_attributes will change from True to False in scikit-learn 1.10. "
                "Set use_legacy_attributes to avoid this warning.",
                FutureWarning,
                stacklevel=4,
            )
        return scoring, bool(legacy)

    def _fit_folds(
        self, data: ClassData, folds: list[Fold], scorer: Scorer | None, params: Mapping[str, object]
    ) -> Paths:
        """Return the heads of every fold and C, and their scores."""
        settings, n_classes = settings_of(self), len(data.classes)
        scorer = None if scorer is None else with_all_classes(scorer, data.classes)
        model = LogisticRegression(fit_intercept=self.fit_intercept)
        model.classes_, model.n_features_in_ = data.classes, data.X.shape[1]
        coefs, scores, steps = [], [], []
        trains = [fold.train for fold in folds]
        whole, heads = fit_class_folds(data.X, data.labels, n_classes, self.Cs_, data.weight, trains, settings)
        for found, (_, test) in zip(heads, folds, strict=True):
            X, y, of_rows = data.X[test], data.y[test], params_of_rows(data.X, params, test)
            for C, coef, intercept in zip(self.Cs_, found.coef, found.intercept, strict=True):
                model.C, model.coef_, model.intercept_ = C, coef, intercept
                scores.append(model.score(X, y, **of_rows) if scorer is None else scorer(model, X, y, **of_rows))
            last = [found.intercept[..., None]] if self.fit_intercept else []
            coefs.append(np.concatenate([found.coef, *last], axis=-1))
            steps.append(found.steps)
        of_scores = np.reshape(np.asarray(scores, np.float64), (len(folds), len(self.Cs_)))
        return Paths(np.stack(coefs), of_scores, np.stack(steps).astype(np.int32), whole)

    def _fit_best(self, data: ClassData, paths: Paths) -> tuple[np.ndarray, float]:
        """Return the coefficients (K, m + 1) of the best C, and that C."""
        if not self.refit:
            best = paths.scores.argmax(1)
            self.certificate_ = None
            return paths.coef[np.arange(len(best)), best].mean(0), float(self.Cs_[best].mean())
        best = int(paths.scores.sum(0).argmax())
        found = paths.whole(best)
        if found.certificate is None:
            raise ValueError(only_one_class(data.classes[data.labels[data.weight > 0][0]]))
        self.certificate_ = certificate_at(found.certificate, 0)
        last = [found.intercept[0, :, None]] if self.fit_intercept else []
        return np.concatenate([found.coef[0], *last], axis=-1), float(self.Cs_[best])

    def _set_paths(self, paths: Paths, C: float, ratios: Sequence[float | None], *, legacy: bool) -> None:
        """Set the attributes of the search in the old or the new form. Every ratio has the same heads."""
        self.l1_ratios_ = np.asarray(ratios)
        count = len(ratios)
        coef = np.repeat(paths.coef[:, None], count, axis=1)
        scores, steps = (np.repeat(part[:, None], count, axis=1) for part in (paths.scores, paths.steps))
        if not legacy:
            self.C_, self.l1_ratio_ = C, 0.0
            self.coefs_paths_, self.scores_, self.n_iter_ = coef, scores, steps
            return
        heads = coef.shape[3]
        named = self.classes_[-heads:]
        self.C_ = np.full(heads, C)
        self.l1_ratio_ = np.full(heads, ratios[0] if self.refit else 0.0)
        if ratios[0] is None:
            coef, scores, steps = coef[:, 0], scores[:, 0], steps[:, 0]
        else:
            coef, scores, steps = (part.swapaxes(1, 2) for part in (coef, scores, steps))
        self.coefs_paths_ = {label: coef[..., head, :] for head, label in enumerate(named)}
        self.scores_ = {label: scores.copy() for label in named}
        self.n_iter_ = steps[None]
