"""Renderings of a graph as text, formulas, SVG and HTML."""
