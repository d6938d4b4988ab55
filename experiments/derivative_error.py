"""Which step makes a difference quotient most accurate?

The forward and the central difference of e^x are taken at many points, for steps from 1 down to 2⁻⁵², in float32
and float64. The error is the median over the points. A large step causes a truncation error, a small one a
rounding error. On logarithmic scales these are two straight lines, which meet in a V.

Command: dlcore run derivative_error

Takes: about 5 s on two idle cores

Expected: truncation falls as h (forward) and h² (central), and rounding grows as 1/h. The forward difference is
best near h = √eps, with an error of about √eps. The central one is best near h = ∛eps, with an error of about
eps^⅔. Both hold in both precisions.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dlcore import calculus
from dlcore._core.host_checks import check_count
from dlcore.cli import experiment, plots

QUOTIENTS = {"forward": calculus.difference_quotient, "central": calculus.central_difference}
ORDERS = {"forward": 1, "central": 2}


@dataclasses.dataclass
class Options(experiment.Options):
    """Options of the experiment."""

    places: int = 2_000
    """Number of points x; --quick takes at most 200."""

    def check(self) -> None:
        """Check that there is at least one point."""
        check_count("--places", self.places)


def main(options: Options, run: experiment.Run) -> experiment.Result:
    """Measure the errors of both quotients over all steps, in both precisions."""
    places = min(options.places, 200) if options.quick else options.places
    results = {}
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            for name in QUOTIENTS:
                results[dtype, name] = errors(name, dtype, places)
    best = {f"{dtype} {name}": check_curve(run, dtype, name, *results[dtype, name]) for dtype, name in results}
    run.save(draw(results), "error.png")
    return {"places": places, "best": best}


def errors(name: str, dtype: str, places: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps, and the median of |quotient − f'|/|f'| over the points."""
    x = np.random.default_rng(0).uniform(0.5, 1.5, places).astype(dtype)
    steps = (2.0 ** -np.arange(0, 53)).astype(dtype)
    quotient = jax.jit(jax.vmap(lambda h, x: QUOTIENTS[name](jnp.exp, x, h), in_axes=(0, None)))
    value = np.asarray(quotient(steps, x), np.float64)
    exact = np.exp(x.astype(np.float64))
    return steps.astype(np.float64), np.median(np.abs(value - exact) / exact, axis=1)


def check_curve(
    run: experiment.Run, dtype: str, name: str, steps: np.ndarray, error: np.ndarray
) -> dict[str, float]:
    """Check the minimum of a curve and the slopes of its two branches, and return them."""
    eps, order = float(np.finfo(dtype).eps), ORDERS[name]
    best = int(error.argmin())
    predicted = eps ** (1 / (order + 1))
    truncation = slope(steps, error, (steps > 5 * predicted) & (steps <= 0.5))
    rounding = slope(steps, error, (steps < predicted / 5) & (steps > 16 * eps))
    run.expect(
        f"{dtype}, {name}: least error {error[best]:.1e} at h = {steps[best]:.1e}, within a factor 10 of "
        f"{predicted**order:.1e} at {predicted:.1e}",
        0.1 < steps[best] / predicted < 10 and 0.1 < error[best] / predicted**order < 10,
    )
    run.expect(
        f"{dtype}, {name}: the error falls as h^{truncation:.2f} and grows as h^{rounding:.2f}, "
        f"within 0.2 of {order} and -1",
        abs(truncation - order) < 0.2 and abs(rounding + 1) < 0.2,
    )
    return {
        "step": float(steps[best]),
        "error": float(error[best]),
        "truncation": truncation,
        "rounding": rounding,
    }


def slope(steps: np.ndarray, error: np.ndarray, mask: np.ndarray) -> float:
    """Return the exponent p of error ∝ h^p for the steps of the mask."""
    return float(np.polyfit(np.log(steps[mask]), np.log(error[mask]), 1)[0])


def draw(results: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw four V-shaped curves with their predicted minima."""
    figure = plots.new_figure(8.0, 5.0)
    axes = figure.subplots()
    for ((dtype, name), (steps, error)), color in zip(results.items(), plots.COLORS, strict=False):
        style = "-" if name == "forward" else "--"
        width = 4.5 if dtype == "float32" else 1.8  # float64 lies on it where truncation dominates
        axes.plot(steps, np.maximum(error, 1e-17), style, color=color, linewidth=width, label=f"{name}, {dtype}")
        predicted = float(np.finfo(dtype).eps) ** (1 / (ORDERS[name] + 1))
        axes.plot(predicted, predicted ** ORDERS[name], "o", color=color, markersize=9, markerfacecolor="none")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="step h",
        ylabel="relative error of the slope of eˣ (median)",
        title="Too large a step truncates, too small a step rounds:\n"
        "the best lies near √eps, or ∛eps for the central quotient (circles)",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    experiment.run(main, Options, __doc__)
