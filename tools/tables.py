"""Tables of docs/benchmarks.md from files of `dlcore bench --json`: a row for each function, its sizes in order.

If several files have the same function and size, the last file counts.

Command: scripts/bench tables FILE [FILE …] [--suites math gradient]
Takes: no time.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from dlcore.benchmark.compare import best_result, speedup
from dlcore.benchmark.measurement import Measurement

PEERS = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "jax": "JAX",
    "sklearn": "scikit-learn",
    "sklearnex": "scikit-learn-intelex",
}


@dataclasses.dataclass
class Options:
    """Options of the command."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files of `dlcore bench --json`."""
    suites: tuple[str, ...] = ()
    """Suites to print; all if none is named."""
    who: str = "dlcore cpu"
    """The implementation whose times are printed."""


def main(options: Options) -> None:
    """Print one table for each suite, in the order of the files."""
    measurements: dict[tuple[str, str, int], Measurement] = {}
    for path in options.files:
        for measurement in map(Measurement.from_json, json.loads(path.read_text(encoding="utf-8"))["cells"]):
            measurements[measurement.suite, measurement.name, measurement.size] = measurement
    for suite in dict.fromkeys(suite for suite, _, _ in measurements):
        if not options.suites or suite in options.suites:
            of_suite = [measurement for measurement in measurements.values() if measurement.suite == suite]
            print(f"**{suite}**\n", *_table(of_suite, options.who), "", sep="\n")


def _table(measurements: list[Measurement], title: str) -> Iterator[str]:
    """Yield the lines of a table of one suite."""
    peers = [name for name in PEERS if any(best_result(measurement, name) for measurement in measurements)]
    yield _row("function", "sizes", "dlcore, ms", "share at the largest", *(f"{PEERS[p]} ÷ dlcore" for p in peers))
    yield "|---" * (4 + len(peers)) + "|"
    for name in dict.fromkeys(measurement.name for measurement in measurements):
        group = [measurement for measurement in measurements if measurement.name == name]
        results = [measurement.results[title] for measurement in group]
        times = ", ".join(_two_digits(1e3 * result.median) for result in results)
        ratios = [", ".join(_ratios(group, title, peer)) for peer in peers]
        sizes = f"{group[0].shape} … {group[-1].shape}"
        yield _row(name, sizes, times, f"{results[-1].roofline_fraction:.0%} {group[-1].bound_by}", *ratios)


def _ratios(group: list[Measurement], title: str, peer: str) -> list[str]:
    """Return the ratio at each size, a dash if it is excluded; no ratio if the peer was not measured."""
    baselines = [best_result(measurement, peer) for measurement in group]
    if not any(baselines):
        return []
    ratios = [
        speedup(measurement.results[title], baseline) if baseline else None
        for measurement, baseline in zip(group, baselines, strict=True)
    ]
    return ["–" if ratio is None else _two_digits(ratio) for ratio in ratios]


def _two_digits(number: float) -> str:
    return f"{float(f'{number:.2g}'):g}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(tyro.cli(Options))
