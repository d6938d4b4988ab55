"""A model as a compiled program of `jax.export`, which another process calls without dlcore."""

import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from numpy.typing import DTypeLike

from dlcore._core.files import atomic_writer, check_path
from dlcore._core.types import Array
from dlcore.export.model import Model

PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms for which a program is lowered."""


def to_jax(
    model: Model, *, dtype: DTypeLike = np.float32, platforms: Sequence[str] = PLATFORMS
) -> export.Exported:
    """Return a program of `jax.export` that predicts rows, for any number of rows.

    `call(x)` runs it, and `save_jax` writes it into a file. x has the shape (n, m). The result has the
    probabilities of all classes, shape (n, classes), or the numbers or rates, shape (n,), in the dtype of x.
    Products have the precision HIGHEST. A program in float64 needs JAX's x64 mode where it is called.

    Args:
      model: the model. Its numbers are constants of the program.
      dtype: float32 or float64, that of x.
      platforms: platforms that the program runs on, of "cpu", "cuda", "rocm" and "tpu".

    Returns:
      The program.

    Raises:
      ValueError: if `dtype` is neither float32 nor float64, or a platform is unknown.

    Source: the documentation of jax.export, shape polymorphism.

    >>> model = Model(np.array([1.0, -2.0]), np.array(0.5), 0.1, "logistic")
    >>> program = to_jax(model)
    >>> print(np.asarray(program.call(np.zeros((1, 2), np.float32))).round(3), program.platforms)
    [[0.378 0.622]] ('cpu', 'cuda', 'tpu')
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    unknown = sorted({*platforms} - {"cpu", "cuda", "rocm", "tpu"})
    if unknown or not platforms:
        raise ValueError(f"platforms: expected some of cpu, cuda, rocm and tpu, got {unknown or 'none'}")
    with jax.enable_x64(np.dtype(dtype) == np.float64):
        (rows,) = export.symbolic_shape("n")
        x = jax.ShapeDtypeStruct((rows, model.coef.shape[-1]), dtype)
        return export.export(jax.jit(_program(model, dtype)), platforms=tuple(platforms))(x)


def save_jax(model: Model, path: str | os.PathLike[str], *, dtype: DTypeLike = np.float32) -> None:
    """Write the program of `to_jax` into a file.

    `jax.export.deserialize(bytearray(contents)).call(x)` runs it in another process, without dlcore.

    Args:
      model: the model.
      path: of the file. A file that is there is replaced at once.
      dtype: float32 or float64.

    Returns:
      None.

    Raises:
      ValueError: if its folder does not exist, or as `to_jax`.
      ModuleNotFoundError: if flatbuffers is not installed, which `jax.export` needs for files.
      OSError: if the file cannot be written.

    Source: the documentation of jax.export, serialization.

    >>> save_jax(Model(np.array([1.0, -2.0]), None, 0.1, "squared"), "/nowhere/model.jax")
    Traceback (most recent call last):
    ValueError: path: expected the path of a file in a folder that exists, got '/nowhere/model.jax'
    """
    absolute, program = check_path("path", path), to_jax(model, dtype=dtype)
    try:
        contents = bytes(program.serialize())
    except ImportError as error:
        raise ModuleNotFoundError(
            "dlcore.export: files of jax.export need flatbuffers: pip install 'dlcore-jax[cli]'",
            name="flatbuffers",
        ) from error
    with atomic_writer(absolute) as file:
        file.write(contents)


def _program(model: Model, dtype: DTypeLike) -> Callable[[Array], Array]:
    coef = np.atleast_2d(model.coef).astype(dtype)
    bias = np.zeros(len(coef)) if model.intercept is None else np.atleast_1d(model.intercept)
    bias = bias.astype(dtype)

    def program(x: Array) -> Array:
        logits = jnp.matmul(x, coef.T, precision=jax.lax.Precision.HIGHEST) + bias[None]
        if model.loss == "softmax":
            return jax.nn.softmax(logits, axis=-1)
        z = logits[:, 0]
        if model.loss == "logistic":
            return jnp.stack([jax.nn.sigmoid(-z), jax.nn.sigmoid(z)], axis=-1)
        return jnp.exp(z) if model.loss == "poisson" else z

    return program
