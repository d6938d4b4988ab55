"""Models of one example: parameters and x to what a loss takes, and to what a person reads."""

from dlcore.models.heads import linear, logistic
from dlcore.models.interface import LinearParams, Model

__all__ = ["LinearParams", "Model", "linear", "logistic"]
