"""Command `dlcore verify`: every public function against its float64 reference on this device."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dlcore._core.files import check_path
from dlcore.cli.cache import cached_programs
from dlcore.cli.console import print_table, progress_counter, write_json
from dlcore.cli.interrupts import FAILED, exit_on_error
from dlcore.devices import DeviceName
from dlcore.verification import Verification, VerificationError, verify
from dlcore.verification.verify import describe_failure

EXAMPLE = "Example: dlcore verify --only losses. --json verify.json"
HEADER = ("function", "dtype", "error", "bound", "unit", "result")

PEERS_EXPLAINED = """\
The peers are the equivalent functions of JAX, optax and NumPy, on the same points, with the same oracle and unit.
The error of JAX and optax is the larger one of a jitted and a vmapped run. `inf` means nan or infinity in place of
a number, or the reverse. An error of 10⁵ or more means that no digit is correct, mostly 0 for a small number.
Linear algebra has no peers in float64, because NumPy is the oracle there. NumPy computes the linear algebra of
float32 in float64, and it has no bfloat16."""


@dataclasses.dataclass
class Options:
    """Options of the command."""

    device: DeviceName = "auto"
    """Device to run on; "auto" is JAX's default device."""
    dtype: tuple[Literal["float32", "float64", "bfloat16", "float16"], ...] = ("float32", "float64")
    """One or several dtypes."""
    only: tuple[str, ...] = ()
    """Names of functions, or their beginnings, such as losses. or linalg.solve"""
    peers: bool = False
    """Also show the errors of the equivalent functions of JAX, optax and NumPy."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File for all results."""
    markdown: bool = False
    """Print the table as Markdown."""


def run(arguments: Sequence[str]) -> None:
    """Verify and print the table; exit with 1 if an error exceeds its bound."""
    options = tyro.cli(
        Options,
        prog="dlcore verify",
        args=list(arguments),
        description=f"Compare every function with its float64 reference, jitted and vmapped. {EXAMPLE}",
    )
    with exit_on_error(ValueError):
        if options.json is not None:
            check_path("--json", options.json)  # before the work, not after it
        verification = _verify(options)
        if options.json is not None:
            write_json(options.json, verification.to_json())
    (_print_markdown if options.markdown else _print)(verification, options.peers)
    if not verification.passed:
        print("\n".join(describe_failure(outcome) for outcome in verification.failures), file=sys.stderr)
        sys.exit(FAILED)


def _verify(options: Options) -> Verification:
    """Run the checks with a progress bar, and return the results even if some failed."""
    with cached_programs(), progress_counter("verify") as advance:
        try:
            return verify(
                options.device,
                options.dtype,
                only=options.only,
                peers=options.peers,
                callback=lambda outcome: advance(f"{outcome.function} {outcome.dtype}"),
            )
        except VerificationError as error:
            return error.verification


def device_facts(verification: Verification) -> list[str]:
    """Return one line per fact about the device."""
    facts = verification.facts
    return [
        f"device: {facts.device}",
        f"float32 products where no precision is stated: {facts.default_products}",
        f"float32 products of this library: {facts.stated_products}",
        f"numbers below the smallest normal one: {facts.subnormals}",
    ]


def rows(verification: Verification, peers: bool = False) -> list[tuple[str, ...]]:
    """Return a row of the table for each outcome, with the errors of `peers` in a last column."""
    return [
        (
            f"{outcome.function}, {outcome.result}".removesuffix(", "),
            outcome.dtype,
            f"{outcome.error:.3g}",
            f"{outcome.bound:g}" if verification.bounds_measured else "not measured yet",
            outcome.unit,
            "pass" if outcome.passed else "FAIL",
            *([", ".join(f"{name} {error:.3g}" for name, error in outcome.peers)] if peers else []),
        )
        for outcome in verification.outcomes
    ]


def _header(peers: bool) -> tuple[str, ...]:
    return (*HEADER, "peers' errors") if peers else HEADER


def _print(verification: Verification, peers: bool) -> None:
    print("\n".join(device_facts(verification)))
    title = "largest error of each function"
    print_table(title, _header(peers), rows(verification, peers), [_summary(verification)])


def _print_markdown(verification: Verification, peers: bool) -> None:
    dtypes = " ".join(dict.fromkeys(outcome.dtype for outcome in verification.outcomes))
    print(f"# Accuracy\n\nOutput of `dlcore verify --dtype {dtypes}{' --peers' * peers} --markdown`.\n")
    print("\n".join(f"- {line}" for line in [*device_facts(verification), _summary(verification)]) + "\n")
    if peers:
        print(PEERS_EXPLAINED + "\n")
    header = _header(peers)
    for row in (header, ("---",) * len(header), *rows(verification, peers)):
        print(f"| {' | '.join(row)} |")


def _summary(verification: Verification) -> str:
    count = len(verification.outcomes)
    return f"{count - len(verification.failures)} of {count} results within their bounds"
