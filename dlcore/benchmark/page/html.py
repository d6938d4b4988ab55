"""HTML page of a benchmark: speedups and crossovers, rooflines, the parts of a call, and every result.

The template `page.html.jinja` holds the text and the tables. This file computes what they show.
"""

import math
from collections.abc import Mapping, Sequence

import jinja2
from matplotlib.figure import Figure

from dlcore._core.html import drop_control_characters, html_page
from dlcore.benchmark.bench import Benchmark
from dlcore.benchmark.compare import best_result, comparable_result, find_crossover, libraries_of, speedup
from dlcore.benchmark.first_call import first_call_table
from dlcore.benchmark.hardware import Machine
from dlcore.benchmark.measurement import Measurement, Result
from dlcore.benchmark.page.roofline import draw_all_functions, draw_roofline, has_counts, roofline, window_of
from dlcore.benchmark.page.style import Style, draw_key, quantity, seconds, styles_of
from dlcore.benchmark.page.times import draw_parts, draw_times
from dlcore.benchmark.roofline_peaks import RooflinePeaks
from dlcore.cli.report import STYLE, picture

TITLE = "dlcore: what a device gains"


def to_html(run: Benchmark) -> str:
    """Return the page of a run."""
    functions: dict[str, list[Measurement]] = {}
    for measurement in run.measurements:
        functions.setdefault(measurement.name, []).append(measurement)
    for group in functions.values():
        group.sort(key=lambda measurement: measurement.size)
    counted = {name: [*filter(has_counts, group)] for name, group in functions.items()}
    libraries = libraries_of(run.measurements)
    peaks = {name: run.peaks[name] for name in run.devices}
    body = ENVIRONMENT.get_template("page.html.jinja").render(
        title=TITLE,
        run=run,
        hardware=_hardware(run.machine),
        functions=functions,
        counted={name: group for name, group in counted.items() if group},
        peaks=peaks,
        window=window_of([measurement for group in counted.values() for measurement in group], peaks),
        styles=styles_of(run.measurements),
        dlcore_titles=[f"dlcore {name}" for name in run.devices],
        libraries=libraries,
        library_columns=[f"{name} takes ×" for name in libraries] + [f"faster than {name}" for name in libraries],
        first_calls={
            title: first_call_table(first, title)
            for title in (f"dlcore {name}" for name in run.devices)
            if (first := [measurement for measurement in run.measurements if measurement.suite == "first"])
        },
        facts=_facts(run.machine),
        results=[(m, title, result) for m in run.measurements for title, result in m.results.items()],
    )
    return html_page(TITLE, STYLE, body)


def _hardware(machine: Machine) -> str:
    """Return the processor and the accelerators as text."""
    kinds = [device["kind"] for device in machine["devices"].values() if device["kind"] != "cpu"]
    return ", ".join(dict.fromkeys([machine["processor"], *kinds]))


def draw_rooflines_key(styles: Mapping[str, Style], peaks: Mapping[str, RooflinePeaks]) -> Figure:
    """Draw the key to the rooflines of all devices."""
    device_styles = {f"dlcore {name}": styles[f"dlcore {name}"] for name in peaks}
    lines = {}
    for (name, device_peaks), style in zip(peaks.items(), device_styles.values(), strict=True):
        measured = f"{quantity(device_peaks.bandwidth, 'B/s')} and {quantity(device_peaks.rate, 'op/s')}"
        lines[f"roof of {name}, predicted from {measured}"] = roofline(style)
    return draw_key(device_styles, lines)


def sizes_text(group: Sequence[Measurement]) -> str:
    """Return the smallest and the largest size as text."""
    return group[0].shape if len(group) == 1 else f"{group[0].shape} to {group[-1].shape}"


def time_text(result: Result) -> str:
    """Return the time of a warm call as text, marked if it is noisy."""
    return "~ " * result.noisy + seconds(result.median)


def percent(fraction: float) -> str:
    """Return a fraction as text, with one significant digit below 1 %."""
    return f"{fraction:.0%}" if fraction >= 0.01 else f"{100 * fraction:.1g}%"


def speedup_text(measurement: Measurement, title: str, library: str) -> str:
    """Return how many times longer a library takes, marked if one of the results is noisy."""
    result, baseline = measurement.results[title], best_result(measurement, library)
    ratio = speedup(result, baseline) if baseline else None
    if baseline is None or ratio is None:
        return "–"
    return "~ " * (result.noisy or baseline.noisy) + (f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}")


def crossover_text(group: list[Measurement], title: str, library: str) -> str:
    """Return the crossover, marked if a result at a neighbouring size is noisy."""
    size = find_crossover(group, title, library)
    if size is None:
        return "–"
    neighbours = [m for m in group if m.size <= size][-1:] + [m for m in group if m.size >= size][:1]
    results = [comparable_result(m, name) for m in neighbours for name in (title, library)]
    noisy = "~ " * any(result.noisy for result in results if result)
    return f"{noisy}at no size here" if math.isinf(size) else f"from {noisy}{size:,.0f}"


def crossovers_text(group: list[Measurement], titles: Sequence[str], libraries: Sequence[str]) -> str:
    """Return the crossovers of a function, one sentence for each device."""
    sentences = []
    for title in titles:
        crossovers = [(library, crossover_text(group, title, library)) for library in libraries]
        parts = [f"{library} {crossover}" for library, crossover in crossovers if crossover != "–"]
        if parts:
            sentences.append(f"{title} is faster than {', '.join(parts)}.")
    return " ".join(sentences)


def peak_fractions_text(measurement: Measurement, devices: Sequence[str]) -> str:
    """Return the fraction of the peak that dlcore reaches on each device."""
    fractions = [
        f"{device} {'not compared' if result.wrong else percent(result.roofline_fraction)}"
        for device in devices
        if (result := measurement.results.get(f"dlcore {device}"))
    ]
    return f"Fraction of the peak at {measurement.shape}: {', '.join(fractions)}."


def remarks(measurement: Measurement, result: Result) -> str:
    """Return the remarks on a result: the reason why it is wrong, whether it is noisy or cached."""
    wrong = [f"wrong: {result.wrong}"] * bool(result.wrong)
    return "; ".join(wrong + ["noisy"] * result.noisy + ["cached"] * (not measurement.from_memory))


def _facts(machine: Machine) -> dict[str, str]:
    """Return the description of the machine as text."""
    devices = [
        f"{name} {', '.join(dict.fromkeys([device['kind'], device['version']]))}"
        for name, device in machine["devices"].items()
    ]
    packages = [f"{name} {version}" for name, version in machine["packages"].items()]
    facts = {**machine, "devices": "; ".join(devices), "packages": "; ".join(packages)}
    if not facts.get("left out"):
        facts.pop("left out", None)
    return {name: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in facts.items()}


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("dlcore.benchmark.page", ""),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # Escaping leaves characters that HTML does not allow.
    finalize=lambda value: value if hasattr(value, "__html__") else drop_control_characters(str(value)),
)
FUNCTIONS = (
    *(draw_all_functions, draw_key, draw_parts, draw_roofline, draw_rooflines_key, draw_times, picture, quantity),
    *(seconds, percent, time_text, sizes_text, speedup_text, crossover_text, crossovers_text),
    *(peak_fractions_text, remarks),
)
"""Functions that the template calls by their names."""
ENVIRONMENT.globals |= {function.__name__: function for function in FUNCTIONS}
