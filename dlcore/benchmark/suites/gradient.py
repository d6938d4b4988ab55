"""Suite `gradient`: value and gradient of an objective over all rows, for one model and for many."""

from collections.abc import Callable, Iterator
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import losses, models
from dlcore._core.types import Array, Device
from dlcore.benchmark.accuracy import close_to_reference
from dlcore.benchmark.case import Bind, Case, CaseFamily, Inputs, Peer, Tensor
from dlcore.models import LinearParams
from dlcore.objective import Objective

ROWS = tuple(4**k for k in range(4, 11))
"""256 to about a million."""
FEATURES, MODELS, CLASSES = 128, 128, 10
BOUND = 1e-4
"""The error allowed in sums of up to a million float32 terms, in any order."""

ValueAndGrad = tuple[np.ndarray, np.ndarray]


def families() -> Iterator[CaseFamily]:
    """Return the suite."""
    yield CaseFamily("value_and_grad, logistic", "gradient", ROWS, logistic, "rows")
    yield CaseFamily("value_and_grad, linear", "gradient", ROWS, _linear, "rows")
    yield CaseFamily("value_and_grad, softmax", "gradient", ROWS[:-1], softmax, "rows")
    yield CaseFamily("values_and_grads, logistic", "gradient", ROWS[:-1], logistic_batch, "rows")


def logistic(rows: int, features: int = FEATURES) -> Case:
    """Return the case of one logistic model."""
    peers: dict[str, Peer] = {"numpy": _np_logistic, "torch": _torch_logistic, "jax": _jax_logistic}
    return _case(LOGISTIC, _data(rows, features, features), peers)


def _linear(rows: int) -> Case:
    peers: dict[str, Peer] = {"numpy": _np_linear, "torch": lambda torch, *inputs: _np_linear(*inputs)}
    return _case(Objective(models.linear, losses.squared_error), _data(rows, FEATURES, FEATURES), peers)


def softmax(rows: int, classes: int = CLASSES) -> Case:
    """Return the case of one softmax model."""
    x, _, weight = _data(rows, FEATURES, FEATURES, classes)
    inputs = x, np.arange(rows, dtype=np.int32) % classes, weight
    objective = Objective(models.softmax, losses.softmax_cross_entropy)
    peers: dict[str, Peer] = {"numpy": _np_softmax, "torch": _torch_softmax}
    return _case(objective, inputs, peers, note=f", {classes} classes", outputs=classes)


def logistic_batch(rows: int, count: int = MODELS) -> Case:
    """Return the case of several logistic models at once."""
    peers: dict[str, Peer] = {
        "numpy": _np_logistic_batch,
        "torch": _torch_logistic_batch,
        "jax": jax.vmap(_jax_logistic, (None, None, 0)),
    }
    inputs = _data(rows, FEATURES, count, FEATURES)
    return _case(LOGISTIC, inputs, peers, note=f", {count} models", outputs=count, batch=True)


LOGISTIC = Objective(models.logistic, losses.sigmoid_cross_entropy)


def _case(
    objective: Objective,
    inputs: Inputs,
    peers: dict[str, Peer],
    *,
    note: str = "",
    outputs: int = 1,
    batch: bool = False,
) -> Case:
    """Return the case of the two products with X, which is read once; NumPy's function is the reference."""
    rows, features = inputs[0].shape
    return Case(
        f"{rows:,} × {features}{note}",
        inputs,
        close_to_reference(peers["numpy"], BOUND),
        operations=4.0 * rows * features * outputs,
        traffic=4.0 * rows * features,
        bind=_bind(objective, batch=batch),
        peers=peers,
    )


def _bind(objective: Objective, *, batch: bool) -> Bind:
    """Return a function that prepares X and y on the device once, while every call receives the weights."""

    def bind(inputs: Inputs, device: Device) -> Callable[[], object]:
        x, y, weight = inputs
        data = objective.prepare((x, y))
        bias_shape = weight.shape[:1] if batch else weight.shape[1:]
        params = jax.device_put(LinearParams(weight, np.zeros(bias_shape, np.float32)), device)
        function = objective.values_and_grads if batch else objective.value_and_grad

        def call() -> tuple[Array, Array]:
            value, gradient = function(params, data)
            return value, gradient.weight

        return call

    return bind


def _data(rows: int, features: int, *shape: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return X, labels and weights of some shape."""
    random = np.random.default_rng(rows)
    x = random.standard_normal((rows, features), dtype=np.float32)
    weight = np.float32(0.1) * random.standard_normal(shape, dtype=np.float32)
    return x, (random.random(rows) < 0.5).astype(np.float32), weight


def _np_sigmoid_loss(z: np.ndarray, y: np.ndarray) -> ValueAndGrad:
    """Return the mean loss of each model and its residuals, for logits whose last axis has the rows."""
    e = np.exp(-np.abs(z))
    residual = np.where(z >= 0, 1, e) / (1 + e) - y
    return (np.maximum(z, 0) + np.log1p(e) - y * z).mean(-1, dtype=z.dtype), residual


def _np_logistic(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> ValueAndGrad:
    value, residual = _np_sigmoid_loss(x @ w, y)
    return value, x.T @ residual / x.dtype.type(len(x))


def _np_logistic_batch(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> ValueAndGrad:
    value, residual = _np_sigmoid_loss(w @ x.T, y)
    return value, residual @ x / x.dtype.type(len(x))


def _torch_logistic(torch: ModuleType, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    z = x @ w
    return torch.nn.functional.binary_cross_entropy_with_logits(z, y), x.T @ (torch.sigmoid(z) - y) / len(x)


def _torch_logistic_batch(torch: ModuleType, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    z = w @ x.T
    value = (torch.nn.functional.softplus(z) - y * z).mean(1)
    return value, (torch.sigmoid(z) - y) @ x / len(x)


def _jax_logistic(x: Array, y: Array, w: Array) -> tuple[Array, Array]:
    """Return what a JAX user writes, with a stable formula."""

    def value(w: Array) -> Array:
        z = x @ w
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z)

    return jax.value_and_grad(value)(w)


def _np_linear(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> ValueAndGrad:
    residual = x @ w - y
    return (residual * residual).mean(), x.T @ residual * (2 / len(x))


def _np_softmax(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> ValueAndGrad:
    z = x @ w
    z -= z.max(1, keepdims=True)
    powers = np.exp(z)
    total = powers.sum(1)
    rows = np.arange(len(x))
    value = (np.log(total) - z[rows, y]).mean(dtype=x.dtype)
    residual = powers / total[:, None]
    residual[rows, y] -= 1
    return value, x.T @ residual / x.dtype.type(len(x))


def _torch_softmax(torch: ModuleType, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    z = x @ w
    residual = torch.softmax(z, 1)
    residual[torch.arange(len(x)), y] -= 1
    return torch.nn.functional.cross_entropy(z, y), x.T @ residual / len(x)
