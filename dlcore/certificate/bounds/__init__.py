"""Bounds on J − J*: a file for each loss, the bound by curvature, and the smaller of two bounds."""
