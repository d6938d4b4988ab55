"""Files of a model: tensors in float64 with JSON beside them, in the format of safetensors."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from dlcore._core.files import atomic_writer, check_path
from dlcore.data.safetensors_files import read_safetensors
from dlcore.export.model import Model, check_model

KEY, FORMAT = "dlcore", 1
"""The entry of the metadata that holds the JSON of a model, and the version of its form."""
TENSORS = ("coef", "intercept", "scale", "class_weight")
PLAIN = ("l2", "loss", "gap", "status", "versions")


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model into a .safetensors file, which `load_model` reads with the same bits.

    The tensors are `coef`, `intercept`, `scale` and `class_weight`. The entry "dlcore" of the metadata holds JSON:
    the loss, the classes, the names of the features, the penalty, the gap, the status and the versions.

    Args:
      model: the model.
      path: of the file. A file that is there is replaced at once.

    Returns:
      None.

    Raises:
      ValueError: if its folder does not exist, or parts of the model do not agree.
      OSError: if the file cannot be written.

    Source: the format of safetensors.

    >>> import tempfile
    >>> from dlcore.export import load_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(Model(np.array([1.0, -2.0]), None, 0.1, "squared"), f"{folder}/m.safetensors")
    ...     print(load_model(f"{folder}/m.safetensors"))
    Model(squared, 2, l2 0.1)
    """
    absolute = check_path("path", path)
    model = check_model(model, "model")
    text = json.dumps(_metadata(model), ensure_ascii=True, allow_nan=False)
    tensors = {name: part for name in TENSORS if (part := getattr(model, name)) is not None}
    write_tensors(absolute, tensors, {KEY: text})


def write_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write tensors atomically in the format of safetensors."""
    import safetensors.numpy

    contents = safetensors.numpy.save({k: np.asarray(t, order="C") for k, t in tensors.items()}, metadata)
    with atomic_writer(path) as file:
        file.write(contents)


def read_model(path: Path) -> Model:
    """Return the model of a file that `save_model` wrote.

    Raises:
      ValueError: if the file is damaged or holds something else.
    """
    tensors, metadata = read_safetensors(path)
    return model_from_tensors(path, tensors, metadata)


def model_from_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Model:
    """Return the model of tensors and metadata that were read."""
    try:
        about = json.loads(metadata[KEY])
        if about["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {about['format']}")
        classes = about["classes"]
        names = about["feature_names"]
        model = Model(
            coef=tensors["coef"],
            intercept=tensors.get("intercept"),
            scale=tensors.get("scale"),
            class_weight=tensors.get("class_weight"),
            classes_=None if classes is None else np.array(classes["labels"], classes["dtype"]),
            feature_names=None if names is None else tuple(map(str, names)),
            **{name: about[name] for name in PLAIN},
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is damaged, or no model of dlcore: {reason}") from error
    return check_model(model, str(path))


def _metadata(model: Model) -> dict[str, Any]:
    classes = None
    if model.classes_ is not None:
        kind = "str" if model.classes_.dtype.kind == "U" else model.classes_.dtype.name
        classes = {"dtype": kind, "labels": model.classes_.tolist()}
    return {
        "format": FORMAT,
        "classes": classes,
        "feature_names": None if model.feature_names is None else list(model.feature_names),
        **{name: getattr(model, name) for name in PLAIN},
    }
