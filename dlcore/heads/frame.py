"""Centering of the rows: sums then lose no digits to an offset of the features."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array

ROWS, NUMBERS = 4096, 2**20
"""Rows that the point is the mean of, evenly spaced, at most twice as many, and at most so many numbers."""


class Frame(NamedTuple):
    """Centering of the rows: about `centre` (m,), times `unit` (m,) or None, followed by `intercept`, 1 or 0.

    `radius` is their usual length.
    """

    centre: Any
    unit: Any
    intercept: Any
    radius: Any


def frame_of(x: np.ndarray, fit_intercept: bool, scale: np.ndarray | None = None) -> Frame:
    """Return the centering at the mean, at 0 without an intercept, in units of `scale`, shape (m,)."""
    few = x[:: max(1, len(x) // ROWS, x.shape[0] * x.shape[1] // NUMBERS)].astype(np.float64)
    # A number of the dtype that rows are subtracted in, so that programs of every precision mean the same point.
    centre = (few.mean(0) * fit_intercept).astype(_wider(x.dtype, np.float32)).astype(np.float64)
    unit = None if scale is None else 1 / scale
    radius = np.sqrt((((few - centre) * (1 if unit is None else unit)) ** 2).sum(1).mean())
    return Frame(centre, unit, np.float64(fit_intercept), radius)


def about(x: Array, frame: Frame, dtype: Any) -> Array:
    """Rows about the centre in `dtype`, subtracted in the wider of it and their own."""
    wide = _wider(x.dtype, dtype)
    rows = x.astype(wide) - jnp.asarray(frame.centre).astype(wide)[None]
    rows = rows if frame.unit is None else rows * jnp.asarray(frame.unit).astype(wide)[None]
    return rows.astype(dtype)


def of_rows_as_given(theta: np.ndarray, frame: Frame) -> np.ndarray:
    """Weights and, last, intercepts about the centre as those of rows about 0, in the units that they came in."""
    theta = theta.copy()
    if frame.unit is not None:
        theta[..., :-1] *= frame.unit
    theta[..., -1] -= theta[..., :-1] @ frame.centre
    return theta


def _wider(own: Any, dtype: Any) -> Any:
    """The dtype of rows if they are of floating point and have more digits than `dtype`, else that."""
    own, dtype = jnp.dtype(own), jnp.dtype(dtype)
    return own if jnp.issubdtype(own, jnp.floating) and own.itemsize > dtype.itemsize else dtype
