"""The page of a benchmark holds every figure once, marks what is noisy, and compares nothing that is wrong."""

import math
import sys

import pytest
from pages import SVG, Page, drawings

from dlcore import benchmark
from dlcore.benchmark.compare import crossover_of
from dlcore.benchmark.measurement import Cell, Figure
from dlcore.benchmark.page.html import HEADER, to_html
from dlcore.benchmark.roofline_peaks import Ceilings
from dlcore.cli import bench as bench_command

pytestmark = pytest.mark.any_mode

SIZES = (1_000, 4_000, 16_000, 64_000)
CALLS = {"dlcore cpu": 2e-5, "dlcore gpu": 6e-5, "numpy, 1 thread": 1e-6, "torch, 2 threads": 4e-6}
"""Seconds of a call of nothing: what is added to the work, so that lines cross."""
RATES = {"dlcore cpu": 1e9, "dlcore gpu": 8e9, "numpy, 1 thread": 3e8, "torch, 2 threads": 8e8}
"""Of the operations."""
REASON = "is off by 1.2e-02, more than 3e-05"


def figure(who: str, size: int, noisy: bool = False, wrong: str = "") -> Figure:
    middle = CALLS[who] + 2 * size / RATES[who]
    mine = who.startswith("dlcore")
    return Figure(
        compile=0.1 if mine else None,
        transfer=1e-4 if mine else None,
        first=0.2 if mine else 3 * middle,
        median=middle,
        quartiles=(0.9 * middle, 1.2 * middle),
        rounds=31,
        share=0.42,
        error=1e-7,
        wrong=wrong,
        noisy=noisy,
    )


def cells(name: str, **changed) -> list[Cell]:
    """At every size; `changed` for the figures of dlcore on a GPU at the largest one."""
    found = []
    for size in SIZES:
        figures = {who: figure(who, size) for who in CALLS}
        if size == SIZES[-1]:
            figures["dlcore gpu"] = figure("dlcore gpu", size, **changed)
        costs = 2.0 * size, 8.0 * size
        found.append(Cell(name, "made up", size, f"{size:,}", "memory", True, figures, {}, "numbers", *costs))
    return found


def made_up(groups: list[list[Cell]], *, quick: bool = False) -> benchmark.Benchmark:
    machine = {
        "processor": "an abacus",
        "devices": {
            "cpu": {"kind": "cpu", "platform": "cpu", "version": "1"},
            "gpu": {"kind": "a larger abacus", "platform": "gpu", "version": "2"},
        },
        "packages": {"jax": "0"},
        "load": [0.5, 0.25, 0.125],
        "pace": [0.01, 0.011],
    }
    ceilings = {"cpu": Ceilings(5e9, 1e11, 2e-5), "gpu": Ceilings(1e12, 4e13, 6e-5)}
    return benchmark.Benchmark(machine, ceilings, [cell for group in groups for cell in group], quick)


@pytest.fixture(scope="module")
def found():
    groups = [cells("linalg.right"), cells("losses.<b>noisy", noisy=True), cells("linalg.wrong", wrong=REASON)]
    return made_up(groups)


@pytest.fixture(scope="module")
def text(found):
    return to_html(found)


def figures_of(text: str) -> list[list[str]]:
    return [row for row in Page(text).rows if len(row) == len(HEADER) and row != list(HEADER)]


def test_every_figure_is_there_once(found, text):
    rows = figures_of(text)
    expected = [(cell.shape, who) for cell in found.cells for who in cell.figures]
    assert [(row[0], row[1]) for row in rows] == expected
    assert rows[0][2:] == [
        "22.0 µs",
        "19.8 µs – 26.4 µs",
        "31",
        "100 ms",
        "100 µs",
        "200 ms",
        "42%",
        "1.0e-07",
        "",
    ]


def test_what_is_noisy_is_marked(text):
    rows = [row for row in figures_of(text) if "noisy" in row[-1]]
    assert [row[1] for row in rows] == ["dlcore gpu"]
    assert rows[0][2].startswith("~ ")
    assert sum(row[2].startswith("~") for row in figures_of(text)) == 1
    page = Page(text)
    table = {row[0]: row for row in gains(page, "dlcore gpu")}
    assert [k for k, cell in enumerate(table["losses.<b>noisy"]) if cell.startswith("~ ")] == [2, 4, 5]
    assert "48 figures: 1 noisy, marked ~ and drawn hollow; 1 wrong, not compared and not drawn." in page.words


def gains(page: Page, device: str) -> list[list[str]]:
    """Rows of the table of who wins; those of each device follow each other."""
    wide = [row for row in page.rows if len(row) == 8]
    starts = [k for k, row in enumerate(wide) if row[0] == "function"]
    devices = ["dlcore cpu", "dlcore gpu"]
    assert len(starts) == len(devices)
    start = starts[devices.index(device)]
    return wide[start + 1 : start + 4]


def test_what_is_wrong_says_why_and_is_not_compared(text):
    page = Page(text)
    said = f"linalg.wrong, {SIZES[-1]:,}: dlcore gpu {REASON}"
    assert page.words.count(said) == 1
    assert [row[-1] for row in figures_of(text) if row[-1]] == ["noisy", f"wrong: {REASON}"]
    assert {row[0]: row for row in gains(page, "dlcore gpu")}["linalg.wrong"][3:] == ["wrong", "–", "–", "–", "–"]
    shown = titles(text)
    assert not [one for one in shown if one.startswith(f"linalg.wrong, {SIZES[-1]:,}, dlcore gpu: ")]
    assert [one for one in shown if one.startswith(f"linalg.wrong, {SIZES[-1]:,}, dlcore cpu: ")]
    for size in SIZES:
        of_this = sum(one.startswith(f"{size:,}, dlcore gpu: ") for one in shown)
        assert of_this == (4 if size == SIZES[-1] else 6)  # two functions or three, their times and their roofs
    assert "Nothing: no figure is wrong." in Page(to_html(made_up([cells("linalg.right")]))).words


def titles(text: str) -> list[str]:
    """What the pointer shows over the marks of the pictures."""
    return [one.text or "" for drawing in drawings(text) for one in drawing.iter(f"{SVG}title")]


def test_what_is_noisy_is_hollow(text):
    """The fill of a mark is that of the page where its title says so, and nowhere else."""
    for drawing in drawings(text):
        for group in drawing.iter(f"{SVG}g"):
            told = group.find(f"{SVG}title")
            if told is not None and "crossover" not in (told.text or ""):
                styles = " ".join(one.get("style", "") for one in group.iter())
                assert ("fill: var(--ground)" in styles) == ("(noisy)" in (told.text or ""))
    assert sum("(noisy)" in title for title in titles(text)) == 4  # time, roof among others, roof alone, parts


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("device", ["dlcore cpu", "dlcore gpu"])
def test_a_crossover_is_a_number_and_a_ring(found, text, device, library):
    group = [cell for cell in found.cells if cell.name == "linalg.right"]
    at = crossover_of(group, device, library)
    assert at is not None
    row = {row[0]: row for row in gains(Page(text), device)}["linalg.right"]
    assert row[6 + ["numpy", "torch"].index(library)] == (
        "at no size here" if math.isinf(at) else f"from {at:,.0f}"
    )
    ring = f"crossover, {device.removeprefix('dlcore ')}: {library} {at:,.0f}"
    assert (ring in titles(text)) == math.isfinite(at)


@pytest.mark.parametrize(("size", "marked"), [(1_000, False), (4_000, True), (16_000, True), (64_000, False)])
def test_a_crossover_beside_a_noisy_figure_is_marked(size, marked):
    group = cells("linalg.right")
    at = crossover_of(group, "dlcore cpu", "numpy")
    assert at is not None
    assert 4_000 < at < 16_000
    group[SIZES.index(size)].figures["numpy, 1 thread"] = figure("numpy, 1 thread", size, noisy=True)
    row = [row for row in Page(to_html(made_up([group]))).rows if len(row) == 8][1]
    assert row[6] == f"from {'~ ' * marked}{at:,.0f}"


def test_names_are_text(text):
    assert "<b>" not in text
    assert Page(text).words.count("losses.<b>noisy") >= 4
    assert "losses.<b>noisy  (64,000)" in [
        one.text for drawing in drawings(text) for one in drawing.iter(f"{SVG}text")
    ]


def test_what_is_predicted_says_so(text):
    words = " ".join(Page(text).words)
    assert "The roof is a prediction" in words
    assert "roof of gpu, predicted from 1.00 TB/s and 40.0 Top/s" in words
    assert words.count("operations a byte, counted from the algorithm") == 2 + 3


def test_work_that_nobody_counted_has_no_roof():
    group = [cell._replace(operations=0.0) for cell in cells("linalg.right")]
    assert "No work here has operations to count." in Page(to_html(made_up([group]))).words


def test_one_size_one_device_nobody_else_and_quick():
    only = cells("linalg.right")[0]
    only = only._replace(figures={"dlcore cpu": only.figures["dlcore cpu"]})
    run = made_up([[only]], quick=True)
    run.machine["devices"].pop("gpu")
    page = Page(to_html(run))
    assert "A quick run: sizes and rounds are too few, its figures say nothing." in page.words
    assert [row[:2] for row in page.rows if len(row) == len(HEADER)] == [list(HEADER[:2]), ["1,000", "dlcore cpu"]]


def test_a_function_of_which_all_is_wrong():
    group = [
        cell._replace(figures={who: one._replace(wrong=REASON) for who, one in cell.figures.items()})
        for cell in cells("linalg.wrong")
    ]
    assert Page(to_html(made_up([group]))).words.count("not compared") == 3  # its times, and its parts twice


def test_the_command_writes_the_page(tmp_path, monkeypatch, found, text, capsys):
    monkeypatch.setattr(bench_command, "bench", lambda *_, **__: found)
    monkeypatch.setitem(found.machine, "load after", [0.5])
    monkeypatch.setitem(found.machine, "cores", 1)
    bench_command.run(["--html", str(tmp_path / "page.html")])
    assert "linalg.right" in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("missing", ["folder", "matplotlib"])
def test_what_is_missing_is_said_before_the_work(tmp_path, monkeypatch, capsys, missing):
    monkeypatch.setattr(bench_command, "bench", lambda *_, **__: pytest.fail("worked"))
    path, named, status = tmp_path / "absent" / "page.html", "--html: expected the path", 2
    if missing == "matplotlib":
        path, named, status = tmp_path / "page.html", "install it with: pip install 'dlcore-jax[cli]'", 1
        monkeypatch.delitem(sys.modules, "dlcore.benchmark.page.html")
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        for name in ("dlcore.cli.report", "dlcore.benchmark.page.style"):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as ended:
        bench_command.run(["--html", str(path)])
    assert ended.value.code == status
    assert named in capsys.readouterr().err
