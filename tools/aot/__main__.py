"""`scripts/aot`: compile, print a table, and end with 1 where a program is beyond its bounds."""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from aot import descents, heads
from aot.judging import Cost, cost_of, faults, most_temporaries
from aot.program import Program
from aot.targets import COUNTS, compile_for, place_of, tracing, versions
from dlcore._core.files import write_text

HEADINGS = ("program", "devices", "passes", "traffic", "temporaries", "bound", "all-reduces", "products", "spills")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/aot", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="six programs that stand for all")
    parser.add_argument("--targets", default="cuda,tpu", help="cuda, tpu or both (default: %(default)s)")
    parser.add_argument("--only", default="", help="programs whose names match this regular expression")
    parser.add_argument("--json", type=Path, help="a file for what was found")
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    asked = parser.parse_args()
    targets = asked.targets.split(",")
    if unknown := set(targets) - set(COUNTS):
        parser.error(f"--targets: expected cuda, tpu or both, got {', '.join(sorted(unknown))}")
    chosen = [
        program
        for program in (*descents.PROGRAMS, *heads.PROGRAMS)
        if (program.quick or not asked.quick) and re.search(asked.only, program.name)
    ]
    found = []
    for record in (
        one
        for program in chosen
        for target in targets
        if target in program.bounds
        for one in judged(program, target)
    ):
        print(" | ".join(row(record)), *record["faults"], sep="\n    ", flush=True)
        found.append(record)
        if asked.json:
            write_text(asked.json, json.dumps({"versions": versions(), "programs": found}, indent=1))
    if asked.markdown:
        write_text(asked.markdown, markdown(found))
    bad = sum(bool(record["faults"]) for record in found)
    print(
        f"{len(found)} programs compiled for {' and '.join(targets)}, none of them run; {bad} beyond their bounds"
    )
    sys.exit(bool(bad) or not found)


def judged(program: Program, target: str) -> Iterator[dict[str, Any]]:
    """A program on one device and, where it may be, on several."""
    for sharded in (False, True) if program.sharded else (False,):
        place = place_of(target, sharded=sharded)
        record: dict[str, Any] = {"program": program.name, "target": target, "place": place.name}
        try:
            with jax.enable_x64(program.wide), tracing(place):
                lowered = program.lower(place)
                compiled = compile_for(place, lowered.lowered)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            text = " ".join(str(error).split())[:300]
            yield record | {"refused": text, "faults": [f"does not compile: {text}"]}
            continue
        bounds, block = program.bounds[target], lowered.block
        cost = cost_of(compiled, lowered.x, block)
        record |= cost._asdict() | {
            "block": block,
            "bound": most_temporaries(bounds, block),
            "most_passes": bounds.passes,
        }
        yield record | {"faults": faults(cost, bounds, block=block, devices=len(place.devices))}


def row(record: dict[str, Any]) -> tuple[str, ...]:
    """What a line of the table says."""
    if "refused" in record:
        return record["program"], record["place"], "–", "–", "–", "–", "–", "does not compile", "–"
    cost = Cost(**{name: record[name] for name in Cost._fields})
    products = ", ".join(f"{count} {name}" for name, count in sorted(cost.products.items())) or "none"
    return (
        record["program"],
        record["place"],
        str(cost.passes),
        "–" if cost.traffic is None else f"{cost.traffic:.2f}",
        f"{cost.temporaries / 1e6:.1f} MB",
        f"{record['bound'] / 1e6:.1f} MB",
        str(cost.reduced),
        products,
        "–" if cost.spills is None else str(cost.spills),
    )


def markdown(found: list[dict[str, Any]]) -> str:
    """The table of the documents."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(row, found)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
