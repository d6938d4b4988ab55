"""Comparison of every public function with its twin on a device."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.devices import find_device
from dlcore.verification.check import UNMEASURED_FACTOR, Outcome, run
from dlcore.verification.device_facts import DeviceFacts, measure
from dlcore.verification.peers import peers_of
from dlcore.verification.registry import all_checks

DTYPES = ("float32", "float64", "bfloat16", "float16")
"""The dtypes that can be verified."""


class VerificationDocument(TypedDict):
    """The JSON document of a `Verification`."""

    device: dict[str, str]
    versions: dict[str, str]
    bounds_measured: bool
    passed: bool
    outcomes: list[dict[str, object]]


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
      facts: measured properties of the device.
      outcomes: the outcome for every result of every check and dtype.
      bounds_measured: whether the bounds were measured on this kind of device, a CPU. Elsewhere a result may
        exceed its bound eightfold.
    """

    facts: DeviceFacts
    outcomes: tuple[Outcome, ...]
    bounds_measured: bool

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes that did not pass."""
        return tuple(outcome for outcome in self.outcomes if not outcome.passed)

    @property
    def passed(self) -> bool:
        """True if every outcome passed."""
        return not self.failures

    def to_json(self) -> VerificationDocument:
        """Return all fields in plain values; an error that is not finite is None."""
        rows = [outcome._asdict() for outcome in self.outcomes]
        for row in rows:
            row["error"] = _finite_or_none(row["error"])
            row["peers"] = {name: _finite_or_none(error) for name, error in row["peers"]}
        return {
            "device": self.facts._asdict(),
            "versions": {"jax": jax.__version__, "numpy": np.__version__},
            "bounds_measured": self.bounds_measured,
            "passed": self.passed,
            "outcomes": rows,
        }


def _finite_or_none(error: float) -> float | None:
    return error if np.isfinite(error) else None


class VerificationError(AssertionError):
    """A failure of at least one check. `verification` has all outcomes."""

    def __init__(self, verification: Verification) -> None:
        self.verification = verification
        lines = [describe_failure(outcome) for outcome in verification.failures]
        super().__init__("\n".join([f"on {verification.facts.device}:", *lines]))


def describe_failure(outcome: Outcome) -> str:
    """Return a failure as one line of text."""
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
    callback: Callable[[Outcome], object] | None = None,
) -> Verification:
    r"""Compare every public function with its twin, the NumPy float64 reference, on a device.

    Each function runs jitted and vmapped.

    error = $|\hat f(x) - f(x)| / u$, with u a unit in the last place of f(x), or of the sum of the magnitudes of
    its terms. Where rounding errors grow with n or with the condition number, u is multiplied by it.

    A table generated with mpmath is the reference for the losses and their first and second derivatives. JAX's
    settings do not change.

    Args:
      device: "auto", "cpu", "gpu" or "tpu"; see `dlcore.devices.find_device`.
      dtypes: "float32", "float64", "bfloat16" or "float16". The library stores bfloat16 and float16 but
        computes in float32, so these dtypes have few checks.
      only: names or prefixes of names, such as "losses." or "linalg.solve"; empty for all.
      peers: whether to measure the equivalent functions of JAX, optax and NumPy on the same points.
      callback: a function that receives each `Outcome` as soon as it is measured.

    Returns:
      A `Verification` with the properties of the device, and each error with its bound.

    Raises:
      VerificationError: if an error exceeds its bound; its `verification` has all outcomes.
      ValueError: if the device is missing, a dtype is unknown, or no check has this name.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, sections 3.1, 7.1 and 20.1 (the bounds).

    >>> verification = verify("cpu", ["float32"], only=["losses.huber"])
    >>> print(verification.passed, [outcome.result for outcome in verification.outcomes])
    True ['value', 'first derivative', 'second derivative']
    """
    names = (dtypes,) if isinstance(dtypes, str) else tuple(dtypes)
    unknown = [name for name in names if name not in DTYPES]
    if unknown or not names:
        raise ValueError(
            f"dtypes: expected some of {', '.join(DTYPES)}, got {', '.join(map(repr, names)) or 'none'}"
        )
    prefixes = (only,) if isinstance(only, str) else tuple(only)
    target = find_device(device)
    bounds_measured = target.platform == "cpu"
    factor = 1 if bounds_measured else UNMEASURED_FACTOR
    facts = measure(target)
    outcomes: list[Outcome] = []
    for name in names:
        dtype = jnp.dtype(name)
        # Some checks have infinite values, which the debugging modes of JAX refuse.
        no_debug = jax.debug_nans(False), jax.debug_infs(False)
        with jax.enable_x64(name == "float64"), jax.default_device(target), no_debug[0], no_debug[1]:
            for check in all_checks(dtype):
                if prefixes and not any(covered.startswith(prefixes) for covered in (check.name, *check.covers)):
                    continue
                for outcome in run(check, dtype, factor, peers_of(check, dtype) if peers else ()):
                    outcomes.append(outcome)
                    if callback is not None:
                        callback(outcome)
    if not outcomes:
        raise ValueError(f"only: there is no check of {', '.join(prefixes)}")
    verification = Verification(facts, tuple(outcomes), bounds_measured)
    if not verification.passed:
        raise VerificationError(verification)
    return verification
