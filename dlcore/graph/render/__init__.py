"""Drawings of a graph: text, formulas, SVG and HTML."""
