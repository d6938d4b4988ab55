"""Models of one example: parameters and x to the input of a loss, and to a readable prediction."""

from dlcore.models.base import LinearParams, Model
from dlcore.models.linear import linear, logistic, softmax
from dlcore.models.mlp import mlp

__all__ = ["LinearParams", "Model", "linear", "logistic", "mlp", "softmax"]
