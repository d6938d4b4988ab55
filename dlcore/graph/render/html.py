"""HTML page of a graph: a drawing to pan and zoom, and a table of the nodes to search and fold."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlcore._core.html import escape, html_page
from dlcore.graph.node import Node
from dlcore.graph.render.svg import to_svg
from dlcore.graph.render.text import HEADER, NodeText, describe, label

STYLE, SCRIPT = (Path(__file__).with_name(f"page.{kind}").read_text("utf-8").strip() for kind in ("css", "js"))


def to_html(nodes: Sequence[Node], output: str, title: str) -> str:
    """Return a self-contained page that is readable without its script."""
    texts = dict(zip((node.name for node in nodes), describe(nodes), strict=True))
    abstract = (
        f"{len(nodes)} nodes. The output is {output} = {texts[output].value}; derivatives are those of the output."
    )
    body = [
        f"<h1>{escape(title)}</h1><p>{escape(abstract)}</p>",
        '<div class="bar"><input id="search" type="search" placeholder="search names, formulas, numbers" '
        'aria-label="search nodes"><span id="matches" role="status"></span>'
        '<button id="out" title="smaller">−</button><button id="in" title="larger">+</button>'
        '<button id="all" title="true size">1:1</button><button id="fit" title="whole width">fit</button>'
        "<span>drag to move, Ctrl and wheel to enlarge, double-click a box for its row below</span></div>",
        f'<details open><summary>Drawing</summary><div class="view">{to_svg(nodes, output)}</div></details>',
        "<details open><summary>Nodes</summary>",
        '<div class="row head">' + "".join(f"<span>{head}</span>" for head in HEADER if head) + "</div>",
        *_table(nodes, output, texts),
        "</details>",
        f"<script>{SCRIPT}</script>",
    ]
    return html_page(title, STYLE, "\n".join(body))


def _table(nodes: Sequence[Node], output: str, texts: dict[str, NodeText]) -> Iterator[str]:
    """Yield a row for each node, with folds by argument and by the function in which it is computed."""
    paths = [_fold_path(node) for node in nodes]
    prefixes = sorted(path[: depth + 1] for path in paths for depth in range(len(path)))
    sizes = {prefix: len(list(group)) for prefix, group in itertools.groupby(prefixes)}
    open_path: tuple[str, ...] = ()
    for position, (node, path) in enumerate(zip(nodes, paths, strict=True)):
        while path and sizes[path] == 1:  # a fold of one row hides nothing
            path = path[:-1]
        pairs = zip(open_path, path, strict=False)
        n_shared = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        yield "</details>" * (len(open_path) - n_shared)
        for depth in range(n_shared, len(path)):
            count = sizes[path[: depth + 1]]
            yield f"<details open><summary>{escape(path[depth])} ({count})</summary>"
        open_path = path
        kind = "row output" if node.name == output else "row"
        cells = "".join(f"<span>{escape(cell)}</span>" for cell in (node.name, label(node), *texts[node.name]))
        yield f'<div class="{kind}" data-node="{position}">{cells}</div>'
    yield "</details>" * len(open_path)


def _fold_path(node: Node) -> tuple[str, ...]:
    """Return the names of the folds that contain a node, outermost first."""
    if node.op in ("argument", "constant"):
        head = node.name.partition("[")[0].partition(".")[0]
        return (f"{node.op}s", head) if node.op == "argument" and head != node.name else (f"{node.op}s",)
    return node.scope
