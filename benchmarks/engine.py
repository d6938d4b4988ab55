"""How near the machine's limit is the engine, and how does it compare?

Each row is one kind of work against its peers (NumPy, PyTorch and scikit-learn where they are installed, the
obvious JAX program), all in one run, side by side, in turn. Compile time is apart (first call). A peer gets the
better of one and of all threads, and its time counts only at a setting whose gap, certified in float64 by
`dlcore.certify`, is within the tolerance. Times of heads hold everything from NumPy to NumPy, ours the certificate
too.

Command: scripts/bench engine [--quick] [--rows NAME ...] [--repeats 15]
Takes: a minute each for the rows of the objective and the sweep, several for the others, up to an hour in all for
the peers of softmax; other work on the machine makes the figures worthless: see `load`.
"""

import dataclasses
import os
from typing import Any

import tyro
from rows import ROWS

from dlcore import reporting
from dlcore.devices import core_count


@dataclasses.dataclass
class Options:
    """What is measured."""

    rows: tuple[str, ...] = tuple(ROWS)
    """Which rows, by name."""
    quick: bool = False
    """Small shapes, to see that everything runs: its figures say nothing."""
    repeats: int = 15
    """Most rounds; rows with slow peers make fewer."""


def main(options: Options) -> None:
    """The rows, a table, one line of JSON."""
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        raise SystemExit(f"--rows: there is no {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    repeats = min(options.repeats, 2) if options.quick else options.repeats
    load = os.getloadavg()
    results = {name: ROWS[name](options.quick, repeats) for name in options.rows}
    notes = [f"{name}: {note}" for name, result in results.items() for note in notes_of(result)]
    notes.append(f"load before {load[0]:.1f}, after {os.getloadavg()[0]:.1f}, on {core_count()} cores")
    header = ["row", "contestant", "median ms", "quartiles", "first", "gap", "× dlcore"]
    table = [line for name, result in results.items() for line in lines_of(name, result)]
    reporting.print_table("The engine against its peers", header, table, notes)
    result = {
        "benchmark": "engine",
        "quick": options.quick,
        "cores": core_count(),
        "load": [round(load[0], 2), round(os.getloadavg()[0], 2)],
        "rows": results,
    }
    reporting.print_result(result)
    # A share far above 1 is no speed but a clock that does not wait.
    wrong = [
        name for name, found in results.items() if not found.get("agree", True) or found.get("share", 0) > 1.5
    ]
    if wrong:
        raise SystemExit(f"scripts/bench engine: {', '.join(wrong)}: results differ, or are faster than can be")


def lines_of(name: str, result: dict[str, Any]) -> list[list[str]]:
    """The table's lines of one row."""
    found = result.get("contestants", {})
    return [
        [
            name,
            who,
            f"{1e3 * one['median']:.1f}",
            " to ".join(f"{1e3 * t:.1f}" for t in one["quartiles"]),
            f"{1e3 * one['first']:.0f}",
            f"{one['gap']:.0e}" if isinstance(one.get("gap"), float) else str(one.get("gap", "")),
            f"{one['ratio']:.2f}",
        ]
        for who, one in found.items()
    ]


def notes_of(result: dict[str, Any]) -> list[str]:
    """What is said of one row below the table."""
    notes = list(result.get("notes", []))
    if "skipped" in result:
        notes.append(f"skipped: {result['skipped']}")
    if "share" in result:
        notes.append(f"{result['share']:.0%} of the ceiling, {result['ceiling']}")
    if "agree" in result:
        notes.append("results agree" if result["agree"] else "RESULTS DIFFER")
    return notes


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
