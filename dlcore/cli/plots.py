"""Style of the pictures, and pictures of a descent: its gap, its path and its predicted probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that every common kind of colour blindness can tell apart (Okabe and Ito, 2008)."""

LINES = (("-", 5.0), ((0, (6, 4)), 2.5), ((0, (1, 3)), 2.5), ("-", 1.5), ("--", 1.5), (":", 1.5))
"""Line styles and widths, in points, that let a line be seen under another."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, that is not registered with pyplot."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def legend_below(figure: Figure, axes: Axes) -> None:
    """Add a legend of the curves of `axes` below all panels, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(handles)))


def draw_gaps(
    gaps: Mapping[str, tuple[np.ndarray, np.ndarray]], level: float, level_name: str, title: str
) -> Figure:
    """Draw the gap J − J* against the step, on logarithmic scales.

    Args:
      gaps: (step, J − J*) of each descent, by label; gaps below 1e-17 are drawn at 1e-17.
      level: a gap to mark with a horizontal line.
      level_name: label of the line.
      title: the result.
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
    paths: Mapping[str, np.ndarray],
    optimum: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray],
    gaps: np.ndarray,
    names: Sequence[str],
    title: str,
) -> Figure:
    """Draw paths of descents in a plane, over the contours of J − J*.

    Args:
      paths: points of each descent, by label, shape (steps + 1, 2); all begin at the same point.
      optimum: shape (2,).
      grid: coordinates of `gaps` along each axis, shapes (p,) and (q,).
      gaps: J − J*, shape (q, p).
      names: labels of the two axes, with units.
      title: the result.
    """
    figure = new_figure(9.0, 5.5)
    axes = figure.subplots()
    levels = np.geomspace(max(gaps.min(), 1e-5), gaps.max(), 14)
    contours: Any = axes.contour(*grid, gaps, levels=levels, colors="0.7", linewidths=0.8)
    axes.clabel(contours, contours.levels[3::3], fmt="%.1e", fontsize=7)  # the optimum hides the lowest
    for (label, path), color, (style, width) in zip(paths.items(), COLORS, LINES, strict=False):
        axes.plot(*path.T, color=color, linewidth=width, linestyle=style, label=label)
    axes.plot(*next(iter(paths.values()))[0], "o", color="black", label="start")
    axes.plot(*optimum, "*", color="black", markersize=14, label="optimum")
    axes.set(xlabel=names[0], ylabel=names[1], title=title)
    figure.legend(loc="outside right upper")
    return figure


def draw_probabilities(p: np.ndarray, y: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw the predicted probabilities of class 1 in increasing order, marked by the true class.

    Args:
      p: predicted probabilities of class 1, shape (n,).
      y: labels 0 and 1, shape (n,).
      classes: the names of class 0 and class 1.
      title: the result.
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
