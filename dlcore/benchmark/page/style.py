"""Styles of implementations, and the axes, markers and units that all pictures of a benchmark share."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from dlcore.benchmark.compare import libraries_of
from dlcore.benchmark.measurement import Measurement
from dlcore.cli.plots import COLORS, new_figure
from dlcore.cli.report import set_tooltip

MARKERS = ("o", "s", "^", "D", "v", "P")
WIDE, PANEL = 10.5, (3.4, 2.6)
"""Inches: the width of a single picture, and the width and height of a picture in a grid."""
FONT_SIZE, SMALL_FONT_SIZE = 9.0, 8.0
"""Points, in a single picture and in a picture in a grid."""


class Style(NamedTuple):
    """Style of the markers of one implementation."""

    color: str
    marker: str

    def line(self, x: Sequence[float] = (), y: Sequence[float] = (), *, noisy: bool = False) -> Line2D:
        """Return a line with markers, hollow if the result is noisy; without points it is for a legend."""
        face = "white" if noisy else self.color
        return Line2D(x, y, color=self.color, marker=self.marker, markerfacecolor=face)


def styles_of(measurements: Sequence[Measurement]) -> dict[str, Style]:
    """Return a style for dlcore on each device and for each library.

    After six styles, the colours repeat with different markers.
    """
    titles = dict.fromkeys(title for measurement in measurements for title in measurement.results)
    names = [title for title in titles if "," not in title] + libraries_of(measurements)
    return {name: Style(COLORS[k % 6], MARKERS[(k + k // 6) % 6]) for k, name in enumerate(names)}


def draw_key(styles: Mapping[str, Style], lines: Mapping[str, Line2D] | None = None) -> Figure:
    """Draw the key to the styles and lines of other pictures."""
    entries = {name: style.line() for name, style in styles.items()}
    entries |= {**(lines or {}), "hollow: noisy": Style("0.5", "o").line(noisy=True)}
    columns = min(len(entries), 3 if lines else 6)
    figure = new_figure(WIDE, 0.1 + 0.25 * math.ceil(len(entries) / columns))
    figure.legend(
        list(entries.values()), list(entries), loc="center left", ncols=columns, frameon=False, fontsize=9
    )
    return figure


def new_panel(x: str, y: str) -> tuple[Figure, Axes]:
    """Return a picture for a grid, and its logarithmic axes."""
    figure = new_figure(*PANEL)
    return figure, log_axes(figure, x, y, SMALL_FONT_SIZE)


def log_axes(figure: Figure, x: str, y: str, font_size: float) -> Axes:
    """Add axes with logarithmic scales and labels to a figure."""
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel(x, fontsize=font_size)
    axes.set_ylabel(y, fontsize=font_size)
    axes.tick_params(labelsize=font_size)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter())
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def set_ticks(axes: Axes) -> None:
    """Set a few ticks on each logarithmic axis, however short it is, after everything is drawn."""
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        decades = math.log10(high / low)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.4 else (1, 3) if decades < 2.6 else (1,)))
        axis.set_minor_locator(NullLocator())


def draw_marker(
    axes: Axes, point: tuple[float, float], style: Style, tooltip: str, *, size: float, noisy: bool
) -> Line2D:
    """Draw a marker with a tooltip, hollow if the result is noisy."""
    marker = style.line(*([value] for value in point), noisy=noisy)
    marker.set(linestyle="none", markersize=size, zorder=3)
    set_tooltip(marker, tooltip + " (noisy)" * noisy)
    axes.add_line(marker)
    axes.autoscale_view()
    return marker


def seconds(value: float) -> str:
    """Return a time as text, such as "1.23 ms"."""
    return quantity(value, "s")


def quantity(value: float, unit: str) -> str:
    """Return a number as text, with three digits and the prefix of the unit."""
    exponent = math.floor(math.log10(float(f"{value:.2e}"))) if value > 0 else 0
    return EngFormatter(unit, places=2 - exponent % 3)(value)
