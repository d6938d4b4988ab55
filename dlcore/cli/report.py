"""A report as one page of HTML: headings, paragraphs, tables and pictures, in a file that loads nothing."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NewType

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from dlcore._core.html import allowed, clean, document

Html = NewType("Html", str)
"""Markup, in which all text is escaped: what the functions here hand out and take."""

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
TOLD = "told:"
"""How the name of a part of a picture begins that the pointer shows."""

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1c1e21; --faint: #5a6068; --rule: #d9dce0;
  --shade: #f4f6f8; --link: #0060a0; --warn: #fff3d6 }
@media (prefers-color-scheme: dark) { :root { --ground: #16191d; --ink: #e4e6e9; --faint: #a3abb5; --rule: #3a4048;
  --shade: #1f242a; --link: #7cc0f0; --warn: #3d3115 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 78rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0.5rem 0 }
h2 { font-size: 1.35rem; margin: 3rem 0 0.5rem; padding-top: 0.6rem; border-top: 1px solid var(--rule) }
h3 { font-size: 1.05rem; margin: 2rem 0 0.4rem }
p, ul { max-width: 48rem; margin: 0.6rem 0 }
a { color: var(--link) }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; list-style: none; padding: 0; margin: 1.2rem 0 }
.warning { background: var(--warn); border-left: 4px solid #e69f00; padding: 0.5rem 0.9rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1.4rem; margin: 0.8rem 0 }
dt { color: var(--faint) }
dd { margin: 0; overflow-wrap: anywhere }
.table { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: 0.875rem; line-height: 1.35; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: 0.2rem 0; caption-side: top }
th, td { padding: 0.25rem 0.6rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--rule);
  white-space: nowrap }
th:first-child, td:first-child { padding-left: 0.2rem }
thead th { white-space: normal; max-width: 8.5rem; color: var(--faint); font-weight: 500;
  border-bottom: 2px solid var(--rule); vertical-align: bottom }
tbody th { font-weight: 500 }
th.words, td.words { text-align: left }
td.words:last-child { white-space: normal; min-width: 12rem }
tbody tr:hover { background: var(--shade) }
figure { margin: 1rem 0; overflow-x: auto }
figcaption { font-size: 0.9rem; font-weight: 600; overflow-wrap: anywhere }
figcaption small { display: block; font-size: 0.8rem; font-weight: 400; color: var(--faint) }
svg { display: block; width: 100%; min-width: 48rem; height: auto; color: var(--ink) }
svg * { stroke-linejoin: round; stroke-linecap: butt }
svg text { font-family: system-ui, sans-serif; fill: currentColor }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1.4rem 1.8rem;
  margin: 1.2rem 0; align-items: end }
.grid figure { margin: 0; break-inside: avoid }
.grid svg { min-width: 0 }
details { margin: 0.3rem 0; border-bottom: 1px solid var(--rule) }
summary { cursor: pointer; padding: 0.3rem 0 }
summary:hover { background: var(--shade) }
@media print {
  :root { color-scheme: light; --ground: #ffffff; --ink: #000000; --faint: #444444; --rule: #bbbbbb;
    --shade: #ffffff; --link: #000000; --warn: #ffffff }
  body { max-width: none; padding: 0; font-size: 10pt }
  nav { display: none }
  h2, h3, p, caption, summary { break-after: avoid }
  p, tr, figure { break-inside: avoid }
  .table, figure { overflow: visible }
  svg { min-width: 0 }
  table { font-size: 6.5pt }
  th, td { padding: 0.12rem 0.3rem }
  td.words:last-child { min-width: 6rem }
  figcaption { font-size: 8.5pt }
  figcaption small { font-size: 7pt }
  .grid { grid-template-columns: repeat(3, 1fr); gap: 0.8rem }
  details::details-content { content-visibility: visible; display: block }
}
""".strip()

ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


def page(title: str, lead: Iterable[Html], sections: Mapping[str, Iterable[Html]]) -> str:
    """The page: what everybody should read, then sections by their headings, with links to them."""
    anchors = {name: f"s{number}" for number, name in enumerate(sections, start=1)}
    links = "".join(f'<li><a href="#{anchor}">{clean(name)}</a></li>' for name, anchor in anchors.items())
    body = [f"<h1>{clean(title)}</h1>", *lead]
    body += [f'<nav aria-label="sections"><ul>{links}</ul></nav>'] * (len(anchors) > 1)
    for name, parts in sections.items():
        body += [f'<section aria-labelledby="{anchors[name]}">', f'<h2 id="{anchors[name]}">{clean(name)}</h2>']
        body += [*parts, "</section>"]
    return document(title, STYLE, "<main>\n" + "\n".join(body) + "\n</main>")


def heading(text: str) -> Html:
    """Of a part of a section."""
    return Html(f"<h3>{clean(text)}</h3>")


def paragraph(text: str, *, warning: bool = False) -> Html:
    """Sentences; those of a warning stand out."""
    kind = ' class="warning" role="note"' if warning else ""
    return Html(f"<p{kind}>{clean(text)}</p>")


def bullets(lines: Iterable[str]) -> Html:
    """A list; nothing where there is no line."""
    items = "".join(f"<li>{clean(line)}</li>" for line in lines)
    return Html(f"<ul>{items}</ul>" if items else "")


def facts(known: Mapping[str, str]) -> Html:
    """Names and what they are, a line each."""
    return Html("<dl>" + "".join(f"<dt>{clean(k)}</dt><dd>{clean(v)}</dd>" for k, v in known.items()) + "</dl>")


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)
) -> Html:
    """A table.

    Args:
      caption: what it shows.
      header: a name for each column.
      rows: the first cell of each names it.
      words: which columns hold words, and stand left; the others hold numbers, and stand right.
    """
    kinds = [' class="words"' if column in words else "" for column in range(len(header))]
    head = "".join(f'<th scope="col"{kind}>{clean(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    lines = []
    for row in rows:
        first, *others = (f"{kind}>{clean(cell)}" for cell, kind in zip(row, kinds, strict=True))
        lines.append(f'<tr><th scope="row"{first}</th>' + "".join(f"<td{one}</td>" for one in others) + "</tr>")
    return Html(
        f'<div class="table" role="region" tabindex="0" aria-label="{clean(caption)}"><table>'
        f"<caption>{clean(caption)}</caption><thead><tr>{head}</tr></thead><tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def grid(parts: Iterable[Html]) -> Html:
    """Pictures beside each other, as many as there is room for."""
    return Html('<div class="grid">\n' + "\n".join(parts) + "\n</div>")


def fold(title: str, parts: Iterable[Html]) -> Html:
    """What is shown when somebody asks for it, and in print."""
    return Html(f"<details><summary>{clean(title)}</summary>\n" + "\n".join(parts) + "\n</details>")


def tell(artist: Artist, text: str) -> None:
    """Lets the pointer show a text over a part of a picture."""
    artist.set_gid(TOLD + allowed(text))


def picture(figure: Figure, description: str, title: str = "", note: str = "") -> Html:
    """A picture of matplotlib's, drawn into the page; its black and white become those of the page.

    Args:
      figure: what `tell` says of its parts is shown by the pointer.
      description: the picture in words, for those who do not see it; of each on a page another.
      title: above it; without one there is no line.
      note: below the title, smaller.
    """
    file = io.StringIO()
    # Text stays text, and names of what is drawn are those of no other picture on the page.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title + description}):
        figure.savefig(file, format="svg")
    root = ET.fromstring(file.getvalue())
    for tag in ("metadata", "defs"):
        for part in root.findall(f"{{{SVG}}}{tag}"):
            if tag == "metadata" or part.find(f"{{{SVG}}}style") is not None:
                root.remove(part)
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", file.getvalue()))
    for part in root.iter():
        if (name := part.get("id")) is not None and name not in used:
            del part.attrib["id"]
            if name.startswith(TOLD):
                said = ET.Element(f"{{{SVG}}}title")
                said.text = name.removeprefix(TOLD)
                part.insert(0, said)
        if style := part.get("style"):
            style = re.sub("font-family: 'DejaVu Sans'[^;]*;? ?", "", style)  # the page's own
            part.set("style", style.replace("#000000", "currentColor").replace("#ffffff", "var(--ground)"))
    root.set("role", "img")
    root.set("aria-label", allowed(description))
    drawn = re.sub(r"\s*\n\s*", " ", ET.tostring(root, encoding="unicode"))
    below = f"<small>{clean(note)}</small>" if note else ""
    told = f"<figcaption>{clean(title)}{below}</figcaption>" if title or note else ""
    return Html(f"<figure>{told}{drawn}</figure>")
