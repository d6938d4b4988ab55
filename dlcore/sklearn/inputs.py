"""Arguments of estimators: arrays of other libraries, the device and the dtype of the features."""

from typing import Any

import jax
import numpy as np
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_sample_weight

from dlcore.heads.data.device_rows import shared


def constraints_of(estimator: Any) -> dict[str, Any]:
    """Return the valid values of the parameters of a class of scikit-learn, and of those that are added."""
    added = {
        "device": [StrOptions({"auto", "cpu", "gpu", "tpu"}), None],
        "dtype": [StrOptions({"float32", "float64"}), None],
    }
    return {**estimator._parameter_constraints, **added}


def on_host(data: Any) -> Any:
    """Return an array of JAX, torch or CuPy as a NumPy array, and any other data as it is.

    Arrays of another device are read through DLPack. bfloat16 becomes float32.
    """
    rows = shared(data)
    if not isinstance(rows, jax.Array):
        return data
    array = np.asarray(rows)
    return array if array.dtype.kind in "biufc" else array.astype(np.float32)


def float_dtypes(dtype: str | None) -> list[Any]:
    """Return the dtypes in which features are kept; the first is that of any other numbers."""
    return [np.float64, np.float32] if dtype is None else [np.dtype(dtype).type]


def as_floats(X: Any, dtype: str | None) -> Any:
    """Return validated features in one of their dtypes."""
    allowed = float_dtypes(dtype)
    return X if X.dtype.type in allowed else X.astype(allowed[0])


def read_weights(sample_weight: Any, X: Any) -> np.ndarray:
    """Return the weight of every row in float64, 1 by default.

    Raises:
      ValueError: if a weight is negative or not finite, all are 0, or their number is not that of the rows.
    """
    return _check_sample_weight(on_host(sample_weight), X, dtype=np.float64, ensure_non_negative=True)


class HostInputs:
    """Mixin of estimators that copy features to the host once, so that no array-API dispatch is needed."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # pyright: ignore[reportAttributeAccessIssue]
        tags.array_api_support = False
        return tags


class RegressorInputs(HostInputs):
    """Mixin of regressors that predict from features of any library."""

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted numbers, shape (n,) or (n, targets)."""
        return super().predict(on_host(X))  # pyright: ignore[reportAttributeAccessIssue]


class ClassifierInputs(HostInputs):
    """Mixin of classifiers that decide from features of any library."""

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits or signed distances, shape (n,) or (n, classes)."""
        return super().decision_function(on_host(X))  # pyright: ignore[reportAttributeAccessIssue]
