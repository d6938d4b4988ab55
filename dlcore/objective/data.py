"""Data before it is summed: its values checked, its arrays placed on the device, its rows in blocks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dlcore._core import array_checks, host_checks
from dlcore._core.types import Array, working_dtype
from dlcore.devices import aligned_copy
from dlcore.losses import facts_of
from dlcore.objective.blocks import BlockedData, rows_per_block
from dlcore.objective.labels import are_labels
from dlcore.objective.sharding import over_rows, row_mesh


def prepare_data(objective: Any, data: Any, devices: Any = None) -> BlockedData:
    """What `Objective.prepare` says."""
    mesh = None if devices is None else row_mesh(devices)
    if isinstance(data, BlockedData):
        if mesh not in (None, data.mesh):
            raise ValueError("devices: the data is placed already; pass the devices to prepare")
        if data.checked_for is objective.loss:
            return data
        mesh = data.mesh
        data = (data.x, data.y) if data.weights is None else (data.x, data.y, data.weights)
    x, y, weights = _parts(data)
    named = {"x": x, "y": y} | ({} if weights is None else {"weights": weights})
    known = {name: part for name, part in named.items() if not array_checks.is_traced(part)}
    numbers = {name: host_checks.as_host_numbers(name, part) for name, part in known.items()}
    if "x" in numbers and objective.model.affine:
        host_checks.check_matrix("x", numbers["x"])
    if len(numbers) < len(named):  # what is traced has no values to check
        if mesh is not None:
            raise TypeError("devices: data that is traced cannot be placed; prepare it outside")
        for name, array in numbers.items():
            host_checks.check_finite(name, array)
        return blocked_as_is(objective, data)
    x, y, weights = numbers["x"], numbers["y"], numbers.get("weights")
    if weights is not None:
        host_checks.check_weights(weights, len(x) if x.ndim else 0)
        weights = weights.astype(np.float64)
        weights = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
    host_checks.check_rows(x=x, y=y)
    host_checks.check_finite("x", x)
    host_checks.check_finite("y", y)
    check_targets = facts_of(objective.loss).check_targets
    if check_targets is not None:
        check_targets(y, weights)
    labels = are_labels(objective.loss, y)
    y_dtype = np.dtype(np.int32) if labels else working_dtype(_floating(y.dtype))
    x_dtype = _floating(x.dtype)
    if mesh is not None and len(x) % mesh.size and weights is None:
        weights = np.ones(len(x))
    x, y = _place("x", x, x_dtype, mesh), _place("y", y, y_dtype, mesh)
    if weights is not None:
        weights = _place("weights", weights, working_dtype(x_dtype), mesh, filling=0)
    return BlockedData(x, y, weights, rows_per_block(x, 1 if mesh is None else mesh.size), objective.loss, mesh)


def blocked_as_is(objective: Any, data: Any) -> BlockedData:
    """Arrays as they are, in blocks: what the passes do with what was not prepared."""
    if isinstance(data, BlockedData):
        return data
    x, y, weights = _parts(data)
    x, y = array_checks.as_inexact("x", x), array_checks.as_real("y", y)
    array_checks.check_real("x", x)
    if objective.model.affine:
        host_checks.check_rank("x", x, 2, "[n, features]")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"expected a row of x for every row of y, got shapes x {x.shape} and y {y.shape}")
    if weights is not None:
        weights = array_checks.as_real("weights", weights)
        if weights.shape != x.shape[:1]:
            raise ValueError(f"weights: expected shape {x.shape[:1]}, one per row, got {weights.shape}")
    return BlockedData(x, y, weights, rows_per_block(x))


def _parts(data: Any) -> tuple[Any, Any, Any]:
    """x, y, and weights or None."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        got = f"{len(data)} of them" if isinstance(data, tuple | list) else type(data).__name__
        raise TypeError(f"data: expected (x, y) or (x, y, weights), got {got}")
    return data[0], data[1], data[2] if len(data) == 3 else None


def _floating(dtype: np.dtype) -> np.dtype:
    """The dtype if it is of floating-point numbers, else the default one, as JAX has it."""
    return jax.dtypes.canonicalize_dtype(dtype if jnp.issubdtype(dtype, jnp.floating) else float)


def _place(name: str, array: np.ndarray, dtype: np.dtype, mesh: Mesh | None, filling: Any = None) -> Array:
    """A copy of `array` on the device: a device may otherwise read the caller's own memory.

    Over several devices, each has equally many rows: the last is repeated, or `filling`, until they have.
    """
    with np.errstate(over="ignore"):
        if mesh is None:
            copy = aligned_copy(array, dtype)
        else:
            copy = aligned_copy(array, dtype, -(-len(array) // mesh.size) * mesh.size)
            copy[len(array) :] = array[-1:] if filling is None else filling
    if dtype.itemsize < array.dtype.itemsize:
        try:
            host_checks.check_finite(name, copy)
        except ValueError:
            raise ValueError(f"{name}: expected numbers within the range of {dtype}; scale them") from None
    return jax.device_put(copy, None if mesh is None else over_rows(mesh))
