"""Pictures of the report of a fit. Each is small enough to be read on a phone."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlcore.cli.heads.result import FitResult
from dlcore.cli.plots import COLORS, new_figure
from dlcore.cli.report import Html, picture

WIDTH, HEIGHT = 4.6, 3.3
"""Inches. A phone shows a picture at four fifths of its size."""
MAX_PATHS = 10
"""The number of coefficients whose path is drawn, those of the largest size at the chosen penalty."""
MAX_POINTS = 400
"""The number of rows that a scatter plot shows."""


def _axes() -> tuple[Figure, Axes]:
    with matplotlib.rc_context({"font.size": 9}):
        figure = new_figure(WIDTH, HEIGHT)
        axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _penalty_axis(axes: Axes, l2: np.ndarray) -> np.ndarray:
    """Set the scale of the axis of penalties, and return where each penalty is drawn. 0 is left of all others."""
    positive = l2[l2 > 0]
    place = np.where(l2 > 0, l2, (positive.min() if len(positive) else 1.0) / 10)
    axes.set(xscale="log", xlabel="penalty l2" + (" (leftmost: 0)" if (l2 == 0).any() else ""))
    return place


def draw_validation(result: FitResult) -> Html:
    """Draw the score of every fold and their mean against the penalty, with the ties."""
    heads, (figure, axes) = result.heads, _axes()
    assert heads.scores is not None
    order = np.argsort(heads.l2, kind="stable")
    place, scores = _penalty_axis(axes, heads.l2)[order], heads.scores[:, order]
    ties = heads.ties
    if ties is not None and ties.any():
        tied = place[ties[order]]
        axes.axvspan(tied.min(), tied.max(), color=COLORS[4], alpha=0.25, label="ties", linewidth=0)
    for fold, row in enumerate(scores):
        axes.plot(place, row, color="0.6", linewidth=0.8, label="folds" if fold == 0 else None)
    axes.plot(place, scores.mean(0), "o-", color=COLORS[0], markersize=3, label="mean")
    best = np.flatnonzero(order == result.index)[0]
    axes.plot(place[best], scores.mean(0)[best], "*", color=COLORS[1], markersize=11, label="chosen")
    axes.set_ylabel(heads.scoring)
    axes.legend(fontsize=8)
    return picture(
        figure,
        "score of each fold and their mean against the penalty",
        "Validation curve",
        f"{heads.scoring} of the rows that each fold holds out; larger is better",
    )


def draw_gaps(result: FitResult) -> Html:
    """Draw the certified gap of every head and fold, and the tolerance, against the penalty."""
    heads, (figure, axes) = result.heads, _axes()
    order = np.argsort(heads.l2, kind="stable")
    place = _penalty_axis(axes, heads.l2)[order]
    gap, limit = np.asarray(heads.certificate.gap)[order], np.asarray(heads.certificate.gap_tol(1.0))[order]
    folds = heads.fold_gap[:, order]
    finite, gap = np.isfinite(gap), np.maximum(gap, 1e-300)
    for fold in folds:
        shown = np.isfinite(fold) & (fold > 0)
        axes.plot(place[shown], fold[shown], ".", color="0.6", markersize=3)
    axes.plot(place[finite], gap[finite], "o-", color=COLORS[0], markersize=3, label="all rows")
    axes.plot([], [], ".", color="0.6", label="folds")
    axes.plot(place, np.maximum(limit, 1e-300), "--", color=COLORS[1], label="min(J, improvement)")
    axes.set(yscale="log", ylabel="J − J* ≤  (nats or squared units)")
    axes.legend(fontsize=8)
    return picture(
        figure,
        "certified gap of each head against the penalty",
        "Certificates",
        "a head has converged if its bound is below the tolerance times the dashed line",
    )


def largest_coefficients(result: FitResult) -> np.ndarray:
    """Return the indices of the features with the largest coefficients in units of their spread, largest first."""
    coef = np.abs(np.atleast_2d(result.model.coef)).max(0)
    step = max(1, len(result.train) // 10_000)
    spread = result.train.features[::step].astype(np.float64).std(0)
    return np.argsort(-coef * spread, kind="stable")[:MAX_PATHS]


def draw_paths(result: FitResult) -> Html:
    """Draw the largest coefficients against the penalty."""
    heads, (figure, axes) = result.heads, _axes()
    order = np.argsort(heads.l2, kind="stable")
    place = _penalty_axis(axes, heads.l2)[order]
    chosen = largest_coefficients(result)
    for line, feature in enumerate(chosen):
        path = heads.coef[order][..., feature]
        if path.ndim == 2:  # of the class with the largest coefficient
            path = path[:, np.abs(result.model.coef[:, feature]).argmax()]
        axes.plot(
            place,
            path,
            color=COLORS[line % len(COLORS)],
            linestyle=("-", "--")[line // len(COLORS)],
            linewidth=1.2,
            label=result.train.names[feature][:18],
        )
    axes.axvline(float(place[np.flatnonzero(order == result.index)[0]]), color="0.5", linewidth=1)
    axes.set_ylabel("coefficient")
    axes.legend(fontsize=6, ncols=2)
    of_class = "; of the class with the largest coefficient" if heads.coef.ndim == 3 else ""
    return picture(
        figure,
        "path of the largest coefficients against the penalty",
        "Paths of coefficients",
        f"the {len(chosen)} largest in units of the spread of their column{of_class}",
    )


def draw_calibration(bins: list[dict[str, float]]) -> Html:
    """Draw the fraction of correct rows against the mean confidence of each bin."""
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], "--", color="0.5", linewidth=1, label="calibrated")
    axes.plot(
        [part["confidence"] for part in bins],
        [part["fraction"] for part in bins],
        "o-",
        color=COLORS[0],
        markersize=4,
        label="held-out rows",
    )
    axes.set(xlabel="mean probability of the bin", ylabel="fraction of the bin", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=8)
    return picture(
        figure,
        "fraction of rows against the mean probability in bins of the held-out rows",
        "Calibration",
        "points on the dashed line are calibrated",
    )


def draw_residuals(y: np.ndarray, predicted: np.ndarray) -> Html:
    """Draw residuals of held-out rows against their predictions."""
    figure, axes = _axes()
    rows = np.random.default_rng(0).permutation(len(y))[:MAX_POINTS]
    axes.plot(predicted[rows], (y - predicted)[rows], ".", color=COLORS[0], markersize=3, alpha=0.6)
    axes.axhline(0, color="0.5", linewidth=1)
    axes.set(xlabel="prediction", ylabel="residual, y − prediction")
    axes.ticklabel_format(scilimits=(-3, 4))
    return picture(
        figure,
        "residual against prediction of held-out rows",
        "Residuals",
        f"{len(rows):,} of {len(y):,} held-out rows, chosen at random",
    )
