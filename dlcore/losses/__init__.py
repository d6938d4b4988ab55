"""Losses of one example, (prediction, target) to a scalar; `vmap` gives many, a mean gives the objective."""

import warnings
from typing import TYPE_CHECKING

from dlcore.losses import metadata
from dlcore.losses.binary import binary_cross_entropy, sigmoid, sigmoid_cross_entropy
from dlcore.losses.metadata import LossInfo, get_loss_info, with_loss_info
from dlcore.losses.multiclass import softmax, softmax_cross_entropy
from dlcore.losses.poisson import half_poisson_deviance
from dlcore.losses.regression import absolute_error, huber, squared_error

__all__ = [
    "LossInfo",
    "absolute_error",
    "binary_cross_entropy",
    "get_loss_info",
    "half_poisson_deviance",
    "huber",
    "sigmoid",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "squared_error",
    "with_loss_info",
]

_RENAMED = {"Facts": "LossInfo", "facts_of": "get_loss_info", "with_facts": "with_loss_info"}
"""New names of deprecated ones."""


if not TYPE_CHECKING:  # a type checker should see an unknown name

    def __getattr__(name: str) -> object:
        """Return the object of a deprecated name, with a DeprecationWarning."""
        if name not in _RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn(f"{name} is deprecated, use {_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return getattr(metadata, _RENAMED[name])
