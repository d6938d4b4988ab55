"""Pictures of a report as SVG inside an HTML page that loads nothing, and the style of the page."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection
from importlib import resources
from typing import NewType

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from dlcore._core.html import drop_control_characters, escape

Html = NewType("Html", str)
"""Markup in which all text is escaped; the functions of this module take it and return it."""

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
TOOLTIP = "tooltip:"
"""Beginning of the id of a part of a picture that has a tooltip."""

STYLE = resources.files("dlcore.cli").joinpath("report.css").read_text(encoding="utf-8").strip()

ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


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
