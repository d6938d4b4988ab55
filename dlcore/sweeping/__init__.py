"""Fitting many models in one program, one for each setting, over one copy of the data."""

from dlcore.sweeping.result import Sweep, SweepProgress
from dlcore.sweeping.sweep import sweep

__all__ = ["Sweep", "SweepProgress", "sweep"]
