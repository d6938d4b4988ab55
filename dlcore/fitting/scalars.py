"""Numbers as arguments of a compiled loop, in the dtype of the arithmetic and within its range."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import array_checks
from dlcore._core.types import Array, Numeric


def as_scalar(name: str, number: Numeric, dtype: np.dtype) -> Array:
    """Return a number as an array of shape ().

    A floating-point number gets `dtype`, so that fits with equal dtypes share a program. Integers keep their kind.

    Args:
      name: the name of the argument, for error messages.
      number: a number, or a traced array, which is returned as it is.
      dtype: the dtype of the arithmetic.

    Raises:
      ValueError: if `number` is not scalar, or a float outside the range of `dtype`.
    """
    if isinstance(number, jax.Array) and array_checks.is_traced(number):
        return number
    array = np.asarray(number)
    if array.ndim:
        raise ValueError(f"{name}: expected one number, got an array of shape {array.shape}")
    cast, is_lost = _cast(array, dtype)
    if is_lost:
        raise ValueError(f"{name}: expected a number within the range of {dtype}, got {float(array):g}")
    return jax.device_put(cast)


def as_scalars(name: str, numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the numbers of all settings in the dtype of the arithmetic. Integers remain integers.

    Args:
      name: the name of the argument, for error messages.
      numbers: a number or an array for each setting, shape (n_settings, ...).
      dtype: the dtype of the arithmetic.

    Raises:
      ValueError: if a float is outside the range of `dtype`.
    """
    cast, is_lost = _cast(numbers, dtype)
    if is_lost.any():
        index = tuple(int(i) for i in np.argwhere(is_lost)[0])
        raise ValueError(
            f"{name}: expected numbers within the range of {dtype}, "
            f"got {float(numbers[index]):g} in setting {index[0]}"
        )
    return cast


def _cast(numbers: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy in the dtype of the arithmetic, and whether each number overflowed or underflowed."""
    if not jnp.issubdtype(numbers.dtype, jnp.floating):
        return numbers.astype(jax.dtypes.canonicalize_dtype(numbers.dtype)), np.zeros(numbers.shape, bool)
    with np.errstate(over="ignore", under="ignore"):
        cast = numbers.astype(dtype)
    return cast, ~np.isfinite(cast) | ((numbers != 0) & (np.abs(cast) < np.finfo(dtype).tiny))
