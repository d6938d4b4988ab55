"""Are scikit-learn's fits at the optimum when they report convergence, and does the best C depend on it?

Two solvers fit logistic and softmax regression to four data sets, with the ten C of LogisticRegressionCV and five
folds. The solvers have scikit-learn's defaults: tol 1e-4 and at most 100 iterations.

Each fit is certified in float64. A head of `dlcore.fit_heads` is proven to be within 1e-6 of the optimum. It
bounds the gap of each fit from both sides. A fit misses the optimum if even the lower bound is above 1e-6 of the
scale. The scale is max(J, 1e-3·J₀), or the decrease of J below a constant prediction if that is smaller. The best
C has the highest mean accuracy on the held-out rows. It is chosen once by the fits and once by the certified
heads.

The data are 6,000 rows each of a9a, agaricus and California's house prices (above the median), and 1,000 of MNIST.
They are in the folder that DLCORE_DATA names. Without it they are scikit-learn's breast cancer, wine, digits and
diabetes (above the median).

Command: dlcore run certified_tables

Takes: nine to fourteen minutes on two idle cores, mostly for MNIST at the weakest penalties

Expected: no fit is below the proven minimum. Every head of dlcore that reports convergence is within 1e-6 by its
certificate. Some fits of scikit-learn's default solver report convergence and miss 1e-6.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dlcore import LinearHeads, certify, fit_heads
from dlcore.cli import console, experiment, plots

TOLERANCE = 1e-6
GRID = np.logspace(-4, 4, 10)
SOLVERS = ("lbfgs", "newton-cg")
ROWS, DIGITS = 6_000, 1_000
PASSES = 20_000
"""Largest number of passes over the rows; weak penalties with more columns than rows need many."""


class Table(NamedTuple):
    """Data set with its penalties and folds."""

    name: str
    x: np.ndarray
    y: np.ndarray
    l2: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]

    @property
    def loss(self) -> str:
        """Loss: logistic for two classes, softmax for more."""
        return "logistic" if self.y.max() == 1 else "softmax"


class Fits(NamedTuple):
    """Fits of a solver on a data set; each array has the shape (folds, L).

    Attributes:
      converged: whether the solver reports convergence.
      value: J.
      gap: bound on J − J*.
      scale: scale of a gap, `Certificate.gap_tol(1)`.
      scores: accuracy on the held-out rows.
    """

    converged: np.ndarray
    value: np.ndarray
    gap: np.ndarray
    scale: np.ndarray
    scores: np.ndarray


class Excess(NamedTuple):
    """Bounds on (J − J*) / scale of fits of scikit-learn, each of shape (folds, L).

    Attributes:
      lower: lower bound.
      upper: upper bound.
    """

    lower: np.ndarray
    upper: np.ndarray


def main(options: experiment.Options, run: experiment.Run) -> experiment.Result:
    """Fit every data set with every solver and with dlcore, and compare."""
    grid, solvers, folds = (GRID[::3], SOLVERS[:1], 2) if options.quick else (GRID, SOLVERS, 5)
    rows, results, drawn = [], {}, []
    all_certified, n_below, n_not_converged = True, 0, 0
    for table in load_tables(grid, folds, quick=options.quick):
        heads = certified_heads(table)
        all_certified &= bool((heads.gap <= TOLERANCE * heads.scale)[heads.converged].all())
        n_not_converged += int((~heads.converged).sum())
        best = float(grid[np.argmax(heads.scores.mean(0))])
        result: dict[str, Any] = {"rows": len(table.x), "columns": table.x.shape[1], "best_C": best}
        by_solver = {}
        for solver in solvers:
            fits = scikit_fits(table, grid, solver)
            above = fits.value - heads.value
            excess = Excess(above / heads.scale, np.minimum(fits.gap, above + heads.gap) / heads.scale)
            missed = excess.lower[fits.converged & (excess.lower > TOLERANCE)]
            n_below += int((excess.upper < 0).sum())
            best_reported = float(grid[np.argmax(fits.scores.mean(0))])
            by_solver[solver] = fits, excess
            result[solver] = {
                "reported": int(fits.converged.sum()),
                "missed": len(missed),
                "median_miss": float(np.median(missed)) if len(missed) else None,
                "worst_miss": float(missed.max()) if len(missed) else None,
                "best_C": best_reported,
            }
            rows.append(
                [
                    f"{table.name}, {solver}",
                    f"{fits.converged.sum()} of {fits.converged.size}",
                    str(len(missed)),
                    *((f"{np.median(missed):.0e}", f"{missed.max():.0e}") if len(missed) else ("", "")),
                    f"{best_reported:.2g}",
                    f"{best:.2g}" + (" ≠" if best_reported != best else ""),
                ]
            )
        results[table.name] = result
        drawn.append((table.name, heads, by_solver))
    run.save(draw_excess(grid, drawn), "misses.png")
    run.save(draw_scores(grid, drawn), "scores.png")
    run.expect("no fit of scikit-learn's is below what is proven to be the least", n_below == 0)
    run.expect(
        f"every head of dlcore that says converged is within {TOLERANCE:.0e} by its certificate", all_certified
    )
    n_reported = sum(result["lbfgs"]["reported"] for result in results.values())
    n_missed = sum(result["lbfgs"]["missed"] for result in results.values())
    run.expect(
        f"of {n_reported} fits that scikit-learn's lbfgs reports as converged {n_missed} miss 1e-06", n_missed > 0
    )
    console.print_table(
        f"{len(grid)} C × {folds} folds: how far converged fits are above the optimum, as a share of the scale",
        ["data, solver", "converged", "missed", "median", "worst", "best C", "certified best C"],
        rows,
        [f"Heads of dlcore that did not converge: {n_not_converged}. A fit is judged by what is proven of them."],
    )
    return {"tables": results, "heads_not_converged": n_not_converged}


def load_tables(grid: np.ndarray, folds: int, *, quick: bool) -> list[Table]:
    """Return four data sets of at most 6,000 rows; the quick version has two of at most 300."""
    from sklearn.model_selection import StratifiedKFold

    named_data = from_folder() if "DLCORE_DATA" in os.environ else from_sklearn()
    tables = []
    for name, x, y in [named_data[0], named_data[-1]] if quick else named_data:
        order = np.random.default_rng(0).permutation(len(x))[: 300 if quick else ROWS]
        x, y = np.asarray(x[order], np.float64), np.unique(y[order], return_inverse=True)[1]
        splits = list(StratifiedKFold(folds).split(x, y))
        tables.append(Table(name, x, y, np.array([1 / (grid * len(train)) for train, _ in splits]), splits))
    return tables


def from_folder() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return the name, x and y of each data set in DLCORE_DATA."""

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        with np.load(Path(os.environ["DLCORE_DATA"]) / f"{name}.npz") as file:
            return file["X"], file["y"]

    digits, labels = read("mnist_t10k")
    houses, price = read("california")
    return [
        ("a9a", *read("a9a")),
        ("agaricus", *read("agaricus")),
        ("MNIST", digits[:DIGITS] / 255, labels[:DIGITS]),
        ("California", standardize(houses), price > np.median(price)),
    ]


def from_sklearn() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return the name, x and y of each data set of scikit-learn."""
    from sklearn import datasets

    cancer, wine, digits, diabetes = (
        getattr(datasets, f"load_{name}")(return_X_y=True)
        for name in ("breast_cancer", "wine", "digits", "diabetes")
    )
    return [
        ("breast cancer", standardize(cancer[0]), cancer[1]),
        ("wine", standardize(wine[0]), wine[1]),
        ("digits", digits[0] / 16, digits[1]),
        ("diabetes", standardize(diabetes[0]), diabetes[1] > np.median(diabetes[1])),
    ]


def standardize(x: np.ndarray) -> np.ndarray:
    """Return the columns with mean 0 and standard deviation 1."""
    return (x - x.mean(0)) / x.std(0)


def certified_heads(table: Table) -> Fits:
    """Fit heads of dlcore; held-out rows have the weight 0, so that all folds run the same programs."""
    folds = []
    for l2, (train, test) in zip(table.l2, table.folds, strict=True):
        weight = np.zeros(len(table.x))
        weight[train] = 1
        heads = fit_heads(table.x, table.y, loss=table.loss, l2=l2, sample_weight=weight, max_steps=PASSES)
        converged, certificate = np.asarray(heads.status) == "converged", heads.certificate
        scores = accuracies(heads.coef, heads.intercept, table.x[test], table.y[test])
        folds.append(Fits(converged, heads.value, certificate.gap, certificate.gap_tol(1.0), scores))
    return Fits(*map(np.stack, zip(*folds, strict=True)))


def scikit_fits(table: Table, grid: np.ndarray, solver: str) -> Fits:
    """Fit every fold and C with a solver of scikit-learn at its defaults."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    folds = []
    for l2, (train, test) in zip(table.l2, table.folds, strict=True):
        converged, coef, intercept = [], [], []
        for c in grid:
            model = LogisticRegression(C=float(c), solver=solver, random_state=0)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(table.x[train], table.y[train])
            converged.append(not any(issubclass(warning.category, ConvergenceWarning) for warning in caught))
            coef.append(model.coef_)
            intercept.append(model.intercept_)
        w, b = np.array(coef), np.array(intercept)
        if table.loss == "logistic":
            w, b = w[:, 0], b[:, 0]
        certificate = certify(LinearHeads(w, b, l2, table.loss), table.x[train], table.y[train])
        scores = accuracies(w, b, table.x[test], table.y[test])
        folds.append(
            Fits(np.array(converged), certificate.value, certificate.gap, certificate.gap_tol(1.0), scores)
        )
    return Fits(*map(np.stack, zip(*folds, strict=True)))


def accuracies(coef: np.ndarray, intercept: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the fraction of rows that each head classifies correctly, shape (L,)."""
    logit = np.tensordot(x, coef, ([1], [-1])) + intercept
    return ((logit.argmax(-1) if coef.ndim == 3 else logit > 0) == y[:, None]).mean(0)


LOWEST = 1e-13
"""Smallest excess that is drawn."""
Drawn = Sequence[tuple[str, Fits, dict[str, tuple[Fits, Excess]]]]
"""Name of each data set, its certified heads, and the fits and excesses of each solver."""


def draw_excess(grid: np.ndarray, drawn: Drawn) -> Figure:
    """Draw the excess of each fit by C; fits that report convergence are filled."""
    figure = plots.new_figure(9.5, 7.0)
    figure.suptitle("How far scikit-learn's fits are above the optimum: filled where it reports convergence")
    panels = figure.subplots(-(-len(drawn) // 2), 2).flat
    for axes, (name, _, by_solver) in zip(panels, drawn, strict=True):
        for k, ((solver, (fits, excess)), color) in enumerate(zip(by_solver.items(), plots.COLORS, strict=False)):
            x = np.broadcast_to(grid * 1.25 ** (k - 1), excess.lower.shape)
            height = np.maximum(excess.lower, LOWEST)
            fill = np.where(fits.converged.ravel(), color, "none")
            axes.scatter(x.ravel(), height.ravel(), 16, facecolors=fill, edgecolors=color)
            axes.plot([], [], "o", color=color, label=solver)  # its point in the legend
        axes.axhline(TOLERANCE, color="0.5", linewidth=1, label=f"{TOLERANCE:.0e}")
        label = f"(J − J*) / scale, at least\n(below {LOWEST:.0e} drawn there)"
        axes.set(xscale="log", yscale="log", title=name, xlabel="C", ylabel=label)
        axes.grid(alpha=0.3)
    plots.legend_below(figure, figure.axes[0])
    return figure


def draw_scores(grid: np.ndarray, drawn: Drawn) -> Figure:
    """Draw the mean accuracy on held-out rows by C, and the best C of each method."""
    figure = plots.new_figure(9.5, 7.0)
    figure.suptitle("Accuracy on rows held out: fits as they are, and certified heads; a star is the best C")
    for axes, (name, heads, by_solver) in zip(figure.subplots(-(-len(drawn) // 2), 2).flat, drawn, strict=True):
        methods = {"certified": heads} | {solver: fits for solver, (fits, _) in by_solver.items()}
        styles = zip(methods.items(), plots.COLORS, plots.LINES, strict=False)
        for (method, fits), color, (style, width) in styles:
            mean = fits.scores.mean(0)
            best = np.argmax(mean)
            axes.plot(grid, mean, color=color, linestyle=style, linewidth=width, label=method)
            axes.plot(grid[best], mean[best], "*", color=color, markersize=6 + 2 * width, markeredgecolor="black")
        axes.set(xscale="log", title=name, xlabel="C", ylabel="accuracy")
        axes.grid(alpha=0.3)
    plots.legend_below(figure, figure.axes[0])
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
