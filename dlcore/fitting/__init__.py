"""Fitting one model: the compiled loop, when it stops, and what it hands back."""

from dlcore.fitting.fit import fit
from dlcore.fitting.result import Fit, History, Progress

__all__ = ["Fit", "History", "Progress", "fit"]
