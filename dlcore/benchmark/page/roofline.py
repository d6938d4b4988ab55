"""Pictures of the roof: how fast cells are against how much they compute a byte, under what the machine allows.

The roof is predicted: the least of the measured rate of products and of the measured bandwidth times the
operations a byte (Williams, Waterman and Patterson, Roofline, 2009). Both are counted from the algorithm.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

from dlcore.benchmark.measurement import Cell, Figure
from dlcore.benchmark.page.style import (
    WIDE,
    Look,
    figure_of,
    logarithmic,
    mark,
    new_panel,
    quantity,
    set_ticks,
)
from dlcore.benchmark.roofline_peaks import Ceilings
from dlcore.cli.plots import new_figure

AXES = ("operations a byte, counted from the algorithm", "operations a second")
ASIDE = 6.0
"""Points between the marks of two devices, which would cover each other."""
LARGE = 9.0
"""Points of the letters in a picture that stands alone."""


def roof_line(look: Look) -> Line2D:
    """How a roof is drawn: a dashed line."""
    return Line2D([], [], color=look.color, linewidth=1.8, linestyle=(0, (5, 2)), alpha=0.7)


def counted(cells: Sequence[Cell]) -> list[Cell]:
    """Those of which the work is counted: the others have no place under a roof."""
    return [cell for cell in cells if 0 < cell.operations < math.inf and 0 < cell.traffic < math.inf]


def draw_roof(
    cells: Sequence[Cell],
    looks: Mapping[str, Look],
    ceilings: Mapping[str, Ceilings],
    window: tuple[float, float, float, float],
) -> Picture:
    """The sizes of one function, larger marks for larger ones, on each device.

    Args:
      cells: from the smallest size, their work counted.
      looks: of all contestants; those of dlcore are drawn.
      ceilings: of the devices that dlcore ran on.
      window: the ends of both axes, the same for all that is compared.
    """
    figure, axes = new_panel(*AXES)
    _set_window(axes, window)
    for place, (device, limits) in enumerate(ceilings.items()):
        look = looks[f"dlcore {device}"]
        _add_roof(axes, look, limits)
        found = _measured(cells, device)
        points = [_place(cell, one) for cell, one in found]
        points_aside = ASIDE * (place - (len(ceilings) - 1) / 2)
        aside = axes.transData + ScaledTranslation(points_aside / 72, 0, figure.dpi_scale_trans)
        if points:
            axes.plot(*zip(*points, strict=True), color=look.color, linewidth=0.8, transform=aside)
        for (cell, one), point, size in zip(found, points, np.linspace(2.5, 6.5, len(points)), strict=True):
            said = f"{cell.shape}, dlcore {device}: {_told(point, one)}"
            mark(axes, point, look, float(size), one, said).set_transform(aside)
    set_ticks(axes)
    return figure


def draw_names(cells: Sequence[Cell], look: Look, device: str, limits: Ceilings) -> Picture:
    """One size of many functions on one device, their names beside the roof in the order of their speed."""
    figure = new_figure(WIDE, max(4.5, 1.0 + 0.24 * len(cells)))
    axes = logarithmic(figure.subplots(), *AXES, LARGE)
    _set_window(axes, window_of(cells, {device: limits}))
    _add_roof(axes, look, limits)
    found = sorted(_measured(cells, device), key=lambda pair: _place(*pair)[1])
    for row, (cell, one) in enumerate(found):
        point = _place(cell, one)
        mark(axes, point, look, 7.0, one, f"{cell.name}, {cell.shape}, dlcore {device}: {_told(point, one)}")
        axes.annotate(
            f"{cell.name}  ({cell.shape})",
            point,
            xytext=(1.08, (row + 0.5) / len(found)),
            textcoords="axes fraction",
            va="center",
            fontsize=LARGE,
            arrowprops={"arrowstyle": "-", "color": "0.55", "linewidth": 0.6, "relpos": (0, 0.5), "shrinkB": 4},
        )
    set_ticks(axes)
    return figure


def window_of(cells: Sequence[Cell], ceilings: Mapping[str, Ceilings]) -> tuple[float, float, float, float]:
    """Ends of the axes, so that all points and the corner of every roof are inside."""
    places = [_place(*pair) for device in ceilings for pair in _measured(cells, device)]
    places += [(limits.rate / limits.bandwidth, limits.rate) for limits in ceilings.values()]
    x, y = zip(*places, strict=True)
    return min(x) / 2, max(x) * 2, min(y) / 2, max(y) * 2


def _set_window(axes: Any, window: tuple[float, float, float, float]) -> None:
    axes.set(xlim=window[:2], ylim=window[2:])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _add_roof(axes: Any, look: Look, limits: Ceilings) -> None:
    left, right = axes.get_xlim()
    x = np.array([left, limits.rate / limits.bandwidth, right])
    line = roof_line(look)
    line.set_data(x, np.minimum(limits.rate, limits.bandwidth * x))
    axes.add_line(line)


def _measured(cells: Sequence[Cell], device: str) -> list[tuple[Cell, Figure]]:
    return [(cell, one) for cell in cells if (one := figure_of(cell, f"dlcore {device}")) is not None]


def _place(cell: Cell, one: Figure) -> tuple[float, float]:
    return cell.operations / cell.traffic, cell.operations / one.median


def _told(point: tuple[float, float], one: Figure) -> str:
    return f"{quantity(point[1], 'op/s')} at {point[0]:.3g} a byte, {one.share:.0%} of its ceiling"
