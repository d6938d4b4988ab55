"""Models of other libraries: coefficients in .npz or .safetensors files, and the layer of torch."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dlcore.data.numpy_files import npz_source
from dlcore.data.safetensors_files import read_safetensors
from dlcore.data.sources import regular_file
from dlcore.export.model import Model, check_model
from dlcore.export.model_files import KEY, model_from_tensors

COEF = ("coef", "coef_", "weight", "weights", "w")
"""Names of arrays of coefficients: of dlcore, scikit-learn and torch's Linear."""
INTERCEPT = ("intercept", "intercept_", "bias", "b")


def load_model(
    path: str | os.PathLike[str],
    *,
    loss: str | None = None,
    l2: float | None = None,
    classes: np.ndarray | None = None,
) -> Model:
    """Return the model of a file: one of dlcore, or coefficients of any origin.

    A file of dlcore knows its loss and penalty. Other files are .npz or .safetensors files with an array `coef`,
    `coef_` or `weight`, and perhaps `intercept`, `intercept_` or `bias`. The names may have a prefix, such as
    "head.weight". A state dict of torch's Linear, saved by safetensors, is such a file. The file may also hold
    `l2`, `classes` and `scale`.

    Args:
      path: of the file, .safetensors or .npz. Nothing is unpickled.
      loss: the loss that a file of another origin minimises. None takes "softmax" for several rows of coefficients
        and "logistic" for one.
      l2: the penalty that a file of another origin minimises.
      classes: the labels of the classes, in the order of the coefficients.

    Returns:
      The model. Its gap and its status are None where the file does not hold them.

    Raises:
      ValueError: if the file is damaged, holds no coefficients, or has no penalty and none is given.

    Source: the formats of safetensors and of NumPy's .npz.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/theirs.npz", coef_=[[1.0, -2.0]], intercept_=[0.5])
    ...     print(load_model(f"{folder}/theirs.npz", l2=0.1))
    Model(logistic, 2, l2 0.1)
    """
    file = Path(path)
    if file.is_dir():
        file = file / "model.safetensors"
    regular_file(file)
    if file.suffix.lower() == ".safetensors":
        tensors, metadata = read_safetensors(file)
        if KEY in metadata:
            return model_from_tensors(file, tensors, metadata)
    elif file.suffix.lower() == ".npz":
        source = npz_source(file)
        tensors = {name: column.values for name, column in source.load(source.names).items()}
    else:
        raise ValueError(f"{file}: expected a model, a file that ends with .safetensors or .npz")
    return _model_of_arrays(file, tensors, loss=loss, l2=l2, classes=classes)


def _model_of_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], *, loss: str | None, l2: float | None, classes: np.ndarray | None
) -> Model:
    coef = _find(path, arrays, COEF)
    if coef is None:
        names = ", ".join(map(repr, list(arrays)[:8])) or "nothing"
        raise ValueError(f"{path}: expected an array named coef or weight, got {names}")
    intercept = _find(path, arrays, INTERCEPT)
    if l2 is None and "l2" not in arrays:
        raise ValueError(f"{path}: expected l2 of the objective (--l2), which the file does not hold")
    if coef.ndim == 2 and len(coef) == 1 and loss != "softmax":  # a row of torch or scikit-learn
        coef, intercept = coef[0], None if intercept is None else intercept.reshape(())
    if loss is None:
        loss = "logistic" if coef.ndim == 1 else "softmax"
    if intercept is not None and intercept.shape == (1,) and coef.ndim == 1:
        intercept = intercept[0]
    labels = arrays.get("classes", arrays.get("classes_")) if classes is None else np.asarray(classes)
    penalty = np.asarray(arrays["l2"] if l2 is None else l2)
    if penalty.size != 1:
        raise ValueError(f"{path}: expected one l2, got shape {penalty.shape}")
    model = Model(
        coef=coef,
        intercept=None if intercept is None else np.asarray(intercept),
        l2=penalty.reshape(()).item(),
        loss=loss,
        scale=arrays.get("scale"),
        classes_=None if labels is None else np.asarray(labels),
    )
    return check_model(model, str(path))


def _find(path: Path, arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    """Return the array of one of some names, perhaps behind a prefix; None if there is none."""
    found = [key for key in arrays if key.rpartition(".")[2] in names]
    if len(found) > 1:
        raise ValueError(
            f"{path}: expected one array of {', '.join(names[:3])}, got {found[0]!r} and {found[1]!r}"
        )
    return arrays[found[0]] if found else None
