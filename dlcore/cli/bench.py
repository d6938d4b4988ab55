"""Commands `dlcore bench`, the speed of a device, and `dlcore bench compare`, the agreement of two runs."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dlcore._core.files import check_path
from dlcore.benchmark import Benchmark, bench
from dlcore.benchmark.bench import SUITES
from dlcore.benchmark.compare import best_result, compare, find_crossover, growth_exponent, speedup
from dlcore.benchmark.first_call import first_call_table
from dlcore.benchmark.measurement import Measurement, Result
from dlcore.cli.console import print_table, progress_counter, write_json, write_text
from dlcore.cli.interrupts import WRONG_USE, exit_on_error, fail, require_extra
from dlcore.devices import DeviceName

EXAMPLE = "Example: dlcore bench --only losses. --html bench.html"


@dataclasses.dataclass
class Options:
    """Options of the command."""

    suite: tuple[Literal["math", "gradient", "fit", "sweep", "scale", "first", "all"], ...] = ("math", "gradient")
    """One or several suites; fit, sweep, scale and first are slow and take hours together."""
    devices: tuple[DeviceName, ...] = ("auto",)
    """Devices that dlcore runs on; "auto" is JAX's default device."""
    peers: tuple[Literal["numpy", "torch", "jax", "sklearn", "sklearnex"], ...] = (
        *("numpy", "torch", "jax"),
        *("sklearn", "sklearnex"),
    )
    """Libraries to compare with, if installed. They run on the CPU; plain JAX runs on the devices of dlcore."""
    only: tuple[str, ...] = ()
    """Names of functions, or their beginnings, such as losses. or linalg.solve"""
    quick: bool = False
    """Use small sizes and few rounds, to see that everything runs; the figures mean nothing."""
    largest: bool = False
    """Measure only the largest size of each function."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File for all results."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File for a page with every figure, and pictures of crossovers, roofline and the parts of a call."""


@dataclasses.dataclass
class CompareOptions:
    """Two files written by --json."""

    first: Annotated[Path, tyro.conf.Positional]
    """The baseline."""
    second: Annotated[Path, tyro.conf.Positional]
    """The run to compare with the baseline."""


def run(arguments: Sequence[str]) -> None:
    """Measure and print, or compare two runs."""
    if arguments and arguments[0] == "compare":
        _compare(tyro.cli(CompareOptions, prog="dlcore bench compare", args=list(arguments[1:])))
        return
    options = tyro.cli(
        Options,
        prog="dlcore bench",
        args=list(arguments),
        description=f"Time functions on devices, and other libraries on the CPU; bench compare A B. {EXAMPLE}",
    )
    with exit_on_error(ValueError):
        if options.json is not None:
            check_path("--json", options.json)  # before the work, not after it
        write_page = _page_writer(options.html)
        benchmark = _bench(options)
        if options.json is not None:
            write_json(options.json, benchmark.to_json())
        write_page(benchmark)
    for device in benchmark.devices:
        for suite in dict.fromkeys(cell.suite for cell in benchmark.measurements):
            cells = [cell for cell in benchmark.measurements if cell.suite == suite]
            if suite == "first":
                print_table(f"first, dlcore {device}", *first_call_table(cells, f"dlcore {device}"))
            else:
                _print_suite(suite, cells, f"dlcore {device}")
        print(*_machine_lines(benchmark, device), sep="\n")


def _page_writer(path: Path | None) -> Callable[[Benchmark], None]:
    """Return a function that writes the page; a missing package is reported before the measurements."""
    if path is None:
        return lambda benchmark: None
    check_path("--html", path)
    with require_extra("cli", "--html"):
        from dlcore.benchmark.page.html import to_html  # loads matplotlib
    return lambda benchmark: write_text(path, to_html(benchmark))


def _bench(options: Options) -> Benchmark:
    """Measure, with a progress bar."""
    with progress_counter("bench") as advance:
        return bench(
            tuple(SUITES) if "all" in options.suite else options.suite,
            options.devices,
            options.peers,
            quick=options.quick,
            largest=options.largest,
            only=options.only,
            callback=lambda cell: advance(f"{cell.name} {cell.shape}"),
        )


def _print_suite(suite: str, cells: list[Measurement], device: str) -> None:
    """Print the sizes of each function below its name; a ratio above 1 means that dlcore is faster."""
    libraries = list(dict.fromkeys(t.partition(",")[0] for c in cells for t in c.results if "," in t))
    header = ("function, size", "ms", "compile", "transfer", "share", *(f"× {name}" for name in libraries))
    rows, notes, previous = [], [], ""
    for cell in cells:
        if cell.name != previous:
            previous = cell.name
            rows.append((cell.name, *[""] * (len(header) - 1)))
        ours = cell.results[device]
        rows.append(
            (
                f"  {cell.shape}",
                _milliseconds(ours.median) + "~" * ours.noisy,
                _milliseconds(ours.compile),
                _milliseconds(ours.transfer),
                "wrong" if ours.wrong else f"{ours.roofline_fraction:.0%} {cell.bound_by}",
                *(_ratio(ours, best_result(cell, library)) for library in libraries),
            )
        )
        notes += [
            f"{cell.name} {cell.shape}: {who} {figure.wrong}; not compared"
            for who, figure in cell.results.items()
            if figure.wrong
        ]
    title = f"{suite}, {device}: milliseconds, and how many times longer peers take"
    print_table(title, header, rows, [*notes, *_growth(cells, device, libraries)])


def _ratio(ours: Result, peer: Result | None) -> str:
    """Return the time of a peer over ours; a dash if one of them is wrong, nothing without a peer."""
    if peer is None:
        return ""
    ratio = speedup(ours, peer)
    return "–" if ratio is None else f"{ratio:.2f}" + "~" * (ours.noisy or peer.noisy)


def _growth(cells: list[Measurement], device: str, libraries: Iterable[str]) -> list[str]:
    """Return a line per function: the size from which it is faster than a library, and how its time grows."""
    lines = []
    for name in dict.fromkeys(cell.name for cell in cells):
        sizes = [cell for cell in cells if cell.name == name]
        crossovers = {library: find_crossover(sizes, device, library) for library in libraries}
        faster = [
            f"{library} {'at no size here' if math.isinf(size) else f'from {size:,.0f} on'}"
            for library, size in crossovers.items()
            if size is not None
        ]
        parts = [f"is faster than {', '.join(faster)}"] if faster else []
        exponent = growth_exponent([cell.size for cell in sizes], [cell.results[device].median for cell in sizes])
        if exponent is not None:
            parts.append(f"grows as {sizes[0].size_unit}^{exponent:.2f}")
        if parts:
            lines.append(f"{name} {'; '.join(parts)}")
    return lines


def _machine_lines(benchmark: Benchmark, device: str) -> list[str]:
    """Return lines about the device, the machine and the noise."""
    limits, machine = benchmark.peaks[device], benchmark.machine
    figures = [figure for cell in benchmark.measurements for figure in cell.results.values()]
    pace = [seconds / machine["pace"][0] for seconds in machine["pace"]]
    return [
        f"ceilings: {limits.bandwidth / 1e9:.1f} GB/s, {limits.rate / 1e9:.0f} GFLOP/s, "
        f"{1e6 * limits.latency:.0f} µs a call; share: of the nearer one",
        f"{machine['processor']}, {machine['cores']} cores, jax {machine['packages'].get('jax')}, "
        f"load {machine['load'][0]} before and {machine['load after'][0]} after; one core took "
        f"{min(pace):.2f} to {max(pace):.2f} of its first time for the same work",
        *(f"left out: {reason}" for reason in machine.get("left out", ())),
        f"~ marks what is noisy: {sum(figure.noisy for figure in figures)} of {len(figures)} figures"
        + (", quick: they say nothing" if benchmark.quick else ""),
    ]


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _compare(options: CompareOptions) -> None:
    """Print the ratio of the times of two runs, and whether they agree."""
    try:
        changes = compare(_read(options.first), _read(options.second))
    except (ValueError, OSError) as error:
        fail(f"dlcore bench compare: {error}", WRONG_USE)
    rows = [(c.name, c.shape, c.title, f"{c.ratio:.2f}", "yes" if c.agree else "NO") for c in changes]
    agree = sum(change.agree for change in changes)
    share = f"{agree} of {len(changes)} figures ({agree / len(changes):.0%})"
    print_table(
        "the second run's times over the first's",
        ("function", "size", "who", "×", "agree"),
        rows,
        [f"{share} agree within the spread that both state"],
    )


def _read(path: Path) -> dict[str, object]:
    """Return the JSON document in a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a file of dlcore bench --json, got {error}") from error
