"""Fitting one model: the compiled loop, when it stops, and what it hands back."""

from dlcore.fitting.driver import Fit, History, Progress, fit

__all__ = ["Fit", "History", "Progress", "fit"]
