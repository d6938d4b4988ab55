"""Cross-validation of the estimators: weights of folds, and scorers that know all classes."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import make_scorer
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import _manual_routing, _routing_enabled, process_routing
from sklearn.utils.validation import _check_method_params


class Fold(NamedTuple):
    """A fold of the rows.

    Attributes:
      train: how often each row trains, shape (n,).
      test: numbers of the rows that are scored.
    """

    train: np.ndarray
    test: np.ndarray


def read_folds(cv: Any, X: Any, y: np.ndarray, params: Mapping[str, Any], *, classifier: bool) -> list[Fold]:
    """Return the folds.

    Args:
      cv: folds in any form that scikit-learn takes.
      X: shape (n, m).
      y: shape (n,) or (n, targets).
      params: parameters of the splitter.
      classifier: whether an integer means stratified folds.
    """
    splitter: Any = check_cv(cv, y, classifier=classifier)
    rows = np.arange(len(y))
    splits = splitter.split(X, y, **params)
    return [Fold(np.bincount(rows[train], minlength=len(y)), rows[test]) for train, test in splits]


def route(estimator: Any, scored_with: Mapping[str, Any], routed: Mapping[str, Any]) -> Any:
    """Return the parameters of the splitter and of the scorer in `fit`.

    Args:
      estimator: whose metadata are routed.
      scored_with: the parameters of the scorer where routing is off.
      routed: the parameters of `fit`, routed where routing is on.
    """
    if _routing_enabled():
        return process_routing(estimator, "fit", **routed)
    return _manual_routing({"splitter": {"split": {}}, "scorer": {"score": dict(scored_with)}})


def params_of_rows(X: Any, params: Mapping[str, Any], rows: np.ndarray) -> Mapping[str, Any]:
    """Return parameters of a scorer for some of the rows."""
    return _check_method_params(X=X, params=params, indices=rows)


def takes_weights(scorer: Any) -> bool:
    """Return whether a scorer takes sample weights."""
    accepts = getattr(scorer, "_accept_sample_weight", None)
    return accepts() if accepts else "sample_weight" in inspect.signature(scorer).parameters


def with_all_classes(scorer: Any, classes: Sequence[Any] | np.ndarray) -> Any:
    """Return the scorer with the labels of all classes, for a fold may be scored on some of them."""
    function = getattr(scorer, "_score_func", None)
    known = inspect.signature(function).parameters if function else {}
    if "labels" not in known:
        return scorer
    more: dict[str, Any] = {"labels": classes}
    if len(classes) == 2 and "pos_label" in known:
        more["pos_label"] = classes[-1]
    return make_scorer(
        function,
        greater_is_better=scorer._sign == 1,
        response_method=scorer._response_method,
        **{**more, **scorer._kwargs},
    )
