"""`verify`: the library judged on the device at hand."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.devices import find_device
from dlcore.verification.check import UNMEASURED_FACTOR, Outcome, run
from dlcore.verification.device_facts import DeviceFacts, measure
from dlcore.verification.peers import peers_of
from dlcore.verification.registry import all_checks

DTYPES = ("float32", "float64", "bfloat16", "float16")
"""What can be verified."""


@dataclasses.dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
      facts: of the device, measured.
      outcomes: one for every result of every check and dtype.
      bounds_measured: whether the bounds were measured on this kind of device, a CPU; elsewhere a result may
        exceed them eightfold.
    """

    facts: DeviceFacts
    outcomes: tuple[Outcome, ...]
    bounds_measured: bool

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """What is not as it should be."""
        return tuple(outcome for outcome in self.outcomes if not outcome.passed)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """All of it in plain values; an error that is not finite is null."""
        rows = [outcome._asdict() for outcome in self.outcomes]
        for row in rows:
            row["error"] = _finite(row["error"])
            row["peers"] = {name: _finite(error) for name, error in row["peers"]}
        return {
            "device": self.facts._asdict(),
            "versions": {"jax": jax.__version__, "numpy": np.__version__},
            "bounds_measured": self.bounds_measured,
            "passed": self.passed,
            "outcomes": rows,
        }


def _finite(error: float) -> float | None:
    return error if np.isfinite(error) else None


class VerificationError(AssertionError):
    """A function is not right on this device. `verification` has all that was found."""

    def __init__(self, verification: Verification) -> None:
        self.verification = verification
        lines = [sentence(outcome) for outcome in verification.failures]
        super().__init__("\n".join([f"on {verification.facts.device}:", *lines]))


def sentence(outcome: Outcome) -> str:
    """A failure in words."""
    name = f"{outcome.function} {outcome.result}".strip() + f" ({outcome.dtype})"
    if outcome.note:
        return f"{name}: {outcome.note}"
    return f"{name}: off by {outcome.error:.3g} {outcome.unit}, allowed {outcome.bound:g}"


def verify(
    device: str = "auto",
    dtypes: Sequence[str] = ("float32", "float64"),
    *,
    only: Sequence[str] = (),
    peers: bool = False,
    callback: Callable[[Outcome], Any] | None = None,
) -> Verification:
    r"""Compare every public function with its twin, on a device, jitted and vmapped.

    error = $|\hat f(x) - f(x)| / u$, u a unit in the last place of f(x), or of what the terms of f(x) add up to,
    times n or the condition where rounding is amplified so

    The losses and their first and second derivatives are compared with a table made by mpmath, all else with
    float64 by NumPy. JAX's settings are left as they are.

    Args:
      device: "auto", "cpu", "gpu" or "tpu", as `dlcore.devices.find_device` takes it.
      dtypes: of "float32", "float64", "bfloat16", "float16"; halves are stored, not computed with, so little is
        asked of them besides.
      only: names, or beginnings of names, such as "losses." or "linalg.solve"; none means all.
      peers: whether to measure beside it what JAX, optax and NumPy have for the same, on the same points.
      callback: called with every `Outcome` as it is found.

    Returns:
      A `Verification`: the device's facts, and each error beside its bound.

    Raises:
      VerificationError: if anything is off by more than its bound; its `verification` has all outcomes.
      ValueError: if the device is not there, a dtype is unknown, or no check has such a name.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, sections 3.1, 7.1 and 20.1 (the bounds).

    >>> found = verify("cpu", ["float32"], only=["losses.huber"])
    >>> print(found.passed, [outcome.result for outcome in found.outcomes])
    True ['value', 'first derivative', 'second derivative']
    """
    names = (dtypes,) if isinstance(dtypes, str) else tuple(dtypes)
    unknown = [name for name in names if name not in DTYPES]
    if unknown or not names:
        raise ValueError(
            f"dtypes: expected some of {', '.join(DTYPES)}, got {', '.join(map(repr, names)) or 'none'}"
        )
    wanted = (only,) if isinstance(only, str) else tuple(only)
    chosen = find_device(device)
    measured = chosen.platform == "cpu"
    factor = 1 if measured else UNMEASURED_FACTOR
    facts = measure(chosen)
    outcomes: list[Outcome] = []
    for name in names:
        dtype = jnp.dtype(name)
        # A value at infinity is one of the things to verify, and what a debugging mode of JAX refuses.
        modes = jax.debug_nans(False), jax.debug_infs(False)
        with jax.enable_x64(name == "float64"), jax.default_device(chosen), modes[0], modes[1]:
            for check in all_checks(dtype):
                if wanted and not any(covered.startswith(wanted) for covered in (check.name, *check.covers)):
                    continue
                for outcome in run(check, dtype, factor, peers_of(check, dtype) if peers else ()):
                    outcomes.append(outcome)
                    if callback is not None:
                        callback(outcome)
    if not outcomes:
        raise ValueError(f"only: there is no check of {', '.join(wanted)}")
    verification = Verification(facts, tuple(outcomes), measured)
    if not verification.passed:
        raise VerificationError(verification)
    return verification
