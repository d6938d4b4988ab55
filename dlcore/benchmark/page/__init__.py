"""HTML page of a benchmark, and its pictures."""

from dlcore.benchmark.page.html import to_html

__all__ = ["to_html"]
