"""The command line: `dlcore verify`, every public function against its twin on the device at hand."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dlcore._core.files import check_path
from dlcore.cli.console import print_table, progress_bar, write_json
from dlcore.cli.interrupts import FAILED, failing_in_one_line
from dlcore.devices import DeviceName
from dlcore.verification import Outcome, Verification, VerificationError, verify
from dlcore.verification.verify import sentence

HEADER = ("function", "dtype", "error", "bound", "unit", "result")

PEERS_EXPLAINED = """\
The peers are what JAX, optax and NumPy have for the same, on the same points, by the same oracle, in the same
unit: the larger error of a jitted and of a vmapped run, NumPy's of one call. `inf`: nan or infinity where there is
a number, or the reverse. 10⁵ and more: no digit is left, mostly 0 in place of a small number. Linear algebra has
none in float64, where NumPy is the oracle; NumPy computes that of float32 in float64, and has no bfloat16."""


@dataclasses.dataclass
class Options:
    """Options of the command."""

    device: DeviceName = "auto"
    """Where to run; "auto" is JAX's own choice."""
    dtype: tuple[Literal["float32", "float64", "bfloat16", "float16"], ...] = ("float32", "float64")
    """One or several."""
    only: tuple[str, ...] = ()
    """Names of functions, or beginnings of names: losses. linalg.solve"""
    peers: bool = False
    """Beside each error that of JAX's, optax's and NumPy's function for the same, on the same points."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write all of it into."""
    markdown: bool = False
    """Print the table as Markdown."""


def run(arguments: Sequence[str]) -> None:
    """Verify, print the table, exit with 1 if anything is off."""
    options = tyro.cli(
        Options,
        prog="dlcore verify",
        args=list(arguments),
        description="Compares every public function with its float64 twin on a device, jitted and vmapped.",
    )
    with failing_in_one_line(ValueError):
        if options.json is not None:
            check_path("--json", options.json)  # before the work, not after it
        found = _verified(options)
        if options.json is not None:
            write_json(options.json, found.to_json())
    (_print_markdown if options.markdown else _print)(found, options.peers)
    if not found.passed:
        print("\n".join(sentence(outcome) for outcome in found.failures), file=sys.stderr)
        sys.exit(FAILED)


def _verified(options: Options) -> Verification:
    """What was found, right or wrong."""
    with progress_bar() as progress:
        task = progress.add_task("verify", total=None)

        def show(outcome: Outcome) -> None:
            progress.update(task, advance=1, description=f"{outcome.function} {outcome.dtype}")

        try:
            return verify(options.device, options.dtype, only=options.only, peers=options.peers, callback=show)
        except VerificationError as error:
            return error.verification


def facts(found: Verification) -> list[str]:
    """The facts of the device, a line each."""
    known = found.facts
    return [
        f"device: {known.device}",
        f"float32 products where no precision is stated: {known.default_products}",
        f"float32 products of this library: {known.stated_products}",
        f"numbers below the smallest normal one: {known.subnormals}",
    ]


def rows(found: Verification, peers: bool = False) -> list[tuple[str, ...]]:
    """A line of the table for every outcome, `peers` in a last column."""
    return [
        (
            f"{outcome.function}, {outcome.result}".removesuffix(", "),
            outcome.dtype,
            f"{outcome.error:.3g}",
            f"{outcome.bound:g}" if found.bounds_measured else "not measured yet",
            outcome.unit,
            "pass" if outcome.passed else "FAIL",
            *([", ".join(f"{name} {error:.3g}" for name, error in outcome.peers)] if peers else []),
        )
        for outcome in found.outcomes
    ]


def _header(peers: bool) -> tuple[str, ...]:
    return (*HEADER, "peers' errors") if peers else HEADER


def _print(found: Verification, peers: bool) -> None:
    print("\n".join(facts(found)))
    print_table("largest error of each function", _header(peers), rows(found, peers), [_summary(found)])


def _print_markdown(found: Verification, peers: bool) -> None:
    dtypes = " ".join(dict.fromkeys(outcome.dtype for outcome in found.outcomes))
    print(f"# Accuracy\n\nWhat `dlcore verify --dtype {dtypes}{' --peers' * peers} --markdown` printed.\n")
    print("\n".join(f"- {line}" for line in [*facts(found), _summary(found)]) + "\n")
    if peers:
        print(PEERS_EXPLAINED + "\n")
    header = _header(peers)
    for row in (header, ("---",) * len(header), *rows(found, peers)):
        print(f"| {' | '.join(row)} |")


def _summary(found: Verification) -> str:
    count = len(found.outcomes)
    return f"{count - len(found.failures)} of {count} results within their bounds"
