"""The look of every picture, and the pictures of a descent: its gap, its path, what the model says of each row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Distinguishable with every common kind of colour blindness (Okabe and Ito, 2008)."""

LINES = (("-", 5.0), ((0, (6, 4)), 2.5), ((0, (1, 3)), 2.5), ("-", 1.5), ("--", 1.5), (":", 1.5))
"""Styles and widths, in points, that let one line be seen under another."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches, that no global state of matplotlib knows of."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def legend_below(figure: Figure, axes: Any) -> None:
    """Add a legend of the curves of `axes` below all panels, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(handles)))


def draw_gaps(
    gaps: Mapping[str, tuple[np.ndarray, np.ndarray]], level: float, level_name: str, title: str
) -> Figure:
    """How far J is above its minimum against the step, both on logarithmic scales.

    Args:
      gaps: (step, J − J*) of each descent by its label; gaps below 1e-17 are drawn there.
      level: a gap to mark with a line, called `level_name`.
      level_name: what is written at that line.
      title: the finding.
    """
    figure = new_figure(7.0, 4.5)
    axes = figure.subplots()
    for (label, (steps, gap)), color, (style, width) in zip(gaps.items(), COLORS, LINES, strict=False):
        axes.plot(steps + 1, np.maximum(gap, 1e-17), color=color, linestyle=style, linewidth=width, label=label)
    axes.axhline(level, color="0.5", linewidth=1)
    axes.annotate(level_name, (1, level), xytext=(0, 3), textcoords="offset points", color="0.35")
    axes.set(xscale="log", yscale="log", xlabel="step + 1", ylabel="J − J*  (nats per example)", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_paths(
    trails: Mapping[str, np.ndarray],
    optimum: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray],
    heights: np.ndarray,
    names: Sequence[str],
    title: str,
) -> Figure:
    """Paths of descents in a plane, over the contours of J − J* in it.

    Args:
      trails: (steps + 1, 2) of each descent by its label; all begin at one point.
      optimum: (2,).
      grid: where `heights` are known along each axis, shapes (p,) and (q,).
      heights: J − J*, shape (q, p).
      names: of the two axes, with their units.
      title: the finding.
    """
    figure = new_figure(9.0, 5.5)
    axes = figure.subplots()
    levels = np.geomspace(max(heights.min(), 1e-5), heights.max(), 14)
    lines: Any = axes.contour(*grid, heights, levels=levels, colors="0.7", linewidths=0.8)
    axes.clabel(lines, lines.levels[3::3], fmt="%.1e", fontsize=7)  # the lowest lies under the optimum
    for (label, trail), color, (style, width) in zip(trails.items(), COLORS, LINES, strict=False):
        axes.plot(*trail.T, color=color, linewidth=width, linestyle=style, label=label)
    axes.plot(*next(iter(trails.values()))[0], "o", color="black", label="start")
    axes.plot(*optimum, "*", color="black", markersize=14, label="optimum")
    axes.set(xlabel=names[0], ylabel=names[1], title=title)
    figure.legend(loc="outside right upper")
    return figure


def draw_probabilities(p: np.ndarray, y: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """The probability of class 1 given to each row, in order, by the row's true class.

    Args:
      p: shape (n,), predicted probabilities of class 1.
      y: shape (n,), labels 0 and 1.
      classes: the names of class 0 and class 1.
      title: the finding.
    """
    order = np.argsort(p)
    p, y, rank = p[order], y[order], np.arange(len(p)) + 1
    wrong = (p > 0.5) != y
    figure = new_figure(7.0, 4.5)
    axes = figure.subplots()
    for label, marker in ((0, "s"), (1, "o")):
        shown = y == label
        name = f"{classes[label]} ({shown.sum()})"
        axes.plot(rank[shown], p[shown], marker, color=COLORS[1 - label], markersize=5, alpha=0.8, label=name)
    circle = {"markersize": 13, "markerfacecolor": "none", "color": "black"}
    axes.plot(rank[wrong], p[wrong], "o", label=f"wrong at ½ ({wrong.sum()})", **circle)
    axes.axhline(0.5, color="0.5", linewidth=1)
    axes.set(xlabel="row, by probability", ylabel=f"predicted probability of {classes[1]}", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
