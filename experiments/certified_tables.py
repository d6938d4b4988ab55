"""How many fits of scikit-learn's that report convergence are at the optimum, and does the best C depend on it?

Logistic and softmax regression on four data sets, with LogisticRegressionCV's grid of ten C, five folds and
scikit-learn's defaults (tol 1e-4, at most 100 iterations), one solver after another. Each fit is certified in
float64; how far it is above the optimum is known from both sides by a head of `dlcore.fit_heads` that is proven
to be within 1e-6 of it. A fit misses where even the lower side is above 1e-6 of max(J, 1e-3·J₀), or of what the
optimum gains over a constant where that is less. Then the C with the best mean accuracy on the rows held out: by
the fits as they are, and by the certified heads. The data: 6,000 rows each of a9a, agaricus and California's
house prices (above the median or not) and 1,000 of MNIST in the folder that DLCORE_DATA names; where it is unset
scikit-learn's breast cancer, wine, digits and diabetes (above the median).

Command: dlcore run certified_tables

Takes: nine to fourteen minutes on two idle cores, most of them for MNIST at the weakest penalties

Expected: no fit is below what is proven to be the least; every head of dlcore that says converged is within 1e-6
by its certificate; scikit-learn's default solver reports convergence of fits that miss 1e-6.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure
import numpy as np
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from dlcore import LinearHeads, certify, fit_heads
from dlcore.cli import console, experiment, plots

TOLERANCE = 1e-6
GRID = np.logspace(-4, 4, 10)
SOLVERS = ("lbfgs", "newton-cg")
ROWS, DIGITS = 6_000, 1_000
PASSES = 20_000
"""Most passes over the rows for a head: the weakest penalties of more columns than rows take many."""


class Table(NamedTuple):
    """A data set, and the strengths and folds it is fitted with."""

    name: str
    x: np.ndarray
    y: np.ndarray
    l2: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]

    @property
    def loss(self) -> str:
        """Two classes have one logit, more have one each."""
        return "logistic" if self.y.max() == 1 else "softmax"


class Fits(NamedTuple):
    """The fits of a solver on a data set, each number of shape (folds, L).

    Attributes:
      reported: whether it says that it has converged.
      value: J.
      gap: a bound on J − J*.
      scale: what a gap is a share of, `Certificate.gap_tol(1)`.
      scores: accuracy on the rows held out.
    """

    reported: np.ndarray
    value: np.ndarray
    gap: np.ndarray
    scale: np.ndarray
    scores: np.ndarray


class Misses(NamedTuple):
    """How far fits of scikit-learn's are above the optimum, as a share of the scale there: (folds, L) each.

    Attributes:
      least: they are so far above it or further.
      most: and so far or nearer.
    """

    least: np.ndarray
    most: np.ndarray


def main(options: experiment.Options, run: experiment.Run) -> dict[str, Any]:
    """Every data set by every solver, beside certified heads."""
    grid, solvers, folds = (GRID[::3], SOLVERS[:1], 2) if options.quick else (GRID, SOLVERS, 5)
    rows, results, drawn = [], {}, []
    proven, below, doubtful = True, 0, 0
    for table in load_tables(grid, folds, quick=options.quick):
        heads = certified_heads(table)
        proven &= bool((heads.gap <= TOLERANCE * heads.scale)[heads.reported].all())
        doubtful += int((~heads.reported).sum())
        best = float(grid[np.argmax(heads.scores.mean(0))])
        result: dict[str, Any] = {"rows": len(table.x), "columns": table.x.shape[1], "best_C": best}
        shown = {}
        for solver in solvers:
            fits = fits_of(table, grid, solver)
            above = fits.value - heads.value
            misses = Misses(above / heads.scale, np.minimum(fits.gap, above + heads.gap) / heads.scale)
            missed = misses.least[fits.reported & (misses.least > TOLERANCE)]
            below += int((misses.most < 0).sum())
            chosen = float(grid[np.argmax(fits.scores.mean(0))])
            shown[solver] = fits, misses
            result[solver] = {
                "reported": int(fits.reported.sum()),
                "missed": len(missed),
                "median_miss": float(np.median(missed)) if len(missed) else None,
                "worst_miss": float(missed.max()) if len(missed) else None,
                "best_C": chosen,
            }
            rows.append(
                [
                    f"{table.name}, {solver}",
                    f"{fits.reported.sum()} of {fits.reported.size}",
                    str(len(missed)),
                    *((f"{np.median(missed):.0e}", f"{missed.max():.0e}") if len(missed) else ("", "")),
                    f"{chosen:.2g}",
                    f"{best:.2g}" + (" ≠" if chosen != best else ""),
                ]
            )
        results[table.name] = result
        drawn.append((table.name, heads, shown))
    run.save(draw_misses(grid, drawn), "misses.png")
    run.save(draw_scores(grid, drawn), "scores.png")
    run.expect("no fit of scikit-learn's is below what is proven to be the least", below == 0)
    run.expect(f"every head of dlcore that says converged is within {TOLERANCE:.0e} by its certificate", proven)
    told, fooled = (sum(result["lbfgs"][key] for result in results.values()) for key in ("reported", "missed"))
    run.expect(f"of {told} fits that scikit-learn's lbfgs reports as converged {fooled} miss 1e-06", fooled > 0)
    console.print_table(
        f"{len(grid)} C × {folds} folds: how far converged fits are above the optimum, as a share of the scale",
        ["data, solver", "converged", "missed", "median", "worst", "best C", "certified best C"],
        rows,
        [f"Heads of dlcore that did not converge: {doubtful}. A fit is judged by what is proven of them."],
    )
    return {"tables": results, "heads_not_converged": doubtful}


def load_tables(grid: np.ndarray, folds: int, *, quick: bool) -> list[Table]:
    """Four data sets of at most 6,000 rows; two of them, of 300 at most, for the quick version."""
    given = from_folder() if "DLCORE_DATA" in os.environ else from_sklearn()
    tables = []
    for name, x, y in [given[0], given[-1]] if quick else given:
        order = np.random.default_rng(0).permutation(len(x))[: 300 if quick else ROWS]
        x, y = np.asarray(x[order], np.float64), np.unique(y[order], return_inverse=True)[1]
        splits = list(StratifiedKFold(folds).split(x, y))
        tables.append(Table(name, x, y, np.array([1 / (grid * len(train)) for train, _ in splits]), splits))
    return tables


def from_folder() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, x and y of the data sets in DLCORE_DATA."""

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        with np.load(Path(os.environ["DLCORE_DATA"]) / f"{name}.npz") as file:
            return file["X"], file["y"]

    digits, labels = read("mnist_t10k")
    houses, price = read("california")
    return [
        ("a9a", *read("a9a")),
        ("agaricus", *read("agaricus")),
        ("MNIST", digits[:DIGITS] / 255, labels[:DIGITS]),
        ("California", standardised(houses), price > np.median(price)),
    ]


def from_sklearn() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, x and y of data sets that come with scikit-learn."""
    cancer, wine, digits, diabetes = (
        getattr(datasets, f"load_{name}")(return_X_y=True)
        for name in ("breast_cancer", "wine", "digits", "diabetes")
    )
    return [
        ("breast cancer", standardised(cancer[0]), cancer[1]),
        ("wine", standardised(wine[0]), wine[1]),
        ("digits", digits[0] / 16, digits[1]),
        ("diabetes", standardised(diabetes[0]), diabetes[1] > np.median(diabetes[1])),
    ]


def standardised(x: np.ndarray) -> np.ndarray:
    """Each column with mean 0 and deviation 1."""
    return (x - x.mean(0)) / x.std(0)


def certified_heads(table: Table) -> Fits:
    """Heads of dlcore: a fold is a weight 0 of the rows held out, so all folds run the same programs."""
    found = []
    for l2, (train, test) in zip(table.l2, table.folds, strict=True):
        chosen = np.zeros(len(table.x))
        chosen[train] = 1
        heads = fit_heads(table.x, table.y, loss=table.loss, l2=l2, sample_weight=chosen, max_steps=PASSES)
        converged, proof = np.asarray(heads.status) == "converged", heads.certificate
        scores = accuracies(heads.coef, heads.intercept, table.x[test], table.y[test])
        found.append(Fits(converged, heads.value, proof.gap, proof.gap_tol(1.0), scores))
    return Fits(*map(np.stack, zip(*found, strict=True)))


def fits_of(table: Table, grid: np.ndarray, solver: str) -> Fits:
    """Every fold and C by a solver of scikit-learn's at its defaults."""
    found = []
    for l2, (train, test) in zip(table.l2, table.folds, strict=True):
        reported, coef, intercept = [], [], []
        for c in grid:
            model = LogisticRegression(C=float(c), solver=solver, random_state=0)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(table.x[train], table.y[train])
            reported.append(not any(issubclass(warning.category, ConvergenceWarning) for warning in caught))
            coef.append(model.coef_)
            intercept.append(model.intercept_)
        w, b = np.array(coef), np.array(intercept)
        if table.loss == "logistic":
            w, b = w[:, 0], b[:, 0]
        proof = certify(LinearHeads(w, b, l2, table.loss), table.x[train], table.y[train])
        scores = accuracies(w, b, table.x[test], table.y[test])
        found.append(Fits(np.array(reported), proof.value, proof.gap, proof.gap_tol(1.0), scores))
    return Fits(*map(np.stack, zip(*found, strict=True)))


def accuracies(coef: np.ndarray, intercept: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The share of rows that each head classifies rightly, (L,)."""
    logit = np.tensordot(x, coef, ([1], [-1])) + intercept
    return ((logit.argmax(-1) if coef.ndim == 3 else logit > 0) == y[:, None]).mean(0)


LOWEST = 1e-13
"""Least height at which a fit is drawn."""
Drawn = Sequence[tuple[str, Fits, dict[str, tuple[Fits, Misses]]]]


def draw_misses(grid: np.ndarray, drawn: Drawn) -> matplotlib.figure.Figure:
    """How far each fit is above the optimum, by C; what is reported as converged is filled."""
    figure = plots.new_figure(9.5, 7.0)
    figure.suptitle("How far scikit-learn's fits are above the optimum: filled where it reports convergence")
    panels = figure.subplots(-(-len(drawn) // 2), 2).flat
    for axes, (name, _, shown) in zip(panels, drawn, strict=True):
        for place, ((solver, (fits, misses)), color) in enumerate(zip(shown.items(), plots.COLORS, strict=False)):
            where = np.broadcast_to(grid * 1.25 ** (place - 1), misses.least.shape)
            height = np.maximum(misses.least, LOWEST)
            fill = np.where(fits.reported.ravel(), color, "none")
            axes.scatter(where.ravel(), height.ravel(), 16, facecolors=fill, edgecolors=color)
            axes.plot([], [], "o", color=color, label=solver)  # its point in the legend
        axes.axhline(TOLERANCE, color="0.5", linewidth=1, label=f"{TOLERANCE:.0e}")
        label = f"(J − J*) / scale, at least\n(below {LOWEST:.0e} drawn there)"
        axes.set(xscale="log", yscale="log", title=name, xlabel="C", ylabel=label)
        axes.grid(alpha=0.3)
    plots.legend_below(figure, figure.axes[0])
    return figure


def draw_scores(grid: np.ndarray, drawn: Drawn) -> matplotlib.figure.Figure:
    """Mean accuracy on the rows held out, by C, and the C that each way chooses."""
    figure = plots.new_figure(9.5, 7.0)
    figure.suptitle("Accuracy on rows held out: fits as they are, and certified heads; a star is the best C")
    for axes, (name, heads, shown) in zip(figure.subplots(-(-len(drawn) // 2), 2).flat, drawn, strict=True):
        ways = {"certified": heads} | {solver: fits for solver, (fits, _) in shown.items()}
        looks = zip(ways.items(), plots.COLORS, plots.LINES, strict=False)
        for (way, fits), color, (style, width) in looks:
            mean = fits.scores.mean(0)
            best = np.argmax(mean)
            axes.plot(grid, mean, color=color, linestyle=style, linewidth=width, label=way)
            axes.plot(grid[best], mean[best], "*", color=color, markersize=6 + 2 * width, markeredgecolor="black")
        axes.set(xscale="log", title=name, xlabel="C", ylabel="accuracy")
        axes.grid(alpha=0.3)
    plots.legend_below(figure, figure.axes[0])
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
