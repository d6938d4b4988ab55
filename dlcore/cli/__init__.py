"""The command line, and what experiments use to draw and to report."""
