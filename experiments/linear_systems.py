"""Which method solves Ax = b most accurately: inverse, factorisation, least squares or pseudo-inverse?

The systems are square, with chosen singular values and condition numbers from 1 to 10¹⁶, in float32 and float64.
The exact answer of each system, as rounded, is computed in rational arithmetic, so that every error is the
method's. The forward error is max|x − x*|/max|x*|. The residual is max|b − Ax| relative to max|A|·max|x|·n. Both
are medians over several systems.

Command: dlcore run linear_systems

Takes: about 15 s on two idle cores

Expected: every direct method errs by about eps·condition. Only the residual distinguishes them: it is about eps
for factorisation and least squares, and up to eps·condition for the inverse. Refinement from float32 factors is
right to the last digits in both precisions while the condition is below 1/eps of float32. Beyond, it gives no
answer.
"""

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dlcore import linalg
from dlcore._core.host_checks import check_count
from dlcore.cli import experiment, plots

N = 10
"""Number of rows and columns."""

METHODS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "inverse": lambda a, b: linalg.matmul(linalg.inv(a), b),
    "factorisation": linalg.solve,
    "least squares": lambda a, b: linalg.lstsq(a, b).solution,
    "pseudo-inverse": lambda a, b: linalg.matmul(linalg.pinv(a), b),
    "refined from float32": lambda a, b: linalg.solve(a, b, refine=jnp.float32),
}


@dataclasses.dataclass
class Options(experiment.Options):
    """Options of the experiment."""

    systems: int = 9
    """Number of systems of each condition; --quick takes at most 2, in float64 only."""

    def check(self) -> None:
        """Check that there is at least one system."""
        check_count("--systems", self.systems)


def main(options: Options, run: experiment.Run) -> experiment.Result:
    """Measure errors and residuals of every method over all conditions, in both precisions."""
    systems = min(options.systems, 2) if options.quick else options.systems
    conditions = 10.0 ** np.arange(0, 17, 4 if options.quick else 1)
    dtypes = ("float64",) if options.quick else ("float32", "float64")
    results = {dtype: measure(dtype, conditions, systems) for dtype in dtypes}
    for dtype, measured in results.items():
        state_expectations(run, dtype, conditions, measured)
    run.save(draw(conditions, results), "linear_systems.png")
    medians = {
        dtype: {name: {"error": list(pair[0]), "residual": list(pair[1])} for name, pair in measured.items()}
        for dtype, measured in results.items()
    }
    return {"systems": systems, "condition": list(conditions), "median": without_nan(medians)}


def measure(dtype: str, conditions: np.ndarray, systems: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (forward error, residual) of each method at each condition, nan when a method gives no answer."""
    rng = np.random.default_rng(0)
    a, b = [], []
    for condition in np.repeat(conditions, systems):
        left, right = (np.linalg.qr(rng.normal(size=(N, N)))[0] for _ in range(2))
        matrix = ((left * np.geomspace(1, 1 / condition, N)) @ right).astype(dtype)
        a.append(matrix)
        b.append((matrix.astype(float) @ rng.normal(size=N)).astype(dtype))
    exact = np.array([exact_solution(*system) for system in zip(a, b, strict=True)])
    results = {}
    with jax.enable_x64(dtype == "float64"):
        batch = jnp.array(a), jnp.array(b)
        lowered = [jax.jit(jax.vmap(method)).lower(*batch) for method in METHODS.values()]
        with ThreadPoolExecutor() as pool:  # compiling takes most of the time
            compiled = list(pool.map(lambda program: program.compile(), lowered))
        for name, program in zip(METHODS, compiled, strict=True):
            x = np.asarray(program(*batch), np.float64)
            error = np.abs(x - exact).max(1) / np.abs(exact).max(1)
            residual = [exact_residual(*system) for system in zip(a, b, x, strict=True)]
            size = np.array([np.abs(matrix).max() for matrix in a]) * np.abs(x).max(1) * N
            shape = (len(conditions), systems)
            results[name] = tuple(np.median(part.reshape(shape), 1) for part in (error, residual / size))
    return results


def exact_solution(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve by Gaussian elimination on fractions, without rounding before the last step."""
    rows = [[Fraction(float(entry)) for entry in (*row, right)] for row, right in zip(a, b, strict=True)]
    for k in range(len(rows)):
        pivot = max(range(k, len(rows)), key=lambda i: abs(rows[i][k]))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for row in rows[k + 1 :]:
            factor = row[k] / rows[k][k]
            row[k:] = [entry - factor * above for entry, above in zip(row[k:], rows[k][k:], strict=True)]
    x = [Fraction(0)] * len(rows)
    for k in reversed(range(len(rows))):
        x[k] = (rows[k][-1] - sum(rows[k][j] * x[j] for j in range(k + 1, len(rows)))) / rows[k][k]
    return np.array([float(entry) for entry in x])


def exact_residual(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """Return max|b − Ax| without rounding, nan for a solution that is not finite."""
    if not np.isfinite(x).all():
        return float("nan")
    exact = [Fraction(float(entry)) for entry in x]
    products = [sum(Fraction(float(entry)) * part for entry, part in zip(row, exact, strict=True)) for row in a]
    return max(abs(float(Fraction(float(right)) - product)) for right, product in zip(b, products, strict=True))


def state_expectations(
    run: experiment.Run, dtype: str, conditions: np.ndarray, measured: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """Compare the results in one precision with the expected ones."""
    eps = float(np.finfo(dtype).eps)
    good = conditions <= 0.01 / eps
    direct = [name for name in METHODS if name != "refined from float32"]
    worst = max(float((measured[name][0] / (eps * conditions))[good].max()) for name in direct)
    run.expect(f"{dtype}: no direct method errs by more than {worst:.2g}·eps·condition, less than 8", worst < 8)
    residual = max(float(measured[name][1][good].max()) for name in ("factorisation", "least squares"))
    run.expect(
        f"{dtype}: factorisation and least squares leave residuals of {residual / eps:.2g} eps, below 4",
        residual < 4 * eps,
    )
    last = int(np.flatnonzero(good)[-1])
    ratio = measured["inverse"][1][last] / measured["factorisation"][1][last]
    run.expect(
        f"{dtype}: at condition {conditions[last]:.0e} the inverse leaves {ratio:.2g} times the residual of "
        "factorisation, more than 100",
        ratio > 100,
    )
    refined = measured["refined from float32"][0]
    can_refine = conditions <= 1e5
    run.expect(
        f"{dtype}, refined: errs by {refined[can_refine].max() / eps:.2g} eps up to condition 1e5, at most 1",
        refined[can_refine].max() <= eps,
    )
    rest = refined[~can_refine]
    run.expect(
        f"{dtype}: beyond 1e5 the refined answer is right to 1 eps or it is nan: nan at {np.isnan(rest).sum()} of "
        f"{len(rest)} conditions",
        np.isnan(rest).any() and bool((np.isnan(rest) | (rest <= eps)).all()),
    )


def without_nan(tree: Any) -> Any:
    """Replace nan by None, because JSON has no nan."""
    return jax.tree.map(lambda number: None if np.isnan(number) else float(number), tree)


def draw(conditions: np.ndarray, results: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Draw forward errors above and residuals below, with a column for each precision."""
    figure = plots.new_figure(11.0, 8.0)
    grid = figure.subplots(2, len(results), sharex=True, squeeze=False)
    for column, (dtype, measured) in enumerate(results.items()):
        eps = float(np.finfo(dtype).eps)
        for row, axes in enumerate(grid[:, column]):
            for (name, values), color, (style, width) in zip(
                measured.items(), plots.COLORS, plots.LINES, strict=False
            ):
                shown = np.clip(values[row], eps / 8, 1e2)
                axes.plot(conditions, shown, color=color, linestyle=style, linewidth=width, label=name)
            axes.plot(conditions, np.minimum(eps * conditions, 1e2), color="0.4", linewidth=1)
            axes.annotate("eps·condition", (eps**-0.5, 8 * eps**0.5), color="0.3", ha="right", fontsize=8)
            axes.axhline(eps, color="0.4", linewidth=1, linestyle=(0, (1, 1)))
            axes.annotate("eps", (conditions[-1], eps), color="0.3", ha="right", va="bottom", fontsize=8)
            axes.axvline(1 / eps, color="0.7", linewidth=1)
            axes.set(xscale="log", yscale="log", ylim=(eps / 16, 1e3))
            axes.grid(alpha=0.3)
        grid[0, column].set_title(f"{dtype}  (upright: 1/eps; below eps/8 drawn there)")
        grid[1, column].set_xlabel("condition number  (no unit)")
    grid[0, 0].set_ylabel("forward error  (relative)")
    grid[1, 0].set_ylabel("residual / (n·max|A|·max|x|)")
    plots.legend_below(figure, grid[0, 0])
    figure.suptitle(
        "Direct methods err alike, by eps·condition; only factorisation keeps the residual small;\n"
        "refinement is right to the last digits until float32 factors fail, and then gives no answer"
    )
    return figure


if __name__ == "__main__":
    experiment.run(main, Options, __doc__)
