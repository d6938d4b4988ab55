"""Pictures of times: time against size with the crossovers, and the parts of a call of every function."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator

from dlcore.benchmark.compare import comparable_result, find_crossover, libraries_of
from dlcore.benchmark.measurement import Measurement
from dlcore.benchmark.page.style import (
    FONT_SIZE,
    SMALL_FONT_SIZE,
    WIDE,
    Style,
    draw_marker,
    new_panel,
    seconds,
    set_ticks,
)
from dlcore.cli.plots import COLORS, new_figure
from dlcore.cli.report import set_tooltip

LABEL_HEIGHT = 0.085
"""Height of the label of a crossover, as a fraction of the height of the lines below the labels."""

PARTS = {
    "compile": ("compilation", -0.16, Style(COLORS[0], "s")),
    "transfer": ("transfer of the inputs", -0.16, Style(COLORS[1], "^")),
    "first": ("first call", 0.16, Style(COLORS[2], "D")),
    "median": ("warm call", 0.16, Style(COLORS[3], "o")),
}
"""Fields of a result: the text, the vertical offset in a row, and the style."""


def draw_times(measurements: list[Measurement], styles: Mapping[str, Style], titles: Sequence[str]) -> Figure:
    """Draw the time of a warm call against size, with the quartiles and every crossover.

    Args:
      measurements: of one function, in increasing order of size.
      styles: of all implementations to draw.
      titles: dlcore on each device, such as "dlcore cpu", whose crossovers are drawn.
    """
    figure, axes = new_panel(measurements[0].size_unit, "seconds a call")
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    sizes = [measurement.size for measurement in measurements]
    medians = {}
    for name, style in styles.items():
        results = [comparable_result(measurement, name) for measurement in measurements]
        times = np.array([(r.median, *r.quartiles) if r else (math.nan,) * 3 for r in results])
        if np.isnan(times).all():
            continue
        medians[name], low, high = times.T
        axes.plot(sizes, medians[name], color=style.color, linewidth=1.2)
        axes.fill_between(sizes, low, high, color=style.color, alpha=0.18, linewidth=0)
        for measurement, result in zip(measurements, results, strict=True):
            if result:
                tooltip = f"{measurement.shape}, {name}: {seconds(result.median)}"
                point = measurement.size, result.median
                draw_marker(axes, point, style, tooltip, size=4.0, noisy=result.noisy)
    if not medians:
        axes.annotate("not compared", (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=SMALL_FONT_SIZE)
    _draw_crossovers(axes, measurements, medians, titles)
    set_ticks(axes)
    return figure


def _draw_crossovers(
    axes: Axes, measurements: list[Measurement], medians: Mapping[str, np.ndarray], titles: Sequence[str]
) -> None:
    """Draw a ring at each crossover, and a line from it up to a label; each label has a row of its own."""
    crossovers = []
    for title in titles:
        for library in libraries_of(measurements):
            size = find_crossover(measurements, title, library)
            if size is not None and math.isfinite(size) and size > measurements[0].size:
                device = f"{title.removeprefix('dlcore ')}: " * (len(titles) > 1)
                crossovers.append((size, f"{device}{library} {size:,.0f}", medians[title]))
    if not crossovers:
        return
    log_sizes = np.log([measurement.size for measurement in measurements])
    low, high = axes.get_ylim()
    high *= (high / low) ** (LABEL_HEIGHT * len(crossovers))  # room for the labels
    axes.set_ylim(low, high)
    middle = math.sqrt(math.prod(axes.get_xlim()))
    # Labels extend towards the middle. The outermost is on top, so that no line crosses another label.
    crossovers.sort(key=lambda crossover: (crossover[0] < middle, -abs(math.log(crossover[0] / middle))))
    row_height = LABEL_HEIGHT / (1 + LABEL_HEIGHT * len(crossovers))
    for row, (size, label, times) in enumerate(crossovers):
        y = float(np.exp(np.interp(math.log(size), log_sizes, np.log(times))))
        top = low * (high / low) ** (1 - row_height * (row + 0.5))
        is_left = size < middle
        axes.plot([size, size], [y, top], color="black", linewidth=0.7, linestyle=(0, (2, 2)))
        ring = axes.plot([size], [y], "o", color="black", markerfacecolor="none", markersize=7, zorder=4)[0]
        set_tooltip(ring, f"crossover, {label}")
        axes.annotate(
            label,
            (size, top),
            xytext=(3 if is_left else -3, 0),
            textcoords="offset points",
            ha="left" if is_left else "right",
            va="center",
            fontsize=SMALL_FONT_SIZE - 0.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )


def draw_parts(measurements: Sequence[Measurement], title: str) -> Figure:
    """Draw the seconds of each part of a call, one row for each function.

    Compilation and transfer are above the line of a row, the first and a warm call below it.
    """
    figure = new_figure(WIDE, 1.2 + 0.34 * len(measurements))
    axes = figure.subplots()
    for row, measurement in enumerate(measurements):
        axes.axhline(row, color="0.5", linewidth=0.6, alpha=0.35)
        result = comparable_result(measurement, title)
        if result is None:
            position = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": SMALL_FONT_SIZE}
            axes.annotate("not compared", (0.01, row), **position)
            continue
        for field, (part, offset, style) in PARTS.items():
            if value := getattr(result, field):
                tooltip = f"{measurement.name}, {measurement.shape}, {title}: {part} {seconds(value)}"
                noisy = result.noisy and field == "median"
                draw_marker(axes, (value, row + offset), style, tooltip, size=6.0, noisy=noisy)
    names = [f"{measurement.name}  ({measurement.shape})" for measurement in measurements]
    axes.set_yticks(range(len(measurements)), names, fontsize=FONT_SIZE)
    axes.set(xscale="log", ylim=(len(measurements) - 0.4, -0.6), xlabel="seconds, on a logarithmic scale")
    axes.xaxis.set_major_formatter(EngFormatter("s"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    names, _, part_styles = zip(*PARTS.values(), strict=True)
    markers = [style.line() for style in part_styles]
    for marker in markers:
        marker.set(linestyle="none")
    figure.legend(markers, names, loc="outside upper left", ncols=len(names), frameon=False, fontsize=FONT_SIZE)
    return figure
