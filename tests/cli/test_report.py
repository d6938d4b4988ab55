"""HTML page: it is well-formed, loads nothing, and shows every text unchanged."""

import re

import pytest
from pages import SVG, Page, drawings

from dlcore._core.html import html_page
from dlcore.cli import report
from dlcore.cli.plots import new_figure

pytestmark = pytest.mark.any_mode

LINKS = {"href", "xlink:href", "aria-labelledby"}
HOSTILE = "<b> & \"two\" 'one' \x00"
SHOWN = HOSTILE.replace("\x00", "\ufffd")


def line_picture(description="a line", tooltip="a point"):
    figure = new_figure(3.0, 2.0)
    axes = figure.subplots()
    axes.set_xlabel("size")
    report.set_tooltip(axes.plot([1, 2], [1, 2], "o-", color="black", markerfacecolor="white")[0], tooltip)
    return report.picture(figure, description, "title", "note")


@pytest.fixture(scope="module")
def text():
    return html_page(HOSTILE, report.STYLE, line_picture(HOSTILE, HOSTILE) + line_picture("second"))


def test_text_is_escaped(text):
    page = Page(text)
    assert "<b>" not in text
    assert page.words.count(SHOWN) == 2  # the title of the window and the tooltip
    assert ("svg", "aria-label", SHOWN) in page.attributes


def test_nothing_is_loaded(text):
    page = Page(text)
    assert not {tag for tag, _, _ in page.attributes} & {"script", "link", "img", "iframe", "object"}
    for _, name, value in page.attributes:
        assert name not in ("src", "srcset", "data")
        if name in ("href", "xlink:href"):
            assert value.startswith("#")
    style = re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert "http" not in style
    assert "@import" not in style


def test_links_have_targets_and_ids_are_unique(text):
    page = Page(text)
    names = [value for _, name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    targets = {value.removeprefix("#") for _, name, value in page.attributes if name in LINKS}
    targets |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert targets == set(names)


def test_a_picture_has_a_description_and_the_colours_of_the_page(text):
    first, second = drawings(text)
    assert (first.get("role"), first.get("aria-label"), second.get("aria-label")) == ("img", SHOWN, "second")
    assert [title.text for title in first.iter(f"{SVG}title")] == [SHOWN]
    assert "size" in [label.text for label in first.iter(f"{SVG}text")]
    styles = " ".join(part.get("style", "") for part in first.iter())
    assert "currentColor" in styles
    assert "var(--ground)" in styles
    assert "#000000" not in styles
    assert "#ffffff" not in styles


def test_a_picture_is_deterministic():
    assert line_picture() == line_picture()
