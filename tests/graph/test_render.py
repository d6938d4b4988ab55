"""Renderings of graphs: layout, SVG, HTML and text."""

import html.parser
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_like
from jax.ad_checkpoint import checkpoint_name

from dlcore._core.html import escape
from dlcore.graph import trace
from dlcore.graph.render import layout
from dlcore.graph.render.svg import CHAR_WIDTH, PADDING

SVG = "{http://www.w3.org/2000/svg}"


def product(x, y, z):
    return x * (jnp.log(3 * y) + z**2)


def residual(params, x):
    for layer in params:
        x = x + jax.jit(lambda w, t: jax.nn.gelu(w * t) * jax.nn.softplus(t))(layer, x)
    return x.sum()


def wide(x):
    return sum(jnp.sin(x * k) * jnp.cos(x + k) for k in range(40))


def graphs():
    yield "product", trace(product, 1.0, 2.0, 3.0)
    yield "residual", trace(residual, [random_like(k, 5) for k in range(8)], random_like(9, 5))
    yield "wide", trace(wide, 0.5)
    yield "square", trace(lambda x, y: x * x, 1.0, 2.0)
    many = jax.jit(lambda x: jnp.prod(jnp.stack([jnp.sin(k * x) for k in range(1, 15)])))
    yield "many", trace(many, 0.5)
    yield "logsumexp", trace(jax.nn.logsumexp, random_like(0, 7))


@pytest.fixture(
    scope="module", params=range(6), ids=["product", "residual", "wide", "square", "many", "logsumexp"]
)
def graph(request):
    return next(itertools.islice(graphs(), request.param, None))[1]


def boxes_of(root):
    """Return (x, y, width, height) and the lines of text of every node, by its index."""
    boxes = {}
    for group in root.iter(f"{SVG}g"):
        if (group.get("id") or "").startswith("dl-"):
            frame = group.find(f"{SVG}rect")
            boxes[int(group.get("id")[3:])] = (
                [float(frame.get(key)) for key in ("x", "y", "width", "height")],
                [
                    (float(t.get("x")), float(t.get("y")), "".join(t.itertext()))
                    for t in group.findall(f"{SVG}text")
                ],
            )
    return boxes


def test_boxes_hold_their_text_and_do_not_overlap(graph):
    root = ET.fromstring(graph.to_svg())
    boxes = boxes_of(root)
    assert sorted(boxes) == list(range(len(graph.nodes)))
    width, height = float(root.get("width") or 0), float(root.get("height") or 0)
    for (x, y, w, h), lines in boxes.values():
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height
        for left, base, text in lines:
            assert left - x == pytest.approx(PADDING, abs=0.11)
            assert left + CHAR_WIDTH * len(text) <= x + w - PADDING + 0.11
            assert y + 9 < base < y + h
        assert all(b[1] - a[1] >= 14 for a, b in itertools.pairwise(lines))
    for (a, _), (b, _) in itertools.combinations(boxes.values(), 2):
        disjoint = a[0] + a[2] < b[0] or b[0] + b[2] < a[0] or a[1] + a[3] < b[1] or b[1] + b[3] < a[1]
        assert disjoint, (a, b)
    for index, node in enumerate(graph.nodes):
        content = " ".join(text for _, _, text in boxes[index][1])
        assert content.startswith(node.name)
        assert "value " in content
        assert "derivative " in content
        assert ("(output)" in content) == (node.name == graph.output)


def random_layout(graph):
    """Return the layout of boxes of random sizes, and the inputs of each box."""
    index = {node.name: position for position, node in enumerate(graph.nodes)}
    inputs = [[index[name] for name in node.inputs] for node in graph.nodes]
    rng = np.random.default_rng(0)
    sizes = [(float(rng.uniform(60, 300)), float(rng.uniform(30, 80))) for _ in graph.nodes]
    return layout.compute_layout(sizes, inputs), inputs


def test_every_line_leads_from_a_box_down_to_a_box(graph):
    plan, inputs = random_layout(graph)
    assert plan.undrawn == 0
    starts = {}
    for line in plan.lines:
        starts.setdefault((line.source, round(line.x1, 6), round(line.y1, 6)), []).append(line)
        assert line.y1 > line.y0
    drawn = set()
    for line in plan.lines:
        if line.target is None:
            continue
        box = plan.boxes[line.target]
        assert line.y1 == pytest.approx(box.y)
        assert box.x < line.x1 < box.x + box.width
        drawn.add((line.source, line.target))
        while True:  # follow the trunk upwards to the lower edge of its box
            top = plan.boxes[line.source]
            if line.y0 == pytest.approx(top.y + top.height):
                assert line.x0 == pytest.approx(top.x + top.width / 2)
                break
            (line,) = starts[line.source, round(line.x0, 6), round(line.y0, 6)]
    assert len(drawn) == sum(line.target is not None for line in plan.lines)
    assert drawn == {(source, target) for target, sources in enumerate(inputs) for source in sources}


def test_no_line_crosses_a_box(graph):
    """Segments lie between layers, or beside the boxes of a layer."""
    plan, _ = random_layout(graph)
    for line in plan.lines:
        left, right = sorted((line.x0, line.x1))
        for index, box in enumerate(plan.boxes):
            if index in (line.source, line.target):
                continue
            beside = right <= box.x or left >= box.x + box.width
            above_or_below = line.y1 <= box.y + 1e-9 or line.y0 >= box.y + box.height - 1e-9
            assert beside or above_or_below, (line, box)


def test_a_tree_is_drawn_without_crossings_and_a_chain_straight():
    layers = [[0, 1, 2, 3], [4, 5], [6]]
    below = [[5], [4], [5], [4], [6], [6], []]
    above = [[], [], [], [], [1, 3], [0, 2], [4, 5]]
    assert layout.count_crossings(layers, below) == 3
    assert layout.count_crossings(layout.order_layers(layers, above, below), below) == 0
    plan = layout.compute_layout([(50.0 + 10 * k, 20.0) for k in range(9)], [[], *([k] for k in range(8))])
    assert len({round(box.x + box.width / 2, 6) for box in plan.boxes}) == 1


def test_crossings_match_a_count_of_pairs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        upper, lower = list(range(6)), list(range(6, 13))
        below = [sorted(rng.choice(lower, size=rng.integers(0, 4), replace=False)) for _ in upper] + [[]] * 7
        rng.shuffle(lower)
        position = {item: index for index, item in enumerate(lower)}
        lines = [(a, position[b]) for a in upper for b in below[a]]
        pairs = sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(lines, 2))
        assert layout.count_crossings([upper, lower], below) == pairs


def test_lines_beyond_the_budget_are_omitted_and_counted():
    inputs = [[]] + [[k - 1, k // 2] if k % 2 else [k - 1] for k in range(1, 400)]
    plan = layout.compute_layout([(50.0, 20.0)] * 400, inputs, budget=500)
    assert plan.undrawn > 0
    drawn = {(line.source, line.target) for line in plan.lines if line.target is not None}
    edges = {(s, t) for t, sources in enumerate(inputs) for s in sources}
    assert drawn < edges
    assert plan.undrawn == len(edges) - len(drawn)
    assert {(k - 1, k) for k in range(1, 400)} <= drawn
    assert layout.compute_layout([], []).boxes == []


class Page(html.parser.HTMLParser):
    """Parser that records open elements, loaded resources, rows and folds of a page."""

    VOID = ("meta", "input", "path", "rect")

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.rows, self.folds, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.loads += [attributes[key] for key in ("src", "href") if key in attributes]
        if tag == "div" and "data-node" in attributes:
            self.rows.append([])
        if tag == "summary":
            self.folds.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "span" and "div" in self.open and self.rows and "details" in self.open:
            self.rows[-1].append(data)
        if self.open and self.open[-1] == "summary":
            self.folds[-1] += data


def test_a_page_is_well_formed_and_self_contained_with_a_row_per_node(graph):
    text = graph.to_html("A title")
    page = Page(text)
    assert page.open == []
    assert page.loads == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", text)
    assert [row[0] for row in page.rows] == [node.name for node in graph.nodes]
    assert text.count("data-node") == len(graph.nodes) + text.split("<script>")[1].count("data-node")
    assert text.count("<details") == text.count("</details>")


def test_the_table_folds_by_argument_and_by_function():
    graph = trace(residual, [random_like(k, 5) for k in range(2)], random_like(9, 5))
    folds = Page(graph.to_html()).folds
    assert folds[:4] == ["Drawing", "Nodes", "arguments (3)", "params (2)"]
    assert [fold.partition(" (")[0] for fold in folds[4:6]] == ["lambda", "lambda 2"]


HOSTILE = "<script>alert('x')</script>&\"\x00\x1b\ud800\ufffe"


def test_names_are_escaped():
    def f(x):
        return checkpoint_name(jnp.sin(x[HOSTILE]), HOSTILE) * 2

    graph = trace(f, {HOSTILE: 1.0})
    assert HOSTILE in {node.name for node in graph.nodes}
    ET.fromstring(graph.to_svg())
    page = graph.to_html(HOSTILE)
    assert page.count("<script>") == 1
    assert "alert" not in page.split("<script>")[1]
    assert Page(page).open == []
    page.encode("utf-8")
    assert escape("a<b & 'c'\n") == "a&lt;b &amp; &#x27;c&#x27;\n"


def test_wide_characters_and_long_names_fit():
    names = {"数" * 30: 1.0, "a_very_long_name_" * 12: 2.0}
    graph = trace(lambda x: sum(x.values()) * 1.0, names)
    for (x, _, w, _), lines in boxes_of(ET.fromstring(graph.to_svg())).values():
        for left, _, text in lines:
            assert left + CHAR_WIDTH * sum(2 if c == "数" else 1 for c in text) <= x + w + 0.11


def test_a_thousand_nodes_are_drawn(tmp_path):
    def chain(x, y):
        for _ in range(250):
            x = jnp.cos(x) * y + 0.5
            y = y * 0.9999
        return x

    graph = trace(chain, 1.0, 0.5)
    root = ET.fromstring(graph.to_svg())
    assert len(boxes_of(root)) == len(graph.nodes) == 1001
    (tmp_path / "page.html").write_text(graph.to_html(), encoding="utf-8")
    assert Path(tmp_path / "page.html").stat().st_size < 2e6


def test_arrays_as_text():
    x = {
        "a": jnp.array([1.0, -2.0, 0.5]),
        "b": jnp.arange(6.0).reshape(2, 3),
        "c": jnp.zeros((0, 2)),
        "d": jnp.array([jnp.nan, 1.0, jnp.inf, -1.0]),
        "e": jnp.full(4, jnp.nan),
        "f": jnp.arange(5),
        "g": jnp.array([True, False, True, True]),
        "h": jax.random.split(jax.random.key(0)),
    }
    text = trace(lambda x: x["b"].sum(), x).to_text()
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert "[1, -2, 0.5]" in rows["x['a']"]
    assert "[2, 3]  0 … 5, norm 7.416" in rows["x['b']"]
    assert "[0, 2]  empty" in rows["x['c']"]
    assert "-1 … inf, norm inf, 1 nan" in rows["x['d']"]
    assert "all nan" in rows["x['e']"]
    assert "0 … 4" in rows["x['f']"]
    assert "bool[4]" in rows["x['g']"]
    assert "3 true" in rows["x['g']"]
    assert "key<fry>[2]" in rows["x['h']"]
