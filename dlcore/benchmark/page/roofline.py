"""Roofline pictures: FLOP/s against operations per byte, under the measured peaks of each device.

The roofline is the smaller of the peak FLOP/s and of the peak bandwidth times the operations per byte (Williams,
Waterman and Patterson, Roofline, 2009). Operations and bytes are counted from the algorithm.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

from dlcore.benchmark.compare import comparable_result
from dlcore.benchmark.measurement import Measurement, Result
from dlcore.benchmark.page.style import (
    FONT_SIZE,
    WIDE,
    Style,
    draw_marker,
    log_axes,
    new_panel,
    quantity,
    set_ticks,
)
from dlcore.benchmark.roofline_peaks import RooflinePeaks
from dlcore.cli.plots import new_figure

AXIS_LABELS = ("operations a byte, counted from the algorithm", "operations a second")
DEVICE_OFFSET = 6.0
"""Points between the markers of two devices, which would overlap."""

Window = tuple[float, float, float, float]
"""Limits of the axes: left, right, bottom, top."""


def roofline(style: Style, x: Sequence[float] = (), y: Sequence[float] | np.ndarray = ()) -> Line2D:
    """Return a roofline through some points; without points it is for a legend."""
    return Line2D(x, y, color=style.color, linewidth=1.8, linestyle=(0, (5, 2)), alpha=0.7)


def has_counts(measurement: Measurement) -> bool:
    """Return whether operations and bytes are counted, without which there is no roofline."""
    return 0 < measurement.operations < math.inf and 0 < measurement.traffic < math.inf


def draw_roofline(
    measurements: Sequence[Measurement],
    styles: Mapping[str, Style],
    peaks: Mapping[str, RooflinePeaks],
    window: Window,
) -> Figure:
    """Draw one function on every device, with larger markers for larger sizes.

    Args:
      measurements: of one function, in increasing order of size.
      styles: of all implementations.
      peaks: of the devices that dlcore ran on.
      window: the same for all pictures that are compared.
    """
    figure, axes = new_panel(*AXIS_LABELS)
    _set_window(axes, window)
    for k, (device, device_peaks) in enumerate(peaks.items()):
        style = styles[f"dlcore {device}"]
        _add_roofline(axes, style, device_peaks)
        results = _results(measurements, device)
        points = [_point(*pair) for pair in results]
        offset = DEVICE_OFFSET * (k - (len(peaks) - 1) / 2)
        transform = axes.transData + ScaledTranslation(offset / 72, 0, figure.dpi_scale_trans)
        if points:
            axes.plot(*zip(*points, strict=True), color=style.color, linewidth=0.8, transform=transform)
        for (measurement, result), size in zip(results, np.linspace(2.5, 6.5, len(results)), strict=True):
            tooltip = f"{measurement.shape}, {_tooltip(measurement, result, device)}"
            point = _point(measurement, result)
            marker = draw_marker(axes, point, style, tooltip, size=float(size), noisy=result.noisy)
            marker.set_transform(transform)
    set_ticks(axes)
    return figure


def draw_all_functions(
    measurements: Sequence[Measurement], style: Style, device: str, peaks: RooflinePeaks
) -> Figure:
    """Draw one size of every function on one device, with the names beside the roofline in order of FLOP/s."""
    figure = new_figure(WIDE, max(4.5, 1.0 + 0.24 * len(measurements)))
    axes = log_axes(figure, *AXIS_LABELS, FONT_SIZE)
    _set_window(axes, window_of(measurements, {device: peaks}))
    _add_roofline(axes, style, peaks)
    results = sorted(_results(measurements, device), key=lambda pair: _point(*pair)[1])
    for row, (measurement, result) in enumerate(results):
        point = _point(measurement, result)
        tooltip = f"{measurement.name}, {measurement.shape}, {_tooltip(measurement, result, device)}"
        draw_marker(axes, point, style, tooltip, size=7.0, noisy=result.noisy)
        axes.annotate(
            f"{measurement.name}  ({measurement.shape})",
            point,
            xytext=(1.08, (row + 0.5) / len(results)),
            textcoords="axes fraction",
            va="center",
            fontsize=FONT_SIZE,
            arrowprops={"arrowstyle": "-", "color": "0.55", "linewidth": 0.6, "relpos": (0, 0.5), "shrinkB": 4},
        )
    set_ticks(axes)
    return figure


def window_of(measurements: Iterable[Measurement], peaks: Mapping[str, RooflinePeaks]) -> Window:
    """Return limits of the axes that contain all points and the corner of every roofline."""
    measurements = list(measurements)
    points = [_point(*pair) for device in peaks for pair in _results(measurements, device)]
    points += [(device_peaks.rate / device_peaks.bandwidth, device_peaks.rate) for device_peaks in peaks.values()]
    x, y = zip(*points, strict=True)
    return min(x) / 2, max(x) * 2, min(y) / 2, max(y) * 2


def _set_window(axes: Axes, window: Window) -> None:
    axes.set(xlim=window[:2], ylim=window[2:])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _add_roofline(axes: Axes, style: Style, peaks: RooflinePeaks) -> None:
    left, right = axes.get_xlim()
    x = [left, peaks.rate / peaks.bandwidth, right]
    axes.add_line(roofline(style, x, np.minimum(peaks.rate, peaks.bandwidth * np.array(x))))


def _results(measurements: Iterable[Measurement], device: str) -> list[tuple[Measurement, Result]]:
    """Return the comparable results of dlcore on a device."""
    pairs = ((measurement, comparable_result(measurement, f"dlcore {device}")) for measurement in measurements)
    return [(measurement, result) for measurement, result in pairs if result is not None]


def _point(measurement: Measurement, result: Result) -> tuple[float, float]:
    """Return operations per byte and operations per second."""
    return measurement.operations / measurement.traffic, measurement.operations / result.median


def _tooltip(measurement: Measurement, result: Result, device: str) -> str:
    x, y = _point(measurement, result)
    fraction = f"{result.roofline_fraction:.0%} of the peak"
    return f"dlcore {device}: {quantity(y, 'op/s')} at {x:.3g} a byte, {fraction}"
