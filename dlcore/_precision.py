"""The one place that decides in what precision is computed.

An accelerator may round the operands of a float32 product to TF32 or bfloat16 unless told otherwise: every
product of the library asks for `HIGHEST` unless its caller lowers it. Halves are stored, not computed with.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from dlcore._types import Array

HIGHEST = "highest"
"""The precision of every product unless its caller says otherwise."""


def working_dtype(dtype: DTypeLike) -> np.dtype:
    """The dtype of arithmetic on numbers of a dtype: float32 for bfloat16 and float16, else itself.

    >>> print(working_dtype(jnp.bfloat16), working_dtype(jnp.float64), working_dtype(jnp.int32))
    float32 float64 int32
    """
    dtype = jnp.dtype(dtype)
    return jnp.dtype(jnp.float32) if dtype in (jnp.bfloat16, jnp.float16) else dtype


def in_working_dtype(function: Callable[..., Array], *arrays: Array) -> Array:
    """`function` of the arrays in their common dtype: halves are computed in float32 and cast back."""
    dtype = jnp.result_type(*arrays)
    working = working_dtype(dtype)
    result = function(*(array if array.dtype == working else array.astype(working) for array in arrays))
    return result if working == dtype else result.astype(dtype)
