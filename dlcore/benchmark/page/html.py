"""A benchmark as a page: who wins from which size on, how near the roof, where the time goes, every figure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlcore.benchmark.bench import Benchmark
from dlcore.benchmark.compare import best_of, crossover_of, gain
from dlcore.benchmark.measurement import Cell, Figure
from dlcore.benchmark.page.roofline import counted, draw_names, draw_roof, roof_line, window_of
from dlcore.benchmark.page.style import (
    draw_key,
    figure_of,
    libraries_of,
    looks_of,
    quantity,
    seconds,
    sentence,
)
from dlcore.benchmark.page.times import draw_parts, draw_times
from dlcore.cli.report import Html, bullets, facts, fold, grid, heading, page, paragraph, picture, table

Functions = Mapping[str, list[Cell]]
"""The cells of each function, from the smallest size."""


def to_html(found: Benchmark) -> str:
    """The page."""
    functions: dict[str, list[Cell]] = {}
    for cell in found.cells:
        functions.setdefault(cell.name, []).append(cell)
    for group in functions.values():
        group.sort(key=lambda cell: cell.size)
    devices = [f"dlcore {name}" for name in found.devices]
    sections = {
        "Where dlcore starts to win": _wins(functions, devices),
        "Roofline": _roofs(found, functions),
        "Where the time goes": _parts(functions, devices),
        "What is not compared": _left_out(found.cells),
        "Every figure": _figures(functions),
        "The machine": _machine(found.machine),
    }
    return page("dlcore: what a device gains", _lead(found, functions), sections)


def _lead(found: Benchmark, functions: Functions) -> Iterator[Html]:
    """Where it ran, how much was measured, and how far it can be trusted."""
    figures = [one for cell in found.cells for one in cell.figures.values()]
    noisy, wrong = sum(one.noisy for one in figures), sum(bool(one.wrong) for one in figures)
    libraries = libraries_of(found.cells)
    kinds = [str(device["kind"]) for device in found.machine["devices"].values()]
    where = ", ".join(dict.fromkeys([found.machine["processor"], *(kind for kind in kinds if kind != "cpu")]))
    if found.quick:
        yield paragraph("A quick run: sizes and rounds are too few, its figures say nothing.", warning=True)
    yield paragraph(
        f"{len(functions)} functions of dlcore at growing sizes, on {where}"
        + f"{', beside ' * bool(libraries)}{sentence(libraries)}. "
        "Calls are timed in turn and in one process, synchronised; a time is the median of warm calls."
    )
    yield paragraph(
        f"{len(figures)} figures: {noisy} noisy, marked ~ and drawn hollow; "
        f"{wrong} wrong, not compared and not drawn."
    )
    rows = [
        (device, quantity(limits.bandwidth, "B/s"), quantity(limits.rate, "op/s"), seconds(limits.latency))
        for device, limits in found.ceilings.items()
    ]
    header = ("device", "memory read", "float32 products", "a call")
    yield table("Ceilings, measured in the same run", header, rows)


def _wins(functions: Functions, devices: Sequence[str]) -> Iterator[Html]:
    cells = [cell for group in functions.values() for cell in group]
    libraries, looks = libraries_of(cells), looks_of(cells)
    yield paragraph(
        "A crossover is the size from which on dlcore is faster, up to the largest; between two sizes it is read "
        "off a straight line on logarithmic scales. Where a figure is wrong none is told. A library counts with "
        "its faster figure, on all threads or on one."
    )
    header = ("function", "largest size", "warm call", "of its ceiling")
    header += (*(f"{name} takes ×" for name in libraries), *(f"faster than {name}" for name in libraries))
    for device in devices:
        rows = [_row(group, device, libraries) for group in functions.values() if device in group[-1].figures]
        yield table(f"{device} at the largest size, and where it starts to win", header, rows, (0, 1))
    yield picture(draw_key(looks), "Key of the pictures that follow: the colour and mark of everybody.")
    yield grid(
        picture(
            draw_times(group, looks, devices),
            f"Seconds of a warm call of {name} against size, {_sizes(group)}. {said}",
            name,
            f"{_sizes(group)}. {said}",
        )
        for name, group in functions.items()
        for said in [_crossings(group, devices, libraries)]
    )


def _row(group: list[Cell], device: str, libraries: Sequence[str]) -> tuple[str, ...]:
    """Of one function and device in the table of who wins."""
    last = group[-1]
    ours = last.figures[device]
    ratios = [_ratio(ours, best_of(last, name)) for name in libraries]
    return (
        last.name,
        last.shape,
        _time(ours, ours.median),
        "wrong" if ours.wrong else _percent(ours.share),
        *ratios,
        *(_from(group, device, name) for name in libraries),
    )


def _ratio(ours: Figure, theirs: Figure | None) -> str:
    found = None if theirs is None else gain(ours, theirs)
    if theirs is None or found is None:
        return "–"
    return "~ " * (ours.noisy or theirs.noisy) + (f"{found:.2f}" if found >= 0.1 else f"{found:.2g}")


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{100 * share:.1g}%"


def _from(group: list[Cell], device: str, library: str) -> str:
    """The crossover in words, marked where a figure beside it is noisy."""
    at = crossover_of(group, device, library)
    if at is None:
        return "–"
    beside = [max((cell for cell in group if cell.size <= at), key=lambda cell: cell.size)]
    beside += [cell for cell in group if cell.size >= at][:1]
    noisy = any(one.noisy for cell in beside for who in (device, library) if (one := figure_of(cell, who)))
    mark = "~ " * noisy
    return f"{mark}at no size here" if math.isinf(at) else f"from {mark}{at:,.0f}"


def _crossings(group: list[Cell], devices: Sequence[str], libraries: Sequence[str]) -> str:
    """Every crossover of a function, in a sentence for each device."""
    said = []
    for device in devices:
        known = [f"{name} {found}" for name in libraries if (found := _from(group, device, name)) != "–"]
        if known:
            said.append(f"{device} is faster than {', '.join(known)}.")
    return " ".join(said)


def _sizes(group: list[Cell]) -> str:
    return group[0].shape if len(group) == 1 else f"{group[0].shape} to {group[-1].shape}"


def _roofs(found: Benchmark, functions: Functions) -> Iterator[Html]:
    looks = looks_of(found.cells)
    ceilings = {name: found.ceilings[name] for name in found.devices}
    drawn = {name: cells for name, group in functions.items() if (cells := counted(group))}
    if not drawn:
        yield paragraph("No work here has operations to count.")
        return
    yield paragraph(
        "The roof is a prediction: the least of the two ceilings, the measured rate of products and the measured "
        "bandwidth times the operations a byte. Operations and bytes are predictions too, counted from the "
        "algorithm: what it cannot do without. The time is measured. A mark above the slope found its inputs in a "
        "cache; one far below the roof at a small size pays for the call. Names are in the order of speed."
    )
    roofs = {}
    for name, limits in ceilings.items():
        measured = f"{quantity(limits.bandwidth, 'B/s')} and {quantity(limits.rate, 'op/s')}"
        roofs[f"roof of {name}, predicted from {measured}"] = roof_line(looks[f"dlcore {name}"])
    yield picture(
        draw_key({f"dlcore {name}": looks[f"dlcore {name}"] for name in ceilings}, roofs),
        "Key of the pictures of roofs: the colour, mark and roof of each device.",
    )
    largest = [group[-1] for group in drawn.values()]
    for name, limits in ceilings.items():
        yield picture(
            draw_names(largest, looks[f"dlcore {name}"], name, limits),
            f"Operations a second of each function at its largest size against operations a byte, on {name}.",
            f"dlcore {name}, each function at its largest size",
        )
    yield heading("Each function at all sizes")
    yield paragraph("Larger marks are larger sizes; those of several devices stand side by side.")
    window = window_of([cell for group in drawn.values() for cell in group], ceilings)
    yield grid(
        picture(
            draw_roof(group, looks, ceilings, window),
            f"Operations a second of {name} against operations a byte, under the roof of each device. {said}",
            name,
            said,
        )
        for name, group in drawn.items()
        for said in [_reached(group[-1], list(ceilings))]
    )


def _reached(last: Cell, devices: Sequence[str]) -> str:
    """How much of its ceiling each device reaches at the largest size."""
    figures = [(name, one) for name in devices if (one := last.figures.get(f"dlcore {name}")) is not None]
    said = [f"{device} {'not compared' if one.wrong else _percent(one.share)}" for device, one in figures]
    return f"Of its ceiling at {last.shape}: {', '.join(said)}."


def _parts(functions: Functions, devices: Sequence[str]) -> Iterator[Html]:
    yield paragraph(
        "Each function at its largest size. Compilation and transfer come once, and stand above the line; a first "
        "call, which compiles too, and a warm one stand below it."
    )
    for device in devices:
        largest = [group[-1] for group in functions.values() if device in group[-1].figures]
        yield picture(
            draw_parts(largest, device),
            f"Seconds of compilation, transfer, first call and warm call of each function, {device}.",
            device,
        )


def _left_out(cells: Sequence[Cell]) -> Iterator[Html]:
    lines = [
        f"{cell.name}, {cell.shape}: {who} {one.wrong}"
        for cell in cells
        for who, one in cell.figures.items()
        if one.wrong
    ]
    yield paragraph(
        "A figure that is wrong takes part in no ratio, no crossover and no picture. These are:"
        if lines
        else "Nothing: no figure is wrong."
    )
    yield bullets(lines)


HEADER = (
    "size",
    "who",
    "warm call",
    "quartiles",
    "rounds",
    "compilation",
    "transfer",
    "first call",
    "of its ceiling",
    "error",
    "remarks",
)


def _figures(functions: Functions) -> Iterator[Html]:
    yield paragraph(
        "Errors are the largest of the answer, relative to its largest number, against float64. A ceiling is the "
        "nearer one of the device: memory, products or, for dlcore, the call. Cached: the inputs are so small "
        "that they may stay in the processor's cache from call to call."
    )
    for name, group in functions.items():
        rows = [_figure_row(cell, who, one) for cell in group for who, one in cell.figures.items()]
        yield fold(
            f"{name}: {_sizes(group)}, {len(rows)} figures",
            [table(f"{name}, every figure", HEADER, rows, (0, 1, len(HEADER) - 1))],
        )


def _figure_row(cell: Cell, who: str, one: Figure) -> tuple[str, ...]:
    remarks = [f"wrong: {one.wrong}"] * bool(one.wrong) + ["noisy"] * one.noisy
    remarks += ["cached"] * (not cell.fresh)
    return (
        cell.shape,
        who,
        _time(one, one.median),
        f"{seconds(one.quartiles[0])} – {seconds(one.quartiles[1])}",
        str(one.rounds),
        "" if one.compile is None else seconds(one.compile),
        "" if one.transfer is None else seconds(one.transfer),
        seconds(one.first),
        _percent(one.share),
        f"{one.error:.1e}",
        "; ".join(remarks),
    )


def _time(one: Figure, value: float) -> str:
    return "~ " * one.noisy + seconds(value)


def _machine(machine: Mapping[str, Any]) -> Iterator[Html]:
    """All that was recorded, a line each."""
    devices = {
        name: ", ".join(dict.fromkeys([device["kind"], device["version"]]))
        for name, device in machine["devices"].items()
    }
    yield facts({name: _told(value) for name, value in {**machine, "devices": devices}.items()})


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
