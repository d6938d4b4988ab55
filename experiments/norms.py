"""Which shape has the unit ball of each norm, and why is p = ½ no norm?

The unit balls of the L1, L1.5, L2, L3 and L∞ norms are drawn in the plane, and the same set for p = ½. The ball
of a norm is convex, which is the triangle inequality. For p = ½ the midpoint of two points of the set lies
outside it. The norms of (3, 4) are computed too, and the Frobenius norm of a matrix as the L2 norm of its
entries.

Command: dlcore run norms

Takes: about 2 s on two idle cores

Expected: (3, 4) has the lengths 7, 5 and 4. The triangle inequality holds for all pairs of random vectors when
p ≥ 1. For p = ½ it fails by a factor of up to 2 in the plane. The Frobenius norm equals the L2 norm of the entries
to rounding.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dlcore import linalg
from dlcore._core.host_checks import check_count
from dlcore.cli import experiment, plots

ORDERS = {"L1": 1.0, "L1.5": 1.5, "L2": 2.0, "L3": 3.0, "L∞": float("inf")}


@dataclasses.dataclass
class Options(experiment.Options):
    """Options of the experiment."""

    pairs: int = 100_000
    """Number of pairs of vectors for the triangle inequality; --quick takes at most 10000."""

    def check(self) -> None:
        """Check that there is at least one pair."""
        check_count("--pairs", self.pairs)


def main(options: Options, run: experiment.Run) -> experiment.Result:
    """Compute the norms, check the triangle inequality on random pairs, and draw the picture."""
    pairs = min(options.pairs, 10_000) if options.quick else options.pairs
    with jax.enable_x64(True):
        three_four = {name: float(linalg.vector_norm(jnp.array([3.0, 4.0]), p)) for name, p in ORDERS.items()}
        half = float(linalg.vector_norm(jnp.array([0.5, 0.5]), 0.5))
        ratios = {name: float(largest_ratio(pairs, p)) for name, p in (*ORDERS.items(), ("p = ½", 0.5))}
        a = jnp.asarray(np.random.default_rng(1).normal(size=(30, 20)))
        frobenius, flat = float(linalg.matrix_norm(a)), float(linalg.vector_norm(a.ravel()))
        angles = np.linspace(0, 2 * np.pi, 721)
        directions = np.stack([np.cos(angles), np.sin(angles)], 1)
        balls = {
            name: directions / np.asarray(linalg.vector_norm(jnp.asarray(directions), p, axis=1, keepdims=True))
            for name, p in (*ORDERS.items(), ("p = ½", 0.5))
        }
    shown = ", ".join(f"{name} {value:.4g}" for name, value in three_four.items())
    run.expect(
        f"the norms of (3, 4) are {shown}; L1, L2 and L∞ are 7, 5 and 4",
        [three_four[name] for name in ("L1", "L2", "L∞")] == [7, 5, 4],
    )
    worst = max(ratios[name] for name in ORDERS)
    run.expect(f"‖x + y‖ / (‖x‖ + ‖y‖) is at most 1 where p ≥ 1: {worst:.6f}", worst <= 1 + 1e-14)
    run.expect(
        f"at p = ½ it reaches {ratios['p = ½']:.4f}, more than 1.6 and at most 2", 1.6 < ratios["p = ½"] <= 2
    )
    run.expect(f"at p = ½ the middle of (1, 0) and (0, 1) has the length {half:g}, not at most 1", half == 2)
    run.expect(
        f"Frobenius {frobenius:.12f} is the L2 norm of the entries, to 4 eps",
        abs(frobenius / flat - 1) <= 4 * np.finfo(np.float64).eps,
    )
    run.save(draw(balls), "unit_balls.png")
    return {"pairs": pairs, "three_four": three_four, "largest_ratio": ratios, "frobenius": frobenius}


def largest_ratio(pairs: int, p: float) -> jax.Array:
    """Return the largest ‖x + y‖ / (‖x‖ + ‖y‖) among random pairs in the plane."""
    x, y = jnp.asarray(np.random.default_rng(0).normal(size=(2, pairs, 2)))
    norm = lambda v: linalg.vector_norm(v, p, axis=1)  # noqa: E731
    return (norm(x + y) / (norm(x) + norm(y))).max()


def draw(balls: dict[str, np.ndarray]) -> Figure:
    """Draw the nested balls, and beside them the set for p = ½."""
    figure = plots.new_figure(10.0, 5.1)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for (name, points), color in zip(balls.items(), plots.COLORS, strict=False):
        axes = left if name in ORDERS else right
        axes.plot(*points.T, color=color, linewidth=2, label=name)
    right.plot(*balls["L1"].T, color=plots.COLORS[0], linewidth=1, linestyle=":", label="L1, for comparison")
    right.plot([1, 0.5, 0], [0, 0.5, 1], "--", color="black", linewidth=1)
    right.plot([1, 0], [0, 1], "o", color="black", markersize=6)
    right.plot(0.5, 0.5, "X", color=plots.COLORS[1], markersize=11)
    right.annotate("½(x + y): length 2", (0.5, 0.5), xytext=(0.5, 0.58))
    right.annotate("x: length 1", (1, 0), xytext=(1.03, 0.05))
    right.annotate("y: length 1", (0, 1), xytext=(-0.42, 1.07))
    left.set(title="p ≥ 1: convex, so the triangle inequality holds", ylabel="x₂  (no unit)")
    right.set(title="p = ½: the middle of x and y lies outside", ylim=(-1.25, 1.25), xlim=(-1.25, 1.6))
    for axes in (left, right):
        axes.set(xlabel="x₁  (no unit)", aspect="equal")
        axes.grid(alpha=0.3)
    left.legend(loc="center")
    right.legend(loc="lower left", fontsize=8)
    figure.suptitle("All vectors of length 1: a norm is a convex ball")
    return figure


if __name__ == "__main__":
    experiment.run(main, Options, __doc__)
