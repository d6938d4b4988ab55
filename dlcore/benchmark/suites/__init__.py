"""Suites of benchmark cases, with the functions of other libraries that they are compared with."""

from dlcore.benchmark.suites import first, fit, gradient, math, scale, sweep

__all__ = ["first", "fit", "gradient", "math", "scale", "sweep"]
