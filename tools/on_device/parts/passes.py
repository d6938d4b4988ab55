"""Part `passes`: the memory bandwidth that value and gradient reach over X, in passes over X.

A pass is the time of the sum of all entries of X, which reads X once.
"""

import contextlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import losses, models
from dlcore._core.timing import measure
from dlcore._core.types import Device
from dlcore.devices import find_device
from dlcore.models import LinearParams
from dlcore.objective import Objective
from on_device.child import Request, Save, describe_error
from on_device.document import JsonObject
from on_device.estimate import Work

REPEATS = 9
SMALL_BYTES = 2**20
MAX_FRACTION = 0.4
"""Largest fraction of the device's memory that X takes."""
FIELDS = ("matrices",)


class Matrix(NamedTuple):
    """A matrix X, and the number of models that are evaluated on it."""

    size: int
    features: int = 128
    dtype: str = "float32"
    models: int = 1

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.size // (self.features * jnp.dtype(self.dtype).itemsize)


MATRICES = (
    Matrix(2**32),
    Matrix(2**29),
    Matrix(2**32, dtype="float64"),
    Matrix(2**32, features=1024),
    Matrix(2**32, models=128),
    Matrix(2**32, dtype="bfloat16"),
    Matrix(2**26),
    Matrix(2**34),
)
"""Most important first. The smallest X may stay in a cache, and the largest has over 2³¹ entries."""


def run(request: Request, save: Save) -> JsonObject:
    """Time value and gradient beside the sum of X, for each matrix."""
    device = find_device(request.device)
    limit = (device.memory_stats() or {}).get("bytes_limit")
    results: list[JsonObject] = []
    matrices = MATRICES
    if request.small:
        matrices = tuple(dict.fromkeys(matrix._replace(size=SMALL_BYTES) for matrix in MATRICES))
    for matrix in matrices:
        if limit and matrix.size > MAX_FRACTION * limit:
            results.append({**matrix._asdict(), "error": f"is larger than {MAX_FRACTION:.0%} of {limit} bytes"})
            continue
        results.append(_measure(matrix, device))
        save({"matrices": results})
    return {"matrices": results, "passed": not any(result["error"] for result in results)}


def _measure(matrix: Matrix, device: Device) -> JsonObject:
    """Return the times of a matrix, and what they say of the memory."""
    record: JsonObject = {**matrix._asdict(), "rows": matrix.rows, "error": ""}
    wide = jax.enable_x64(True) if matrix.dtype == "float64" else contextlib.nullcontext()
    with wide, jax.default_device(device):
        try:
            timings = measure(_calls(matrix), REPEATS)
        except Exception as error:  # memory that is exhausted, a program that does not compile
            return record | {"error": describe_error(error)}
    once, gradient = timings["sum"].median, timings["value and gradient"].median
    operations = 4.0 * matrix.rows * matrix.features * matrix.models
    return record | {
        "sum_s": once,
        "value_and_grad_s": gradient,
        "quartiles_s": timings["value and gradient"].quartiles,
        "first_s": timings["value and gradient"].first,
        "memory_bandwidth": matrix.size / once,
        "bandwidth": matrix.size / gradient,
        "passes": gradient / once,
        "rate": operations / gradient,
    }


def _calls(matrix: Matrix) -> dict[str, Any]:
    """Return the calls to time. X is made on the device, by a program without temporaries."""
    shape, dtype = (matrix.rows, matrix.features), jnp.dtype(matrix.dtype)
    computed = jnp.float64 if matrix.dtype == "float64" else jnp.float32

    def fill() -> tuple[jax.Array, jax.Array]:
        row = jax.lax.broadcasted_iota(computed, shape, 0)
        column = jax.lax.broadcasted_iota(computed, shape, 1)
        x = jnp.sin(computed(1.7) * row + computed(0.3) * column * column)
        return x.astype(dtype), (jnp.arange(shape[0]) % 3 == 0).astype(computed)

    x, y = jax.jit(fill)()
    objective = Objective(models.logistic, losses.sigmoid_cross_entropy)
    lead = (matrix.models,) if matrix.models > 1 else ()
    weight = np.full((*lead, matrix.features), 0.01, computed)
    params = jax.device_put(LinearParams(weight, np.zeros(lead, computed)))
    function = objective.values_and_grads if lead else objective.value_and_grad
    add = jax.jit(lambda x: x.sum(dtype=computed))
    return {"sum": lambda: add(x), "value and gradient": lambda: function(params, (x, y))}


def work() -> Work:
    """Return the work at full size: every call reads X three times at most."""
    reads = 4 * (REPEATS + 1) + 2
    return Work(
        traffic=float(sum(reads * matrix.size for matrix in MATRICES)),
        float32=sum(4.0 * m.rows * m.features * m.models * (REPEATS + 1) for m in MATRICES),
        programs=5 * len(MATRICES),
        tuned=2,
        calls=30 * len(MATRICES),
    )
