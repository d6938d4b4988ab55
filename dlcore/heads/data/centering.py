"""Centering of the rows: sums then lose no digits to an offset of the features."""

from types import ModuleType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from dlcore._core.types import AnyArray
from dlcore.certificate.rows import HostTable

ROWS, NUMBERS = 4096, 2**18
"""The centre is the mean of evenly spaced rows: about `ROWS` of them, or about `NUMBERS` entries if that is fewer.

The sample may have up to twice as many of either.
"""


class Centering(NamedTuple):
    """Centering of the rows.

    Attributes:
      centre: the point that is subtracted from each row, shape (m,).
      unit: factors of the centered columns, shape (m,), or None.
      has_intercept: 1 or 0.
      radius: the usual length of a centered row.
      offset: the largest distance of a column's centre from 0, in units of its deviation.
    """

    centre: AnyArray
    unit: AnyArray | None
    has_intercept: AnyArray | np.float64
    radius: AnyArray | np.float64
    offset: AnyArray | np.float64 = np.float64(np.inf)


def fit_centering(x: HostTable, fit_intercept: bool, scale: np.ndarray | None = None) -> Centering:
    """Return the centering at the unweighted mean of a sample of the rows, in units of `scale`, shape (m,).

    Without an intercept the centre is 0.
    """
    few = x[:: max(1, len(x) // ROWS, x.shape[0] * x.shape[1] // NUMBERS)].astype(np.float64)
    # The centre is rounded to the dtype of the subtraction, so that every program subtracts the same point.
    centre = (few.mean(0) * fit_intercept).astype(_wider(x.dtype, np.float32)).astype(np.float64)
    unit = None if scale is None else 1 / scale
    units = np.ones(len(centre)) if unit is None else unit
    few -= centre
    few *= units
    deviation = np.sqrt(np.einsum("ij,ij->j", few, few) / len(few))
    radius = np.sqrt((deviation**2).sum())
    far = centre != 0
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = (abs(centre * units)[far] / deviation[far]).max(initial=0)
    return Centering(centre, unit, np.asarray(fit_intercept, np.float64), np.asarray(radius), np.asarray(offset))


def center_rows(x: AnyArray, centering: Centering, dtype: DTypeLike, xp: ModuleType = jnp) -> AnyArray:
    """Return centered rows in `dtype`. The subtraction uses the wider of `dtype` and the dtype of `x`.

    `xp` is the module of the arrays, `jax.numpy` or `numpy`.
    """
    wide = _wider(x.dtype, dtype)
    rows = x.astype(wide, copy=False) - xp.asarray(centering.centre).astype(wide)[None]
    rows = rows if centering.unit is None else rows * xp.asarray(centering.unit).astype(wide)[None]
    return rows.astype(dtype, copy=False)


def inverse_transform_coef(theta: np.ndarray, centering: Centering) -> np.ndarray:
    """Return coefficients and, last, intercepts of the rows as given, from those of centered rows."""
    theta = theta.copy()
    if centering.unit is not None:
        theta[..., :-1] *= centering.unit
    theta[..., -1] -= theta[..., :-1] @ centering.centre
    return theta


def _wider(rows_dtype: DTypeLike, dtype: DTypeLike) -> np.dtype:
    """Return the dtype of the rows if it is a floating-point dtype wider than `dtype`, and `dtype` otherwise."""
    rows_dtype, dtype = jnp.dtype(rows_dtype), jnp.dtype(dtype)
    is_wider = jnp.issubdtype(rows_dtype, jnp.floating) and rows_dtype.itemsize > dtype.itemsize
    return rows_dtype if is_wider else dtype
