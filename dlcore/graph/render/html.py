"""A graph as a page: the drawing to move and enlarge, and a table of the nodes to search and to fold."""

import itertools
from collections.abc import Iterator, Sequence

from dlcore._core.html import clean, document
from dlcore.graph.node import Node
from dlcore.graph.render.svg import to_svg
from dlcore.graph.render.text import HEADER, Words, label, summaries

STYLE = """
:root { color-scheme: light }
body { margin: 0; padding: 12px 16px; background: #fff; color: #000; font: 15px/1.4 system-ui, sans-serif }
h1 { font-size: 19px; margin: 0 0 4px }
.bar { position: sticky; top: 0; z-index: 1; background: #fff; padding: 6px 0; display: flex; gap: 8px;
  flex-wrap: wrap }
.bar input { flex: 0 1 22em; font: inherit; padding: 2px 6px }
.bar button { font: inherit; min-width: 2.2em }
.view { overflow: auto; max-height: 75vh; border: 1px solid #999; cursor: grab }
summary { cursor: pointer; font-weight: 600; padding: 2px 0 }
details details { margin-left: 1ch; padding-left: 1ch; border-left: 2px solid #bbb }
.row { display: grid; grid-template-columns: 2fr 4fr 2fr 3fr 3fr; gap: 0 2ch; padding: 1px 4px;
  font: 13px/1.5 'DejaVu Sans Mono', Menlo, Consolas, monospace; border-top: 1px solid #e4e4e4;
  content-visibility: auto; contain-intrinsic-height: auto 20px; cursor: pointer }
.row span { overflow-wrap: anywhere }
.row.head { font-weight: bold; border: 0; cursor: default }
.row.output { background: #fdebc8 }
.row.here { outline: 2px solid #0072b2 }
.dl-box.here rect { stroke: #d55e00; stroke-width: 4 }
.dl-box.aside { opacity: 0.25 }
[hidden] { display: none !important }
""".strip()

SCRIPT = """
const view = document.querySelector('.view'), drawing = view.querySelector('svg');
const rows = [...document.querySelectorAll('.row[data-node]')], size = [drawing.width.baseVal.value,
  drawing.height.baseVal.value];
let scale = 1;
function zoom(to) {
  const x = (view.scrollLeft + view.clientWidth / 2) / scale, y = (view.scrollTop + view.clientHeight / 2) / scale;
  scale = Math.min(8, Math.max(0.02, to));
  drawing.setAttribute('width', size[0] * scale); drawing.setAttribute('height', size[1] * scale);
  view.scrollTo(x * scale - view.clientWidth / 2, y * scale - view.clientHeight / 2);
}
const fit = () => Math.min(view.clientWidth / size[0], 1);
document.getElementById('in').onclick = () => zoom(scale * 1.3);
document.getElementById('out').onclick = () => zoom(scale / 1.3);
document.getElementById('fit').onclick = () => zoom(fit());
document.getElementById('all').onclick = () => zoom(1);
view.addEventListener('wheel', event => {
  if (event.ctrlKey) { event.preventDefault(); zoom(scale * Math.exp(-event.deltaY / 300)); }
}, { passive: false });
view.addEventListener('pointerdown', event => {
  const from = [event.clientX, event.clientY, view.scrollLeft, view.scrollTop];
  view.onpointermove = now => view.scrollTo(from[2] + from[0] - now.clientX, from[3] + from[1] - now.clientY);
});
for (const end of ['pointerup', 'pointerleave'])
  view.addEventListener(end, () => { view.onpointermove = null; });
function choose(node, toDrawing) {
  document.querySelectorAll('.here').forEach(one => one.classList.remove('here'));
  const row = rows.find(one => one.dataset.node === node), box = document.getElementById('dl-' + node);
  row.classList.add('here'); box.classList.add('here');
  for (let fold = row.parentElement; fold; fold = fold.parentElement)
    if (fold.tagName === 'DETAILS') fold.open = true;
  const frame = box.querySelector('rect'), middle = name => frame[name].baseVal.value * scale;
  if (toDrawing) view.scrollTo({ left: middle('x') - view.clientWidth / 2 + middle('width') / 2,
    top: middle('y') - view.clientHeight / 2, behavior: 'smooth' });
  else row.scrollIntoView({ block: 'center' });
}
rows.forEach(row => { row.onclick = () => choose(row.dataset.node, true); });
drawing.querySelectorAll('g[id]').forEach(box => { box.ondblclick = () => choose(box.id.slice(3), false); });
document.getElementById('search').oninput = event => {
  const words = event.target.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let found = 0, first = null;
  for (const row of rows) {
    const fits = words.every(word => row.textContent.toLowerCase().includes(word));
    row.hidden = !fits; found += fits; first = first || (fits ? row : null);
    document.getElementById('dl-' + row.dataset.node).classList.toggle('aside', !fits);
  }
  document.getElementById('found').textContent = words.length ? found + ' of ' + rows.length + ' nodes' : '';
  if (words.length && first) choose(first.dataset.node, true);
};
zoom(Math.max(fit(), 0.6));
""".strip()


def to_html(nodes: Sequence[Node], output: str, title: str) -> str:
    """A page that loads nothing from elsewhere and is readable without its script."""
    texts = dict(zip((node.name for node in nodes), summaries(nodes), strict=True))
    told = (
        f"{len(nodes)} nodes. The output is {output} = {texts[output].value}; derivatives are those of the output."
    )
    body = [
        f"<h1>{clean(title)}</h1><p>{clean(told)}</p>",
        '<div class="bar"><input id="search" type="search" placeholder="search names, formulas, numbers" '
        'aria-label="search nodes"><span id="found" role="status"></span>'
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
    return document(title, STYLE, "\n".join(body))


def _table(nodes: Sequence[Node], output: str, texts: dict[str, Words]) -> Iterator[str]:
    """A line for each node, folded by argument and by the function in which it is computed."""
    open_folds: tuple[str, ...] = ()
    folds = [_fold(node) for node in nodes]
    sizes = {fold: len(list(same)) for fold, same in itertools.groupby(sorted(_prefixes(folds)))}
    for place, (node, whole) in enumerate(zip(nodes, folds, strict=True)):
        fold = whole
        while fold and sizes[fold] == 1:  # nothing is gained by folding one line
            fold = fold[:-1]
        shared = len(
            list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(open_folds, fold, strict=False)))
        )
        yield "</details>" * (len(open_folds) - shared)
        for depth in range(shared, len(fold)):
            count = sizes[fold[: depth + 1]]
            yield f"<details open><summary>{clean(fold[depth])} ({count})</summary>"
        open_folds = fold
        cells = (node.name, label(node), *texts[node.name])
        kind = "row output" if node.name == output else "row"
        yield (
            f'<div class="{kind}" data-node="{place}">'
            + "".join(f"<span>{clean(c)}</span>" for c in cells)
            + "</div>"
        )
    yield "</details>" * len(open_folds)


def _fold(node: Node) -> tuple[str, ...]:
    """Where a node is in the table."""
    if node.op in ("argument", "constant"):
        head = node.name.partition("[")[0].partition(".")[0]
        return (f"{node.op}s", head) if node.op == "argument" and head != node.name else (f"{node.op}s",)
    return node.scope


def _prefixes(folds: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Each fold around each node, once a node."""
    for fold in folds:
        for depth in range(len(fold)):
            yield fold[: depth + 1]
