"""Heads of protocols: their settings, fits on subsets, the cells of the result, and metrics of test rows."""
