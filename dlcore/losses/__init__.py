"""Losses of one example, (prediction, target) to a scalar; `vmap` gives many, a mean gives the objective."""

from dlcore.losses.binary import binary_cross_entropy, sigmoid, sigmoid_cross_entropy
from dlcore.losses.metadata import Facts, facts_of, with_facts
from dlcore.losses.multiclass import softmax, softmax_cross_entropy
from dlcore.losses.regression import absolute_error, huber, squared_error

__all__ = [
    "Facts",
    "absolute_error",
    "binary_cross_entropy",
    "facts_of",
    "huber",
    "sigmoid",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "squared_error",
    "with_facts",
]
