"""SVG drawing of a graph."""

import textwrap
import unicodedata
from collections.abc import Sequence

from dlcore._core.html import escape
from dlcore.graph.node import Node
from dlcore.graph.render.layout import Box, Line, compute_layout
from dlcore.graph.render.text import describe, label

CHAR_WIDTH = 7.0
"""The width reserved for a character of 11 px. Monospaced fonts take 6.6, so text stays inside its box."""

LINE_HEIGHT = 15.0
PADDING = 8.0
MARGIN = 16.0
MAX_CHARS = 52
"""The number of characters after which a line of text wraps."""

STYLE = """
.dl-box rect { fill: #ffffff; stroke: #4d4d4d; stroke-width: 1 }
.dl-argument rect { fill: #d7ebf7; stroke: #0072b2 }
.dl-constant rect { fill: #eeeeee }
.dl-output rect { fill: #fdebc8; stroke: #b35900; stroke-width: 2.5 }
.dl-none rect { stroke-dasharray: 5 3 }
.dl-box text { font: 11px 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #000000 }
.dl-box .dl-head { font-weight: bold }
.dl-line { fill: none; stroke: #6b6b6b; stroke-width: 1.2 }
.dl-tip { fill: #6b6b6b; stroke: none }
""".strip()

StyledLine = tuple[str, str]
"""The CSS class (or an empty string) and the text of a line."""


def to_svg(nodes: Sequence[Node], output: str) -> str:
    """Return a drawing: a box per node with its formula, value and derivative, arguments at the top.

    Colours and words mark arguments, constants and the output. A node without a derivative has a dashed border.
    """
    texts = _box_texts(nodes, output)
    index = {node.name: position for position, node in enumerate(nodes)}
    inputs = [[index[name] for name in node.inputs] for node in nodes]
    layout = compute_layout([_box_size(lines) for lines in texts], inputs)
    note = f"{layout.undrawn} long lines are not drawn; the formulas name what they would connect."
    note = note if layout.undrawn else ""
    width = max(layout.width, _text_width(note)) + 2 * MARGIN
    height = layout.height + 2 * MARGIN + (LINE_HEIGHT if note else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" class="dl-graph">',
        f"<title>{escape(f'Computation graph of {len(nodes)} nodes; output {output}')}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<g transform="translate({MARGIN:.0f} {MARGIN:.0f})">',
        *map(_draw_line, layout.lines),
    ]
    for position, (node, box, lines) in enumerate(zip(nodes, layout.boxes, texts, strict=True)):
        parts.append(_draw_box(position, node, box, lines, is_output=node.name == output))
    if note:
        y = layout.height + LINE_HEIGHT
        parts.append(f'<g class="dl-box"><text x="0" y="{y:.0f}">{escape(note)}</text></g>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _box_texts(nodes: Sequence[Node], output: str) -> list[list[StyledLine]]:
    """Return the lines of text of each box."""
    texts = []
    for node, text in zip(nodes, describe(nodes), strict=True):
        head = f"{node.name} = {node.formula}" if node.formula else f"{node.name} ({label(node)})"
        head += " (output)" if node.name == output else ""
        lines = [("dl-head", line) for line in _wrap(head)]
        for line in (text.array, f"value {text.value}", f"derivative {text.derivative}"):
            lines += [("", part) for part in _wrap(line) if part]
        texts.append(lines)
    return texts


def _wrap(text: str) -> list[str]:
    """Return lines of at most `MAX_CHARS` characters."""
    return textwrap.wrap(text, MAX_CHARS, break_on_hyphens=False) or [""]


def _box_size(lines: Sequence[StyledLine]) -> tuple[float, float]:
    return max(_text_width(text) for _, text in lines) + 2 * PADDING, len(lines) * LINE_HEIGHT + PADDING


def _text_width(text: str) -> float:
    """Return an upper bound on the drawn width of a text; East Asian characters count twice."""
    return CHAR_WIDTH * sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _draw_box(position: int, node: Node, box: Box, lines: Sequence[StyledLine], *, is_output: bool) -> str:
    """Return the box of a node, with its text and a tooltip."""
    classes = ["dl-box", f"dl-{node.op}" if node.op in ("argument", "constant") else "dl-step"]
    classes += ["dl-output"] * is_output + ["dl-none"] * (node.derivative is None)
    tooltip = [f"{node.name}: {node.op}", *(text for _, text in lines)]
    tooltip += ["in " + " / ".join(node.scope)] * bool(node.scope)
    rows = "".join(
        f'<text x="{box.x + PADDING:.1f}" y="{box.y + LINE_HEIGHT * (row + 1) - 1:.1f}"'
        + (f' class="{style}"' if style else "")
        + f">{escape(text)}</text>"
        for row, (style, text) in enumerate(lines)
    )
    title = escape("\n".join(tooltip))
    return (
        f'<g id="dl-{position}" class="{" ".join(classes)}"><title>{title}</title>'
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="4"/>'
        f"{rows}</g>"
    )


def _draw_line(line: Line) -> str:
    """Return a segment, vertical at both ends, with an arrow tip where it reaches a box."""
    end = line.y1 - (6 if line.target is not None else 0)
    path, half = f"M{line.x0:.1f} {line.y0:.1f}", (line.y0 + end) / 2
    if line.x0 == line.x1:
        path += f"V{end:.1f}"
    else:
        path += f"C{line.x0:.1f} {half:.1f} {line.x1:.1f} {half:.1f} {line.x1:.1f} {end:.1f}"
    drawn = f'<path class="dl-line" d="{path}"/>'
    if line.target is not None:
        drawn += f'<path class="dl-tip" d="M{line.x1:.1f} {line.y1:.1f}l-3.5 -7h7z"/>'
    return drawn
