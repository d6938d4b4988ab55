"""Does gradient descent written by hand agree with Optax and NumPy, and does it reach the optimum?

A logistic regression is trained four ways on the breast-cancer table of scikit-learn (569 × 30). The split and the
start are the same. The ways are gradient descent of dlcore, Optax's sgd, the same loop in NumPy float64, and
Optax's adam.

Command: scripts/run, or dlcore run logistic_regression

Takes: about 10 s on two idle cores

Expected: dlcore and Optax agree at every step to 1e-6 of the parameters. NumPy agrees to 1e-3 in float32 and
1e-12 in float64. Gradient descent at the rate 1/L is certified within about 1e-8·J of the minimum after 20 to 21
thousand steps. Adam at the rate 0.01 takes less than a third of them. About 98 % of the test set is classified
correctly.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
import safetensors.numpy
import scipy.optimize
from matplotlib.figure import Figure

import dlcore
from dlcore import reference
from dlcore._core.files import atomic_writer
from dlcore._core.host_checks import check_count, check_number
from dlcore.certificate import Certificate
from dlcore.cli import console, experiment, plots
from dlcore.cli.experiment import UsageError
from dlcore.descent import gradient_descent, lipschitz_step
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import LinearParams, logistic
from dlcore.objective import BlockedData


@dataclasses.dataclass
class Config(experiment.Options):
    """Options of the experiment."""

    steps: int = 30_000
    """Largest number of steps of each descent."""
    learning_rate: float | None = None
    """Learning rate of gradient descent; by default 1/L, the largest that is known to descend."""
    adam_learning_rate: float = 0.01
    """Learning rate of Adam."""
    l2: float = 1e-3
    """Strength of the penalty (l2/2)·‖w‖²."""
    tol: float = 1e-8
    """Stop when ‖∇J‖²/(2·l2) is at most tol of J or of the decrease of J. Without a penalty, stop when ‖∇J‖ is at
    most tol of its first value."""
    seed: int = 0
    """Seed of the split into training and test set."""
    dtype: Literal["float32", "float64"] = "float32"
    """Dtype of the arithmetic in JAX; NumPy and the certificate always use float64."""

    def check(self) -> None:
        """Check the options, and name them in errors as the user knows them."""
        check_count("--steps", self.steps)
        check_number("--adam-learning-rate", self.adam_learning_rate, above=0)
        if self.learning_rate is not None:
            check_number("--learning-rate", self.learning_rate, above=0)
        check_number("--l2", self.l2, minimum=0)
        check_number("--tol", self.tol, minimum=0)
        check_count("--seed", self.seed, minimum=0, maximum=2**32 - 1)

    def tolerance(self) -> float:
        """Return the tolerance of this run; it is larger with --quick."""
        return max(self.tol, 1e-5) if self.quick else self.tol

    def has_default_problem(self) -> bool:
        """Return whether every option that the expected result depends on has its default."""
        return self == dataclasses.replace(
            Config(), quick=self.quick, dtype=self.dtype, device=self.device, out=self.out
        )


class Data(NamedTuple):
    """Standardised training and test rows, and the names of the columns."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    features: list[str]


class Path(NamedTuple):
    """Parameters, J and ‖∇J‖ at every step of a descent; entry k is after k updates.

    Attributes:
      parameters: weights and, last, the bias, shape (steps + 1, m + 1).
      value: J, shape (steps + 1,).
      gradient_norm: ‖∇J‖, shape (steps + 1,).
      status: why the descent stopped.
    """

    parameters: np.ndarray
    value: np.ndarray
    gradient_norm: np.ndarray
    status: dlcore.Status

    @property
    def steps(self) -> int:
        """Number of updates."""
        return len(self.value) - 1


class Descent(NamedTuple):
    """A finished descent, with its times in seconds; NumPy compiles nothing."""

    name: str
    label: str
    path: Path
    compile_seconds: float | None
    run_seconds: float


class Evaluated(NamedTuple):
    """A descent, the certificate of its last parameters, and their scores on the test set."""

    descent: Descent
    certificate: Certificate
    accuracy: float
    log_loss: float

    @property
    def label(self) -> str:
        """Name of the descent in tables and pictures."""
        return self.descent.label

    @property
    def path(self) -> Path:
        """Path of the descent."""
        return self.descent.path


def main(config: Config, run: experiment.Run) -> experiment.Result:
    """Train four ways; compare, certify, draw, save and print."""
    data = load(config)
    with jax.enable_x64(config.dtype == "float64"), console.progress_bar() as progress:
        objective = dlcore.Objective(logistic, sigmoid_cross_entropy, config.l2)
        prepared = objective.prepare((data.x, data.y))
        rate = config.learning_rate or float(lipschitz_step(objective, prepared))

        def show_progress(label: str) -> Callable[[int], None]:
            task = progress.add_task(label, total=config.steps)
            return lambda step: progress.update(task, completed=step)

        def descend(name: str, label: str, optimizer: optax.GradientTransformation) -> Descent:
            return descend_in_jax(
                name, label, optimizer, objective, prepared, config, show_step=show_progress(label)
            )

        descents = [
            descend("hand_written", "by hand", gradient_descent(rate)),
            descend("optax_sgd", "optax.sgd", optax.sgd(rate)),
            descend_in_numpy(rate, data, config, show_progress("NumPy")),
            descend("optax_adam", "optax.adam", optax.adam(config.adam_learning_rate)),
        ]
    results = [evaluate(descent, data, config.l2) for descent in descents]
    by_hand, sgd, numpy, _ = results
    differences = {
        "optax": largest_difference(by_hand.path, sgd.path),
        "numpy": largest_difference(by_hand.path, numpy.path),
    }
    if config.has_default_problem():
        state_expectations(results, differences, config, run)
    optimum = minimize_independently(data, config.l2)
    run.save(draw_gaps(results, differences, optimum, data, config), "gap.png")
    run.save(draw_paths(results, optimum, data, config.l2), "path.png")
    run.save(draw_probabilities(by_hand, data), "probabilities.png")
    console.write_json_lines(run.folder / "history.jsonl", history(descents))
    save_parameters(descents, config, run)
    print_results(results, differences, rate, config, run)
    return {
        "dtype": config.dtype,
        "learning_rate": rate,
        "l2": config.l2,
        "runs": [summary(result) for result in results],
        "largest_difference": differences,
    }


def load(config: Config) -> Data:
    """Return the table, split by the seed and standardised with the statistics of the training rows."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    table: Any = load_breast_cancer()
    x, x_test, y, y_test = map(
        np.asarray,
        train_test_split(table.data, table.target, test_size=0.2, stratify=table.target, random_state=config.seed),
    )
    mean, deviation = x.mean(0), x.std(0)
    x, x_test = (((part - mean) / deviation).astype(config.dtype) for part in (x, x_test))
    return Data(x, y, x_test, y_test, list(table.feature_names))


# Training


def descend_in_jax(
    name: str,
    label: str,
    optimizer: optax.GradientTransformation,
    objective: dlcore.Objective,
    prepared: BlockedData,
    config: Config,
    *,
    show_step: Callable[[int], None],
) -> Descent:
    """Fit twice: one step to compile the program, then the descent itself."""

    def fit(max_steps: int) -> tuple[dlcore.Fit, float]:
        start = time.perf_counter()
        fitted = dlcore.fit(
            objective,
            prepared,
            optimizer,
            tol=config.tolerance(),
            max_steps=max_steps,
            callback=lambda progress: show_step(progress.step),
            record=record_parameters,
        )
        return fitted, time.perf_counter() - start

    _, compile_seconds = fit(1)
    fitted, run_seconds = fit(config.steps)
    if fitted.status is dlcore.Status.DIVERGED:
        raise UsageError(f"{label} {fitted.message}")
    weight, bias = fitted.history.recorded
    parameters = np.column_stack([weight, bias])
    path = Path(parameters, fitted.history.value, fitted.history.gradient_norm, fitted.status)
    return Descent(name, label, path, compile_seconds, run_seconds)


def record_parameters(params: LinearParams) -> LinearParams:
    """Return the parameters, which `fit` records at every step."""
    return params


def descend_in_numpy(rate: float, data: Data, config: Config, show_step: Callable[[int], None]) -> Descent:
    """Run the same loop in NumPy float64."""
    start = time.perf_counter()
    path = reference.fitting.fit(
        value_and_grad(data, config.l2),
        np.zeros(data.x.shape[1] + 1),
        reference.descent.gradient_descent(rate),
        l2=config.l2,
        null_value=entropy(data.y.mean(dtype=np.float64)),
        penalised=slice(-1),
        tol=config.tolerance(),
        max_steps=config.steps,
        callback=lambda step: show_step(step) if step % 500 == 0 else None,
    )
    if path.status is dlcore.Status.DIVERGED:
        raise UsageError(f"NumPy diverged at step {len(path.value) - 1}; choose a smaller learning rate")
    return Descent("numpy", "NumPy", Path(*path), None, time.perf_counter() - start)


def entropy(p: float) -> float:
    """Return J of the best constant prediction, the entropy of the fraction `p` of class 1."""
    return float(-p * np.log(p) - (1 - p) * np.log1p(-p))


def value_and_grad(data: Data, l2: float) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return the float64 function of a vector, the weights and then the bias, to J and its gradient."""
    x, y = data.x.astype(np.float64), data.y.astype(np.float64)

    def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad_weight, grad_bias = reference.objective.value_and_grad(
            "logistic", theta[:-1], theta[-1], x, y, l2=l2
        )
        return value, np.append(grad_weight, grad_bias)

    return evaluate


def minimize_independently(data: Data, l2: float) -> np.ndarray:
    """Return the weights and, last, the bias that minimise J, by SciPy's trust-region Newton method."""
    x = data.x.astype(np.float64)
    extended = np.column_stack([x, np.ones(len(x))])
    penalty = np.diag(np.append(np.full(x.shape[1], l2), 0.0))

    def hessian(theta: np.ndarray) -> np.ndarray:
        p = reference.losses.sigmoid(extended @ theta)
        return extended.T @ ((p * (1 - p))[:, None] * extended) / len(x) + penalty

    minimum = scipy.optimize.minimize(
        value_and_grad(data, l2),
        np.zeros(x.shape[1] + 1),
        jac=True,
        hess=hessian,
        method="trust-exact",
        options={"gtol": 1e-12},
    )
    return minimum.x


# Results


def evaluate(descent: Descent, data: Data, l2: float) -> Evaluated:
    """Certify the last parameters and score them on the test set, both in NumPy float64."""
    *weight, bias = descent.path.parameters[-1].tolist()
    certificate = dlcore.certify(dlcore.LinearHeads(weight, bias, l2), data.x, data.y)
    logit = reference.models.linear(weight, bias, data.x_test)
    accuracy = float(((logit > 0) == data.y_test).mean())
    log_loss = float(reference.losses.sigmoid_cross_entropy(logit, data.y_test).mean())
    return Evaluated(descent, certificate, accuracy, log_loss)


def largest_difference(first: Path, second: Path) -> float:
    """Return the largest ‖p − q‖∞/‖q‖∞ over all steps of both paths; two zeros differ by 0."""
    steps = min(first.steps, second.steps) + 1
    p, q = (path.parameters[:steps].astype(np.float64) for path in (first, second))
    difference, size = np.abs(p - q).max(1), np.abs(q).max(1)
    return float(np.divide(difference, size, out=np.zeros(steps), where=difference > 0).max())


def state_expectations(
    results: Sequence[Evaluated], differences: Mapping[str, float], config: Config, run: experiment.Run
) -> None:
    """Compare the results with the expected ones of the docstring."""
    is_double = config.dtype == "float64"
    for name, bound in (("optax", 1e-12 if is_double else 1e-6), ("numpy", 1e-12 if is_double else 1e-3)):
        run.expect(
            f"by hand and {name} are {differences[name]:.1e} apart over all steps, at most {bound:g}",
            differences[name] <= bound,
        )
    for result in results:
        share = result.certificate.gap / result.certificate.value
        run.expect(
            f"{result.label} is certified within {share:.2e} of J, at most 1.1 times {config.tolerance():g}",
            share <= 1.1 * config.tolerance(),
        )
    steps, adam = results[0].path.steps, results[3].path.steps
    run.expect(
        f"Adam takes {adam:,} steps, less than a third of the {steps:,} of gradient descent", 3 * adam < steps
    )
    accuracy = min(result.accuracy for result in results)
    run.expect(f"{accuracy:.1%} of the test set are right, 97 % or more", accuracy >= 0.97)


def summary(result: Evaluated) -> dict[str, Any]:
    """Return the JSON of a descent; J, ‖∇J‖ and the gap are from its float64 certificate."""
    return {
        "name": result.descent.name,
        "value": result.certificate.value,
        "gradient_norm": result.certificate.gradient_norm,
        "steps": result.path.steps,
        "status": str(result.path.status),
        "gap": result.certificate.gap if np.isfinite(result.certificate.gap) else None,
        "bound": result.certificate.bound,
        "accuracy": result.accuracy,
        "log_loss": result.log_loss,
        "compile_seconds": result.descent.compile_seconds,
        "run_seconds": result.descent.run_seconds,
    }


def history(descents: Sequence[Descent]) -> Iterator[dict[str, str | int | float]]:
    """Yield J and ‖∇J‖ at every step of every descent, as the descent computed them."""
    for descent in descents:
        pairs = zip(descent.path.value.tolist(), descent.path.gradient_norm.tolist(), strict=True)
        for step, (value, norm) in enumerate(pairs):
            yield {"run": descent.name, "step": step, "value": value, "gradient_norm": norm}


def save_parameters(descents: Sequence[Descent], config: Config, run: experiment.Run) -> None:
    """Write the last weight and bias of each descent into a safetensors file."""
    arrays = {}
    for descent in descents:
        last = descent.path.parameters[-1]
        arrays[f"{descent.name}.weight"] = last[:-1].copy()
        arrays[f"{descent.name}.bias"] = last[-1:].reshape(()).copy()
    metadata = {"experiment": "logistic_regression", "l2": repr(config.l2)}
    with atomic_writer(run.folder / "parameters.safetensors") as file:
        file.write(safetensors.numpy.save(arrays, metadata=metadata))


def print_results(
    results: Sequence[Evaluated],
    differences: Mapping[str, float],
    rate: float,
    config: Config,
    run: experiment.Run,
) -> None:
    """Print the table and the differences."""
    rows = [
        [
            result.label,
            f"{result.certificate.value:.7f}",
            f"{result.certificate.gradient_norm:.1e}",
            f"{result.certificate.gap:.1e}",
            str(result.path.steps),
            str(result.path.status),
            f"{result.accuracy:.1%}",
            f"{result.log_loss:.4f}",
            "–" if result.descent.compile_seconds is None else f"{result.descent.compile_seconds:.2f} s",
            f"{result.descent.run_seconds:.2f} s",
        ]
        for result in results
    ]
    console.print_table(
        f"Logistic regression, breast cancer, {config.dtype}, rate {rate:.4g}, "
        f"l2 {config.l2:g}, on {console.describe_device(run.device)}",
        ["", "J", "‖∇J‖", "J − J* ≤", "steps", "stopped", "right", "log loss", "compile", "run"],
        rows,
        [
            "Largest difference of the parameters over all steps, ‖Δ‖∞/‖p‖∞: by hand and optax.sgd "
            f"{differences['optax']:.1e},",
            f"by hand and NumPy {differences['numpy']:.1e}. "
            "J, ‖∇J‖ and the bound on J − J* are the certificate's, in float64.",
        ],
    )


# Pictures


def draw_gaps(
    results: Sequence[Evaluated],
    differences: Mapping[str, float],
    optimum: np.ndarray,
    data: Data,
    config: Config,
) -> Figure:
    """Draw J − J* at about 300 steps of each path, evaluated in float64."""
    objective = value_and_grad(data, config.l2)
    best_value = objective(optimum)[0]

    def gaps(path: Path) -> tuple[np.ndarray, np.ndarray]:
        steps = np.unique(np.geomspace(1, path.steps + 1, 300).astype(int)) - 1
        values = np.array([objective(path.parameters[k].astype(np.float64))[0] for k in steps])
        return steps, values - best_value

    return plots.draw_gaps(
        {result.label: gaps(result.path) for result in results},
        config.tolerance() * best_value,
        f"{config.tolerance():g} · J*",
        f"By hand, Optax and NumPy agree: at most {max(differences.values()):.0e} apart ({config.dtype})",
    )


def draw_paths(results: Sequence[Evaluated], optimum: np.ndarray, data: Data, l2: float) -> Figure:
    """Draw the paths in the plane of the two weights that end farthest from 0."""
    columns = np.sort(np.argsort(-np.abs(optimum[:-1]))[:2])
    paths = {result.label: result.path.parameters[:, columns] for result in results}
    points = np.concatenate([*paths.values(), optimum[None, columns]])
    low, high = points.min(0), points.max(0)
    margin = 0.25 * (high - low).max()
    x, y = (np.linspace(a - margin, b + margin, 121) for a, b in zip(low, high, strict=True))
    best_value = value_and_grad(data, l2)(optimum)[0]
    by_hand = results[0]
    return plots.draw_paths(
        paths,
        optimum[columns],
        (x, y),
        values_on_grid(optimum, columns, (x, y), data, l2) - best_value,
        [f"weight of {data.features[k]} (per standard deviation)" for k in columns],
        f"{by_hand.path.steps:,} steps of gradient descent end within {by_hand.certificate.gap:.0e} of J*\n"
        "contours: J − J*, the other weights at their optimum",
    )


def values_on_grid(
    optimum: np.ndarray, columns: np.ndarray, grid: tuple[np.ndarray, np.ndarray], data: Data, l2: float
) -> np.ndarray:
    """Return J on a grid of two weights, with all other parameters at the optimum, shape (y, x)."""
    x = data.x.astype(np.float64)
    rest = optimum.copy()
    rest[columns] = 0
    first, second = grid[0][None, :], grid[1][:, None]
    logits = x @ rest[:-1] + rest[-1] + first[..., None] * x[:, columns[0]] + second[..., None] * x[:, columns[1]]
    losses = reference.losses.sigmoid_cross_entropy(logits, data.y).mean(-1)
    return losses + l2 / 2 * ((rest[:-1] ** 2).sum() + first**2 + second**2)


def draw_probabilities(result: Evaluated, data: Data) -> Figure:
    """Draw the predicted probabilities of the test set."""
    *weight, bias = result.path.parameters[-1].tolist()
    return plots.draw_probabilities(
        reference.models.logistic(weight, bias, data.x_test),
        data.y_test,
        ["malignant", "benign"],
        f"{result.accuracy:.1%} of {len(data.y_test)} held-out rows are right; "
        f"log loss {result.log_loss:.3f} nats",
    )


if __name__ == "__main__":
    experiment.run(main, Config, __doc__)
