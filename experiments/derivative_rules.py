"""Do the rules of differentiation, the limit and automatic differentiation give the same derivative?

Every row of the textbook's table and every example of its rules is differentiated three ways. The first is the
rules, as arithmetic on (function, derivative) pairs. The second is JAX. The third is the limit of a central
difference, in float64.

Command: dlcore run derivative_rules

Takes: about 5 s on two idle cores

Expected: the rules and JAX agree to 1e-13 in float64 on x from 0.2 to 3, and the limit agrees to 1e-6. The
quotients of 2x + 1 and x² + 1 at 2 with h = 0.01 are 2 and 4.01, as in the lecture.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dlcore import calculus
from dlcore.calculus import EXP, LN, SQRT, Differentiable, X
from dlcore.cli import console, experiment, plots

ONE = X**0

TABLE: dict[str, tuple[Differentiable, str]] = {
    "1": (ONE, "0"),
    "x": (X, "1"),
    "x²": (X**2, "2x"),
    "x³": (X**3, "3x²"),
    "√x": (SQRT, "½x^(−½)"),
    "ln x": (LN, "1/x"),
    "eˣ": (EXP, "eˣ"),
    "18x⁵": (18 * X**5, "90x⁴"),
    "ln x − x² + 5": (LN - X**2 + 5, "1/x − 2x"),
    "2eˣx": (2 * EXP * X, "2(eˣ + eˣx)"),
    "1/ln x": (1 / LN, "−1/(x ln²x)"),
    "ln x / x²": (LN / X**2, "(1 − 2 ln x)/x³"),
    "e^(x²)": (EXP(X**2), "2x e^(x²)"),
}

BY_HAND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "1": lambda x: 0 * x,
    "x": lambda x: 1 + 0 * x,
    "x²": lambda x: 2 * x,
    "x³": lambda x: 3 * x**2,
    "√x": lambda x: 0.5 * x**-0.5,
    "ln x": lambda x: 1 / x,
    "eˣ": np.exp,
    "18x⁵": lambda x: 90 * x**4,
    "ln x − x² + 5": lambda x: 1 / x - 2 * x,
    "2eˣx": lambda x: 2 * (np.exp(x) + np.exp(x) * x),
    "1/ln x": lambda x: -1 / (x * np.log(x) ** 2),
    "ln x / x²": lambda x: (1 - 2 * np.log(x)) / x**3,
    "e^(x²)": lambda x: 2 * x * np.exp(x**2),
}
"""Closed forms of the derivatives, written independently."""

POLES = {"1/ln x": 1.0}
"""Points where a function has no value."""


def main(options: experiment.Options, run: experiment.Run) -> experiment.Result:
    """Compare every row, differentiated three ways, with the closed form."""
    points = np.linspace(0.2, 3, 29 if options.quick else 281)
    rows, curves = {}, {}
    with jax.enable_x64(True):
        for name, (pair, _) in TABLE.items():
            grid = points[np.abs(points - POLES[name]) > 0.02] if name in POLES else points
            x = jnp.asarray(grid)
            exact = BY_HAND[name](grid)
            ways = {
                "rules": pair.df(x),
                "jax": jax.vmap(calculus.derivative(pair))(x),
                "limit": calculus.central_difference(pair, x, 1e-5),
            }
            size = np.maximum(np.abs(exact), 1)
            rows[name] = {way: float(np.max(np.abs(np.asarray(d) - exact) / size)) for way, d in ways.items()}
            curves[name] = np.array([grid, pair(x), ways["rules"]])
        line, parabola = 2 * X + 1, X**2 + 1
        lecture = {
            "2x + 1 at 2": float(calculus.difference_quotient(line, jnp.asarray(2.0), 0.01)),
            "2x + 1 at 1": float(calculus.difference_quotient(line, jnp.asarray(1.0), 0.01)),
            "x² + 1 at 2": float(calculus.difference_quotient(parabola, jnp.asarray(2.0), 0.01)),
            "x² + 1 at 1": float(calculus.difference_quotient(parabola, jnp.asarray(1.0), 0.01)),
        }
    worst = {way: max(errors[way] for errors in rows.values()) for way in ("rules", "jax", "limit")}
    run.expect(
        f"the rules are within {worst['rules']:.0e} of the closed forms, at most 1e-13", worst["rules"] < 1e-13
    )
    run.expect(f"JAX is within {worst['jax']:.0e} of the closed forms, at most 1e-13", worst["jax"] < 1e-13)
    run.expect(f"the limit is within {worst['limit']:.0e}, at most 1e-6", worst["limit"] < 1e-6)
    for (name, value), expected in zip(lecture.items(), (2, 2, 4.01, 2.01), strict=True):
        run.expect(f"the quotient of {name}, h = 0.01, is {value:.4f}: {expected}", abs(value - expected) < 1e-9)
    run.save(draw(curves), "rules.png")
    console.print_table(
        "Largest error of the derivative, relative to max(1, |f'|), float64",
        ["f", "f'", "by the rules", "by JAX", "by the limit"],
        [[name, TABLE[name][1], *(f"{e:.1e}" for e in errors.values())] for name, errors in rows.items()],
    )
    return {"errors": rows, "quotients": lecture}


def draw(curves: dict[str, np.ndarray]) -> Figure:
    """Draw each function and its derivative from rows (x, f(x), f'(x)), with gaps at the poles."""
    figure = plots.new_figure(10.0, 7.5)
    figure.suptitle("Every function of the table and its derivative, composed by the rules alone")
    panels = figure.subplots(3, 5)
    for axes, (name, curve) in zip(panels.flat, curves.items(), strict=False):
        x, value, slope = curve
        if name in POLES:
            x, value, slope = np.insert(curve, np.searchsorted(x, POLES[name]), np.nan, axis=1)
        axes.plot(x, value, color=plots.COLORS[0], linewidth=2, label="f(x)")
        axes.plot(x, slope, "--", color=plots.COLORS[1], linewidth=2, label="f'(x)")
        low, high = np.percentile(curve[1:], [4, 90])
        margin = 0.15 * (high - low) + 0.2
        axes.set(title=f"{name}  →  {TABLE[name][1]}", ylim=(low - margin, high + margin), xlabel="x")
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(curves) :]:
        axes.axis("off")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    panels.flat[-1].legend(handles, labels, loc="center", fontsize=12)
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
