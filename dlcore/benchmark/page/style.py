"""How contestants look in every picture of a benchmark, and axes, marks and units that the pictures share."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from dlcore.benchmark.compare import best_of
from dlcore.benchmark.measurement import Cell, Figure
from dlcore.cli.plots import COLORS, new_figure
from dlcore.cli.report import tell

MARKERS = ("o", "s", "^", "D", "v", "P")
WIDE, PANEL = 10.5, (3.4, 2.6)
"""Inches: the width of a picture that stands alone, and both sides of one that has others beside it."""
SMALL = 8.0
"""Points of the letters in a picture that has others beside it."""


class Look(NamedTuple):
    """How one contestant is drawn."""

    color: str
    marker: str


def looks_of(cells: Sequence[Cell]) -> dict[str, Look]:
    """Of dlcore on each device, then of each library; after six, colours begin again with other marks."""
    titles = list(dict.fromkeys(title for cell in cells for title in cell.figures))
    names = [title for title in titles if "," not in title] + libraries_of(cells)
    return {name: Look(COLORS[k % 6], MARKERS[(k + k // 6) % 6]) for k, name in enumerate(names)}


def libraries_of(cells: Sequence[Cell]) -> list[str]:
    """Names of the peers."""
    return list(dict.fromkeys(title.partition(",")[0] for c in cells for title in c.figures if "," in title))


def figure_of(cell: Cell, who: str) -> Figure | None:
    """What dlcore did on a device, or a library at its best; None where it was not measured or is wrong."""
    one = cell.figures.get(who) or best_of(cell, who)
    return None if one is None or one.wrong else one


def draw_key(looks: Mapping[str, Look], lines: Mapping[str, Line2D] | None = None) -> Picture:
    """What the colours and marks of other pictures mean, and what lines in them do."""
    entries = {name: Line2D([], [], **face(look)) for name, look in looks.items()}
    entries |= {**(lines or {}), "hollow: noisy": Line2D([], [], **face(Look("0.5", "o"), noisy=True))}
    columns = min(len(entries), 3 if lines else 6)
    figure = new_figure(WIDE, 0.1 + 0.25 * math.ceil(len(entries) / columns))
    figure.legend(entries.values(), entries, loc="center left", ncols=columns, frameon=False, fontsize=9)
    return figure


def new_panel(x: str, y: str) -> tuple[Picture, Any]:
    """A small picture and its axes."""
    figure = new_figure(*PANEL)
    return figure, logarithmic(figure.subplots(), x, y, SMALL)


def logarithmic(axes: Any, x: str, y: str, points: float) -> Any:
    """Axes with both scales logarithmic, what they show, and letters of so many points."""
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel(x, fontsize=points)
    axes.set_ylabel(y, fontsize=points)
    axes.tick_params(labelsize=points)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter())
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def set_ticks(axes: Any) -> None:
    """A few on each logarithmic axis, however short it is; once all is drawn."""
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        decades = math.log10(high / low)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.4 else (1, 3) if decades < 2.6 else (1,)))
        axis.set_minor_locator(NullLocator())


def mark(axes: Any, point: tuple[float, float], look: Look, size: float, one: Figure, said: str) -> Line2D:
    """A point, hollow where the figure is noisy, and what the pointer shows there."""
    drawn = axes.plot(*([value] for value in point), **face(look, one.noisy), markersize=size, zorder=3)[0]
    tell(drawn, said + " (noisy)" * one.noisy)
    return drawn


def face(look: Look, noisy: bool = False) -> dict[str, Any]:
    """A look in matplotlib's words."""
    return {"color": look.color, "marker": look.marker, "markerfacecolor": "white" if noisy else look.color}


def seconds(value: float) -> str:
    """A time: "1.23 ms"."""
    return quantity(value, "s")


def quantity(value: float, unit: str) -> str:
    """In three digits, with the prefix of the unit."""
    power = math.floor(math.log10(float(f"{value:.2e}"))) if value > 0 else 0
    return EngFormatter(unit, places=2 - power % 3)(value)


def sentence(parts: Iterable[str]) -> str:
    """Names in a row: "a, b and c"."""
    *first, last = [*parts] or [""]
    return f"{', '.join(first)} and {last}" if first else last
