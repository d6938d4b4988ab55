"""Fitting one model: the compiled loop, its stopping rules, its checkpoints and its result."""

from dlcore.fitting.fit import fit
from dlcore.fitting.result import Fit, History, Progress

__all__ = ["Fit", "History", "Progress", "fit"]
