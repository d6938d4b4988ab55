"""A page is well-formed, loads nothing, and says whatever it is given as it was given."""

import re

import pytest
from pages import SVG, Page, drawings

from dlcore.cli import report
from dlcore.cli.plots import new_figure

pytestmark = pytest.mark.any_mode

LEADING = {"href", "xlink:href", "aria-labelledby"}
HOSTILE = "<b> & \"two\" 'one' \x00"
SHOWN = HOSTILE.replace("\x00", "\ufffd")


def line_picture(description="a line", told="here"):
    figure = new_figure(3.0, 2.0)
    axes = figure.subplots()
    axes.set_xlabel("size")
    report.tell(axes.plot([1, 2], [1, 2], "o-", color="black", markerfacecolor="white")[0], told)
    return report.picture(figure, description, "title", "note")


@pytest.fixture(scope="module")
def text():
    return report.page(
        HOSTILE,
        [report.paragraph(HOSTILE, warning=True)],
        {
            HOSTILE: [
                report.heading(HOSTILE),
                report.table(HOSTILE, ("name", HOSTILE), [("one", "1"), (HOSTILE, "2")]),
                report.fold(HOSTILE, [report.bullets([HOSTILE]), report.facts({HOSTILE: HOSTILE})]),
            ],
            "pictures": [report.grid([line_picture("first", HOSTILE), line_picture("second")])],
        },
    )


def test_text_is_said_as_it_is(text):
    page = Page(text)
    assert "<b>" not in text
    assert page.words.count(SHOWN) == 14  # the title of the window too, the link to the section, and the pointer
    assert page.rows == [["name", SHOWN], ["one", "1"], [SHOWN, "2"]]


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


def test_links_lead_somewhere_and_names_are_unique(text):
    page = Page(text)
    names = [value for _, name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    led = {value.removeprefix("#") for _, name, value in page.attributes if name in LEADING}
    led |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert led == set(names)


def test_a_table_says_what_its_cells_are_of(text):
    scopes = [value for tag, name, value in Page(text).attributes if tag == "th" and name == "scope"]
    assert scopes == ["col", "col", "row", "row"]


def test_a_row_of_another_length():
    with pytest.raises(ValueError):
        report.table("", ("a", "b"), [("1",)])


def test_a_picture_says_what_it_is_and_takes_the_colours_of_the_page(text):
    first, second = drawings(text)
    assert (first.get("role"), first.get("aria-label"), second.get("aria-label")) == ("img", "first", "second")
    assert [one.text for one in first.iter(f"{SVG}title")] == [SHOWN]
    assert "size" in [one.text for one in first.iter(f"{SVG}text")]
    styles = " ".join(one.get("style", "") for one in first.iter())
    assert "currentColor" in styles
    assert "var(--ground)" in styles
    assert "#000000" not in styles
    assert "#ffffff" not in styles


def test_the_same_picture_twice_is_the_same_text():
    assert line_picture() == line_picture()


def test_one_section_needs_no_links():
    assert "<nav" not in report.page("title", [], {"only": [report.paragraph("text")]})
