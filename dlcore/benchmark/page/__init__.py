"""HTML page of a benchmark, and its pictures."""
