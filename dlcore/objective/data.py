"""Preparation of data: values are checked, arrays are placed on the device, rows are divided into blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dlcore._core import array_checks, host_checks
from dlcore._core.types import Array, working_dtype
from dlcore.devices import aligned_copy
from dlcore.losses import get_loss_info
from dlcore.objective.blocks import BlockedData, Data, rows_per_block
from dlcore.objective.labels import are_labels
from dlcore.objective.sharding import Devices, pad_rows, row_mesh, row_sharding

if TYPE_CHECKING:
    from dlcore.objective.objective import Objective


def prepare_data(objective: Objective, data: Data, devices: Devices | None = None) -> BlockedData:
    """Return checked and placed data; see `Objective.prepare`."""
    mesh = None if devices is None else row_mesh(devices)
    if isinstance(data, BlockedData):
        if mesh not in (None, data.mesh):
            raise ValueError("devices: the data is placed already; pass the devices to prepare")
        if data.checked_for is objective.loss:
            return data
        mesh = data.mesh
        data = (data.x, data.y) if data.weights is None else (data.x, data.y, data.weights)
    arrays = {name: array for name, array in _named(data).items() if name != "weights" or array is not None}
    concrete = {
        name: host_checks.as_numpy(name, array)
        for name, array in arrays.items()
        if not array_checks.is_traced(array)
    }
    if "x" in concrete and objective.model.affine:
        host_checks.check_matrix("x", concrete["x"])
    if len(concrete) < len(arrays):  # a traced array has no values to check
        if mesh is not None:
            raise TypeError("devices: data that is traced cannot be placed; prepare it outside")
        for name, array in concrete.items():
            host_checks.check_finite(name, array)
        return block_arrays(objective, data)
    x, y, weights = concrete["x"], concrete["y"], concrete.get("weights")
    if weights is not None:
        host_checks.check_weights(weights, len(x) if x.ndim else 0)
        weights = weights.astype(np.float64)
        weights = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
    host_checks.check_same_length(x=x, y=y)
    host_checks.check_finite("x", x)
    host_checks.check_finite("y", y)
    check_targets = get_loss_info(objective.loss).check_targets
    if check_targets is not None:
        check_targets(y, weights)
    x_dtype = _floating(x.dtype)
    y_dtype = np.dtype(np.int32) if are_labels(objective.loss, y) else working_dtype(_floating(y.dtype))
    if mesh is not None and len(x) % mesh.size and weights is None:
        weights = np.ones(len(x))
    x, y = _place("x", x, x_dtype, mesh), _place("y", y, y_dtype, mesh)
    if weights is not None:
        weights = _place("weights", weights, working_dtype(x_dtype), mesh, fill=0)
    return BlockedData(x, y, weights, rows_per_block(x, 1 if mesh is None else mesh.size), objective.loss, mesh)


def block_arrays(objective: Objective, data: Data) -> BlockedData:
    """Return arrays in blocks as they are: their shapes and dtypes are checked, their values are not."""
    if isinstance(data, BlockedData):
        return data
    x, y, weights = _named(data).values()
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


def _named(data: object) -> dict[str, object]:
    """Return x, y and the weights or None, by name."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        got = f"{len(data)} of them" if isinstance(data, tuple | list) else type(data).__name__
        raise TypeError(f"data: expected (x, y) or (x, y, weights), got {got}")
    return {"x": data[0], "y": data[1], "weights": data[2] if len(data) == 3 else None}


def _floating(dtype: np.dtype) -> np.dtype:
    """Return a floating-point dtype as JAX has it, and the default one for other dtypes."""
    return jax.dtypes.canonicalize_dtype(dtype if jnp.issubdtype(dtype, jnp.floating) else float)


def _place(name: str, array: np.ndarray, dtype: np.dtype, mesh: Mesh | None, fill: float | None = None) -> Array:
    """Return a copy of `array` on the device, which would otherwise read the memory of the caller.

    Over several devices the rows are padded as `pad_rows` does.
    """
    with np.errstate(over="ignore"):
        copy = aligned_copy(array, dtype) if mesh is None else pad_rows(array, dtype, mesh, fill)
    if dtype.itemsize < array.dtype.itemsize:
        try:
            host_checks.check_finite(name, copy)
        except ValueError:
            raise ValueError(f"{name}: expected numbers within the range of {dtype}; scale them") from None
    return jax.device_put(copy, None if mesh is None else row_sharding(mesh))
