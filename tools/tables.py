"""Files of `dlcore bench --json` as the tables of docs/benchmarks.md: a row for each function, its sizes in order.

A cell that several files have is that of the last one.

Command: scripts/bench tables FILE [FILE …] [--suites math gradient]
Takes: no time.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from dlcore.benchmark.compare import best_of, gain
from dlcore.benchmark.measurement import Cell, Figure

PEERS = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "sklearn": "scikit-learn"}


@dataclasses.dataclass
class Options:
    """Which files, and what of them."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Of `dlcore bench --json`."""
    suites: tuple[str, ...] = ()
    """All if none is named."""
    who: str = "dlcore cpu"
    """Whose times are shown."""


def main(options: Options) -> None:
    """One table after another, in the order of the files."""
    cells: dict[tuple[str, str, int], Cell] = {}
    for path in options.files:
        for cell in map(_cell, json.loads(path.read_text(encoding="utf-8"))["cells"]):
            cells[cell.suite, cell.name, cell.size] = cell
    for suite in dict.fromkeys(suite for suite, _, _ in cells):
        if not options.suites or suite in options.suites:
            of_suite = [cell for (own, _, _), cell in cells.items() if own == suite]
            print(f"**{suite}**\n", *_table(of_suite, options.who), "", sep="\n")


def _cell(read: dict[str, Any]) -> Cell:
    return Cell(**read)._replace(figures={who: Figure(**one) for who, one in read["figures"].items()})


def _table(cells: list[Cell], who: str) -> Iterator[str]:
    peers = [name for name in PEERS if any(best_of(cell, name) for cell in cells)]
    yield _row("function", "sizes", "dlcore, ms", "share at the largest", *(f"{PEERS[p]} ÷ dlcore" for p in peers))
    yield "|---" * (4 + len(peers)) + "|"
    for name in dict.fromkeys(cell.name for cell in cells):
        own = [cell for cell in cells if cell.name == name]
        ours = [cell.figures[who] for cell in own]
        times = ", ".join(_two_digits(1e3 * one.median) for one in ours)
        ratios = [", ".join(_ratios(own, who, peer)) for peer in peers]
        sizes = f"{own[0].shape} … {own[-1].shape}"
        yield _row(name, sizes, times, f"{ours[-1].share:.0%} {own[-1].bound_by}", *ratios)


def _ratios(cells: list[Cell], who: str, peer: str) -> list[str]:
    """Nothing where the peer is not there; a dash where it is not compared."""
    found = [(cell.figures[who], best_of(cell, peer)) for cell in cells]
    ratios = [None if theirs is None else gain(ours, theirs) for ours, theirs in found]
    if all(theirs is None for _, theirs in found):
        return []
    return ["–" if ratio is None else _two_digits(ratio) for ratio in ratios]


def _two_digits(number: float) -> str:
    return f"{float(f'{number:.2g}'):g}"


def _row(*parts: str) -> str:
    return f"| {' | '.join(parts)} |"


if __name__ == "__main__":
    main(tyro.cli(Options))
