"""A model as the state of torch's Linear layer. torch itself is not imported."""

import os

import numpy as np
from numpy.typing import DTypeLike

from dlcore._core.files import check_path
from dlcore.export.model import Model
from dlcore.export.model_files import write_tensors


def to_torch_state(model: Model, *, dtype: DTypeLike = np.float32) -> dict[str, np.ndarray]:
    """Return the arrays that `torch.nn.Linear.load_state_dict` takes as tensors.

    Args:
      model: the model. A logistic head has one output, the logit of its second class.
      dtype: float32 or float64, the dtype of the layer.

    Returns:
      `weight`, shape (outputs, m), and `bias`, shape (outputs,), if the model has an intercept.

    Raises:
      ValueError: if `dtype` is neither float32 nor float64, or a number is beyond its range.

    Source: the documentation of torch.nn.Linear, y = x·Aᵀ + b.

    >>> model = Model(np.array([1.0, -2.0]), np.array(0.5), 0.1, "logistic")
    >>> print({name: array.shape for name, array in to_torch_state(model).items()})
    {'weight': (1, 2), 'bias': (1,)}
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    state = {"weight": np.atleast_2d(model.coef)}
    if model.intercept is not None:
        state["bias"] = np.atleast_1d(model.intercept)
    with np.errstate(over="ignore"):
        state = {name: array.astype(dtype) for name, array in state.items()}
    if not all(np.isfinite(array).all() for array in state.values()):
        raise ValueError("model: expected coefficients within the range of float32; pass dtype=float64")
    return state


def save_torch(model: Model, path: str | os.PathLike[str], *, dtype: DTypeLike = np.float32) -> None:
    """Write the state of torch's Linear layer into a .safetensors file.

    `layer.load_state_dict(safetensors.torch.load_file(path))` reads it.

    Args:
      model: the model.
      path: of the file. A file that is there is replaced at once.
      dtype: float32 or float64.

    Returns:
      None.

    Raises:
      ValueError: if its folder does not exist, or as `to_torch_state`.
      OSError: if the file cannot be written.

    Source: the format of safetensors.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_torch(Model(np.array([1.0, -2.0]), None, 0.1, "squared"), f"{folder}/layer.safetensors")
    """
    write_tensors(check_path("path", path), to_torch_state(model, dtype=dtype), {"format": "pt"})
