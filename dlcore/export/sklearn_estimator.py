"""A model as a fitted estimator of scikit-learn, and as a file of arrays from which it is rebuilt."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlcore._core import archive
from dlcore._core.files import check_path
from dlcore.export.model import Model, check_model

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

KIND, FORMAT, UNCHECKED = "estimator of scikit-learn", 1, 0
LOADER = """from dlcore.export import load_sklearn
estimator = load_sklearn({path!r})"""
"""The two lines that rebuild an estimator."""


def to_sklearn(model: Model) -> "LogisticRegression | Ridge | PoissonRegressor":
    """Return a fitted `LogisticRegression`, `Ridge` or `PoissonRegressor` with the coefficients of a model.

    `coef_`, `intercept_`, `classes_`, `n_features_in_` and `feature_names_in_` are those of the model. The
    parameters C and alpha stay at their defaults, because they depend on the weights of the rows.

    Args:
      model: the model. Without classes, the labels of a head of classes are 0, 1, ….

    Raises:
      ModuleNotFoundError: if scikit-learn is not installed.
      ValueError: if parts of the model do not agree.

    Returns:
      The estimator, as if it had been fitted.

    Source: scikit-learn's user guide, section 1.1.

    >>> model = Model(np.array([1.0, -2.0]), np.array(0.5), 0.1, "logistic", classes_=np.array(["no", "yes"]))
    >>> print(to_sklearn(model).predict([[1.0, 0.0], [0.0, 1.0]]))
    ['yes' 'no']
    """
    try:
        from sklearn import linear_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "dlcore.export: to_sklearn needs scikit-learn: pip install 'dlcore-jax[sklearn]'", name="sklearn"
        ) from error
    model = check_model(model, "model")
    is_classifier = model.loss in ("logistic", "softmax")
    kinds = {"squared": linear_model.Ridge, "poisson": linear_model.PoissonRegressor}
    estimator = kinds.get(model.loss, linear_model.LogisticRegression)(fit_intercept=model.intercept is not None)
    coef = np.atleast_2d(model.coef) if is_classifier else model.coef
    intercept = np.zeros(model.coef.shape[:-1]) if model.intercept is None else model.intercept
    if is_classifier:
        count = 2 if model.loss == "logistic" else len(coef)
        if model.loss == "softmax" and count == 2:  # scikit-learn has one row of coefficients for two classes
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        estimator.classes_ = np.arange(count) if model.classes_ is None else model.classes_
        estimator.intercept_ = np.atleast_1d(intercept).copy()
    else:
        if model.loss == "poisson":  # its predictions need the state that a fit makes
            estimator.fit(np.zeros((2, coef.shape[-1])), np.ones(2))
        estimator.intercept_ = float(intercept)
    estimator.coef_ = coef.copy()
    estimator.n_features_in_ = coef.shape[-1]
    if model.feature_names is not None:
        estimator.feature_names_in_ = np.array(model.feature_names, object)
    return estimator


def save_sklearn(model: Model, path: str | os.PathLike[str]) -> str:
    """Write the arrays of an estimator into an archive without pickles, and return the lines that rebuild it.

    Args:
      model: the model.
      path: of the file. A file that is there is replaced at once.

    Returns:
      Two lines of Python that rebuild the estimator.

    Raises:
      ValueError: if its folder does not exist, or parts of the model do not agree.
      OSError: if the file cannot be written.

    Source: the format of NumPy's .npz.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lines = save_sklearn(Model(np.array([1.0, -2.0]), None, 0.1, "squared"), f"{folder}/ridge.npz")
    ...     print(lines.splitlines()[0], load_sklearn(f"{folder}/ridge.npz").coef_)
    from dlcore.export import load_sklearn [ 1. -2.]
    """
    absolute = check_path("path", path)
    model = check_model(model, "model")
    arrays = {"coef": model.coef, "intercept": model.intercept, "classes": model.classes_}
    about = {"kind": KIND, "format": FORMAT, "loss": model.loss, "l2": model.l2}
    names = None if model.feature_names is None else list(model.feature_names)
    present = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    archive.write(absolute, about | {"feature_names": names}, present)
    return LOADER.format(path=str(Path(path)))


def load_sklearn(path: str | os.PathLike[str]) -> "LogisticRegression | Ridge | PoissonRegressor":
    """Return the estimator of a file that `save_sklearn` wrote.

    Args:
      path: of the file.

    Returns:
      The estimator, see `to_sklearn`.

    Raises:
      ValueError: if the file is damaged or holds something else.
      ModuleNotFoundError: if scikit-learn is not installed.

    Source: the format of NumPy's .npz.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lines = save_sklearn(Model(np.array([1.0, -2.0]), np.array(3.0), 0.1, "squared"), f"{folder}/r.npz")
    ...     print(load_sklearn(f"{folder}/r.npz").predict([[1.0, 1.0]]))
    [2.]
    """
    file = check_path("path", path)
    about, arrays = archive.read("path", file, KIND, FORMAT, UNCHECKED)
    with archive.damage_as_value_error("path", file, KIND):
        names = about["feature_names"]
        model = Model(
            coef=arrays["coef"],
            intercept=arrays.get("intercept"),
            l2=about["l2"],
            loss=about["loss"],
            classes_=arrays.get("classes"),
            feature_names=None if names is None else tuple(names),
        )
        model = check_model(model, "model")
    return to_sklearn(model)
