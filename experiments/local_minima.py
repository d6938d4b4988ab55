"""Does the start decide which of several minima gradient descent finds?

Gradient descent runs from 1,000 random starts at once, in one vmapped program. Himmelblau's function
(x² + y − 11)² + (x + y² − 7)² has four minima of equal height. With a linear term added, one of them is the
lowest.

Command: dlcore run local_minima

Takes: about 5 s on two idle cores

Expected: every start ends within 1e-5 of one of the four known minima, and each minimum attracts a seventh of the
starts or more. With the linear term most starts miss the lowest minimum.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from dlcore._core.host_checks import check_count
from dlcore.calculus import gradient
from dlcore.cli import experiment, plots
from dlcore.descent import gradient_descent

RATE = 0.005
MINIMA = np.array([[3.0, 2.0], [-2.805118, 3.131313], [-3.779310, -3.283186], [3.584428, -1.848127]])
"""Minima of the function without a linear term (Himmelblau 1972)."""

SLOPE = 10.0
"""Coefficient of the linear term."""


@dataclasses.dataclass
class Options(experiment.Options):
    """Options of the experiment."""

    starts: int = 1_000
    """Number of descents that run at once."""
    steps: int = 2_000
    """Steps of each descent."""

    def check(self) -> None:
        """Check that there is at least one start and one step."""
        check_count("--starts", self.starts)
        check_count("--steps", self.steps)


def himmelblau(point: jax.Array, slope: jax.Array) -> jax.Array:
    """Return the function at ONE point, with the linear term `slope`·x."""
    x, y = point
    return (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2 + slope * x


def descend(start: jax.Array, slope: jax.Array, steps: int) -> jax.Array:
    """Return the end of ONE descent."""
    optimizer = gradient_descent(RATE)

    def step(_: Any, carry: Any) -> Any:
        point, state = carry
        update, state = optimizer.update(gradient(himmelblau)(point, slope), state, point)
        return optax.apply_updates(point, update), state

    return jax.lax.fori_loop(0, steps, step, (start, optimizer.init(start)))[0]


def main(options: Options, run: experiment.Run) -> experiment.Result:
    """Descend from all starts, without and with the linear term."""
    starts = np.random.default_rng(0).uniform(-5, 5, (options.starts, 2))
    with jax.enable_x64(True):
        descend_all = jax.jit(jax.vmap(jax.vmap(descend, (0, None, None)), (None, 0, None)))
        slopes = jnp.asarray([0.0, SLOPE])
        level, tilted = np.asarray(descend_all(jnp.asarray(starts), slopes, options.steps))
        gradients = jax.vmap(jax.vmap(jax.grad(himmelblau), (0, None)))(jnp.stack([level, tilted]), slopes)
    largest = float(np.abs(gradients).max())
    run.expect(f"every descent ends where the slope is at most {largest:.0e}, below 1e-8", largest < 1e-8)
    distances = np.linalg.norm(level[:, None] - MINIMA, axis=-1)
    reached = distances.argmin(1)
    farthest = float(distances.min(1).max())
    run.expect(f"every end is within {farthest:.1e} of a known minimum, at most 1e-5", farthest < 1e-5)
    shares = np.bincount(reached, minlength=4) / len(starts)
    run.expect(
        f"all four are found, the rarest by {shares.min():.0%} of the starts (1/7 or more)", shares.min() > 1 / 7
    )
    heights = np.array([float(himmelblau(jnp.asarray(p), jnp.asarray(SLOPE))) for p in tilted])
    lowest = float(heights.min())
    missed = float((heights > lowest + 1).mean())
    run.expect(f"with the slope {missed:.0%} of the starts miss the lowest minimum, most of them", missed > 0.5)
    run.save(draw(starts, level, reached, shares, missed), "basins.png")
    return {
        "starts": options.starts,
        "minima": MINIMA.tolist(),
        "shares": shares.tolist(),
        "missed_the_lowest": missed,
        "lowest": lowest,
    }


def draw(starts: np.ndarray, ends: np.ndarray, reached: np.ndarray, shares: np.ndarray, missed: float) -> Figure:
    """Draw the starts, coloured by the minimum they lead to."""
    figure = plots.new_figure(7.5, 6.5)
    axes = figure.subplots()
    u, v = np.meshgrid(np.linspace(-5.5, 5.5, 200), np.linspace(-5.5, 5.5, 200))
    heights = (u**2 + v - 11) ** 2 + (u + v**2 - 7) ** 2
    axes.contour(u, v, heights, levels=np.geomspace(1, 900, 14), colors="0.75", linewidths=0.8)
    for k, color in enumerate(plots.COLORS[:4]):
        x, y = MINIMA[k]
        label = f"to ({x:.2f}, {y:.2f}): {shares[k]:.0%}"
        axes.plot(*starts[reached == k].T, "osD^"[k], color=color, markersize=4, alpha=0.7, label=label)
    axes.plot(*ends.T, "*", color="black", markersize=14, label="ends")
    axes.set(
        xlabel="x",
        ylabel="y",
        title=f"{len(starts):,} starts, four minima: the start decides.\n"
        f"Tilted, so that one is the lowest, {missed:.0%} of the starts miss it",
    )
    figure.legend(loc="outside lower center", ncols=3)
    return figure


if __name__ == "__main__":
    experiment.run(main, Options, __doc__)
