"""Arguments of estimators: arrays of other libraries, the device and the dtype of the features."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar, cast

import jax
import numpy as np
import numpy.typing as npt
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_sample_weight, validate_data

from dlcore.certificate.rows import DataLike
from dlcore.heads.data.device_rows import share_with_jax
from dlcore.sklearn.types import Features, FloatName

Data = TypeVar("Data", bound=DataLike | None)
Constraints: TypeAlias = dict[str, list[object]]


def with_device_and_dtype(constraints: Constraints) -> Constraints:
    """Return the valid values of the parameters of a class of scikit-learn, and of the two that are added."""
    return {
        **constraints,
        "device": [StrOptions({"auto", "cpu", "gpu", "tpu"}), None],
        "dtype": [StrOptions({"float32", "float64"}), None],
    }


def on_host(data: Data) -> Data | np.ndarray:
    """Return an array of JAX, torch or CuPy as a NumPy array, and any other data as it is.

    Arrays of another device are read through DLPack. bfloat16 becomes float32.
    """
    rows = None if data is None else share_with_jax(data)
    if not isinstance(rows, jax.Array):
        return data
    array = np.asarray(rows)
    return array if array.dtype.kind in "biufc" else array.astype(np.float32)


def float_dtypes(dtype: FloatName | None) -> list[type[np.floating]]:
    """Return the dtypes in which features are kept; the first is that of any other numbers."""
    return [np.float64, np.float32] if dtype is None else [np.float32 if dtype == "float32" else np.float64]


def as_floats(X: Features, dtype: FloatName | None) -> Features:
    """Return validated features in one of their dtypes."""
    allowed = float_dtypes(dtype)
    return X if X.dtype.type in allowed else X.astype(allowed[0])


def validated(estimator: object, X: DataLike, y: npt.ArrayLike, **checks: object) -> tuple[Features, np.ndarray]:
    """Return the features and targets after scikit-learn's `validate_data` with these checks."""
    validate = cast("Callable[..., tuple[Features, np.ndarray]]", validate_data)
    return validate(estimator, on_host(X), on_host(y), **checks)


def read_numbers(
    estimator: object, X: DataLike, y: npt.ArrayLike, dtype: FloatName | None
) -> tuple[Features, np.ndarray]:
    """Return the checked features and the numbers to fit, shape (n,) or (n, targets)."""
    return validated(
        estimator,
        X,
        y,
        accept_sparse=["csr", "csc", "coo"],
        dtype=float_dtypes(dtype),
        multi_output=True,
        y_numeric=True,
    )


def read_weights(sample_weight: npt.ArrayLike | None, X: Features) -> np.ndarray:
    """Return the weight of every row in float64, 1 by default.

    Raises:
      ValueError: if a weight is negative or not finite, all are 0, or their number is not that of the rows.
    """
    return _check_sample_weight(on_host(sample_weight), X, dtype=np.float64, ensure_non_negative=True)


class HostInputs:
    """Mixin of estimators that copy features to the host once, so that no array-API dispatch is needed."""

    n_features_in_: int

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # pyright: ignore[reportAttributeAccessIssue]
        tags.array_api_support = False
        return tags


class RegressorInputs(HostInputs):
    """Mixin of regressors that predict from features of any library."""

    def predict(self, X: DataLike) -> np.ndarray:
        """Return the predicted numbers, shape (n,) or (n, targets)."""
        return super().predict(on_host(X))  # pyright: ignore[reportAttributeAccessIssue]


class ClassifierInputs(HostInputs):
    """Mixin of classifiers that decide from features of any library."""

    def decision_function(self, X: DataLike) -> np.ndarray:
        """Return the logits or signed distances, shape (n,) or (n, classes)."""
        return super().decision_function(on_host(X))  # pyright: ignore[reportAttributeAccessIssue]
