"""Estimators with scikit-learn's interface, fitted by `dlcore.fit_heads`: each has a certificate."""

try:
    import sklearn as _scikit_learn
except ImportError as error:
    raise ImportError(
        "dlcore.sklearn needs scikit-learn 1.9 or newer: pip install 'dlcore-jax[sklearn]'"
    ) from error
if tuple(map(int, _scikit_learn.__version__.split(".")[:2])) < (1, 9):
    raise ImportError(
        f"dlcore.sklearn needs scikit-learn 1.9 or newer, got {_scikit_learn.__version__}: "
        "pip install -U 'dlcore-jax[sklearn]'"
    )

from dlcore.sklearn.least_squares import LinearRegression
from dlcore.sklearn.logistic import LogisticRegression
from dlcore.sklearn.logistic_cv import LogisticRegressionCV
from dlcore.sklearn.ridge import Ridge, RidgeClassifier
from dlcore.sklearn.ridge_cv import RidgeCV

__all__ = ["LinearRegression", "LogisticRegression", "LogisticRegressionCV", "Ridge", "RidgeCV", "RidgeClassifier"]
