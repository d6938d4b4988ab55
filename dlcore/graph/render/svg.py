"""A graph as a drawing: Scalable Vector Graphics, written by hand."""

import textwrap
import unicodedata
from collections.abc import Sequence

from dlcore._core.html import clean
from dlcore.graph.node import Node
from dlcore.graph.render.layout import Box, Layout, Line, lay_out
from dlcore.graph.render.text import label, summaries

CHARACTER = 7.0
"""Width allowed to a character of 11 px. Monospaced fonts take 6.6: text never reaches the edge of its box."""

ROW = 15.0
PADDING = 8.0
MARGIN = 16.0
LONGEST = 52
"""Characters after which a line of text is broken."""

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


def to_svg(nodes: Sequence[Node], output: str) -> str:
    """The drawing: a box for each node with its formula, value and derivative; arguments at the top.

    Colours tell arguments, constants and the output apart, and so do the words in the boxes; a node without a
    derivative has a dashed edge.
    """
    texts = _texts(nodes, output)
    index = {node.name: place for place, node in enumerate(nodes)}
    inputs = [[index[name] for name in node.inputs] for node in nodes]
    layout = lay_out([_size(lines) for lines in texts], inputs)
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN + (ROW if layout.undrawn else 0)
    width = max(width, _width(_note(layout)) + 2 * MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" class="dl-graph">',
        f"<title>{clean(f'Computation graph of {len(nodes)} nodes; output {output}')}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<g transform="translate({MARGIN:.0f} {MARGIN:.0f})">',
    ]
    parts += [_line(line) for line in layout.lines]
    for place, (node, box, lines) in enumerate(zip(nodes, layout.boxes, texts, strict=True)):
        parts.append(_box(place, node, box, lines, node.name == output))
    if layout.undrawn:
        y = layout.height + ROW
        parts.append(f'<g class="dl-box"><text x="0" y="{y:.0f}">{clean(_note(layout))}</text></g>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _note(layout: Layout) -> str:
    if not layout.undrawn:
        return ""
    return f"{layout.undrawn} long lines are not drawn; the formulas name what they would connect."


def _texts(nodes: Sequence[Node], output: str) -> list[list[tuple[str, str]]]:
    """The lines of each box, with their style."""
    texts = []
    for node, words in zip(nodes, summaries(nodes), strict=True):
        head = f"{node.name} = {node.formula}" if node.formula else f"{node.name} ({label(node)})"
        head += " (output)" if node.name == output else ""
        lines = [("dl-head", line) for line in _broken(head)]
        for line in (words.array, f"value {words.value}", f"derivative {words.derivative}"):
            lines += [("", part) for part in _broken(line) if part]
        texts.append(lines)
    return texts


def _broken(text: str) -> list[str]:
    """Lines of at most `LONGEST` characters."""
    return textwrap.wrap(text, LONGEST, break_on_hyphens=False) or [""]


def _size(lines: list[tuple[str, str]]) -> tuple[float, float]:
    return max(_width(text) for _, text in lines) + 2 * PADDING, len(lines) * ROW + PADDING


def _width(text: str) -> float:
    """An upper bound on how wide a text is drawn; East Asian characters are twice as wide."""
    return CHARACTER * sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _box(place: int, node: Node, box: Box, lines: list[tuple[str, str]], is_output: bool) -> str:
    """One node. What is under the pointer is told in full."""
    kinds = ["dl-box", f"dl-{node.op}" if node.op in ("argument", "constant") else "dl-step"]
    kinds += ["dl-output"] * is_output + ["dl-none"] * (node.derivative is None)
    told = "\n".join(
        [
            f"{node.name}: {node.op}",
            *(text for _, text in lines),
            *(["in " + " / ".join(node.scope)] * bool(node.scope)),
        ]
    )
    rows = "".join(
        f'<text x="{box.x + PADDING:.1f}" y="{box.y + ROW * (row + 1) - 1:.1f}"'
        + (f' class="{style}"' if style else "")
        + f">{clean(text)}</text>"
        for row, (style, text) in enumerate(lines)
    )
    return (
        f'<g id="dl-{place}" class="{" ".join(kinds)}"><title>{clean(told)}</title>'
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="4"/>'
        f"{rows}</g>"
    )


def _line(line: Line) -> str:
    """A piece of a line: upright at both ends, with a tip where it reaches a box."""
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
