"""HTML page of a report: headings, paragraphs, tables and pictures, in a file that loads nothing."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import resources
from typing import NewType

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from dlcore._core.html import drop_control_characters, escape, html_page

Html = NewType("Html", str)
"""Markup in which all text is escaped; the functions of this module take it and return it."""

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
TOOLTIP = "tooltip:"
"""Beginning of the id of a part of a picture that has a tooltip."""

STYLE = resources.files("dlcore.cli").joinpath("report.css").read_text(encoding="utf-8").strip()

ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


def page(title: str, lead: Iterable[Html], sections: Mapping[str, Iterable[Html]]) -> str:
    """Return a page: a lead, links to the sections, and the sections by their headings."""
    anchors = {name: f"s{number}" for number, name in enumerate(sections, start=1)}
    links = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for name, anchor in anchors.items())
    body = [f"<h1>{escape(title)}</h1>", *lead]
    if len(anchors) > 1:
        body.append(f'<nav aria-label="sections"><ul>{links}</ul></nav>')
    for name, parts in sections.items():
        body += [f'<section aria-labelledby="{anchors[name]}">', f'<h2 id="{anchors[name]}">{escape(name)}</h2>']
        body += [*parts, "</section>"]
    return html_page(title, STYLE, "<main>\n" + "\n".join(body) + "\n</main>")


def heading(text: str) -> Html:
    """Return a heading inside a section."""
    return Html(f"<h3>{escape(text)}</h3>")


def paragraph(text: str, *, warning: bool = False) -> Html:
    """Return a paragraph; a warning is highlighted."""
    attributes = ' class="warning" role="note"' if warning else ""
    return Html(f"<p{attributes}>{escape(text)}</p>")


def bullets(lines: Iterable[str]) -> Html:
    """Return a bulleted list; empty markup without lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return Html(f"<ul>{items}</ul>" if items else "")


def definition_list(definitions: Mapping[str, str]) -> Html:
    """Return names and their values, a line each."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in definitions.items())
    return Html(f"<dl>{items}</dl>")


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)
) -> Html:
    """Return a table.

    Args:
      caption: title of the table.
      header: a name for each column.
      rows: the cells of each row; the first cell is the row's header.
      words: columns of words, which are left-aligned; columns of numbers are right-aligned.
    """
    classes = [' class="words"' if column in words else "" for column in range(len(header))]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(header, classes, strict=True)
    )
    lines = []
    for row in rows:
        first, *rest = (f"{kind}>{escape(cell)}" for cell, kind in zip(row, classes, strict=True))
        lines.append(f'<tr><th scope="row"{first}</th>' + "".join(f"<td{cell}</td>" for cell in rest) + "</tr>")
    return Html(
        f'<div class="table" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def grid(parts: Iterable[Html]) -> Html:
    """Return pictures side by side, as many in a row as fit."""
    return Html('<div class="grid">\n' + "\n".join(parts) + "\n</div>")


def collapsible(title: str, parts: Iterable[Html]) -> Html:
    """Return a block that opens on a click, and in print."""
    return Html(f"<details><summary>{escape(title)}</summary>\n" + "\n".join(parts) + "\n</details>")


def set_tooltip(artist: Artist, text: str) -> None:
    """Attach a text that is shown when the pointer is over a part of a picture."""
    artist.set_gid(TOOLTIP + drop_control_characters(text))


def picture(figure: Figure, description: str, title: str = "", note: str = "") -> Html:
    """Return a figure of matplotlib as inline SVG; black and white become the colours of the page.

    Args:
      figure: its parts may have tooltips, see `set_tooltip`.
      description: text for readers who cannot see the picture; unique on a page.
      title: caption above the picture; none if it is empty.
      note: smaller text below the title.
    """
    file = io.StringIO()
    # Text stays text. The salt makes the ids differ from those of other pictures on the page.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title + description}):
        figure.savefig(file, format="svg")
    root = ET.fromstring(file.getvalue())
    _remove_global_parts(root)
    _convert_ids(root, set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", file.getvalue())))
    root.set("role", "img")
    root.set("aria-label", drop_control_characters(description))
    drawing = re.sub(r"\s*\n\s*", " ", ET.tostring(root, encoding="unicode"))
    small = f"<small>{escape(note)}</small>" if note else ""
    caption = f"<figcaption>{escape(title)}{small}</figcaption>" if title or note else ""
    return Html(f"<figure>{caption}{drawing}</figure>")


def _remove_global_parts(root: ET.Element) -> None:
    """Remove the metadata, and the style sheet that would apply to the whole page."""
    for tag in ("metadata", "defs"):
        for part in root.findall(f"{{{SVG}}}{tag}"):
            if tag == "metadata" or part.find(f"{{{SVG}}}style") is not None:
                root.remove(part)


def _convert_ids(root: ET.Element, used: Collection[str]) -> None:
    """Remove ids that nothing uses, turn those of tooltips into titles, and adopt the page's font and colours."""
    for part in root.iter():
        if (name := part.get("id")) is not None and name not in used:
            del part.attrib["id"]
            if name.startswith(TOOLTIP):
                tooltip = ET.Element(f"{{{SVG}}}title")
                tooltip.text = name.removeprefix(TOOLTIP)
                part.insert(0, tooltip)
        if style := part.get("style"):
            style = re.sub("font-family: 'DejaVu Sans'[^;]*;? ?", "", style)
            part.set("style", style.replace("#000000", "currentColor").replace("#ffffff", "var(--ground)"))
