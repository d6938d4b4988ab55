"""Definition of a check, its error, and the function that runs it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import DTypeLike

from dlcore._core.types import Array, ArrayLike
from dlcore.devices import to_device

UNMEASURED_FACTOR = 8
"""The factor by which a result may exceed its bound on devices where no bound has been measured.

Functions of the hardware may round there by a few units more. Products in TF32 exceed hundreds of bounds.
"""

Results = Mapping[str, ArrayLike]
"""Named results of a function."""


class Exact(NamedTuple):
    """A correct result with its error bound.

    Attributes:
      value: the result in float64, examples first. Entries of nan are not compared. Beyond the range of the dtype
        infinity is correct.
      bound: the largest permitted error, in units in the last place of `scale`.
      scale: an array that broadcasts to the shape of `value`; None is |value|.
      rest: the exact number minus `value`.
      unit: the name of a unit in the last place of `scale`.
    """

    value: npt.ArrayLike
    bound: float
    scale: npt.ArrayLike | None = None
    rest: npt.ArrayLike = 0.0
    unit: str = "ulp"


class Check(NamedTuple):
    """A public function, its twin (the NumPy float64 reference) and the inputs for a comparison.

    Attributes:
      name: the name of the function in the library, such as "losses.huber".
      function: a function of ONE example to named results. It looks the public function up at every call.
      twin: the reference, a function of the float64 arrays of all examples.
      inputs: NumPy arrays in the dtype of the check, examples first.
      traced: whether the function runs under jit and vmap. Otherwise one call takes all examples.
      covers: the names of other public functions that the check covers.
    """

    name: str
    function: Callable[..., Results]
    twin: Callable[..., dict[str, Exact]]
    inputs: tuple[np.ndarray, ...]
    traced: bool = True
    covers: tuple[str, ...] = ()


class Peer(NamedTuple):
    """A function of another library that computes some results of a check.

    Attributes:
      name: the name of the library.
      function: see `Check.function`.
      traced: see `Check.traced`.
    """

    name: str
    function: Callable[..., Results]
    traced: bool = True


class Outcome(NamedTuple):
    """The error of one result of a function.

    Attributes:
      function: the name of the function.
      result: the name of the result, such as "first derivative"; empty for a single result.
      dtype: the dtype of the inputs.
      error: the largest error, in `unit`; infinity where nan or infinity met a number.
      bound: the largest permitted error on a CPU.
      unit: "ulp" for units in the last place, or a multiple of it.
      passed: whether `error` is within the bound for this kind of device.
      note: the reason if no comparison was possible.
      peers: the names of peers with their errors on the same points, in the same unit.
    """

    function: str
    result: str
    dtype: str
    error: float
    bound: float
    unit: str
    passed: bool
    note: str = ""
    peers: tuple[tuple[str, float], ...] = ()


def check_result(
    name: str, function: Callable[..., ArrayLike], expected: Callable[..., Exact], inputs: tuple[np.ndarray, ...]
) -> Check:
    """Return the check of a function with one unnamed result."""
    return Check(name, lambda *args: {"": function(*args)}, lambda *args: {"": expected(*args)}, inputs)


def run(check: Check, dtype: np.dtype, factor: float, peers: Sequence[Peer] = ()) -> Iterator[Outcome]:
    """Run a check jitted, example by example, and vmapped over all examples; yield the larger error.

    Args:
      check: the check, with inputs in the dtype.
      dtype: the dtype of the results.
      factor: the factor of the bounds.
      peers: the functions to measure on the same inputs.
    """
    name = str(jnp.dtype(dtype))
    try:
        expected = check.twin(*(_to_float64(array) for array in check.inputs))
        runs = list(_runs(check))
    except Exception as error:  # any error of a device or of the function is a result of this check
        note = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        yield Outcome(check.name, "", name, float("inf"), 0.0, "ulp", False, note)
        return
    runs_of_peers = [(peer.name, _runs_of_peer(peer, check)) for peer in peers]
    for result, exact in expected.items():
        error = max(largest_error(results[result], exact, dtype) for results in runs)
        errors_of_peers = tuple(
            (peer, max(largest_error(results[result], exact, dtype) for results in peer_runs))
            for peer, peer_runs in runs_of_peers
            if peer_runs and result in peer_runs[0]
        )
        passed = error <= factor * exact.bound
        yield Outcome(check.name, result, name, error, exact.bound, exact.unit, passed, "", errors_of_peers)


def _runs_of_peer(peer: Peer, check: Check) -> list[dict[str, np.ndarray]]:
    """Return the results of a peer, or an empty list if it refuses the dtype."""
    try:
        return list(_runs(check._replace(function=peer.function, traced=peer.traced)))
    except (TypeError, ValueError, NotImplementedError):
        return []


def _runs(check: Check) -> Iterator[dict[str, np.ndarray]]:
    """Yield the results of the jitted and of the vmapped function, or of one call if it is not traced."""
    if not check.traced:
        yield {name: np.asarray(value) for name, value in check.function(*check.inputs).items()}
        return
    jitted = jax.jit(check.function)
    examples = [jitted(*to_device([array[i] for array in check.inputs])) for i in range(len(check.inputs[0]))]
    yield {name: np.stack([np.asarray(example[name]) for example in examples]) for name in examples[0]}
    vmapped: dict[str, Array] = jax.jit(jax.vmap(check.function))(*to_device(check.inputs))
    yield {name: np.asarray(value) for name, value in vmapped.items()}


def _to_float64(array: np.ndarray) -> np.ndarray:
    """Return floating-point numbers as float64, and integers unchanged."""
    return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def largest_error(actual: npt.ArrayLike, exact: Exact, dtype: DTypeLike) -> float:
    """Return the largest error in units in the last place of `exact.scale`.

    Where the exact number is subnormal, any subnormal number is correct, because some devices flush them to 0.

    >>> ten = Exact(np.array([10.0]), bound=1.0)
    >>> largest_error(np.array([10.0]) + 3 * np.spacing(10.0), ten, np.float64)
    3.0
    """
    value, actual = np.asarray(exact.value, np.float64), np.asarray(actual)
    if actual.shape != value.shape:
        return float("inf")
    actual = actual.astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = value.astype(jnp.dtype(dtype)).astype(np.float64)  # infinity beyond the range of the dtype
    is_number = ~np.isnan(value)
    is_finite = is_number & np.isfinite(rounded)
    if not (actual == rounded)[is_number & ~is_finite].all() or not np.isfinite(actual[is_finite]).all():
        return float("inf")
    info = jnp.finfo(dtype)
    tiny = float(info.tiny)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.broadcast_to(np.abs(value) if exact.scale is None else exact.scale, value.shape)
        unit = np.ldexp(float(info.eps), np.frexp(np.maximum(scale, tiny))[1] - 1)
        error = np.abs((actual - value) - np.asarray(exact.rest)) / unit
    underflow = (np.abs(value) < tiny) & (np.abs(actual) <= tiny)
    return float(np.max(error, where=is_finite & ~underflow, initial=0.0))
