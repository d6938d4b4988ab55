"""What a check is, how its error is measured, and the loop that runs it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.devices import to_device

UNMEASURED_FACTOR = 8
"""By how much a result may exceed its bound on a kind of device where no bound has been measured: functions of the
hardware may round there by some units more. Products in TF32 are off by hundreds of bounds."""


class Exact(NamedTuple):
    """A right answer, and by what its error is measured.

    Attributes:
      value: float64, the examples first. nan is not compared; beyond the range of the dtype infinity is right.
      bound: the largest error allowed, in units of the last place of `scale`.
      scale: of the shape of `value`, or what NumPy broadcasts to it; None is |value|.
      rest: what `value` leaves of the exact number.
      unit: what a reader calls the last place of `scale`.
    """

    value: np.ndarray
    bound: float
    scale: Any = None
    rest: Any = 0.0
    unit: str = "ulp"


class Check(NamedTuple):
    """One public function, its twin and where they are compared.

    Attributes:
      name: of the function in the library, such as "losses.huber".
      function: of ONE example, to named results. It looks the function up when it is called.
      twin: the same of float64 arrays, of all examples.
      inputs: NumPy arrays in the dtype of the check, the examples first.
      traced: whether it runs under jit and vmap; else it is called once, with all examples.
      covers: other public functions that it checks.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    twin: Callable[..., dict[str, Exact]]
    inputs: tuple[np.ndarray, ...]
    traced: bool = True
    covers: tuple[str, ...] = ()


class Peer(NamedTuple):
    """A function of another library for the results of a check, or for some of them.

    Attributes:
      name: of the library.
      function: as `Check.function`.
      traced: as `Check.traced`.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    traced: bool = True


class Outcome(NamedTuple):
    """What a check found of one result of a function.

    Attributes:
      function: its name.
      result: which one, such as "first derivative"; empty for the only one.
      dtype: of the inputs.
      error: the largest, in `unit`; infinity where nan or infinity met a number.
      bound: the largest allowed on a CPU.
      unit: "ulp", units in the last place, or what these are multiplied by.
      passed: whether `error` is within the bound of this kind of device.
      note: what went wrong if nothing could be compared.
      peers: the names of other libraries' functions with their errors on the same points, in the same unit.
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


def run(check: Check, dtype: np.dtype, factor: float, peers: Sequence[Peer] = ()) -> Iterator[Outcome]:
    """Run a check jitted, example by example, and vmapped over all; the larger error counts.

    Args:
      check: whose inputs have the dtype.
      dtype: of the results.
      factor: what the bounds are multiplied by.
      peers: what is measured beside it.
    """
    name = str(jnp.dtype(dtype))
    try:
        answers = check.twin(*(_widened(array) for array in check.inputs))
        runs = list(_results(check))
    except Exception as error:  # whatever a device, or a defect, raises is a result of this check
        note = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        yield Outcome(check.name, "", name, float("inf"), 0.0, "ulp", False, note)
        return
    beside = [(peer.name, _results_of(peer, check)) for peer in peers]
    for result, exact in answers.items():
        error = max(largest_error(found[result], exact, dtype) for found in runs)
        passed = error <= factor * exact.bound
        others = tuple(
            (peer, max(largest_error(found[result], exact, dtype) for found in there))
            for peer, there in beside
            if there and result in there[0]
        )
        yield Outcome(check.name, result, name, error, exact.bound, exact.unit, passed, "", others)


def _results_of(peer: Peer, check: Check) -> list[dict[str, np.ndarray]]:
    """Of the runs of a peer; none if it does not take the dtype."""
    try:
        return list(_results(check._replace(function=peer.function, traced=peer.traced)))
    except (TypeError, ValueError, NotImplementedError):
        return []


def _results(check: Check) -> Iterator[dict[str, np.ndarray]]:
    if not check.traced:
        yield {name: np.asarray(value) for name, value in check.function(*check.inputs).items()}
        return
    jitted = jax.jit(check.function)
    examples = [jitted(*to_device([array[i] for array in check.inputs])) for i in range(len(check.inputs[0]))]
    yield {name: np.stack([np.asarray(example[name]) for example in examples]) for name in examples[0]}
    vmapped: dict[str, Array] = jax.jit(jax.vmap(check.function))(*to_device(check.inputs))
    yield {name: np.asarray(value) for name, value in vmapped.items()}


def _widened(array: np.ndarray) -> np.ndarray:
    """Numbers as float64; integers as they are."""
    return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def largest_error(actual: np.ndarray, exact: Exact, dtype: Any) -> float:
    """The largest error in units of the last place of `exact.scale`.

    A number below the smallest normal one is right as whatever is there too: some devices flush them to 0.

    >>> ten = Exact(np.array([10.0]), bound=1.0)
    >>> largest_error(np.array([10.0]) + 3 * np.spacing(10.0), ten, np.float64)
    3.0
    """
    value = np.asarray(exact.value, np.float64)
    actual = np.asarray(actual)
    if actual.shape != value.shape:
        return float("inf")
    info = jnp.finfo(dtype)
    found = actual.astype(np.float64)
    with np.errstate(over="ignore"):
        right = value.astype(jnp.dtype(dtype)).astype(np.float64)  # infinity where the dtype ends
    compared = ~np.isnan(value)
    finite = compared & np.isfinite(right)
    if not (found == right)[compared & ~finite].all() or not np.isfinite(found[finite]).all():
        return float("inf")
    tiny = float(info.tiny)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.broadcast_to(np.abs(value) if exact.scale is None else exact.scale, value.shape)
        unit = np.ldexp(float(info.eps), np.frexp(np.maximum(scale, tiny))[1] - 1)
        error = np.abs((found - value) - exact.rest) / unit
    underflow = (np.abs(value) < tiny) & (np.abs(found) <= tiny)
    return float(np.max(error, where=finite & ~underflow, initial=0.0))
