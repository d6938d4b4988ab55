"""Passes over the rows for many heads: sums of values, gradients and Hessians, compiled or by NumPy."""
