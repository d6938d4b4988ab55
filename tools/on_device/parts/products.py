"""Part `products`: rate and error of Gram matrices, logits and gradients, by dtype and by algorithm of products.

An error is the largest of |computed − exact| over the sum of the magnitudes of the terms.
The exact numbers are sums in NumPy's long double, for some of the columns.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import losses, models
from dlcore._core.timing import Timing, measure
from dlcore.devices import find_device
from dlcore.models import LinearParams
from dlcore.objective import Objective
from on_device.child import Request, Save, describe_error
from on_device.document import JsonObject
from on_device.estimate import Work

REPEATS = 7
ALGORITHMS = {
    "F32": "F32_F32_F32",
    "TF32": "TF32_TF32_F32",
    "BF16 × 3": "BF16_BF16_F32_X3",
    "BF16 × 6": "BF16_BF16_F32_X6",
    "BF16 × 9": "BF16_BF16_F32_X9",
    "TF32 × 3": "TF32_TF32_F32_X3",
    "BF16": "BF16_BF16_F32",
}
"""Presets of `jax.lax.DotAlgorithmPreset`, by the names of the tables."""
LIBRARY = "highest"
"""The precision that the library states."""
REFERENCE_COLUMNS = 8, 32
"""Columns of the left and the right factor whose products are computed exactly."""
FIELDS = ("products",)


class Sizes(NamedTuple):
    """Sizes of X for the Gram matrix and the logits of `models` models, and of X for a gradient."""

    rows: int
    features: int
    models: int
    gradient_rows: int
    gradient_features: int


FULL, SMALL = Sizes(2**18, 1024, 128, 2**20, 64), Sizes(2**9, 64, 8, 2**9, 8)


def run(request: Request, save: Save) -> JsonObject:
    """Measure each product; an algorithm that the device does not have is recorded with its error."""
    sizes = SMALL if request.small else FULL
    results: list[JsonObject] = []

    def add(result: JsonObject) -> None:
        results.append(result)
        save({"products": results})

    with jax.default_device(find_device(request.device)):
        with jax.enable_x64(True):
            add(_gradient(sizes, "float64"))
            x, _ = _factors(sizes, "float64")
            add(_product("gram", x, x, LIBRARY))
            del x
        add(_gradient(sizes, "float32"))
        x, w = _factors(sizes, "float32")
        for name, preset in {"float32, highest": LIBRARY, **ALGORITHMS}.items():
            for operation, right in (("gram", x), ("logits", w)):
                precision = preset if preset == LIBRARY else getattr(jax.lax.DotAlgorithmPreset, preset)
                add(_product(operation, x, right, precision, name))
    required = [result for result in results if result["algorithm"].endswith(LIBRARY)]
    return {"products": results, "passed": not any(result["error_text"] for result in required)}


def _factors(sizes: Sizes, dtype: str) -> tuple[jax.Array, jax.Array]:
    """Return normal rows, made on the device, and normal weights."""
    keys = jax.random.split(jax.random.key(0))
    make = jax.jit(jax.random.normal, static_argnums=(1, 2))
    return make(keys[0], (sizes.rows, sizes.features), dtype), make(keys[1], (sizes.features, sizes.models), dtype)


def _product(
    operation: str, x: jax.Array, right: jax.Array, precision: Any, algorithm: str = "float64, highest"
) -> JsonObject:
    """Measure XᵀX, or X times a matrix."""
    is_gram = operation == "gram"
    contracted = ((0,), (0,)) if is_gram else ((1,), (0,))
    program = jax.jit(functools.partial(_dot, contracted=contracted, precision=precision))
    shape = f"{x.shape[0]:,} × {x.shape[1]}" + ("" if is_gram else f", {right.shape[1]} models")
    record = _record(operation, shape, x.dtype, algorithm)
    try:
        timing = measure({"": lambda: program(x, right)}, REPEATS)[""]
        computed = np.asarray(program(x, right)[: _left_count(x, is_gram), : REFERENCE_COLUMNS[1]])
    except Exception as error:  # an algorithm that this device does not have
        return record | {"error_text": describe_error(error)}
    left = np.asarray(x[:, : _left_count(x, is_gram)].T if is_gram else x[: _left_count(x, is_gram)])
    columns = np.asarray(right[:, : REFERENCE_COLUMNS[1]])
    operations = 2.0 * x.size * right.shape[1]
    return record | _figures(timing, operations, _error(computed, left, columns))


def _left_count(x: jax.Array, is_gram: bool) -> int:
    """Return how many rows of the product are compared: features of a Gram matrix, else rows of X."""
    return REFERENCE_COLUMNS[0] if is_gram else min(len(x), 1024)


def _dot(x: jax.Array, right: jax.Array, *, contracted: Any, precision: Any) -> jax.Array:
    return jax.lax.dot_general(
        x, right, (contracted, ((), ())), precision=precision, preferred_element_type=x.dtype
    )


def _error(computed: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    """Return the largest error of a product relative to the sum of the magnitudes of its terms."""
    left, right = left.astype(np.longdouble), right.astype(np.longdouble)
    exact = left @ right
    return float((np.abs(computed - exact) / (np.abs(left) @ np.abs(right))).max())


def _gradient(sizes: Sizes, dtype: str) -> JsonObject:
    """Measure the value and gradient of a logistic regression, as the library computes them."""
    rows, features = sizes.gradient_rows, sizes.gradient_features
    record = _record("gradient", f"{rows:,} × {features}", dtype, f"{dtype}, {LIBRARY}")
    small = sizes._replace(rows=rows, features=features, models=1)
    try:
        x, w = _factors(small, dtype)
        y = (jnp.arange(rows) % 2).astype(dtype)
        params = LinearParams(w[:, 0], jnp.zeros((), dtype))
        objective = Objective(models.logistic, losses.sigmoid_cross_entropy)
        call: Callable[[], Any] = lambda: objective.value_and_grad(params, (x, y))  # noqa: E731
        timing = measure({"": call}, REPEATS)[""]
        computed = np.asarray(call()[1].weight)
    except Exception as error:
        return record | {"error_text": describe_error(error)}
    exact_x, exact_w, exact_y = (np.asarray(array).astype(np.longdouble) for array in (x, w[:, 0], y))
    residual = 1 / (1 + np.exp(-(exact_x @ exact_w))) - exact_y
    scale = np.abs(residual) @ np.abs(exact_x)
    error = float((np.abs(computed * rows - residual @ exact_x) / scale).max())
    return record | _figures(timing, 4.0 * rows * features, error)


def _record(operation: str, shape: str, dtype: object, algorithm: str) -> JsonObject:
    names = {"operation": operation, "shape": shape, "dtype": str(dtype), "algorithm": algorithm}
    return {**names, "error_text": ""}


def _figures(timing: Timing, operations: float, error: float) -> JsonObject:
    return {
        "seconds": timing.median,
        "quartiles_s": timing.quartiles,
        "first_s": timing.first,
        "rate": operations / timing.median,
        "error": error,
    }


def work() -> Work:
    """Return the work at full size. A product by an algorithm costs nine of float32 at most."""
    calls = REPEATS + 2
    gram = 2.0 * FULL.rows * FULL.features**2 * calls
    logits = 2.0 * FULL.rows * FULL.features * FULL.models * calls
    numbers = FULL.rows * FULL.features
    exact = numbers + FULL.gradient_rows * FULL.gradient_features
    return Work(
        traffic=20.0 * 4 * numbers * calls,
        float32=(gram + logits) * 3 * len(ALGORITHMS),
        float64=gram,
        programs=40,
        tuned=2 * len(ALGORITHMS) + 3,
        moved=16 * 4.0 * numbers / 16,
        host=200.0 * exact,
    )
