"""Penalties and solvers of logistic regression: scikit-learn's warnings, and what is refused."""

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from sklearn import linear_model
from sklearn.linear_model._logistic import _check_solver


def read_penalty(
    estimator: linear_model.LogisticRegression, name: Literal["l1_ratio", "l1_ratios"]
) -> tuple[str | None, Sequence[float | None]]:
    """Return the penalty, "l2" or None, and the ratios, after the warnings of scikit-learn 1.9.

    Args:
      estimator: a logistic regression with the parameters `penalty`, `solver` and `dual`.
      name: the parameter that holds the ratios, "l1_ratio" or "l1_ratios".

    Raises:
      ValueError: if the penalty is not l2, the dual problem is asked for, or the solver has no such penalty.
    """
    given: float | Sequence[float] | str | None = getattr(estimator, name)
    ratios: Sequence[float | None] = [None]
    if given is not None and not isinstance(given, str):
        ratios = np.ravel(given).tolist()
    if estimator.penalty == "deprecated":
        if isinstance(given, str):
            warnings.warn(
                f"The default value for {name} will change from None to (0.0,) in scikit-learn 1.10. "
                f"Set {name}=(0,) to avoid this warning.",
                FutureWarning,
                stacklevel=4,
            )
        elif given is None:
            warnings.warn(
                f"'{name}=None' was deprecated in scikit-learn 1.8 and is an error in 1.10. "
                "Use numbers from 0 to 1.",
                FutureWarning,
                stacklevel=4,
            )
        numbers = [0 if ratio is None else ratio for ratio in ratios]
        penalty = "l2" if not np.any(numbers) else "l1" if np.all(np.equal(numbers, 1)) else "elasticnet"
        if name == "l1_ratio" and np.isinf(estimator.C):
            penalty = None
    else:
        penalty = estimator.penalty
        warnings.warn(
            "'penalty' was deprecated in scikit-learn 1.8 and will be removed in 1.10. "
            f"Use {name} for its kind and C for its strength.",
            FutureWarning,
            stacklevel=4,
        )
        _warn_of_unused_ratio(penalty, name, given)
    _check_solver(estimator.solver, penalty, estimator.dual)
    if penalty in ("l1", "elasticnet") or estimator.dual:
        asked = "dual=True" if estimator.dual else f"the penalty {penalty} ({name}={given!r})"
        raise ValueError(
            f"{asked} is not supported by dlcore.sklearn, which fits the l2 penalty in its primal form. "
            f"sklearn.linear_model.{type(estimator).__name__} has it."
        )
    return penalty, ratios


def _warn_of_unused_ratio(penalty: str | None, name: str, given: float | Sequence[float] | str | None) -> None:
    """Warn where `penalty` and the ratio contradict each other; `penalty` counts."""
    if name == "l1_ratios":
        if given is not None and not isinstance(given, str) and penalty != "elasticnet":
            warnings.warn(
                f"l1_ratios parameter is only used when penalty is 'elasticnet'. Got (penalty={penalty})",
                stacklevel=5,
            )
        return
    if penalty != "elasticnet" and isinstance(given, int | float) and 0 < given < 1:
        warnings.warn(
            f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={penalty})", stacklevel=5
        )
    if given != {"l1": 1, "l2": 0}.get(penalty or "", given):
        warnings.warn(
            f"Inconsistent values: penalty={penalty} with l1_ratio={given}. penalty is deprecated.", stacklevel=5
        )


def refuse_liblinear(solver: str, n_classes: int) -> None:
    """Raise a `ValueError` for the solver that penalises the intercept."""
    if solver != "liblinear":
        return
    if n_classes > 2:
        raise ValueError(
            "The 'liblinear' solver does not support multiclass classification (n_classes >= 3), "
            f"got {n_classes} classes."
        )
    raise ValueError(
        "solver='liblinear' is not supported by dlcore.sklearn: it penalises the intercept, "
        "which is another objective. Use 'lbfgs'."
    )
