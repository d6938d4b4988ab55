"""Checks of shapes and dtypes of JAX arrays, which are known under a trace too.

Values are checked by `host_checks`, on the host. A traced hyper-parameter has no value yet and passes.
A `ValueError` is for a shape or a value, a `TypeError` for a dtype or a kind of object.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore._core import host_checks
from dlcore._core.types import Array

P = ParamSpec("P")
Result = TypeVar("Result")
Number = TypeVar("Number")


def allow_constant_transfers(function: Callable[P, Result]) -> Callable[P, Result]:
    """Allow the host-to-device transfers of the constants of a formula.

    Outside a compiled program JAX transfers each constant implicitly.
    `jax.transfer_guard("disallow")` would refuse these transfers.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Result:
        with jax.transfer_guard_host_to_device("allow"):
            return function(*args, **kwargs)

    return wrapper


def is_traced(x: object) -> bool:
    """Return whether a value is not known yet, as under jit, vmap and grad."""
    return isinstance(x, jax.core.Tracer)


def as_array(name: str, x: object) -> Array:
    """Return a JAX array from a JAX or NumPy array or a scalar. Refuse lists and strings, as `jax.numpy` does."""
    if isinstance(x, jax.Array):
        return x
    host_checks.check_array_type(name, x)
    if isinstance(x, np.ndarray | np.generic | bool | int | float | complex):
        return jax.device_put(_as_native(name, x), may_alias=False)  # a copy: the caller's array may change
    raise TypeError(f"{name}: expected an array, got {type(x).__name__}")


def _as_native(name: str, x: np.ndarray | np.generic | complex) -> np.ndarray | np.generic | complex:
    """Return numbers of a dtype that JAX has, in native byte order. Refuse integers that JAX would wrap."""
    array = np.asarray(x)
    if array.dtype == object and array.ndim:
        x = array = host_checks.objects_as_numbers(name, array)
    is_number = array.dtype.kind in "biufcV" and (array.dtype == bool or jnp.issubdtype(array.dtype, jnp.number))
    if not is_number or array.dtype.itemsize > 8 * (1 + (array.dtype.kind == "c")):
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype.kind in "iu" and dtype.itemsize < array.dtype.itemsize and array.size:
        info, low, high = jnp.iinfo(dtype), int(array.min()), int(array.max())
        if low < info.min or high > info.max:
            worst = low if low < info.min else high
            raise ValueError(f"{name}: expected integers within the range of {dtype}, got {worst}; pass floats")
    return x if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_floating(name: str, x: object) -> Array:
    """Return `as_array(name, x)`. Refuse a dtype that is not real floating-point."""
    array = as_array(name, x)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: expected a floating-point dtype, got {array.dtype}")
    return array


def as_real(name: str, x: object) -> Array:
    """Return `as_array(name, x)`. Refuse complex numbers."""
    array = as_array(name, x)
    check_real(name, array)
    return array


def as_inexact(name: str, x: object) -> Array:
    """Return `as_array(name, x)`. Integers and booleans become the default floating-point dtype."""
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "biu":
        x = x.astype(jnp.result_type(float))  # on the host, where no integer is too large
    array = as_array(name, x)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))


def as_python_float(number: Number) -> Number | float:
    """Return a number that is known as a Python float, so that 1 and 1.0 share one compiled program.

    A number that is traced, has axes, or is of floating point on a device is returned as it is.
    """
    if is_traced(number) or np.ndim(cast("np.ndarray", number)):
        return number
    on_device = isinstance(number, jax.Array) and jnp.issubdtype(number.dtype, jnp.floating)
    return number if on_device else float(cast("float", number))


def check_real(name: str, x: object) -> None:
    """Raise unless the value is a number or has the dtype of an array that is not complex."""
    dtype = getattr(x, "dtype", None)
    if dtype is None and not isinstance(x, int | float):
        raise TypeError(f"{name}: expected arrays, got {type(x).__name__}")
    if dtype is not None and jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"{name}: complex numbers are not supported, got dtype {dtype}")


def check_parameter(name: str, x: object) -> None:
    """Raise unless the value is a number or an array of a real floating-point dtype that JAX has."""
    check_real(name, x)
    dtype = getattr(x, "dtype", None)
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name}: expected a floating-point dtype, got {dtype}")
    if isinstance(x, np.ndarray | np.generic) and (x.dtype.itemsize > 8 or not x.dtype.isnative):
        raise TypeError(f"{name}: expected a dtype that JAX has, got {x.dtype}")


def check_key(name: str, key: object) -> None:
    """Raise unless the value is one random key of JAX, typed or as its numbers, or None."""
    dtype, ndim = getattr(key, "dtype", None), getattr(key, "ndim", 0)
    is_typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and ndim == 0
    is_raw = dtype == np.uint32 and ndim == 1
    if not (key is None or is_typed or is_raw):
        raise TypeError(f"{name}: expected one random key such as jax.random.key(0), got {type(key).__name__}")


def check_matrices(function: str, a: Array, shape: str = "(..., n, m)") -> None:
    """Raise unless an array has at least two axes. `function` and `shape` describe it in the error."""
    if a.ndim < 2:
        raise ValueError(f"{function}: expected shape {shape}, got {a.shape}")


def check_equal_shapes(**arrays: Array) -> None:
    """Raise unless all arrays have one shape. Nothing is broadcast."""
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"expected equal shapes (nothing is broadcast here), got {shapes}")


def broadcast_shape(name: str, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that two shapes broadcast to. `name` is the function that an error names."""
    try:
        return jnp.broadcast_shapes(x, y)
    except ValueError:
        raise ValueError(
            f"{name}: axes, counted from the last, must have equal lengths, or the length 1 or none in one of "
            f"the two; got shapes {x} and {y}"
        ) from None


def check_number(name: str, value: object, *, above: float | None = None, minimum: float | None = None) -> None:
    """Apply `host_checks.check_number` unless the value is traced."""
    if not is_traced(value):
        host_checks.check_number(name, value, above=above, minimum=minimum)


def check_fraction(name: str, value: object) -> None:
    """Apply `host_checks.check_fraction` unless the value is traced."""
    if not is_traced(value):
        host_checks.check_fraction(name, value)
