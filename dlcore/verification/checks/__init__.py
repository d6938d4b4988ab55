"""Checks of each package."""
