"""Scores of heads on rows that have not trained them, and the best penalty."""
