"""Command `dlcore export`: a model for JAX, torch, scikit-learn or any reader of safetensors."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dlcore._core.files import check_path
from dlcore.cli.heads.options import CONFIG, command
from dlcore.export import Model, load_model, save_jax, save_model, save_sklearn, save_torch

EXAMPLE = "Example: dlcore export houses --to jax --out houses.jax"
DEFAULT_NAMES = {
    "jax": "model.jax",
    "torch": "model.torch.safetensors",
    "safetensors": "model.safetensors",
    "sklearn": "model.sklearn.npz",
}


@dataclasses.dataclass
class Options:
    """Options of the command."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder that dlcore fit has written, or a model.safetensors"""
    to: Literal["jax", "torch", "safetensors", "sklearn"]
    """jax: a program of jax.export; torch: the state of a Linear layer; sklearn: arrays of an estimator"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File; by default model.jax, model.torch.safetensors, model.safetensors or model.sklearn.npz"""
    dtype: Literal["float32", "float64"] = "float32"
    """Dtype of a program of JAX or a layer of torch"""


def run(arguments: Sequence[str]) -> None:
    """Write the model in another form, and print how it is loaded."""
    options = tyro.cli(
        Options,
        prog="dlcore export",
        args=list(arguments),
        description=f"Write a model of dlcore fit for another library. {EXAMPLE}",
        config=CONFIG,
    )
    with command():
        path = options.out or Path(DEFAULT_NAMES[options.to])
        check_path("--out", path)
        model = load_model(options.model)
        usage = WRITERS[options.to](model, path, options.dtype)
    print(f"{path}\n{usage}")


def _to_jax(model: Model, path: Path, dtype: str) -> str:
    save_jax(model, path, dtype=dtype)
    read = f"pathlib.Path({str(path)!r}).read_bytes()"
    return f"import pathlib, jax.export\njax.export.deserialize(bytearray({read})).call(x)"


def _to_torch(model: Model, path: Path, dtype: str) -> str:
    save_torch(model, path, dtype=dtype)
    outputs = 1 if model.coef.ndim == 1 else len(model.coef)
    bias = "" if model.intercept is not None else ", bias=False"
    return (
        "import safetensors.torch, torch\n"
        f"layer = torch.nn.Linear({model.coef.shape[-1]}, {outputs}{bias}, dtype=torch.{dtype})\n"
        f"layer.load_state_dict(safetensors.torch.load_file({str(path)!r}))"
    )


def _to_safetensors(model: Model, path: Path, dtype: str) -> str:
    del dtype  # a model keeps every bit
    save_model(model, path)
    return f"from dlcore.export import load_model\nmodel = load_model({str(path)!r})"


def _to_sklearn(model: Model, path: Path, dtype: str) -> str:
    del dtype
    return save_sklearn(model, path)


WRITERS: dict[str, Callable[[Model, Path, str], str]] = {
    "jax": _to_jax,
    "torch": _to_torch,
    "safetensors": _to_safetensors,
    "sklearn": _to_sklearn,
}
"""The writer of each form, which returns how the file is loaded."""
