"""Part `products`: rate and error of Gram matrices, logits and gradients, by dtype and by algorithm of products.

An error is the largest of |computed − exact| over the sum of the magnitudes of the terms.
The exact numbers are sums in NumPy's long double, for some of the columns.
"""

import functools
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
BLOCK = 8, 32
"""Rows and columns of a product that are compared with exact sums."""
LONG_DOUBLE = 200.0
"""Operations of float32 on all cores in the time of one of long double, which has no vector instructions."""
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
            add(_measure_gradient(sizes, "float64"))
            add(_measure(_gram(_normal(sizes.rows, sizes.features, "float64")), f"float64, {LIBRARY}", LIBRARY))
        add(_measure_gradient(sizes, "float32"))
        x, w = _normal(sizes.rows, sizes.features, "float32"), _normal(sizes.features, sizes.models, "float32")
        products = _gram(x), _logits(x, w)
        for name, preset in {f"float32, {LIBRARY}": LIBRARY, **ALGORITHMS}.items():
            precision = preset if preset == LIBRARY else getattr(jax.lax.DotAlgorithmPreset, preset)
            for product in products:
                add(_measure(product, name, precision))
    required = [result for result in results if result["algorithm"].endswith(LIBRARY)]
    return {"products": results, "passed": not any(result["error_text"] for result in required)}


class Product(NamedTuple):
    """A product on the device, and a block of its entries with the sums of the magnitudes of their terms."""

    operation: str
    left: jax.Array
    right: jax.Array
    contracted: tuple[tuple[int], tuple[int]]
    exact: np.ndarray
    magnitude: np.ndarray


def _normal(rows: int, columns: int, dtype: str) -> jax.Array:
    """Return normal numbers, made on the device."""
    return jax.jit(jax.random.normal, static_argnums=(1, 2))(jax.random.key(columns), (rows, columns), dtype)


def _gram(x: jax.Array) -> Product:
    """Return the product XᵀX."""
    left, right = (_exact(x[:, :count]) for count in BLOCK)
    return Product("gram", x, x, ((0,), (0,)), left.T @ right, np.abs(left).T @ np.abs(right))


def _logits(x: jax.Array, w: jax.Array) -> Product:
    """Return the product of X with the weights of many models."""
    left, right = _exact(x[: BLOCK[0]]), _exact(w[:, : BLOCK[1]])
    return Product("logits", x, w, ((1,), (0,)), left @ right, np.abs(left) @ np.abs(right))


def _exact(array: jax.Array) -> np.ndarray:
    """Return an array in long double, whose products and sums round a thousand times less than float64."""
    return np.asarray(array).astype(np.longdouble)


def _measure(product: Product, algorithm: str, precision: Any) -> JsonObject:
    """Return the time of a product and the error of its block."""
    x, right = product.left, product.right
    shape = f"{x.shape[0]:,} × {x.shape[1]}" + (
        f", {right.shape[1]} models" if product.operation == "logits" else ""
    )
    record = _record(product.operation, shape, x.dtype, algorithm)
    dimensions = product.contracted, ((), ())
    program = jax.jit(
        functools.partial(
            jax.lax.dot_general,
            dimension_numbers=dimensions,
            precision=precision,
            preferred_element_type=x.dtype,
        )
    )
    try:
        timing = measure({"": lambda: program(x, right)}, REPEATS)[""]
        computed = np.asarray(program(x, right)[: BLOCK[0], : BLOCK[1]])
    except Exception as error:  # an algorithm that this device does not have
        return record | {"error_text": describe_error(error)}
    error = float((np.abs(computed - product.exact) / product.magnitude).max())
    return record | _figures(timing, 2.0 * x.size * right.shape[1], error)


def _measure_gradient(sizes: Sizes, dtype: str) -> JsonObject:
    """Measure the value and gradient of a logistic regression, as the library computes them."""
    rows, features = sizes.gradient_rows, sizes.gradient_features
    record = _record("gradient", f"{rows:,} × {features}", dtype, f"{dtype}, {LIBRARY}")
    try:
        x, w = _normal(rows, features, dtype), _normal(features, 1, dtype)[:, 0]
        y = (jnp.arange(rows) % 2).astype(dtype)
        params = LinearParams(w, jnp.zeros((), dtype))
        objective = Objective(models.logistic, losses.sigmoid_cross_entropy)
        timing = measure({"": lambda: objective.value_and_grad(params, (x, y))}, REPEATS)[""]
        computed = np.asarray(objective.value_and_grad(params, (x, y))[1].weight)
    except Exception as error:  # memory that is exhausted, a program that does not compile
        return record | {"error_text": describe_error(error)}
    exact_x = _exact(x)
    residual = 1 / (1 + np.exp(-(exact_x @ _exact(w)))) - _exact(y)
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
    exact = 2.0 * BLOCK[0] * BLOCK[1] * FULL.rows + 4.0 * FULL.gradient_rows * FULL.gradient_features
    return Work(
        traffic=20.0 * 4 * numbers * calls,
        float32=(gram + logits) * 3 * len(ALGORITHMS),
        float64=gram,
        programs=40,
        tuned=2 * len(ALGORITHMS) + 3,
        moved=8.0 * (sum(BLOCK) * FULL.rows + FULL.gradient_rows * FULL.gradient_features),
        host=LONG_DOUBLE * exact * 3,
    )
