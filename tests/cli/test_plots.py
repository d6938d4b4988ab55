"""Pictures of experiments: no legend lies over what is drawn, and a curve is broken at a pole alone."""

import importlib.util
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from matplotlib.backends.backend_agg import FigureCanvasAgg

pytestmark = pytest.mark.any_mode


def experiment(name: str) -> ModuleType:
    """The script of an experiment as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def covered(figure: Any) -> int:
    """How many points of curves and clouds lie under a legend."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [legend.get_window_extent() for legend in figure.legends]
    points = []
    for axes in figure.axes:
        if axes.get_legend() is not None:
            boxes.append(axes.get_legend().get_window_extent())
        points += [cloud.get_offset_transform().transform(cloud.get_offsets()) for cloud in axes.collections]
        points += [axes.transData.transform(line.get_xydata()) for line in axes.lines if len(line.get_xdata()) > 2]
    return sum(int(box.contains(*point)) for box in boxes for part in points for point in np.atleast_2d(part))


def of_grid(tables: ModuleType, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    """Fits and misses of a solver that lie everywhere in the panel, corners too."""
    heights = np.geomspace(1e-13, 1, shape[0])[:, None] * np.ones(shape)
    accuracy = np.where(np.arange(shape[1]) % 2, 0.5, 1.0) * np.ones(shape)
    fits = tables.Fits(rng.random(shape) > 0.5, heights, heights, heights, accuracy)
    return fits, tables.Misses(heights, heights)


def test_no_legend_covers_a_fit_of_the_certified_tables():
    tables, rng = experiment("certified_tables"), np.random.default_rng(0)
    grid = np.logspace(-4, 4, 10)
    made = {solver: of_grid(tables, (13, 10), rng) for solver in tables.SOLVERS}
    drawn = [(name, made["lbfgs"][0], made) for name in "abcd"]
    for draw in (tables.draw_misses, tables.draw_scores):
        figure = draw(grid, drawn)
        assert covered(figure) == 0
        assert not any(axes.texts for axes in figure.axes)
        (legend,) = figure.legends
        assert {"lbfgs", "newton-cg"} <= {text.get_text() for text in legend.get_texts()}


def test_no_legend_covers_the_sweep_of_rates():
    """Nor the line of a rate that is marked."""
    rates = np.linspace(0.02, 0.21, 40)
    for errors in (rates, rates[::-1], np.ones(40)):
        figure = experiment("gradient_descent").draw_sweep(rates, errors, errors**0.01, 200)
        assert covered(figure) == 0
        assert figure.axes[0].get_legend() is None


def test_curves_are_broken_at_poles_alone():
    rules = experiment("derivative_rules")
    saved: dict[str, Any] = {}

    class Run:
        def expect(self, sentence: str, holds: Any) -> None:
            assert holds, sentence

        def save(self, figure: Any, name: str) -> None:
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
