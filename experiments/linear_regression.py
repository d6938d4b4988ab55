"""Does gradient descent reach the closed-form solution, and can the error be zero?

A linear regression is fitted to 442 patients of scikit-learn's diabetes table, with ten standardised measurements
and an intercept, in float64. Normal equations, QR factorisation and pseudo-inverse give the weights at once.
Gradient descent written by hand, w − rate·(2/n)Xᵀ(ŷ − y), dlcore and Optax approach them.

The same model is then fitted to the first n patients, from 2 up. With as many weights as patients the fit is
exact, and useless. Last, tables are drawn with noise of known size: the error stops at that noise.

Command: dlcore run linear_regression

Takes: about 6 s on two idle cores

Expected: all six agree with scikit-learn, the closed forms to 1e-12 of the weights and descent to 1e-6. The error
of the fit is 0 up to 11 patients and never after. The exact fit has a large error on held-out patients. The noise
floor is σ²(n − m)/n to five of its standard errors.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from dlcore import Objective, descent, fit, linalg
from dlcore.cli import console, experiment, plots
from dlcore.losses import squared_error
from dlcore.models import LinearParams, linear

HELD_OUT = 142
SIGMA = 0.5


def main(options: experiment.Options, run: experiment.Run) -> experiment.Result:
    """Fit the weights six ways, make exact fits, and measure the noise floor."""
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression

    table: Any = load_diabetes(scaled=False)
    x, y = table.data, table.target
    x = (x - x.mean(0)) / x.std(0)
    y = (y - y.mean()) / y.std()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    steps = 8_000 if options.quick else 40_000
    with jax.enable_x64(True):
        weights, gaps = fit_six_ways(x, y, steps)
        rows, trained, held_out = exact_fits(x, y, 12 if options.quick else 40)
        floors = noise_floors(20 if options.quick else 200)
    scikit = LinearRegression().fit(x, y)
    truth = np.append(scikit.coef_, scikit.intercept_)
    size = np.abs(truth).max()
    errors = {name: float(np.abs(w - truth).max() / size) for name, w in weights.items()}
    for name, error in errors.items():
        limit = 1e-6 if "descent" in name or "Optax" in name else 1e-12
        run.expect(f"{name}: scikit-learn's weights to {limit:.0e} (off by {error:.1e})", error < limit)
    lowest = min(float(gap.min()) for gap in gaps.values())
    run.expect(f"no step of a descent is below the closed form's error (lowest gap {lowest:.1e})", lowest > -1e-14)
    can_be_exact = rows <= x.shape[1] + 1
    worst, best = trained[can_be_exact].max(), trained[~can_be_exact].min()
    run.expect(f"with at most 11 patients the fit is exact, error {worst:.0e}", worst < 1e-24)
    run.expect(f"with 12 or more it never is, error {best:.1e} at least", best > 1e-6)
    exact, final = held_out[rows == x.shape[1] + 1][0], held_out[-1]
    run.expect(
        f"held-out patients: error {exact:.1f} after the exact fit of 11, {final:.2f} after {rows[-1]}, and 1 for "
        "predicting the mean",
        exact > 1 > final,
    )
    measured, predicted, spread = floors
    run.expect(
        f"noise of σ² = {SIGMA**2}: mean error {measured:.4f}, σ²(n − m)/n = {predicted:.4f} ± {spread:.4f}",
        abs(measured - predicted) < 5 * spread,
    )
    run.save(draw(gaps, rows, trained, held_out), "linear_regression.png")
    console.print_table(
        f"442 patients, 11 weights, float64; floor of the error {1 - scikit.score(x, y):.4f} of the variance",
        ["weights by", "largest difference from scikit-learn, relative"],
        [[name, f"{error:.1e}"] for name, error in errors.items()],
    )
    return {"weights_off_by": errors, "floor": float(1 - scikit.score(x, y)), "noise_floor": measured}


def fit_six_ways(x: np.ndarray, y: np.ndarray, steps: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the weights, intercept last, by each method, and E − E* at every step of each descent."""
    extended = jnp.asarray(np.column_stack([x, np.ones(len(x))]))
    target = jnp.asarray(y)
    transposed = linalg.matrix_transpose(extended)

    @jax.jit
    def closed_forms() -> dict[str, jax.Array]:
        squares = linalg.matmul(transposed, extended)
        return {
            "normal equations": linalg.solve(squares, linalg.matmul(transposed, target)),
            "QR factorisation": linalg.lstsq(extended, target).solution,
            "pseudo-inverse": linalg.matmul(linalg.pinv(extended), target),
        }

    weights = closed_forms()
    objective = Objective(linear, squared_error)
    rate = descent.lipschitz_step(objective, (x, y))

    @jax.jit
    def by_hand(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(w: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            residual = linalg.matmul(extended, w) - target
            return w - rate * 2 / len(y) * linalg.matmul(transposed, residual), (residual * residual).mean()

        return jax.lax.scan(step, w, length=steps)

    weights["gradient descent by hand"], values = by_hand(jnp.zeros(x.shape[1] + 1))
    start = LinearParams(np.zeros(x.shape[1]), np.zeros(()))
    fits = {
        "gradient descent of dlcore": fit(
            objective, (x, y), descent.gradient_descent(rate), params=start, tol=0, max_steps=steps
        ),
        "Optax, momentum": fit(
            objective, (x, y), optax.sgd(float(rate), momentum=0.9), params=start, tol=0, max_steps=steps // 4
        ),
    }
    for name, fitted in fits.items():
        weights[name] = jnp.append(fitted.params.weight, fitted.params.bias)
    residual = linalg.matmul(extended, weights["QR factorisation"]) - target
    lowest = float((residual * residual).mean())
    histories = {"gradient descent by hand": values} | {
        name: fitted.history.value for name, fitted in fits.items()
    }
    return (
        {name: np.asarray(w) for name, w in weights.items()},
        {name: np.asarray(values) - lowest for name, values in histories.items()},
    )


def exact_fits(x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers of patients, the error on them, and the error on held-out patients."""
    extended = np.column_stack([x, np.ones(len(x))])
    train, test = slice(None, -HELD_OUT), slice(-HELD_OUT, None)
    n_train = len(x) - HELD_OUT
    rows = np.unique(np.append([2, 5, 8, 9, 10, 11, 12, 13, 15], np.geomspace(15, n_train, count - 9).astype(int)))

    @jax.jit
    def errors(n: jax.Array) -> tuple[jax.Array, jax.Array]:
        # A patient of weight 0 is an equation 0 = 0, so that one program serves every number of patients.
        weight = (jnp.arange(n_train) < n).astype(float)
        w = linalg.lstsq(extended[train] * weight[:, None], y[train] * weight).solution
        trained = (weight * jnp.square(linalg.matmul(extended[train], w) - y[train])).sum() / n
        return trained, jnp.square(linalg.matmul(extended[test], w) - y[test]).mean()

    trained, held_out = np.transpose([errors(jnp.asarray(float(n))) for n in rows])
    return rows, trained, held_out


def noise_floors(tables: int, n: int = 200, m: int = 11) -> tuple[float, float, float]:
    """Return the mean error of least squares over noisy tables, its expectation, and its standard error."""
    rng = np.random.default_rng(1)
    error = np.empty(tables)
    for table in range(tables):
        x = rng.normal(size=(n, m))
        y = x @ rng.normal(size=m) + SIGMA * rng.normal(size=n)
        error[table] = np.linalg.lstsq(x, y)[1][0] / n
    # ‖residual‖²/σ² is χ² with n − m degrees of freedom.
    return float(error.mean()), SIGMA**2 * (n - m) / n, SIGMA**2 * np.sqrt(2 * (n - m) / tables) / n


def draw(gaps: dict[str, np.ndarray], rows: np.ndarray, trained: np.ndarray, held_out: np.ndarray) -> Figure:
    """Draw the gaps of the descents, and the errors on training and held-out patients."""
    figure = plots.new_figure(11.0, 4.6)
    left, right = figure.subplots(1, 2)
    for (name, gap), color, (style, width) in zip(gaps.items(), plots.COLORS, plots.LINES, strict=False):
        steps = np.arange(len(gap)) + 1
        left.plot(steps, np.maximum(gap, 2.0**-53), color=color, linestyle=style, linewidth=width, label=name)
    left.annotate("rounding of float64", (1, 2.0**-53), xytext=(0, 3), textcoords="offset points", color="0.35")
    left.set(
        xscale="log",
        yscale="log",
        xlabel="step + 1",
        ylabel="E − E*  (variances of the target)",
        title="Descent arrives where the closed form is",
    )
    right.plot(rows, trained, "o-", color=plots.COLORS[0], label="patients it was fitted to")
    right.plot(rows, held_out, "s-", color=plots.COLORS[1], label=f"{HELD_OUT} other patients")
    right.axvline(11, color="0.5", linewidth=1)
    right.annotate("11 weights", (11, 0.02), xytext=(4, 0), textcoords="offset points", color="0.35")
    right.set_yscale("symlog", linthresh=0.01)
    right.set_ylim(-0.002, 200)
    right.set(
        xscale="log",
        xlabel="patients fitted to",
        ylabel="mean squared error  (variances of the target)",
        title="An exact fit is possible up to 11, and worthless",
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
