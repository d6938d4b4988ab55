"""Targets that are the numbers of classes: kept as integers, and never more of them than the model has."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array, Loss, working_dtype
from dlcore.losses import facts_of


def are_labels(loss: Loss, y: Any) -> bool:
    """Whether the rows of `y` are numbers of classes, and neither numbers nor the probabilities of classes."""
    return facts_of(loss).classes and y.ndim == 1


def as_labels(y: Array) -> Array:
    """The numbers of classes as integers; what is none becomes -1, of which the loss makes nan."""
    if jnp.issubdtype(y.dtype, jnp.integer):
        return y
    if not jnp.issubdtype(y.dtype, jnp.floating):
        return y.astype(jnp.int32)
    numbers = y.astype(working_dtype(y.dtype))
    # The largest float32 below 2³¹ is 2³¹ - 2⁷.
    known = (numbers >= 0) & (numbers <= 2**31 - 2**7) & (numbers == jnp.floor(numbers))
    return jnp.where(known, numbers, -1).astype(jnp.int32)


def class_count(y: Array) -> int:
    """How many classes there are: the columns of probabilities, or as many as the highest label says, from 0.

    Raises:
      ValueError: if there are more of them than rows.
    """
    classes = y.shape[1] if y.ndim == 2 else int(np.asarray(y).max()) + 1
    if classes > len(y):
        raise ValueError(
            f"y: expected classes numbered 0, 1, 2, …, got {classes - 1} among {len(y)} rows; if the model is to "
            "have so many classes, pass params"
        )
    return classes


def check_labels(y: Array, outputs: jax.ShapeDtypeStruct) -> None:
    """A ValueError if `y`, where it is known, holds the number of a class for which the model has no output."""
    highest = int(np.asarray(y).max())
    if len(outputs.shape) == 1 and highest >= outputs.shape[0]:
        raise ValueError(
            f"y: expected classes from 0 to {outputs.shape[0] - 1}, as many as the model has, got {highest}"
        )
