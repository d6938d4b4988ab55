"""Models of one example: parameters and x to what a loss takes, and to what a person reads."""

from dlcore.models.heads import linear, logistic, softmax
from dlcore.models.interface import LinearParams, Model
from dlcore.models.network import mlp

__all__ = ["LinearParams", "Model", "linear", "logistic", "mlp", "softmax"]
