"""Pictures of time: a call against the size with the crossovers, and the parts of a call of many functions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullLocator

from dlcore.benchmark.compare import crossover_of
from dlcore.benchmark.measurement import Cell
from dlcore.benchmark.page.style import (
    SMALL,
    WIDE,
    Look,
    face,
    figure_of,
    libraries_of,
    mark,
    new_panel,
    seconds,
    set_ticks,
)
from dlcore.cli.plots import COLORS, new_figure
from dlcore.cli.report import tell

ROW = 0.085
"""Height of the number of a crossover, relative to what is drawn below the numbers."""

PARTS = {
    "compile": ("compilation", -0.16, Look(COLORS[0], "s")),
    "transfer": ("transfer of the inputs", -0.16, Look(COLORS[1], "^")),
    "first": ("first call", 0.16, Look(COLORS[2], "D")),
    "median": ("warm call", 0.16, Look(COLORS[3], "o")),
}
"""Fields of a figure: in words, above or below the line of a row, and how they are drawn."""


def draw_times(cells: list[Cell], looks: Mapping[str, Look], devices: Sequence[str]) -> Picture:
    """Seconds of a warm call against size with the quartiles, and each crossover marked.

    Args:
      cells: of one function, from the smallest size.
      looks: who is drawn.
      devices: "dlcore cpu" and such, whose crossovers are marked.
    """
    figure, axes = new_panel(cells[0].along, "seconds a call")
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    sizes = [cell.size for cell in cells]
    lines = {}
    for who, look in looks.items():
        found = [figure_of(cell, who) for cell in cells]
        spread = np.array([(math.nan,) * 3 if one is None else (one.median, *one.quartiles) for one in found])
        if np.isnan(spread).all():
            continue
        lines[who] = spread[:, 0]
        axes.plot(sizes, spread[:, 0], color=look.color, linewidth=1.2)
        axes.fill_between(sizes, spread[:, 1], spread[:, 2], color=look.color, alpha=0.18, linewidth=0)
        for cell, one in zip(cells, found, strict=True):
            if one is not None:
                said = f"{cell.shape}, {who}: {seconds(one.median)}"
                mark(axes, (cell.size, one.median), look, 4.0, one, said)
    if not lines:
        axes.annotate("not compared", (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=SMALL)
    _mark_crossings(axes, cells, lines, devices)
    set_ticks(axes)
    return figure


def _mark_crossings(axes: Any, cells: list[Cell], lines: Mapping[str, np.ndarray], devices: Sequence[str]) -> None:
    """A ring where two lines cross for good, and a line up to its number; each number in a row of its own."""
    found = []
    for device in devices:
        for library in libraries_of(cells):
            at = crossover_of(cells, device, library)
            if at is not None and math.isfinite(at) and at > cells[0].size:
                name = f"{device.removeprefix('dlcore ')}: " * (len(devices) > 1) + f"{library} {at:,.0f}"
                found.append((at, name, lines[device]))
    if not found:
        return
    sizes = np.log([cell.size for cell in cells])
    low, high = axes.get_ylim()
    high *= (high / low) ** (ROW * len(found))  # room for the numbers
    axes.set_ylim(low, high)
    middle = math.sqrt(math.prod(axes.get_xlim()))
    # Numbers stand towards the middle of their lines: the outermost on top, no line passes through another's.
    found.sort(key=lambda one: (one[0] < middle, -abs(math.log(one[0] / middle))))
    for row, (at, name, line) in enumerate(found):
        y = float(np.exp(np.interp(math.log(at), sizes, np.log(line))))
        top = low * (high / low) ** (1 - ROW / (1 + ROW * len(found)) * (row + 0.5))
        axes.plot([at, at], [y, top], color="black", linewidth=0.7, linestyle=(0, (2, 2)))
        ring = axes.plot([at], [y], "o", color="black", markerfacecolor="none", markersize=7, zorder=4)[0]
        tell(ring, f"crossover, {name}")
        axes.annotate(
            name,
            (at, top),
            xytext=(3 if at < middle else -3, 0),
            textcoords="offset points",
            ha="left" if at < middle else "right",
            va="center",
            fontsize=SMALL - 0.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )


def draw_parts(cells: Sequence[Cell], who: str) -> Picture:
    """Seconds of each part on one logarithmic scale: in each row what comes once above, and the calls below."""
    figure = new_figure(WIDE, 1.2 + 0.34 * len(cells))
    axes = figure.subplots()
    for row, cell in enumerate(cells):
        axes.axhline(row, color="0.5", linewidth=0.6, alpha=0.35)
        one = figure_of(cell, who)
        if one is None:
            place = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": SMALL}
            axes.annotate("not compared", (0.01, row), **place)
            continue
        for part, (name, lane, look) in PARTS.items():
            if value := getattr(one, part):
                noisy = one.noisy and part == "median"
                drawn = axes.plot([value], [row + lane], linestyle="none", **face(look, noisy), markersize=6)[0]
                tell(drawn, f"{cell.name}, {cell.shape}, {who}: {name} {seconds(value)}{' (noisy)' * noisy}")
    axes.set_yticks(range(len(cells)), [f"{cell.name}  ({cell.shape})" for cell in cells], fontsize=9)
    axes.set(xscale="log", ylim=(len(cells) - 0.4, -0.6), xlabel="seconds, on a logarithmic scale")
    axes.xaxis.set_major_formatter(EngFormatter("s"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    marks = [Line2D([], [], linestyle="none", **face(look), markersize=6) for _, _, look in PARTS.values()]
    names = [name for name, _, _ in PARTS.values()]
    figure.legend(marks, names, loc="outside upper left", ncols=len(marks), frameon=False, fontsize=9)
    return figure
