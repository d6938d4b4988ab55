"""The command line: `dlcore bench`, what a device gains, and `dlcore bench compare`, whether two runs agree."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dlcore._core.files import check_path
from dlcore.benchmark import Benchmark, bench
from dlcore.benchmark.bench import SUITES
from dlcore.benchmark.compare import best_of, compare, crossover_of, gain, slope
from dlcore.benchmark.measurement import Cell, Figure
from dlcore.cli.console import print_table, progress_bar, write_json, write_text
from dlcore.cli.interrupts import WRONG_USE, fail, failing_in_one_line, needing
from dlcore.devices import DeviceName


@dataclasses.dataclass
class Options:
    """Options of the command."""

    suite: tuple[Literal["math", "gradient", "fit", "sweep", "scale", "all"], ...] = ("math", "gradient")
    """One or several; fit, sweep and scale, whose peers are slow, take the better part of an hour."""
    devices: tuple[DeviceName, ...] = ("auto",)
    """Where dlcore runs; "auto" is JAX's own choice."""
    peers: tuple[Literal["numpy", "torch", "jax", "sklearn"], ...] = ("numpy", "torch", "jax", "sklearn")
    """Who is compared with, where installed: on the CPU, and what anyone writes in JAX where dlcore is."""
    only: tuple[str, ...] = ()
    """Names of functions, or beginnings of names: losses. linalg.solve"""
    quick: bool = False
    """Small sizes and few rounds, to see that everything runs: its figures say nothing."""
    largest: bool = False
    """Only the largest size of each function."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write all of it into."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write a page into: crossovers, roofline and parts of a call as pictures, and every figure."""


@dataclasses.dataclass
class Two:
    """Two files of --json."""

    first: Annotated[Path, tyro.conf.Positional]
    """The run that is compared with."""
    second: Annotated[Path, tyro.conf.Positional]
    """The other."""


def run(arguments: Sequence[str]) -> None:
    """Measure and print, or compare two runs."""
    if arguments and arguments[0] == "compare":
        _compare(tyro.cli(Two, prog="dlcore bench compare", args=list(arguments[1:])))
        return
    options = tyro.cli(
        Options,
        prog="dlcore bench",
        args=list(arguments),
        description="Times functions on devices and peers on the CPU, side by side; dlcore bench compare A B.",
    )
    with failing_in_one_line(ValueError):
        if options.json is not None:
            check_path("--json", options.json)  # before the work, not after it
        write_page = _page_writer(options.html)
        found = _measured(options)
        if options.json is not None:
            write_json(options.json, found.to_json())
        write_page(found)
    for name in found.devices:
        _print(found, f"dlcore {name}")


def _page_writer(path: Path | None) -> Callable[[Benchmark], None]:
    """What writes the page, or nothing where none is asked for; what is missing for it is said now."""
    if path is None:
        return lambda found: None
    check_path("--html", path)
    with needing("cli", "--html"):
        from dlcore.benchmark.page.html import to_html  # loads matplotlib
    return lambda found: write_text(path, to_html(found))


def _measured(options: Options) -> Benchmark:
    with progress_bar() as progress:
        task = progress.add_task("bench", total=None)

        def show(cell: Cell) -> None:
            progress.update(task, advance=1, description=f"{cell.name} {cell.shape}")

        return bench(
            tuple(SUITES) if "all" in options.suite else options.suite,
            options.devices,
            options.peers,
            quick=options.quick,
            largest=options.largest,
            only=options.only,
            callback=show,
        )


def _print(found: Benchmark, device: str) -> None:
    """A table of each suite on one device, and what all of them say of the machine."""
    for suite in dict.fromkeys(cell.suite for cell in found.cells):
        _print_suite(suite, [cell for cell in found.cells if cell.suite == suite], device)
    for line in _facts(found, device.removeprefix("dlcore ")):
        print(line)


def _print_suite(suite: str, cells: list[Cell], device: str) -> None:
    """Below each function its sizes. A ratio above 1 says that dlcore is faster."""
    libraries = list(dict.fromkeys(t.partition(",")[0] for c in cells for t in c.figures if "," in t))
    header = ("function, size", "ms", "compile", "transfer", "share", *(f"× {name}" for name in libraries))
    rows, notes, above = [], [], ""
    for cell in cells:
        if cell.name != above:
            above = cell.name
            rows.append((above, *[""] * (len(header) - 1)))
        ours = cell.figures[device]
        theirs = {name: best_of(cell, name) for name in libraries}
        rows.append(
            (
                f"  {cell.shape}",
                _milliseconds(ours.median) + "~" * ours.noisy,
                _milliseconds(ours.compile),
                _milliseconds(ours.transfer),
                "wrong" if ours.wrong else f"{ours.share:.0%} {cell.bound_by}",
                *("" if one is None else _ratio(ours, one) for one in theirs.values()),
            )
        )
        notes += [
            f"{cell.name} {cell.shape}: {who} {one.wrong}; not compared"
            for who, one in cell.figures.items()
            if one.wrong
        ]
    title = f"{suite}, {device}: milliseconds, and how many times longer peers take"
    print_table(title, header, rows, [*notes, *_growth(cells, device, libraries)])


def _ratio(ours: Figure, theirs: Figure) -> str:
    """Not printed where one of both is wrong."""
    found = gain(ours, theirs)
    return "–" if found is None else f"{found:.2f}" + "~" * (ours.noisy or theirs.noisy)


def _growth(every: list[Cell], device: str, libraries: list[str]) -> list[str]:
    """Of each function, from which size on it is faster than a library, and how its time grows."""
    lines = []
    for name in dict.fromkeys(cell.name for cell in every):
        cells = [cell for cell in every if cell.name == name]
        sizes = [cell.size for cell in cells]
        spelt = []
        for library in libraries:
            at = crossover_of(cells, device, library)
            if at is not None:
                spelt.append(f"{library} {'at no size here' if math.isinf(at) else f'from {at:,.0f} on'}")
        parts = [f"is faster than {', '.join(spelt)}"] if spelt else []
        grows = slope(sizes, [cell.figures[device].median for cell in cells])
        if grows is not None:
            parts.append(f"grows as {cells[0].along}^{grows:.2f}")
        if parts:
            lines.append(f"{name} {'; '.join(parts)}")
    return lines


def _facts(found: Benchmark, device: str) -> list[str]:
    limits, machine = found.ceilings[device], found.machine
    noisy = sum(one.noisy for cell in found.cells for one in cell.figures.values())
    count = sum(len(cell.figures) for cell in found.cells)
    return [
        f"ceilings: {limits.bandwidth / 1e9:.1f} GB/s, {limits.rate / 1e9:.0f} GFLOP/s, "
        f"{1e6 * limits.latency:.0f} µs a call; share: of the nearer one",
        f"{machine['processor']}, {machine['cores']} cores, jax {machine['packages'].get('jax')}, "
        f"load {machine['load'][0]} before and {machine['load after'][0]} after; one core's pace was "
        f"{min(machine['pace']) / machine['pace'][0]:.2f} to {max(machine['pace']) / machine['pace'][0]:.2f} "
        "of the time it took at first",
        f"~ marks what is noisy: {noisy} of {count} figures"
        + (", quick: they say nothing" if found.quick else ""),
    ]


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _compare(two: Two) -> None:
    try:
        changes = compare(_read(two.first), _read(two.second))
    except (ValueError, OSError) as error:
        fail(f"dlcore bench compare: {error}", WRONG_USE)
    rows = [(c.name, c.shape, c.who, f"{c.ratio:.2f}", "yes" if c.agree else "NO") for c in changes]
    agree = sum(change.agree for change in changes)
    share = f"{agree} of {len(changes)} figures ({agree / len(changes):.0%})"
    print_table(
        "the second run's times over the first's",
        ("function", "size", "who", "×", "agree"),
        rows,
        [f"{share} agree within the spread that both state"],
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a file of dlcore bench --json, got {error}") from error
