"""Where does descent end when there are many minima?

Gradient descent from 1,000 random starts at once, in one vmapped program, on Himmelblau's function
(x² + y − 11)² + (x + y² − 7)², which has four minima of equal height, and on the same with a slope added, which
leaves one of them the lowest.

Command: dlcore run local_minima

Takes: about 5 s on two idle cores

Expected: every start ends at one of four minima, each found by a seventh of the starts or more, at the known
places to 1e-5; with the slope most starts miss the lowest minimum.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore._core.host_checks import check_count
from dlcore.calculus import gradient
from dlcore.cli import experiment, plots
from dlcore.descent import gradient_descent

RATE = 0.005
MINIMA = np.array([[3.0, 2.0], [-2.805118, 3.131313], [-3.779310, -3.283186], [3.584428, -1.848127]])
"""Of the function without a slope (Himmelblau 1972)."""

SLOPE = 10.0


@dataclasses.dataclass
class Options(experiment.Options):
    """Options of the experiment."""

    starts: int = 1_000
    """How many descents run at once."""
    steps: int = 2_000
    """How many steps each of them makes."""

    def check(self) -> None:
        """At least one of each."""
        check_count("--starts", self.starts)
        check_count("--steps", self.steps)


def himmelblau(point: jax.Array, slope: jax.Array) -> jax.Array:
    """The function of ONE point; `slope` tilts it along x."""
    x, y = point
    return (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2 + slope * x


def descend(start: jax.Array, slope: jax.Array, steps: int) -> jax.Array:
    """The end of ONE descent."""
    optimizer = gradient_descent(RATE)

    def step(_: Any, state: Any) -> Any:
        point, memory = state
        update, memory = optimizer.update(gradient(himmelblau)(point, slope), memory, point)
        return optax.apply_updates(point, update), memory

    return jax.lax.fori_loop(0, steps, step, (start, optimizer.init(start)))[0]


def main(options: Options, run: experiment.Run) -> dict[str, Any]:
    """All starts at once, without and with the slope."""
    starts = np.random.default_rng(0).uniform(-5, 5, (options.starts, 2))
    with jax.enable_x64(True):
        many = jax.jit(jax.vmap(jax.vmap(descend, (0, None, None)), (None, 0, None)))
        slopes = jnp.asarray([0.0, SLOPE])
        level, tilted = np.asarray(many(jnp.asarray(starts), slopes, options.steps))
        steep = jax.vmap(jax.vmap(jax.grad(himmelblau), (0, None)))(jnp.stack([level, tilted]), slopes)
    flat = float(np.abs(steep).max())
    run.expect(f"every descent ends where the slope is at most {flat:.0e}, below 1e-8", flat < 1e-8)
    nearest = np.linalg.norm(level[:, None] - MINIMA, axis=-1)
    reached = nearest.argmin(1)
    farthest = float(nearest.min(1).max())
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


def draw(starts: np.ndarray, ends: np.ndarray, reached: np.ndarray, shares: np.ndarray, missed: float) -> Any:
    """The starts, coloured by the minimum they lead to."""
    figure = plots.new_figure(7.5, 6.5)
    axes = figure.subplots()
    across, up = np.meshgrid(np.linspace(-5.5, 5.5, 200), np.linspace(-5.5, 5.5, 200))
    heights = (across**2 + up - 11) ** 2 + (across + up**2 - 7) ** 2
    axes.contour(across, up, heights, levels=np.geomspace(1, 900, 14), colors="0.75", linewidths=0.8)
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
