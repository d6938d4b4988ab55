"""Which learning rates are too small, good or too large?

Gradient descent runs in a long valley, f = (x² + 10 y²)/2 with curvatures 1 and 10, from one start at four rates.
Each step multiplies the error along a direction of curvature c by 1 − rate·c. The error shrinks if rate < 2/c.
With L the largest curvature, descent diverges exactly beyond 2/L.

Command: dlcore run gradient_descent

Takes: about 5 s on two idle cores

Expected: every path is the predicted one, (1 − rate·c)^k times the start, to rounding. The rate 1.95/L converges,
2/L oscillates for ever, and 2.05/L diverges. The rate 2/(L + l) is the fastest: its error per step is
(L − l)/(L + l).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from dlcore.calculus import gradient
from dlcore.cli import console, experiment, plots
from dlcore.descent import gradient_descent

CURVATURES = np.array([1.0, 10.0])
START = np.array([-9.0, 2.0])
LARGEST = float(CURVATURES.max())
BEST = 2 / float(CURVATURES.sum())
RATES = {
    "too small: 0.1/L": 0.1 / LARGEST,
    "good: 1/L": 1 / LARGEST,
    "best: 2/(L + l)": BEST,
    "too large: 2.05/L": 2.05 / LARGEST,
}


def f(x: jax.Array) -> jax.Array:
    """Return the height of the valley."""
    return jnp.sum(jnp.asarray(CURVATURES, x.dtype) * x * x) / 2


@jax.jit
def descend(rate: jax.Array, steps: jax.Array) -> jax.Array:
    """Return the start and the point after each of `steps`; every rate runs the same program."""
    optimizer = gradient_descent(rate)
    start = jnp.asarray(START, rate.dtype)

    def step(carry: Any, _: Any) -> Any:
        x, state = carry
        update, state = optimizer.update(gradient(f)(x), state, x)
        x = optax.apply_updates(x, update)
        return (x, state), x

    _, points = jax.lax.scan(step, (start, optimizer.init(start)), steps)
    return jnp.concatenate([start[None], points])


def main(options: experiment.Options, run: experiment.Run) -> experiment.Result:
    """Compare all paths with the prediction, and find the fastest and the largest rate."""
    steps = np.zeros(60 if options.quick else 200)
    with jax.enable_x64(True):
        paths = {name: np.asarray(descend(jnp.asarray(rate), steps)) for name, rate in RATES.items()}
        edge = {c: np.asarray(descend(jnp.asarray(c / LARGEST), steps)) for c in (1.95, 2.0, 2.05)}
        sweep = np.linspace(0.02, 0.21, 96)
        ends = np.asarray(jax.vmap(lambda rate: descend(rate, steps))(jnp.asarray(sweep)))
    worst = max(prediction_error(rate, paths[name]) for name, rate in RATES.items())
    run.expect(f"every path is the predicted one to {worst:.0e} of its size, at most 1e-12", worst < 1e-12)
    sizes = {c: float(np.linalg.norm(path[-1]) / np.linalg.norm(START)) for c, path in edge.items()}
    factor = 0.95 ** len(steps)
    run.expect(f"at 1.95/L the error shrinks to {sizes[1.95]:.1e}", sizes[1.95] < 1.1 * factor)
    amplitude = float(np.abs(edge[2.0][:, 1]).min())
    run.expect(f"at 2/L the steep coordinate swings for ever, |y| = {amplitude:.3f}", abs(amplitude - 2) < 1e-9)
    run.expect(f"at 2.05/L the error grows to {sizes[2.05]:.1e}", sizes[2.05] > 0.1 * 1.05 ** len(steps))
    factors = np.abs(1 - sweep[:, None] * CURVATURES).max(1)
    errors = np.linalg.norm(ends[:, -1], axis=1)
    fastest = float(sweep[errors.argmin()])
    run.expect(
        f"the fastest rate of a sweep is {fastest:.3f}, near 2/(L + l) = {BEST:.3f}", abs(fastest - BEST) < 0.01
    )
    run.save(draw(paths), "paths.png")
    run.save(draw_sweep(sweep, errors, factors, len(steps)), "rates.png")
    rows = [
        [
            name,
            f"{rate:.4f}",
            f"{np.abs(1 - rate * CURVATURES).max():.3f}",
            f"{np.linalg.norm(paths[name][-1]):.1e}",
        ]
        for name, rate in RATES.items()
    ]
    console.print_table(
        f"Gradient descent on (x² + 10y²)/2, {len(steps)} steps, float64",
        ["learning rate", "", "factor per step", "distance to the optimum"],
        rows,
    )
    return {"steps": len(steps), "at_the_edge": {f"{c}/L": size for c, size in sizes.items()}, "fastest": fastest}


def prediction_error(rate: float, path: np.ndarray) -> float:
    """Return the largest distance from (1 − rate·c)^k·start, relative to the largest predicted coordinate."""
    k = np.arange(len(path))[:, None]
    predicted = (1 - rate * CURVATURES) ** k * START
    return float((np.abs(path - predicted).max(1) / np.abs(predicted).max()).max())


def draw(paths: dict[str, np.ndarray]) -> Figure:
    """Draw each path over the contours of the valley."""
    figure = plots.new_figure(10.0, 6.0)
    figure.suptitle("Gradient descent in a valley: slow along it, too far across it, or right")
    x, y = np.meshgrid(np.linspace(-10, 4, 200), np.linspace(-3.4, 3.4, 160))
    heights = (CURVATURES[0] * x**2 + CURVATURES[1] * y**2) / 2
    for axes, (name, path), color in zip(figure.subplots(2, 2).flat, paths.items(), plots.COLORS, strict=False):
        shown = path[:26]
        shown = shown[np.abs(shown).max(1) < 10]
        axes.contour(x, y, heights, levels=np.geomspace(0.1, 110, 12), colors="0.75", linewidths=0.8)
        axes.plot(*shown.T, "-o", color=color, markersize=3.5, linewidth=1.4)
        axes.plot(*START, "o", color="black")
        axes.plot(0, 0, "*", color="black", markersize=13)
        axes.set(
            title=f"{name}, first {len(shown) - 1} steps", xlabel="x", ylabel="y", xlim=(-10, 4), ylim=(-3.4, 3.4)
        )
    return figure


def draw_sweep(rates: np.ndarray, errors: np.ndarray, factors: np.ndarray, steps: int) -> Figure:
    """Draw the final distance against the rate, with the rates that the theory names."""
    figure = plots.new_figure(7.5, 4.5)
    axes = figure.subplots()
    axes.plot(rates, errors, color=plots.COLORS[0], linewidth=2.5, label=f"after {steps} steps")
    predicted = np.linalg.norm(START) * factors**steps
    axes.plot(
        rates, predicted, "--", color=plots.COLORS[1], label="largest |1 − rate·c| to the power of the steps"
    )
    for rate, text in ((1 / LARGEST, "1/L"), (BEST, "2/(L + l)"), (2 / LARGEST, "2/L")):
        axes.axvline(rate, color="0.5", linewidth=1)
        axes.annotate(
            text, (rate, errors.max()), xytext=(-4, -4), textcoords="offset points", ha="right", va="top"
        )
    axes.set(
        yscale="log",
        xlabel="learning rate",
        ylabel="distance to the optimum",
        title="The best rate is just below the one that diverges",
    )
    axes.grid(alpha=0.3)
    plots.legend_below(figure, axes)
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
