"""Fits of the estimators: calls of `fit_heads`, their settings and their warnings."""
