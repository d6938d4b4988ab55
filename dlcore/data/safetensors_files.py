"""Reader of .safetensors files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from dlcore.data.sources import Column, Source, regular_file
from dlcore.data.sources import unreadable_as_value_error as readable

KIND = "a .safetensors file"


def safetensors_source(path: Path) -> Source:
    """Return the tensors of a .safetensors file. Only those that are named are read."""
    safetensors = _library()
    with readable(regular_file(path), KIND), safetensors.safe_open(path, framework="numpy") as file:
        names = tuple(file.keys())
    return Source(str(path), names, lambda chosen: _load(path, chosen))


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return all tensors of a file, and the texts of its metadata."""
    safetensors = _library()
    with readable(regular_file(path), KIND), safetensors.safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _load(path: Path, names: Sequence[str]) -> Mapping[str, Column]:
    safetensors = _library()
    with readable(path, KIND), safetensors.safe_open(path, framework="numpy") as file:
        return {name: Column(file.get_tensor(name)) for name in names}


def _library() -> ModuleType:
    """Return safetensors, or raise an error that names the extra."""
    try:
        import safetensors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "dlcore.data: .safetensors files need safetensors: pip install 'dlcore-jax[cli]'", name="safetensors"
        ) from error
    return safetensors
