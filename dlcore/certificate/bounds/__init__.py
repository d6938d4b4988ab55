"""Bounds on J − J* of each loss."""
