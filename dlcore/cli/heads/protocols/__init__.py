"""Protocols for linear probes from a file: options, sets of rows, and the card."""
