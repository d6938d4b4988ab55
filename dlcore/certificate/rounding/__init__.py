"""Bounds on the rounding errors of a certificate, a file for each kind of bound."""
