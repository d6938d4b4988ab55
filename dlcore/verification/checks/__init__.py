"""The checks of each package."""
