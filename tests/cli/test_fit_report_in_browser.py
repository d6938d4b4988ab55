"""`report.html` in Chromium: no message, no request, nothing wider than a phone, and a text for every picture."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import Browser, find_chromium, open_browser
from processes import call

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes for the DevTools protocol"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, which opens the report"),
]

WIDTHS = (360, 1280)
"""Pixels of a phone and of a laptop."""
N, M = 120, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, M))
Z = X @ [1.5, -1.0, 0.0]
LONG = "a_name_that_is_much_longer_than_the_screen_of_a_phone_and_has_no_space_at_all"
COLUMNS = {
    LONG: X[:, 0],
    "b": X[:, 1],
    "c<d>": X[:, 2],
    "label": np.where(Z + RNG.logistic(size=N) > 0, f"yes_{LONG}", "no"),
    "kind": np.digitize(Z + RNG.normal(size=N), [-1, 1]) * 10,
    "price": Z + RNG.normal(size=N),
}
FEATURES = ("--features", LONG, "b", "c<d>")
FITS = {
    "label": ("--class-weight", "balanced"),
    "kind": (),
    "price": (),
}
"""Options of the fit of each target: two classes, three classes and numbers."""

BAD = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>bad</title></head><body>
<div style="width: 1300px">wide</div>
<svg role="img" width="50" height="20"><text x="0" y="15">a text that is cut off</text></svg>
<img src="nothing.png" alt="nothing">
<script>console.error("an error")</script><script>throw new Error("another")</script>
</body></html>
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a running Chromium."""
    assert CHROMIUM is not None
    with open_browser(CHROMIUM) as browser:
        yield browser


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("browser") / f"{LONG}.parquet"
    pq.write_table(pa.table(COLUMNS), path)
    return path


@pytest.mark.filterwarnings("ignore:l2. the best strength")
@pytest.mark.parametrize("target", FITS)
def test_a_report_fits_every_screen(target, browser, table, tmp_path):
    options = ("--l2", "1e-3:10:5", "--folds", "3", "--test", "0.25", *FITS[target])
    done = call("fit", table, "--target", target, *FEATURES, *options, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for width in WIDTHS:
        view = browser.view(tmp_path / "out" / "report.html", width)
        assert view.width == width
        assert view.messages == []
        assert view.requests == []
        assert (view.excess, view.wide, view.clipped) == (0, [], [])
        assert view.pictures == len(view.alt_texts) == 4
        assert len({text for text in view.alt_texts if len(text) > 10}) == 4


@pytest.mark.parametrize("width", WIDTHS)
def test_the_browser_sees_a_bad_page(width, browser, tmp_path):
    (tmp_path / "bad.html").write_text(BAD)
    view = browser.view(tmp_path / "bad.html", width)
    assert len(view.messages) >= 2
    assert view.requests == [(tmp_path / "nothing.png").as_uri()]
    assert view.excess > 0
    assert view.wide == ["DIV wide"]
    assert view.clipped == ["text a text that is cut off"]
    assert view.pictures == 2
    assert view.alt_texts.count("nothing") == 1
    assert not all(len(text) > 10 for text in view.alt_texts)
