"""Command line, and the frame, tables and pictures of the experiments."""
