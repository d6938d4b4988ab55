"""Cross-validation of the estimators: weights of folds, and scorers that know all classes."""

import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import make_scorer
from sklearn.metrics._scorer import _BaseScorer
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils.metadata_routing import _routing_enabled, process_routing
from sklearn.utils.validation import _check_method_params

from dlcore.sklearn.types import CvLike, Features, Scorer


class Fold(NamedTuple):
    """A fold of the rows.

    Attributes:
      train: how often each row trains, shape (n,).
      test: numbers of the rows that are scored.
    """

    train: np.ndarray
    test: np.ndarray


def read_folds(
    cv: CvLike | None, X: Features, y: np.ndarray, params: Mapping[str, object], *, classifier: bool
) -> list[Fold]:
    """Return the folds.

    Args:
      cv: folds in any form that scikit-learn takes.
      X: shape (n, m).
      y: shape (n,) or (n, targets).
      params: parameters of the splitter.
      classifier: whether an integer means stratified folds.
    """
    splitter = cast("Callable[..., BaseCrossValidator]", check_cv)(cv, y, classifier=classifier)
    rows = np.arange(len(y))
    splits = splitter.split(X, y, **params)
    return [Fold(np.bincount(rows[train], minlength=len(y)), rows[test]) for train, test in splits]


class RoutedParams(NamedTuple):
    """Parameters of `fit` that scikit-learn routes.

    Attributes:
      split: those of the splitter.
      score: those of the scorer.
    """

    split: Mapping[str, object]
    score: Mapping[str, object]


def route(
    estimator: BaseEstimator, scored_with: Mapping[str, object], routed: Mapping[str, object]
) -> RoutedParams:
    """Return the parameters of the splitter and of the scorer in `fit`.

    Args:
      estimator: whose metadata are routed.
      scored_with: the parameters of the scorer where routing is off.
      routed: the parameters of `fit`, routed where routing is on.
    """
    if not _routing_enabled():
        return RoutedParams({}, dict(scored_with))
    bunch = process_routing(estimator, "fit", **routed)
    return RoutedParams(bunch.splitter.split, bunch.scorer.score)


def params_of_rows(X: Features, params: Mapping[str, object], rows: np.ndarray) -> Mapping[str, object]:
    """Return parameters of a scorer for some of the rows."""
    return _check_method_params(X=X, params=params, indices=rows)


def takes_weights(scorer: Scorer) -> bool:
    """Return whether a scorer takes sample weights."""
    accepts = getattr(scorer, "_accept_sample_weight", None)
    return accepts() if accepts else "sample_weight" in inspect.signature(scorer).parameters


def with_all_classes(scorer: Scorer, classes: np.ndarray) -> Scorer:
    """Return the scorer with the labels of all classes, for a fold may be scored on some of them."""
    if not isinstance(scorer, _BaseScorer):
        return scorer
    known = inspect.signature(scorer._score_func).parameters
    if "labels" not in known:
        return scorer
    more: dict[str, object] = {"labels": classes}
    if len(classes) == 2 and "pos_label" in known:
        more["pos_label"] = classes[-1]
    return make_scorer(
        scorer._score_func,
        greater_is_better=scorer._sign == 1,
        response_method=scorer._response_method,
        **{**more, **scorer._kwargs},
    )
