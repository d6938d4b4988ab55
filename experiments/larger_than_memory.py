"""Can a model be trained on data that do not fit into memory?

A table of a million rows and a thousand columns is written to disk in float16 (2 GB). A logistic regression is
trained on it. The objective is a finite sum, so its gradient is summed chunk by chunk: a chunk is read, added and
dropped. Gradient descent makes a pass over the file at each step.

Command: dlcore run larger_than_memory

Takes: about 45 s on two idle cores, and 2 GB of disk; the file is removed at the end

Expected: J and its gradient equal NumPy's float64 sum over the same file to 1e-5. Memory grows by less than a
quarter of the file. J falls at every step, and the cosine of the weights and the true weights is above 0.9.
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
from matplotlib.figure import Figure

import dlcore
from dlcore import reference
from dlcore._core.host_checks import check_count
from dlcore.cli import experiment, plots
from dlcore.descent import gradient_descent
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import LinearParams, logistic

CHUNK_BYTES = 2**26
"""Bytes of the file that are read at once."""


@dataclasses.dataclass
class Options(experiment.Options):
    """Options of the experiment."""

    rows: int = 1_000_000
    """Number of rows; --quick takes a fiftieth."""
    features: int = 1_000
    """Number of columns; --quick takes a quarter."""
    steps: int = 8
    """Steps of the descent, each a pass over the file."""

    def check(self) -> None:
        """Check that the table and the curve are large enough."""
        check_count("--rows", self.rows, minimum=5_000)
        check_count("--features", self.features, minimum=8)
        check_count("--steps", self.steps, minimum=2)


@dataclasses.dataclass(frozen=True)
class Table:
    """Table of float16 on disk, with its labels in memory."""

    path: Path
    y: np.ndarray
    features: int

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (x, y) of one chunk of rows after another."""
        rows = max(1, CHUNK_BYTES // (2 * self.features))
        with self.path.open("rb") as file:
            for first in range(0, len(self.y), rows):
                y = self.y[first : first + rows]
                yield np.fromfile(file, np.float16, len(y) * self.features).reshape(len(y), self.features), y


def main(options: Options, run: experiment.Run) -> experiment.Result:
    """Write the file, train on it, compare with NumPy, and remove it."""
    rows = options.rows // (50 if options.quick else 1)
    features = options.features // (4 if options.quick else 1)
    truth = np.random.default_rng(1).normal(size=features) / np.sqrt(features) * 4
    path = run.folder / "table.f16"
    try:
        table = write(path, rows, truth)
        size = path.stat().st_size
        objective = dlcore.Objective(logistic, sigmoid_cross_entropy)
        start_memory = peak_memory()
        params, values, seconds = descend(objective, table, options.steps)
        growth = peak_memory() - start_memory
        value, gradient = full_gradient(objective, params, table)
        exact_value, exact_gradient = numpy_gradient(params, table)
    finally:
        path.unlink(missing_ok=True)
    weight = np.asarray(params.weight, np.float64)
    cosine = float(weight @ truth / np.linalg.norm(weight) / np.linalg.norm(truth))
    error = max(
        abs(value - exact_value) / exact_value,
        float(np.abs(np.asarray(gradient.weight) - exact_gradient).max() / np.abs(exact_gradient).max()),
    )
    run.expect(f"J and its gradient equal NumPy's to {error:.1e}, at most 1e-5", error <= 1e-5)
    if size > 16 * CHUNK_BYTES:  # the compiler alone needs more than a quarter of a small file
        run.expect(
            f"memory grew by {growth / 2**20:.0f} MiB, less than a quarter of the {size / 2**20:.0f} of the file",
            growth < size / 4,
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
        "memory_bytes": growth,
        "seconds_per_pass": float(np.median(seconds)),
        "values": values,
    }


def write(path: Path, rows: int, truth: np.ndarray) -> Table:
    """Write a table of normal numbers, with labels drawn from the logistic model of `truth`."""
    rng = np.random.default_rng(0)
    labels, chunk = [], max(1, CHUNK_BYTES // (4 * len(truth)))
    with path.open("wb") as file:
        for first in range(0, rows, chunk):
            x = rng.standard_normal((min(chunk, rows - first), len(truth)), np.float32).astype(np.float16)
            x.tofile(file)
            logit = x.astype(np.float32) @ truth.astype(np.float32)
            labels.append((rng.logistic(size=len(x)) < logit).astype(np.float32))
    return Table(path, np.concatenate(labels), len(truth))


def descend(
    objective: dlcore.Objective, table: Table, steps: int
) -> tuple[LinearParams, list[float], list[float]]:
    """Return the last parameters, J at every point, and the seconds of each pass."""
    # The columns are independent, of mean 0 and variance 1: λmax(XᵀX/n) is near (1 + √(m/n))², L a quarter of it.
    rate = 4 / (1.1 * (1 + np.sqrt(table.features / len(table.y))) ** 2)
    optimizer = gradient_descent(rate)
    params: Any = LinearParams(jnp.zeros(table.features), jnp.zeros(()))
    state, values, seconds = optimizer.init(params), [], []
    for _ in range(steps):
        start = time.perf_counter()
        value, gradient = full_gradient(objective, params, table)
        update, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, update)
        values.append(value)
        seconds.append(time.perf_counter() - start)
    return params, values, seconds


def full_gradient(objective: dlcore.Objective, params: Any, table: Table) -> tuple[float, LinearParams]:
    """Return J and its gradient over all rows, the mean over the chunks weighted by their rows."""
    total, gradient = 0.0, jax.tree.map(jnp.zeros_like, params)
    for x, y in table.chunks():
        share = len(y) / len(table.y)
        value, chunk_gradient = objective.value_and_grad(params, (x, y))
        gradient = jax.tree.map(lambda a, b, share=share: a + share * b, gradient, chunk_gradient)
        total += share * float(value)
    return total, gradient


def numpy_gradient(params: Any, table: Table) -> tuple[float, np.ndarray]:
    """Return J and its gradient in the weights, by NumPy in float64."""
    total, gradient = 0.0, np.zeros(table.features)
    for x, y in table.chunks():
        share = len(y) / len(table.y)
        value, chunk_gradient, _ = reference.objective.value_and_grad("logistic", params.weight, params.bias, x, y)
        total, gradient = total + share * value, gradient + share * chunk_gradient
    return total, gradient


def peak_memory() -> int:
    """Return the largest number of bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def draw(values: list[float], rows: int, features: int) -> Figure:
    """Draw J against the pass over the file."""
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
