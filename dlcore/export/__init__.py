"""A fitted head as a file, and the same head for JAX, torch and scikit-learn."""

from dlcore.export.foreign_files import load_model
from dlcore.export.jax_program import save_jax, to_jax
from dlcore.export.model import Model, model_of
from dlcore.export.model_files import save_model
from dlcore.export.sklearn_estimator import load_sklearn, save_sklearn, to_sklearn
from dlcore.export.torch_state import save_torch, to_torch_state

__all__ = [
    "Model",
    "load_model",
    "load_sklearn",
    "model_of",
    "save_jax",
    "save_model",
    "save_sklearn",
    "save_torch",
    "to_jax",
    "to_sklearn",
    "to_torch_state",
]
