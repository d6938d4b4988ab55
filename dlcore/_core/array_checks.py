"""Guards of the mathematics: shapes and dtypes of JAX arrays, known also under a trace.

Values are checked by `_checks`, on the host; a hyper-parameter that is traced has no value to check yet and
passes. `ValueError` is for a shape or a value, `TypeError` for a dtype or a kind of object.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore._core import host_checks
from dlcore._core.types import Array

Function = TypeVar("Function", bound=Callable[..., Any])


def with_constants(function: Function) -> Function:
    """Let the constants of a formula go to the device where the function is called outside a compiled program.

    There JAX transfers each of them by itself, which `jax.transfer_guard("disallow")` would refuse.
    """

    @functools.wraps(function)
    def allowing(*args: Any, **kwargs: Any) -> Any:
        with jax.transfer_guard_host_to_device("allow"):
            return function(*args, **kwargs)

    return allowing  # pyright: ignore[reportReturnType]


def is_traced(x: Any) -> bool:
    """Whether `x` stands for a value that is not known yet (under jit, vmap, grad)."""
    return isinstance(x, jax.core.Tracer)


def as_array(name: str, x: Any) -> Array:
    """A JAX array from a JAX or NumPy array or a scalar; lists and strings are refused, as in `jax.numpy`."""
    if isinstance(x, jax.Array):
        return x
    host_checks.check_plain(name, x)
    if isinstance(x, np.ndarray | np.generic | bool | int | float | complex):
        return jax.device_put(_native(name, x), may_alias=False)  # a copy: the caller's array may change
    raise TypeError(f"{name}: expected an array, got {type(x).__name__}")


def _native(name: str, x: Any) -> Any:
    """`x` if JAX has its dtype, in the byte order of the machine; integers that JAX would wrap are refused.

    An array of Python's numbers (dtype object) is what NumPy makes of a list of them.
    """
    array = np.asarray(x)
    if array.dtype == object and array.ndim:
        x = array = host_checks.from_objects(name, array)
    known = array.dtype.kind in "biufcV" and (array.dtype == bool or jnp.issubdtype(array.dtype, jnp.number))
    if not known or array.dtype.itemsize > 8 * (1 + (array.dtype.kind == "c")):
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype.kind in "iu" and dtype.itemsize < array.dtype.itemsize and array.size:
        range_, ends = jnp.iinfo(dtype), (int(array.min()), int(array.max()))
        if ends[0] < range_.min or ends[1] > range_.max:
            worst = ends[0] if ends[0] < range_.min else ends[1]
            raise ValueError(f"{name}: expected integers within the range of {dtype}, got {worst}; pass floats")
    return x if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_floating(name: str, x: Any) -> Array:
    """Like `as_array`, and of a real floating-point dtype."""
    array = as_array(name, x)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: expected a floating-point dtype, got {array.dtype}")
    return array


def as_real(name: str, x: Any) -> Array:
    """Like `as_array`, and not complex."""
    array = as_array(name, x)
    check_real(name, array)
    return array


def check_real(name: str, x: Any) -> None:
    """`x` is a number or has the dtype of an array, and is not complex; nothing is converted."""
    dtype = getattr(x, "dtype", None)
    if dtype is None and not isinstance(x, int | float):
        raise TypeError(f"{name}: expected arrays, got {type(x).__name__}")
    if dtype is not None and jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"{name}: complex numbers are not supported, got dtype {dtype}")


def check_parameter(name: str, x: Any) -> None:
    """`x` is a number, or an array of a real floating-point dtype that JAX has; nothing is converted."""
    check_real(name, x)
    dtype = getattr(x, "dtype", None)
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name}: expected a floating-point dtype, got {dtype}")
    if isinstance(x, np.ndarray | np.generic) and (x.dtype.itemsize > 8 or not x.dtype.isnative):
        raise TypeError(f"{name}: expected a dtype that JAX has, got {x.dtype}")


def check_key(name: str, key: Any) -> None:
    """`key` is one random key of JAX's, typed or as its numbers, or None."""
    typed = hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    numbers = hasattr(key, "dtype") and key.dtype == np.uint32 and np.ndim(key) == 1
    if not (key is None or numbers or (typed and np.ndim(key) == 0)):
        raise TypeError(f"{name}: expected one random key such as jax.random.key(0), got {type(key).__name__}")


def as_inexact(name: str, x: Any) -> Array:
    """Like `as_array`; integers and booleans become the default floating-point dtype."""
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "biu":
        x = x.astype(jnp.result_type(float))  # on the host, where none is too large
    array = as_array(name, x)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))


def check_equal_shapes(**arrays: Array) -> None:
    """All arrays have one shape; nothing is broadcast."""
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"expected equal shapes (nothing is broadcast here), got {shapes}")


def broadcast_shape(name: str, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that two shapes broadcast to, for the function called `name`."""
    try:
        return jnp.broadcast_shapes(x, y)
    except ValueError:
        raise ValueError(
            f"{name}: axes, counted from the last, must have equal lengths, or the length 1 or none in one of "
            f"the two; got shapes {x} and {y}"
        ) from None


def check_number(name: str, value: Any, *, above: float | None = None, least: float | None = None) -> None:
    """`_checks.check_number`, of a value that is known."""
    if not is_traced(value):
        host_checks.check_number(name, value, above=above, least=least)


def as_float(number: Any) -> Any:
    """A number that is known as Python's float: 1 and 1.0 are one program.

    What is traced, has axes, or is of floating point on a device stays as it is.
    """
    if is_traced(number) or np.ndim(number):
        return number
    on_device = isinstance(number, jax.Array) and jnp.issubdtype(number.dtype, jnp.floating)
    return number if on_device else float(number)


def check_fraction(name: str, value: Any) -> None:
    """`_checks.check_fraction`, of a value that is known."""
    if not is_traced(value):
        host_checks.check_fraction(name, value)
