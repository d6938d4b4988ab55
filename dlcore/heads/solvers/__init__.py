"""Solvers of linear heads: L-BFGS, Newton's method, and ridge by a factorisation."""
