"""Tests of the page of a benchmark: it has every result once, marks noisy results and compares no wrong ones."""

import math
import sys

import pytest
from pages import SVG, Page, drawings

from dlcore import benchmark
from dlcore.benchmark.compare import find_crossover
from dlcore.benchmark.hardware import Machine
from dlcore.benchmark.measurement import Measurement, Result
from dlcore.benchmark.page.html import to_html
from dlcore.benchmark.roofline_peaks import RooflinePeaks
from dlcore.cli import bench as bench_command

pytestmark = pytest.mark.any_mode

SIZES = (1_000, 4_000, 16_000, 64_000)
LATENCIES = {"dlcore cpu": 2e-5, "dlcore gpu": 6e-5, "numpy, 1 thread": 1e-6, "torch, 2 threads": 4e-6}
"""Seconds of a call in addition to its operations, so that the lines cross."""
RATES = {"dlcore cpu": 1e9, "dlcore gpu": 8e9, "numpy, 1 thread": 3e8, "torch, 2 threads": 8e8}
"""Operations per second."""
REASON = "is off by 1.2e-02, more than 3e-05"
COLUMNS = 11
"""Columns of the tables of all results."""


def make_result(title: str, size: int, noisy: bool = False, wrong: str = "") -> Result:
    median = LATENCIES[title] + 2 * size / RATES[title]
    is_dlcore = title.startswith("dlcore")
    return Result(
        compile=0.1 if is_dlcore else None,
        transfer=1e-4 if is_dlcore else None,
        first=0.2 if is_dlcore else 3 * median,
        median=median,
        quartiles=(0.9 * median, 1.2 * median),
        rounds=31,
        roofline_fraction=0.42,
        error=1e-7,
        wrong=wrong,
        noisy=noisy,
    )


def make_measurements(name: str, **changed) -> list[Measurement]:
    """Return measurements of all sizes; `changed` is for the result of dlcore on a GPU at the largest size."""
    measurements = []
    for size in SIZES:
        results = {title: make_result(title, size) for title in LATENCIES}
        if size == SIZES[-1]:
            results["dlcore gpu"] = make_result("dlcore gpu", size, **changed)
        measurements.append(
            Measurement(
                name=name,
                suite="made up",
                size=size,
                shape=f"{size:,}",
                bound_by="memory",
                from_memory=True,
                results=results,
                settings={},
                size_unit="numbers",
                operations=2.0 * size,
                traffic=8.0 * size,
            )
        )
    return measurements


def make_run(groups: list[list[Measurement]], *, quick: bool = False) -> benchmark.Benchmark:
    machine: Machine = {
        "processor": "an abacus",
        "system": "Linux",
        "python": "3.11",
        "cores": 2,
        "governor": "performance",
        "pace": [0.01, 0.011],
        "load": [0.5, 0.25, 0.125],
        "devices": {
            "cpu": {"kind": "cpu", "platform": "cpu", "version": "1"},
            "gpu": {"kind": "a larger abacus", "platform": "gpu", "version": "2"},
        },
        "packages": {"jax": "0", "numpy": "1"},
        "default matmul precision": "JAX's own",
        "load after": [0.5],
    }
    peaks = {"cpu": RooflinePeaks(5e9, 1e11, 2e-5), "gpu": RooflinePeaks(1e12, 4e13, 6e-5)}
    return benchmark.Benchmark(machine, peaks, [m for group in groups for m in group], quick)


@pytest.fixture(scope="module")
def run():
    return make_run(
        [
            make_measurements("linalg.right"),
            make_measurements("losses.<b>noisy", noisy=True),
            make_measurements("linalg.wrong", wrong=REASON),
        ]
    )


@pytest.fixture(scope="module")
def text(run):
    return to_html(run)


def words_of(text: str) -> list[str]:
    """Return the text between tags, with line breaks as spaces."""
    return [" ".join(words.split()) for words in Page(text).words]


def rows_of_results(text: str) -> list[list[str]]:
    return [row for row in Page(text).rows if len(row) == COLUMNS and row[0] != "size"]


def rows_of_speedups(text: str, device: str) -> dict[str, list[str]]:
    """Return the rows of the table of a device by function; the tables of both devices follow each other."""
    wide = [row for row in Page(text).rows if len(row) == 8]
    starts = [k for k, row in enumerate(wide) if row[0] == "function"]
    devices = ["dlcore cpu", "dlcore gpu"]
    assert len(starts) == len(devices)
    start = starts[devices.index(device)]
    return {row[0]: row for row in wide[start + 1 : start + 4]}


def tooltips(text: str) -> list[str]:
    return [title.text or "" for drawing in drawings(text) for title in drawing.iter(f"{SVG}title")]


def test_page_has_every_result_once(run, text):
    rows = rows_of_results(text)
    assert [(row[0], row[1]) for row in rows] == [
        (m.shape, title) for m in run.measurements for title in m.results
    ]
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


def test_noisy_results_are_marked(text):
    rows = [row for row in rows_of_results(text) if "noisy" in row[-1]]
    assert [row[1] for row in rows] == ["dlcore gpu"]
    assert rows[0][2].startswith("~ ")
    assert sum(row[2].startswith("~") for row in rows_of_results(text)) == 1
    row = rows_of_speedups(text, "dlcore gpu")["losses.<b>noisy"]
    assert [k for k, cell in enumerate(row) if cell.startswith("~ ")] == [2, 4, 5]
    summary = "48 figures: 1 noisy, marked ~ and drawn hollow; 1 wrong, not compared and not drawn."
    assert summary in words_of(text)


def test_wrong_results_have_a_reason_and_are_not_compared(text):
    assert words_of(text).count(f"linalg.wrong, {SIZES[-1]:,}: dlcore gpu {REASON}") == 1
    assert [row[-1] for row in rows_of_results(text) if row[-1]] == ["noisy", f"wrong: {REASON}"]
    assert rows_of_speedups(text, "dlcore gpu")["linalg.wrong"][3:] == ["wrong", "–", "–", "–", "–"]
    shown = tooltips(text)
    assert not [tooltip for tooltip in shown if tooltip.startswith(f"linalg.wrong, {SIZES[-1]:,}, dlcore gpu: ")]
    assert [tooltip for tooltip in shown if tooltip.startswith(f"linalg.wrong, {SIZES[-1]:,}, dlcore cpu: ")]
    for size in SIZES:
        count = sum(tooltip.startswith(f"{size:,}, dlcore gpu: ") for tooltip in shown)
        assert count == (4 if size == SIZES[-1] else 6)  # times and rooflines of two functions or three
    assert "Nothing: no figure is wrong." in words_of(to_html(make_run([make_measurements("linalg.right")])))


def test_noisy_results_are_hollow(text):
    """A marker is filled with the colour of the page if its tooltip says so, and only then."""
    for drawing in drawings(text):
        for group in drawing.iter(f"{SVG}g"):
            title = group.find(f"{SVG}title")
            if title is not None and "crossover" not in (title.text or ""):
                styles = " ".join(element.get("style", "") for element in group.iter())
                assert ("fill: var(--ground)" in styles) == ("(noisy)" in (title.text or ""))
    assert sum("(noisy)" in tooltip for tooltip in tooltips(text)) == 4  # time, two rooflines and parts


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("device", ["dlcore cpu", "dlcore gpu"])
def test_crossover_is_in_the_table_and_a_ring(run, text, device, library):
    size = find_crossover([m for m in run.measurements if m.name == "linalg.right"], device, library)
    assert size is not None
    row = rows_of_speedups(text, device)["linalg.right"]
    expected = "at no size here" if math.isinf(size) else f"from {size:,.0f}"
    assert row[6 + ["numpy", "torch"].index(library)] == expected
    ring = f"crossover, {device.removeprefix('dlcore ')}: {library} {size:,.0f}"
    assert (ring in tooltips(text)) == math.isfinite(size)


@pytest.mark.parametrize(("size", "marked"), [(1_000, False), (4_000, True), (16_000, True), (64_000, False)])
def test_crossover_next_to_a_noisy_result_is_marked(size, marked):
    group = make_measurements("linalg.right")
    crossover = find_crossover(group, "dlcore cpu", "numpy")
    assert crossover is not None
    assert 4_000 < crossover < 16_000
    group[SIZES.index(size)].results["numpy, 1 thread"] = make_result("numpy, 1 thread", size, noisy=True)
    row = [row for row in Page(to_html(make_run([group]))).rows if len(row) == 8][1]
    assert row[6] == f"from {'~ ' * marked}{crossover:,.0f}"


def test_names_are_escaped(text):
    assert "<b>" not in text
    assert words_of(text).count("losses.<b>noisy") >= 4
    labels = [label.text for drawing in drawings(text) for label in drawing.iter(f"{SVG}text")]
    assert "losses.<b>noisy  (64,000)" in labels


def test_control_characters_are_replaced():
    run = make_run([make_measurements("linalg.right")])
    run.machine["processor"] = "an abacus\x00 \x1b[31m & 'quoted' </script>"
    text = to_html(run)
    assert not {"\x00", "\x1b"} & set(text)
    assert "</script>" not in text
    assert "an abacus\ufffd \ufffd[31m & 'quoted' </script>" in words_of(text)


def test_page_says_what_is_predicted(text):
    words = " ".join(words_of(text))
    assert "The roof is a prediction" in words
    assert "roof of gpu, predicted from 1.00 TB/s and 40.0 Top/s" in words
    assert words.count("operations a byte, counted from the algorithm") == 2 + 3


def test_page_links_to_its_sections(text):
    attributes = Page(text).attributes
    targets = [value.removeprefix("#") for tag, name, value in attributes if (tag, name) == ("a", "href")]
    assert targets == [value for tag, name, value in attributes if (tag, name) == ("h2", "id")]
    assert len(targets) == 6


def test_page_describes_the_machine(text):
    words = words_of(text)
    assert words[words.index("devices") + 1 :][:1] == ["cpu cpu, 1; gpu a larger abacus, 2"]
    assert words[words.index("packages") + 1 :][:1] == ["jax 0; numpy 1"]
    assert words[words.index("load") + 1 :][:1] == ["0.5, 0.25, 0.125"]


def test_uncounted_operations_have_no_roofline():
    group = [measurement._replace(operations=0.0) for measurement in make_measurements("linalg.right")]
    assert "No operations are counted here." in words_of(to_html(make_run([group])))


def test_one_size_on_one_device_without_peers():
    only = make_measurements("linalg.right")[0]
    only = only._replace(results={"dlcore cpu": only.results["dlcore cpu"]})
    run = make_run([[only]], quick=True)
    run.machine["devices"].pop("gpu")
    text = to_html(run)
    assert "A quick run: sizes and rounds are too few for any conclusion." in words_of(text)
    assert [row[:2] for row in rows_of_results(text)] == [["1,000", "dlcore cpu"]]


def test_function_with_wrong_results_only():
    group = [
        m._replace(results={title: result._replace(wrong=REASON) for title, result in m.results.items()})
        for m in make_measurements("linalg.wrong")
    ]
    assert words_of(to_html(make_run([group]))).count("not compared") == 3  # its times, and its parts twice


def test_command_writes_the_page(tmp_path, monkeypatch, run, capsys):
    monkeypatch.setattr(bench_command, "bench", lambda *_, **__: run)
    bench_command.run(["--html", str(tmp_path / "page.html")])
    assert "linalg.right" in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("missing", ["folder", "matplotlib", "jinja2"])
def test_command_reports_what_is_missing_before_it_measures(tmp_path, monkeypatch, capsys, missing):
    monkeypatch.setattr(bench_command, "bench", lambda *_, **__: pytest.fail("measured"))
    path, message, status = tmp_path / "absent" / "page.html", "--html: expected the path", 2
    if missing != "folder":
        path, message, status = tmp_path / "page.html", "install it with: pip install 'dlcore-jax[cli]'", 1
        monkeypatch.setitem(sys.modules, missing, None)
        for name in ("dlcore.benchmark.page.html", "dlcore.benchmark.page.style", "dlcore.cli.report"):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as ended:
        bench_command.run(["--html", str(path)])
    assert ended.value.code == status
    assert message in capsys.readouterr().err
