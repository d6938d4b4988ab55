"""Pictures of experiments: no legend covers a curve, and only poles interrupt a curve."""

import importlib.util
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

pytestmark = pytest.mark.any_mode


def load_experiment(name: str) -> ModuleType:
    """Import the script of an experiment as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def n_covered(figure: Figure) -> int:
    """Count the points of curves and scatter plots that are under a legend."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [legend.get_window_extent() for legend in figure.legends]
    points = []
    for axes in figure.axes:
        if (legend := axes.get_legend()) is not None:
            boxes.append(legend.get_window_extent())
        points += [scatter.get_offset_transform().transform(scatter.get_offsets()) for scatter in axes.collections]
        points += [
            axes.transData.transform(np.asarray(line.get_xydata()))
            for line in axes.lines
            if np.size(line.get_xdata()) > 2
        ]
    return sum(int(box.contains(*point)) for box in boxes for part in points for point in np.atleast_2d(part))


def fits_on_grid(tables: ModuleType, shape: tuple[int, int], rng: np.random.Generator) -> tuple[Any, Any]:
    """Return fits and their excess in the whole panel, corners included."""
    heights = np.geomspace(1e-13, 1, shape[0])[:, None] * np.ones(shape)
    accuracy = np.where(np.arange(shape[1]) % 2, 0.5, 1.0) * np.ones(shape)
    fits = tables.Fits(rng.random(shape) > 0.5, heights, heights, heights, accuracy)
    return fits, tables.Excess(heights, heights)


def test_no_legend_covers_a_fit_of_the_certified_tables():
    tables, rng = load_experiment("certified_tables"), np.random.default_rng(0)
    grid = np.logspace(-4, 4, 10)
    by_solver = {solver: fits_on_grid(tables, (13, 10), rng) for solver in tables.SOLVERS}
    drawn = [(name, by_solver["lbfgs"][0], by_solver) for name in "abcd"]
    for draw in (tables.draw_excess, tables.draw_scores):
        figure = draw(grid, drawn)
        assert n_covered(figure) == 0
        assert not any(axes.texts for axes in figure.axes)
        (legend,) = figure.legends
        assert {"lbfgs", "newton-cg"} <= {text.get_text() for text in legend.get_texts()}


def test_no_legend_covers_the_sweep_of_rates():
    """Test the curve and the vertical lines of the marked rates."""
    rates = np.linspace(0.02, 0.21, 40)
    for errors in (rates, rates[::-1], np.ones(40)):
        figure = load_experiment("gradient_descent").draw_sweep(rates, errors, errors**0.01, 200)
        assert n_covered(figure) == 0
        assert figure.axes[0].get_legend() is None


def test_only_poles_interrupt_a_curve():
    rules = load_experiment("derivative_rules")
    saved: dict[str, Figure] = {}

    class Run:
        def expect(self, sentence: str, holds: bool) -> None:
            assert holds, sentence

        def save(self, figure: Figure, name: str) -> None:
            saved[name] = figure

    rules.main(rules.experiment.Options(quick=True), Run())
    panels = saved["rules.png"].axes[: len(rules.TABLE)]
    for name, axes in zip(rules.TABLE, panels, strict=True):
        for line in axes.lines:
            x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
            assert np.isnan(y).any() == (name in rules.POLES)
            steps = np.diff(x)
            assert name in rules.POLES or steps.max() < 1.5 * np.median(steps)
    assert set(rules.POLES) == {"1/ln x"}
