"""Command `scripts/aot`: compile, print a table, and exit with 1 if a program exceeds its bounds."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from aot import descents, heads
from aot.cost import Cost, cost_of, max_temporaries, violations
from aot.program import Program
from aot.targets import COUNTS, compile_for, default_device, placement_on, versions
from dlcore._core.files import write_text

HEADINGS = ("program", "devices", "passes", "traffic", "temporaries", "bound", "all-reduces", "products", "spills")

Record = dict[str, Any]
"""A line of the JSON file."""


def main() -> None:
    """Compile the selected programs and report their cost."""
    parser = argparse.ArgumentParser(prog="scripts/aot", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only six representative programs")
    parser.add_argument("--targets", default="cuda,tpu", help="cuda, tpu or both (default: %(default)s)")
    parser.add_argument("--only", default="", help="only programs whose names match this regular expression")
    parser.add_argument("--json", type=Path, help="file for all results")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    options = parser.parse_args()
    targets = options.targets.split(",")
    if unknown := set(targets) - set(COUNTS):
        parser.error(f"--targets: expected cuda, tpu or both, got {', '.join(sorted(unknown))}")
    programs = [
        program
        for program in (*descents.PROGRAMS, *heads.PROGRAMS)
        if (program.quick or not options.quick) and re.search(options.only, program.name)
    ]
    records: list[Record] = []
    for program in programs:
        for target in targets:
            if target not in program.bounds:
                continue
            for record in compile_program(program, target):
                print(" | ".join(table_row(record)), *record["faults"], sep="\n    ", flush=True)
                records.append(record)
                if options.json:
                    write_text(options.json, json.dumps({"versions": versions(), "programs": records}, indent=1))
    if options.markdown:
        write_text(options.markdown, markdown(records))
    bad = sum(bool(record["faults"]) for record in records)
    names = " and ".join(targets)
    print(f"{len(records)} programs compiled for {names}, none of them run; {bad} beyond their bounds")
    sys.exit(bool(bad) or not records)


def compile_program(program: Program, target: str) -> Iterator[Record]:
    """Compile a program for one device and, if it can be sharded, for several; return a record of each."""
    for sharded in (False, True) if program.sharded else (False,):
        placement = placement_on(target, sharded=sharded)
        record: Record = {"program": program.name, "target": target, "place": placement.name}
        try:
            with jax.enable_x64(program.wide), default_device(placement):
                lowered = program.lower(placement)
                compiled = compile_for(placement, lowered.lowered)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            text = " ".join(str(error).split())[:300]
            yield record | {"refused": text, "faults": [f"does not compile: {text}"]}
            continue
        bounds, block = program.bounds[target], lowered.block
        cost = cost_of(compiled, lowered.x, block)
        record |= cost._asdict() | {
            "block": block,
            "bound": max_temporaries(bounds, block),
            "most_passes": bounds.passes,
        }
        yield record | {"faults": violations(cost, bounds, block=block, n_devices=len(placement.devices))}


def table_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a row of the table."""
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


def markdown(records: Sequence[Record]) -> str:
    """Return the table of the documentation."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(table_row, records)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
