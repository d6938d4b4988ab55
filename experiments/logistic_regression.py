"""Does gradient descent written by hand do what Optax and NumPy do, and does it reach the optimum?

A logistic regression on the breast-cancer table that scikit-learn ships (569 × 30), trained four ways on the
same split from the same start: gradient descent by hand, Optax's sgd, the same loop by hand in NumPy float64,
and Optax's adam.

Command: scripts/run, or dlcore run logistic_regression

Takes: about 10 s on two idle cores

Expected: by hand and Optax agree at every step to 1e-6 of the parameters, NumPy to 1e-3 in float32 and 1e-12 in
float64; gradient descent at the rate 1/L is certified within about 1e-8·J of the minimum after 20 to 21 thousand
steps, Adam at 0.01 after less than a third of them; about 98 % of the test set is right.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
import safetensors.numpy
import scipy.optimize
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import dlcore
from dlcore import reference
from dlcore._core.files import atomic_writer
from dlcore._core.host_checks import check_count, check_number
from dlcore.certificate import Certificate
from dlcore.cli import console, experiment, plots
from dlcore.cli.main import UsageError
from dlcore.descent import gradient_descent, lipschitz_step
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import LinearParams, logistic
from dlcore.objective import BlockedData


@dataclasses.dataclass
class Config(experiment.Options):
    """Options of the experiment."""

    steps: int = 30_000
    """Most steps of each descent."""
    learning_rate: float | None = None
    """Of gradient descent; left out, the largest that is known to descend, 1/L."""
    adam_learning_rate: float = 0.01
    """Of Adam."""
    l2: float = 1e-3
    """Strength of the penalty (l2/2)·‖w‖²."""
    tol: float = 1e-8
    """Stop where ‖∇J‖²/(2·l2) is tol of J or of what is gained; without a penalty, ‖∇J‖ is tol of its first."""
    seed: int = 0
    """Of the split into training and test set."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of the arithmetic in JAX; NumPy and the certificate always use float64."""

    def check(self) -> None:
        """Every option that its type does not already check, by the name that the user knows."""
        check_count("--steps", self.steps)
        for name in ("learning_rate", "adam_learning_rate"):
            if getattr(self, name) is not None:
                check_number(f"--{name.replace('_', '-')}", getattr(self, name), above=0)
        check_number("--l2", self.l2, least=0)
        check_number("--tol", self.tol, least=0)
        check_count("--seed", self.seed, least=0, most=2**32 - 1)

    def tolerance(self) -> float:
        """The tolerance of this run: --quick asks for less."""
        return max(self.tol, 1e-5) if self.quick else self.tol

    def is_default(self) -> bool:
        """Whether all that decides the result is as the header of this script has it."""
        return self == dataclasses.replace(
            Config(), quick=self.quick, dtype=self.dtype, device=self.device, out=self.out
        )


class Data(NamedTuple):
    """The standardised table in two parts, and the names of its columns."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    features: list[str]


class Descent(NamedTuple):
    """What a descent went through; entry k belongs to the parameters after k updates."""

    parameters: np.ndarray  # (steps + 1, m + 1): the weights and, last, the bias
    value: np.ndarray
    gradient_norm: np.ndarray
    status: dlcore.Status

    @property
    def steps(self) -> int:
        """How many updates were made."""
        return len(self.value) - 1


Timed = tuple[Descent, float | None, float]
"""A descent, the seconds of its compilation where there was one, and its own."""


class Trained(NamedTuple):
    """A descent, what was measured at its end, and how long it took."""

    name: str
    label: str
    path: Descent
    compile_seconds: float | None
    run_seconds: float
    certificate: Certificate
    accuracy: float
    log_loss: float


def main(config: Config, run: experiment.Run) -> dict[str, Any]:
    """Train four ways, compare, certify, draw, save and show."""
    with jax.enable_x64(config.dtype == "float64"), console.progress_bar() as progress:
        data = load(config)
        objective = dlcore.Objective(logistic, sigmoid_cross_entropy, config.l2)
        prepared = objective.prepare((data.x, data.y))
        rate = config.learning_rate
        rate = float(lipschitz_step(objective, prepared)) if rate is None else rate

        def bar(label: str) -> Callable[[int], None]:
            task = progress.add_task(label, total=config.steps)

            def update(step: int) -> None:
                progress.update(task, completed=step)

            return update

        def descend(name: str, label: str, optimizer: optax.GradientTransformation) -> Trained:
            timed = descend_in_jax(label, optimizer, objective, prepared, config, bar(label))
            return judged(name, label, timed, data, config.l2)

        runs = [
            descend("hand_written", "by hand", gradient_descent(rate)),
            descend("optax_sgd", "optax.sgd", optax.sgd(rate)),
            judged("numpy", "NumPy", descend_in_numpy(rate, data, config, bar("NumPy")), data, config.l2),
            descend("optax_adam", "optax.adam", optax.adam(config.adam_learning_rate)),
        ]
    differences = {
        "optax": largest_difference(runs[0].path, runs[1].path),
        "numpy": largest_difference(runs[0].path, runs[2].path),
    }
    if config.is_default():
        state_expectations(runs, differences, config, run)
    optimum = minimise_independently(data, config.l2)
    draw(runs, differences, optimum, data, config, run)
    console.write_json_lines(run.folder / "history.jsonl", history(runs))
    parameters = safetensors.numpy.save(
        {f"{one.name}.{part}": last for one in runs for part, last in last_parameters(one).items()},
        metadata={"experiment": "logistic_regression", "l2": repr(config.l2)},
    )
    with atomic_writer(run.folder / "parameters.safetensors") as file:
        file.write(parameters)
    show(runs, differences, rate, config, run)
    return {
        "dtype": config.dtype,
        "learning_rate": rate,
        "l2": config.l2,
        "runs": [summary(one) for one in runs],
        "largest_difference": differences,
    }


def state_expectations(
    runs: list[Trained], differences: dict[str, float], config: Config, run: experiment.Run
) -> None:
    """What the header says, of the options that it speaks of."""
    double = config.dtype == "float64"
    for other, bound in (("optax", 1e-12 if double else 1e-6), ("numpy", 1e-12 if double else 1e-3)):
        run.expect(
            f"by hand and {other} are {differences[other]:.1e} apart over all steps, at most {bound:g}",
            differences[other] <= bound,
        )
    for trained in runs:
        share = trained.certificate.gap / trained.certificate.value
        run.expect(
            f"{trained.label} is certified within {share:.2e} of J, at most 1.1 times {config.tolerance():g}",
            share <= 1.1 * config.tolerance(),
        )
    descent, adam = runs[0].path.steps, runs[3].path.steps
    run.expect(
        f"Adam takes {adam:,} steps, less than a third of the {descent:,} of gradient descent", 3 * adam < descent
    )
    right = min(trained.accuracy for trained in runs)
    run.expect(f"{right:.1%} of the test set are right, 97 % or more", right >= 0.97)


def load(config: Config) -> Data:
    """The table, split by the seed, columns standardised with the statistics of the training rows."""
    table: Any = load_breast_cancer()
    x, x_test, y, y_test = map(
        np.asarray,
        train_test_split(table.data, table.target, test_size=0.2, stratify=table.target, random_state=config.seed),
    )
    mean, deviation = x.mean(0), x.std(0)
    x, x_test = (((part - mean) / deviation).astype(config.dtype) for part in (x, x_test))
    return Data(x, y, x_test, y_test, list(table.feature_names))


def parameters(params: LinearParams) -> LinearParams:
    """What is recorded at every step."""
    return params


def descend_in_jax(
    label: str,
    optimizer: optax.GradientTransformation,
    objective: dlcore.Objective,
    prepared: BlockedData,
    config: Config,
    update: Callable[[int], None],
) -> Timed:
    """Fit twice: one step to compile the program, then the descent itself."""

    def fit(max_steps: int) -> tuple[dlcore.Fit, float]:
        start = time.perf_counter()
        fitted = dlcore.fit(
            objective,
            prepared,
            optimizer,
            tol=config.tolerance(),
            max_steps=max_steps,
            callback=lambda progress: update(progress.step),
            record=parameters,
        )
        return fitted, time.perf_counter() - start

    _, first_seconds = fit(1)
    fitted, seconds = fit(config.steps)
    if fitted.status is dlcore.Status.DIVERGED:
        raise UsageError(f"{label} {fitted.message}")
    weight, bias = fitted.history.recorded
    path = Descent(
        np.column_stack([weight, bias]), fitted.history.value, fitted.history.gradient_norm, fitted.status
    )
    return path, first_seconds, seconds


def descend_in_numpy(rate: float, data: Data, config: Config, update: Callable[[int], None]) -> Timed:
    """The same loop by hand, in NumPy float64. There is nothing to compile."""
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
        callback=lambda step: update(step) if step % 500 == 0 else None,
    )
    if path.status is dlcore.Status.DIVERGED:
        raise UsageError(f"NumPy diverged at step {len(path.value) - 1}; choose a smaller learning rate")
    return Descent(*path), None, time.perf_counter() - start


def entropy(share: float) -> float:
    """J of the best constant prediction: the entropy of the share of class 1."""
    return float(-share * np.log(share) - (1 - share) * np.log1p(-share))


def value_and_grad(data: Data, l2: float) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """J and its gradient in float64, of the weights and, last, the bias as one vector."""
    x, y = data.x.astype(np.float64), data.y.astype(np.float64)

    def of_vector(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope, slope_of_bias = reference.objective.value_and_grad(
            "logistic", theta[:-1], theta[-1], x, y, l2=l2
        )
        return value, np.append(slope, slope_of_bias)

    return of_vector


def judged(name: str, label: str, timed: Timed, data: Data, l2: float) -> Trained:
    """Certify the last parameters and score them on the test set, both in NumPy float64."""
    path, compile_seconds, run_seconds = timed
    *weight, bias = path.parameters[-1].tolist()
    certificate = dlcore.certify(dlcore.LinearHeads(weight, bias, l2), data.x, data.y)
    logit = reference.models.linear(weight, bias, data.x_test)
    accuracy = float(((logit > 0) == data.y_test).mean())
    log_loss = float(reference.losses.sigmoid_cross_entropy(logit, data.y_test).mean())
    return Trained(name, label, path, compile_seconds, run_seconds, certificate, accuracy, log_loss)


def largest_difference(one: Descent, other: Descent) -> float:
    """The largest ‖Δ‖∞/‖p‖∞ over all steps that both made; two zeros differ by 0."""
    both = min(one.steps, other.steps) + 1
    p, q = (path.parameters[:both].astype(np.float64) for path in (one, other))
    difference, size = np.abs(p - q).max(1), np.abs(q).max(1)
    return float(np.divide(difference, size, out=np.zeros(both), where=difference > 0).max())


def minimise_independently(data: Data, l2: float) -> np.ndarray:
    """The minimum of J by SciPy's trust-region Newton method: weights and, last, the intercept."""
    x = data.x.astype(np.float64)
    extended = np.column_stack([x, np.ones(len(x))])
    penalty = np.diag(np.append(np.full(x.shape[1], l2), 0.0))

    def hessian(theta: np.ndarray) -> np.ndarray:
        p = reference.losses.sigmoid(extended @ theta)
        return extended.T @ ((p * (1 - p))[:, None] * extended) / len(x) + penalty

    found = scipy.optimize.minimize(
        value_and_grad(data, l2),
        np.zeros(x.shape[1] + 1),
        jac=True,
        hess=hessian,
        method="trust-exact",
        options={"gtol": 1e-12},
    )
    return found.x


def draw(
    runs: list[Trained],
    differences: dict[str, float],
    optimum: np.ndarray,
    data: Data,
    config: Config,
    run: experiment.Run,
) -> None:
    """The three pictures. J is evaluated in float64 at the recorded parameters."""
    evaluate = value_and_grad(data, config.l2)
    least = evaluate(optimum)[0]

    def gaps(path: Descent) -> tuple[np.ndarray, np.ndarray]:
        steps = np.unique(np.geomspace(1, path.steps + 1, 300).astype(int)) - 1
        return steps, np.array([evaluate(path.parameters[k].astype(np.float64))[0] for k in steps]) - least

    gap = plots.draw_gaps(
        {one.label: gaps(one.path) for one in runs},
        config.tolerance() * least,
        f"{config.tolerance():g} · J*",
        f"By hand, Optax and NumPy go one way: at most {max(differences.values()):.0e} apart ({config.dtype})",
    )
    run.save(gap, "gap.png")

    # The plane of the two weights that end farthest from 0, the others at their optimum.
    chosen = np.sort(np.argsort(-np.abs(optimum[:-1]))[:2])
    trails = {one.label: one.path.parameters[:, chosen] for one in runs}
    corners = np.concatenate([*trails.values(), optimum[None, chosen]])
    low, high = corners.min(0), corners.max(0)
    margin = 0.25 * (high - low).max()
    across, up = (np.linspace(a - margin, b + margin, 121) for a, b in zip(low, high, strict=True))
    path = plots.draw_paths(
        trails,
        optimum[chosen],
        (across, up),
        plane(optimum, chosen, across, up, data, config.l2) - least,
        [f"weight of {data.features[k]} (per standard deviation)" for k in chosen],
        f"{runs[0].path.steps:,} steps of gradient descent end within {runs[0].certificate.gap:.0e} of J*\n"
        "contours: J − J*, the other weights at their optimum",
    )
    run.save(path, "path.png")

    *weight, bias = runs[0].path.parameters[-1].tolist()
    probabilities = plots.draw_probabilities(
        reference.models.logistic(weight, bias, data.x_test),
        data.y_test,
        ["malignant", "benign"],
        f"{runs[0].accuracy:.1%} of {len(data.y_test)} held-out rows are right; "
        f"log loss {runs[0].log_loss:.3f} nats",
    )
    run.save(probabilities, "probabilities.png")


def plane(
    optimum: np.ndarray, chosen: np.ndarray, across: np.ndarray, up: np.ndarray, data: Data, l2: float
) -> np.ndarray:
    """J where two weights take the values of a grid and all else is at the optimum, (up, across)."""
    x = data.x.astype(np.float64)
    rest = optimum.copy()
    rest[chosen] = 0
    first, second = across[None, :], up[:, None]
    logits = (x @ rest[:-1] + rest[-1]) + first[..., None] * x[:, chosen[0]] + second[..., None] * x[:, chosen[1]]
    losses = reference.losses.sigmoid_cross_entropy(logits, data.y).mean(-1)
    return losses + l2 / 2 * ((rest[:-1] ** 2).sum() + first**2 + second**2)


def last_parameters(one: Trained) -> dict[str, np.ndarray]:
    """The fitted weight and bias, in their own dtype."""
    last = one.path.parameters[-1]
    return {"weight": last[:-1].copy(), "bias": last[-1:].reshape(()).copy()}


def summary(one: Trained) -> dict[str, Any]:
    """A run in the JSON result. J, ‖∇J‖ and the gap are the certificate's, in float64."""
    return {
        "name": one.name,
        "value": one.certificate.value,
        "gradient_norm": one.certificate.gradient_norm,
        "steps": one.path.steps,
        "status": str(one.path.status),
        "gap": one.certificate.gap if np.isfinite(one.certificate.gap) else None,
        "bound": one.certificate.bound,
        "accuracy": one.accuracy,
        "log_loss": one.log_loss,
        "compile_seconds": one.compile_seconds,
        "run_seconds": one.run_seconds,
    }


def history(runs: list[Trained]) -> Iterator[dict[str, Any]]:
    """J and ‖∇J‖ at every step of every run, as the run itself computed them."""
    for one in runs:
        pairs = zip(one.path.value.tolist(), one.path.gradient_norm.tolist(), strict=True)
        for step, (value, norm) in enumerate(pairs):
            yield {"run": one.name, "step": step, "value": value, "gradient_norm": norm}


def show(
    runs: list[Trained], differences: dict[str, float], rate: float, config: Config, run: experiment.Run
) -> None:
    """The table, and what is below it."""
    rows = [
        [
            one.label,
            f"{one.certificate.value:.7f}",
            f"{one.certificate.gradient_norm:.1e}",
            f"{one.certificate.gap:.1e}",
            str(one.path.steps),
            str(one.path.status),
            f"{one.accuracy:.1%}",
            f"{one.log_loss:.4f}",
            "–" if one.compile_seconds is None else f"{one.compile_seconds:.2f} s",
            f"{one.run_seconds:.2f} s",
        ]
        for one in runs
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


if __name__ == "__main__":
    experiment.run(main, Config, __doc__)
