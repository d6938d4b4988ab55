"""Labels: targets that are the numbers of classes, kept as integers."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array, Loss, working_dtype
from dlcore.losses import get_loss_info


def are_labels(loss: Loss, y: Array | np.ndarray) -> bool:
    """Return whether `y` holds numbers of classes, not real targets or probabilities of classes."""
    return get_loss_info(loss).classes and y.ndim == 1


def as_labels(y: Array) -> Array:
    """Return the numbers of classes as integers; other values become -1, for which the loss is nan."""
    if jnp.issubdtype(y.dtype, jnp.integer):
        return y
    if not jnp.issubdtype(y.dtype, jnp.floating):
        return y.astype(jnp.int32)
    labels = y.astype(working_dtype(y.dtype))
    # The largest float32 below 2³¹ is 2³¹ - 2⁷.
    is_label = (labels >= 0) & (labels <= 2**31 - 2**7) & (labels == jnp.floor(labels))
    return jnp.where(is_label, labels, -1).astype(jnp.int32)


def class_count(y: Array) -> int:
    """Return the number of classes: the columns of probabilities, or the highest label plus 1.

    Raises:
      ValueError: if there are more classes than rows.
    """
    classes = y.shape[1] if y.ndim == 2 else int(np.asarray(y).max()) + 1
    if classes > len(y):
        raise ValueError(
            f"y: expected classes numbered 0, 1, 2, …, got {classes - 1} among {len(y)} rows; if the model is to "
            "have so many classes, pass params"
        )
    return classes


def check_labels(y: Array, outputs: jax.ShapeDtypeStruct) -> None:
    """Raise a ValueError if `y` holds the number of a class for which the model has no output."""
    highest = int(np.asarray(y).max())
    if len(outputs.shape) == 1 and highest >= outputs.shape[0]:
        raise ValueError(
            f"y: expected classes from 0 to {outputs.shape[0] - 1}, as many as the model has, got {highest}"
        )
