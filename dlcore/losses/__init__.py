"""Losses of one example, (prediction, target) to a scalar; `vmap` gives many, a mean gives the objective."""

from dlcore.losses.classification import sigmoid, sigmoid_cross_entropy
from dlcore.losses.facts import Facts, facts_of, with_facts
from dlcore.losses.regression import squared_error

__all__ = ["Facts", "facts_of", "sigmoid", "sigmoid_cross_entropy", "squared_error", "with_facts"]
