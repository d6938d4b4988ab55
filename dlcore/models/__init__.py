"""Models of one example: parameters and x to what a loss takes, and to what a person reads."""

from dlcore.models.base import LinearParams, Model
from dlcore.models.linear import linear, logistic, softmax
from dlcore.models.mlp import mlp

__all__ = ["LinearParams", "Model", "linear", "logistic", "mlp", "softmax"]
