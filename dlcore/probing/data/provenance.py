"""The record of a result: its protocol, settings, seeds, versions, device and digests of its rows."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

import jax
import numpy as np

import dlcore.devices as devices
from dlcore.probing.data.rows import CheckedRows

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""What JSON can hold."""


def rows_digest(rows: CheckedRows) -> str:
    """Return the SHA-256 of the dtypes, shapes and bytes of features and labels."""
    digest = hashlib.sha256()
    for array in (rows.x, rows.y):
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def make_record(
    protocol: str,
    settings: Mapping[str, object],
    parts: Iterable[CheckedRows] = (),
    device: str | None = None,
    **details: object,
) -> dict[str, Json]:
    """Return the record of a result as values that JSON can hold.

    Args:
      protocol: the name of the function.
      settings: the arguments beside the data.
      parts: the sets of rows that were used.
      device: the device of the fits. None for the default device of JAX.
      details: further entries.
    """
    record = {
        "protocol": protocol,
        "settings": dict(settings),
        "rows": {part.name: {"sha256": rows_digest(part), "rows": len(part.x)} for part in parts},
        "versions": {
            "dlcore": _version("dlcore-jax"),
            "jax": jax.__version__,
            "jaxlib": _version("jaxlib"),
            "numpy": np.__version__,
        },
        "device": device or str(devices.find_device()),
        **details,
    }
    return as_json(record)  # pyright: ignore[reportReturnType]


def as_json(value: object) -> Json:
    """Return a value that JSON can hold: arrays as lists, functions by name, infinity and nan as text."""
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, list | tuple | set | range):
        return [as_json(entry) for entry in value]
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    json.dumps(value)
    return value  # pyright: ignore[reportReturnType]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"
