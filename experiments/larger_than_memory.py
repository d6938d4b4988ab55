"""Can a model be trained on data that memory does not hold?

A logistic regression on a table of a million rows and a thousand columns, written to disk in float16 (2 GB). The
objective is a finite sum, so its gradient is summed piece by piece: a piece is read, added, and forgotten.
Gradient descent by hand, a pass over the file at each step.

Command: dlcore run larger_than_memory

Takes: about 45 s on two idle cores, and 2 GB of disk; the file is removed at the end

Expected: J and its gradient equal NumPy's float64 sum over the same file to 1e-5; memory grows by less than a
quarter of the file; J falls at every step, and the weights point where the true ones do (cosine above 0.9).
"""

import dataclasses
import itertools
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import dlcore
from dlcore import reference
from dlcore._core.host_checks import check_count
from dlcore.cli import experiment, plots
from dlcore.descent import gradient_descent
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import LinearParams, logistic

PIECE_BYTES = 2**26
"""Of the file, read at once."""


@dataclasses.dataclass
class Options(experiment.Options):
    """Options of the experiment."""

    rows: int = 1_000_000
    """Rows of the table; --quick takes a fiftieth of them."""
    features: int = 1_000
    """Columns of the table; --quick takes a quarter of them."""
    steps: int = 8
    """Steps of descent, each a pass over the file."""

    def check(self) -> None:
        """As many of each as a table and a curve need."""
        check_count("--rows", self.rows, least=5_000)
        check_count("--features", self.features, least=8)
        check_count("--steps", self.steps, least=2)


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of float16 on disk, and their labels in memory."""

    path: Path
    y: np.ndarray
    features: int

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(x, y) of some rows at a time, from the first to the last."""
        rows = max(1, PIECE_BYTES // (2 * self.features))
        with self.path.open("rb") as file:
            for first in range(0, len(self.y), rows):
                y = self.y[first : first + rows]
                yield np.fromfile(file, np.float16, len(y) * self.features).reshape(len(y), self.features), y


def main(options: Options, run: experiment.Run) -> dict[str, Any]:
    """Write the file, descend over it, compare with NumPy, and remove it."""
    rows = options.rows // (50 if options.quick else 1)
    features = options.features // (4 if options.quick else 1)
    truth = np.random.default_rng(1).normal(size=features) / np.sqrt(features) * 4
    path = run.folder / "table.f16"
    try:
        table = write(path, rows, truth)
        size = path.stat().st_size
        objective = dlcore.Objective(logistic, sigmoid_cross_entropy)
        before = peak_memory()
        params, values, seconds = descend(objective, table, options.steps)
        grown = peak_memory() - before
        value, slope = whole_gradient(objective, params, table)
        exact_value, exact_slope = numpy_gradient(params, table)
    finally:
        path.unlink(missing_ok=True)
    weight = np.asarray(params.weight, np.float64)
    cosine = float(weight @ truth / np.linalg.norm(weight) / np.linalg.norm(truth))
    error = max(
        abs(value - exact_value) / exact_value,
        float(np.abs(np.asarray(slope.weight) - exact_slope).max() / np.abs(exact_slope).max()),
    )
    run.expect(f"J and its gradient equal NumPy's to {error:.1e}, at most 1e-5", error <= 1e-5)
    if size > 16 * PIECE_BYTES:  # of a small file the compiler alone takes more
        run.expect(
            f"memory grew by {grown / 2**20:.0f} MiB, less than a quarter of the {size / 2**20:.0f} of the file",
            grown < size / 4,
        )
    run.expect(
        f"J fell at every step, from {values[0]:.4f} to {values[-1]:.4f} nats",
        all(later < earlier for earlier, later in itertools.pairwise(values)),
    )
    run.expect(f"the cosine of the weights and the true ones is {cosine:.3f}, above 0.9", cosine > 0.9)
    run.save(draw(values, rows, features), "descent.png")
    return {
        "rows": rows,
        "features": features,
        "file_bytes": size,
        "memory_bytes": grown,
        "seconds_per_pass": float(np.median(seconds)),
        "values": values,
    }


def write(path: Path, rows: int, truth: np.ndarray) -> Table:
    """A table of normal numbers, and labels drawn from the logistic model of `truth`."""
    random = np.random.default_rng(0)
    labels, at_once = [], max(1, PIECE_BYTES // (4 * len(truth)))
    with path.open("wb") as file:
        for first in range(0, rows, at_once):
            x = random.standard_normal((min(at_once, rows - first), len(truth)), np.float32).astype(np.float16)
            x.tofile(file)
            logit = x.astype(np.float32) @ truth.astype(np.float32)
            labels.append((random.logistic(size=len(x)) < logit).astype(np.float32))
    return Table(path, np.concatenate(labels), len(truth))


def descend(
    objective: dlcore.Objective, table: Table, steps: int
) -> tuple[LinearParams, list[float], list[float]]:
    """The last parameters, J at every point, and the seconds of each pass."""
    # The columns are independent, of mean 0 and variance 1: λmax(XᵀX/n) is near (1 + √(m/n))², L a quarter of it.
    rate = 4 / (1.1 * (1 + np.sqrt(table.features / len(table.y))) ** 2)
    optimizer = gradient_descent(rate)
    params: Any = LinearParams(jnp.zeros(table.features), jnp.zeros(()))
    state, values, seconds = optimizer.init(params), [], []
    for _ in range(steps):
        started = time.perf_counter()
        value, slope = whole_gradient(objective, params, table)
        update, state = optimizer.update(slope, state, params)
        params = optax.apply_updates(params, update)
        values.append(value)
        seconds.append(time.perf_counter() - started)
    return params, values, seconds


def whole_gradient(objective: dlcore.Objective, params: Any, table: Table) -> tuple[float, LinearParams]:
    """J and its gradient over all rows: the sum of the pieces' means, each times its share of the rows."""
    total, slope = 0.0, jax.tree.map(jnp.zeros_like, params)
    for x, y in table.pieces():
        share = len(y) / len(table.y)
        value, gradient = objective.value_and_grad(params, (x, y))
        slope = jax.tree.map(lambda s, g, share=share: s + share * g, slope, gradient)
        total += share * float(value)
    return total, slope


def numpy_gradient(params: Any, table: Table) -> tuple[float, np.ndarray]:
    """The same in NumPy float64: J, and its gradient in the weights."""
    total, slope = 0.0, np.zeros(table.features)
    for x, y in table.pieces():
        share = len(y) / len(table.y)
        value, gradient, _ = reference.objective.value_and_grad("logistic", params.weight, params.bias, x, y)
        total, slope = total + share * value, slope + share * gradient
    return total, slope


def peak_memory() -> int:
    """The most bytes that this process has held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def draw(values: list[float], rows: int, features: int) -> Any:
    """J against the pass over the file."""
    figure = plots.new_figure(7.0, 4.0)
    axes = figure.subplots()
    axes.plot(np.arange(len(values)), values, "o-", color=plots.COLORS[0], linewidth=2)
    axes.set(
        xlabel="passes over the file",
        ylabel="J  (nats per example)",
        title=f"Descent over a file of {rows:,} × {features:,} numbers,\nnever in memory at once",
    )
    axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    experiment.run(main, Options, __doc__)
