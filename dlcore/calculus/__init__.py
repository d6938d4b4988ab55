"""Calculus: derivatives as limits, by JAX and by the rules of the textbook, and a check that they agree."""

from dlcore.calculus.derivatives import (
    central_difference,
    derivative,
    difference_quotient,
    directional_derivative,
    gradient,
    jacobian,
    partial,
)
from dlcore.calculus.dual_rules import EXP, LN, SQRT, Differentiable, X
from dlcore.calculus.gradient_check import GradientCheck, check_gradient

__all__ = [
    "EXP",
    "LN",
    "SQRT",
    "Differentiable",
    "GradientCheck",
    "X",
    "central_difference",
    "check_gradient",
    "derivative",
    "difference_quotient",
    "directional_derivative",
    "gradient",
    "jacobian",
    "partial",
]
