"""Types of arrays, trees and losses, and the precision of products.

An accelerator may round the operands of a float32 product to TF32 or bfloat16 unless told otherwise.
Every product of the library asks for `HIGHEST` unless its caller lowers it.
Halves (bfloat16, float16) are stored, not computed with.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

Array = jax.Array
"""A JAX array, concrete or traced."""

ArrayLike = jax.typing.ArrayLike
"""An argument that JAX takes as one array: an array of JAX or NumPy, or a number."""

AnyArray = jax.Array | np.ndarray
"""An array of JAX or of NumPy."""

Numeric = jax.Array | np.ndarray | np.generic | bool | int | float
"""A hyper-parameter or an eager argument: anything that JAX takes as one array."""

PRNGKey = jax.Array
"""A random key of `jax.random.key`."""

ArrayTree: TypeAlias = "Array | np.ndarray | Iterable[ArrayTree] | Mapping[Any, ArrayTree]"
"""A pytree of arrays of JAX or NumPy."""

Params = Any
"""A pytree of arrays. The library's own models use NamedTuples with the fields `weight` and `bias`."""

Loss = Callable[[Array, Array], Array]
"""A function of (prediction, target) of ONE example to a scalar."""

Device = Any
"""A `jax.Device`: JAX defines this name at run time only, and no type checker accepts it."""

HIGHEST = "highest"
"""The precision of every product unless its caller lowers it."""


def working_dtype(dtype: DTypeLike) -> np.dtype:
    """Return the dtype that numbers are computed in: float32 for bfloat16 and float16, else the same dtype.

    >>> print(working_dtype(jnp.bfloat16), working_dtype(jnp.float64), working_dtype(jnp.int32))
    float32 float64 int32
    """
    dtype = jnp.dtype(dtype)
    return jnp.dtype(jnp.float32) if dtype in (jnp.bfloat16, jnp.float16) else dtype


def in_working_dtype(function: Callable[..., Array], *arrays: Array) -> Array:
    """Return a function of arrays in their common dtype, computed in the working dtype of it."""
    dtype = jnp.result_type(*arrays)
    working = working_dtype(dtype)
    result = function(*(array if array.dtype == working else array.astype(working) for array in arrays))
    return result if working == dtype else result.astype(dtype)
