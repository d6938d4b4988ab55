"""Value and gradient of the logistic objective in float32, for one model and for many at once.

X is in place, the weights come in and the results go out as NumPy arrays. The machine's ceilings are measured in
the same run.
"""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import Objective
from dlcore.devices import core_count
from dlcore.losses import sigmoid_cross_entropy
from dlcore.measuring import measure
from dlcore.models import LinearParams, logistic
from rows.contest import Contestants, figures, on_threads

FEATURES = 128


def one_model(quick: bool, repeats: int) -> dict[str, Any]:
    """2²⁰ × 128."""
    return _row(2**12 if quick else 2**20, None, repeats)


def many_models(quick: bool, repeats: int) -> dict[str, Any]:
    """128 models on 2¹⁸ × 128."""
    return _row(2**11 if quick else 2**18, 8 if quick else 128, repeats)


def _row(examples: int, models: int | None, repeats: int) -> dict[str, Any]:
    """One row of the table: every contestant and the ceiling that binds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((examples, FEATURES), dtype=np.float32)
    y = (rng.random(examples) < 0.5).astype(np.float32)
    w = 0.1 * rng.standard_normal((FEATURES, *([models] if models else [])), dtype=np.float32)
    contestants = {
        "dlcore": of_dlcore(x, y, w),
        "naive": of_naive(x, y, w),
        "numpy": of_numpy(x, y, w),
        **of_torch(x, y, w),
    }
    contestants["numpy, 1 thread"] = on_threads(contestants["numpy"], 1)
    square = np.ones((1024 if examples < 2**18 else 2048,) * 2, np.float32)
    flat = x.reshape(-1)
    limits: Contestants = {"memory": lambda: np.dot(flat, flat), "product": lambda: square @ square}
    timings = measure({**contestants, **limits}, repeats)
    results = {name: contestant() for name, contestant in contestants.items()}
    agree = all(
        np.allclose(mine, theirs, rtol=1e-3, atol=1e-5)
        for result in results.values()
        for mine, theirs in zip(result, results["numpy"], strict=True)
    )
    mine = timings["dlcore"].median
    bytes_per_second = x.nbytes / timings["memory"].median
    operations_per_second = 2 * len(square) ** 3 / timings["product"].median
    operations = 4 * x.size * (models or 1)
    # What must be read once, and what must be multiplied: the longer of the two binds.
    least = {
        f"memory at {bytes_per_second / 1e9:.1f} GB/s": x.nbytes / bytes_per_second,
        f"products at {operations_per_second / 1e9:.0f} GFLOP/s": operations / operations_per_second,
    }
    ceiling = max(least, key=lambda name: least[name])
    return {
        "shape": [examples, FEATURES],
        "models": models or 1,
        "contestants": {name: figures(timings[name], mine) for name in contestants},
        "ceiling": ceiling,
        "share": round(least[ceiling] / mine, 3),
        "agree": bool(agree),
    }


def of_dlcore(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Callable[[], Any]:
    """Ours, with X prepared once."""
    objective = Objective(logistic, sigmoid_cross_entropy)
    data = objective.prepare((x, y))
    params = LinearParams(np.ascontiguousarray(w.T), np.zeros(w.shape[1:], np.float32))
    work = objective.value_and_grad if w.ndim == 1 else objective.values_and_grads

    def run() -> Any:
        value, gradient = work(params, data)
        return np.asarray(value), np.asarray(gradient.weight).T

    return run


def of_naive(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Callable[[], Any]:
    """The formula as anyone writes it."""

    def value(w: Any, x: Any, y: Any) -> Any:
        z = x @ w
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z)

    program = jax.value_and_grad(value)
    if w.ndim == 2:
        program = jax.vmap(program, (0, None, None))
    program = jax.jit(program)
    placed = jax.device_put(x), jax.device_put(y)
    rows = np.ascontiguousarray(w.T)

    def run() -> Any:
        found, gradient = program(rows, *placed)
        return np.asarray(found), np.asarray(gradient).T

    return run


def of_numpy(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Callable[[], Any]:
    """Two products and the stable formulas between them."""
    target = y if w.ndim == 1 else y[:, None]

    def run() -> Any:
        z = x @ w
        e = np.exp(-np.abs(z))
        value = (np.maximum(z, 0) + np.log1p(e) - target * z).mean(0)
        residual = np.where(z >= 0, 1, e) / (1 + e) - target
        return value, x.T @ residual / np.float32(len(x))

    return run


def of_torch(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Contestants:
    """PyTorch's products on all threads and on one; nothing where it is not installed."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return {}
    data, target = torch.from_numpy(x), torch.from_numpy(y if w.ndim == 1 else y[:, None])

    def run(count: int) -> Any:
        torch.set_num_threads(count)
        z = data @ torch.from_numpy(w)
        value = (torch.nn.functional.softplus(z) - target * z).mean(0)
        gradient = data.T @ (torch.sigmoid(z) - target) / len(x)
        return value.numpy(), gradient.numpy()

    return {"torch": lambda: run(core_count()), "torch, 1 thread": lambda: run(1)}
