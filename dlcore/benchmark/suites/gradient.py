"""The suite `gradient`: value and gradient of an objective over all rows, of one model and of many."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import losses, models
from dlcore._core.types import Device
from dlcore.benchmark.accuracy import near
from dlcore.benchmark.case import Family, Work
from dlcore.models import LinearParams
from dlcore.objective import Objective

ROWS = tuple(4**k for k in range(4, 11))
"""256 to about a million."""
FEATURES, MANY, CLASSES = 128, 128, 10
BOUND = 1e-4
"""Sums of up to a million float32 terms, in whatever order."""


def families() -> Iterator[Family]:
    """All of the suite."""
    yield Family("value_and_grad, logistic", "gradient", ROWS, logistic, "rows")
    yield Family("value_and_grad, linear", "gradient", ROWS, _linear, "rows")
    yield Family("value_and_grad, softmax", "gradient", ROWS[:-1], softmax, "rows")
    yield Family("values_and_grads, logistic", "gradient", ROWS[:-1], many, "rows")


def _ready(objective: Objective, many: bool = False) -> Callable[[tuple[np.ndarray, ...], Device], Any]:
    """X and y are prepared on the device once, weights come in with each call."""

    def ready(inputs: tuple[np.ndarray, ...], device: Device) -> Callable[[], Any]:
        x, y, weight = inputs
        data = objective.prepare((x, y))
        shape = weight.shape[:1] if many or weight.ndim == 1 else weight.shape[1:]
        params = LinearParams(weight, np.zeros(shape if weight.ndim > 1 else (), np.float32))
        work = objective.values_and_grads if many else objective.value_and_grad
        placed = jax.device_put(params, device)

        def call() -> Any:
            value, gradient = work(placed, data)
            return value, gradient.weight

        return call

    return ready


def _data(rows: int, features: int, *shape: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(rows)
    x = random.standard_normal((rows, features), dtype=np.float32)
    weight = np.float32(0.1) * random.standard_normal(shape, dtype=np.float32)
    return x, (random.random(rows) < 0.5).astype(np.float32), weight


def _costs(rows: int, features: int, models: int = 1) -> tuple[float, float]:
    """Two products with X, which is read once."""
    return 4.0 * rows * features * models, 4.0 * rows * features


def logistic(rows: int, features: int = FEATURES) -> Work:
    """Of one model."""
    objective = Objective(models.logistic, losses.sigmoid_cross_entropy)
    return Work(
        f"{rows:,} × {features}",
        None,
        _data(rows, features, features),
        near(_np_logistic, BOUND),
        {"numpy": _np_logistic, "torch": _torch_logistic, "jax": _jax_logistic},
        *_costs(rows, features),
        ready=_ready(objective),
    )


def _np_logistic(x: Any, y: Any, w: Any) -> Any:
    z = x @ w
    e = np.exp(-np.abs(z))
    residual = np.where(z >= 0, 1, e) / (1 + e) - y
    return (np.maximum(z, 0) + np.log1p(e) - y * z).mean(dtype=x.dtype), x.T @ residual / x.dtype.type(len(x))


def _torch_logistic(torch: Any, x: Any, y: Any, w: Any) -> Any:
    z = x @ w
    return torch.nn.functional.binary_cross_entropy_with_logits(z, y), x.T @ (torch.sigmoid(z) - y) / len(x)


def _jax_logistic(x: Any, y: Any, w: Any) -> Any:
    """As anyone writes it, of a formula that is safe."""

    def value(w: Any) -> Any:
        z = x @ w
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z)

    return jax.value_and_grad(value)(w)


def _linear(rows: int) -> Work:
    objective = Objective(models.linear, losses.squared_error)
    return Work(
        f"{rows:,} × {FEATURES}",
        None,
        _data(rows, FEATURES, FEATURES),
        near(_np_linear, BOUND),
        {"numpy": _np_linear, "torch": lambda torch, *data: _np_linear(*data)},
        *_costs(rows, FEATURES),
        ready=_ready(objective),
    )


def _np_linear(x: Any, y: Any, w: Any) -> Any:
    residual = x @ w - y
    return (residual * residual).mean(), x.T @ residual * (2 / len(x))


def softmax(rows: int, classes: int = CLASSES) -> Work:
    """Of one model of several classes."""
    x, _, weight = _data(rows, FEATURES, FEATURES, classes)
    y = np.arange(rows, dtype=np.int32) % classes
    objective = Objective(models.softmax, losses.softmax_cross_entropy)
    return Work(
        f"{rows:,} × {FEATURES}, {classes} classes",
        None,
        (x, y, weight),
        near(_np_softmax, BOUND),
        {"numpy": _np_softmax, "torch": _torch_softmax},
        *_costs(rows, FEATURES, classes),
        ready=_ready(objective),
    )


def _np_softmax(x: Any, y: Any, w: Any) -> Any:
    z = x @ w
    z -= z.max(1, keepdims=True)
    powers = np.exp(z)
    total = powers.sum(1)
    every = np.arange(len(x))
    value = (np.log(total) - z[every, y]).mean(dtype=x.dtype)
    residual = powers / total[:, None]
    residual[every, y] -= 1
    return value, x.T @ residual / x.dtype.type(len(x))


def _torch_softmax(torch: Any, x: Any, y: Any, w: Any) -> Any:
    z = x @ w
    residual = torch.softmax(z, 1)
    residual[torch.arange(len(x)), y] -= 1
    return torch.nn.functional.cross_entropy(z, y), x.T @ residual / len(x)


def many(rows: int, count: int = MANY) -> Work:
    """Of several logistic models at once."""
    objective = Objective(models.logistic, losses.sigmoid_cross_entropy)
    return Work(
        f"{rows:,} × {FEATURES}, {count} models",
        None,
        _data(rows, FEATURES, count, FEATURES),
        near(_np_many, BOUND),
        {"numpy": _np_many, "torch": _torch_many, "jax": jax.vmap(_jax_logistic, (None, None, 0))},
        *_costs(rows, FEATURES, count),
        ready=_ready(objective, many=True),
    )


def _np_many(x: Any, y: Any, w: Any) -> Any:
    z = w @ x.T
    e = np.exp(-np.abs(z))
    residual = np.where(z >= 0, 1, e) / (1 + e) - y
    return (np.maximum(z, 0) + np.log1p(e) - y * z).mean(1, dtype=x.dtype), residual @ x / x.dtype.type(len(x))


def _torch_many(torch: Any, x: Any, y: Any, w: Any) -> Any:
    z = w @ x.T
    value = (torch.nn.functional.softplus(z) - y * z).mean(1)
    return value, (torch.sigmoid(z) - y) @ x / len(x)
