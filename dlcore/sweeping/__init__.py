"""Fitting many models in one program: one for each setting, over one copy of the data."""

from dlcore.sweeping.sweep import SweepProgress, sweep

__all__ = ["SweepProgress", "sweep"]
