"""Scores of heads on held-out rows, and the best penalty."""
