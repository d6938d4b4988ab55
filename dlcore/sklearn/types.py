"""Types of the arguments of estimators, and of the rows after scikit-learn has checked them."""

from collections.abc import Callable, Iterable
from typing import Literal, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from dlcore.heads.data.folds import Splitter

FloatName: TypeAlias = Literal["float32", "float64"]
"""The dtype in which the features are kept."""

LogisticSolver: TypeAlias = Literal["lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"]
"""The solvers of scikit-learn's logistic regression."""

RidgeSolver: TypeAlias = Literal["auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs"]
"""The solvers of scikit-learn's ridge regression."""

Penalty: TypeAlias = Literal["l1", "l2", "elasticnet"] | None
"""The kinds of penalties of scikit-learn's logistic regression."""

Scorer: TypeAlias = Callable[..., float]
"""A function of (estimator, X, y) and of parameters by name."""

CvLike: TypeAlias = int | Splitter | Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]
"""Folds as scikit-learn takes them: a number, a splitter, or the numbers of the rows that train and that test."""

RandomState: TypeAlias = int | np.random.RandomState
"""A seed, or a generator."""


class SparseFeatures(Protocol):
    """A sparse table of SciPy's, checked."""

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the numbers."""
        ...

    def __getitem__(self, rows: np.ndarray | slice, /) -> Self: ...

    def __matmul__(self, other: np.ndarray, /) -> np.ndarray: ...

    def astype(self, dtype: npt.DTypeLike, /) -> Self:
        """Return the table in another dtype."""
        ...

    def toarray(self) -> np.ndarray:
        """Return the table as a dense array."""
        ...

    def tocsr(self) -> Self:
        """Return the table compressed by rows."""
        ...


Features: TypeAlias = np.ndarray | SparseFeatures
"""Checked rows, shape (n, m)."""
