"""Compilation of the library's programs for a GPU and a TPU without either device, and a check of their cost."""
