"""Suites: families of cases, each with its peers."""

from dlcore.benchmark.suites import fit, gradient, math, scale, sweep

__all__ = ["fit", "gradient", "math", "scale", "sweep"]
