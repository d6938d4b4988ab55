"""Suites of benchmark cases, with the functions of other libraries that they are compared with."""

from dlcore.benchmark.suites import fit, gradient, math, scale, sweep

__all__ = ["fit", "gradient", "math", "scale", "sweep"]
