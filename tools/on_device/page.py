"""Pages of a visit, from its JSON file alone: tables in Markdown, and the page of the benchmarks."""

import collections
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dlcore._core.files import write_text
from dlcore.benchmark.bench import Benchmark
from dlcore.benchmark.compare import best_result, libraries_of, speedup
from dlcore.benchmark.measurement import Measurement
from dlcore.benchmark.roofline_peaks import RooflinePeaks
from on_device.document import NAME, JsonObject

MARKDOWN, HTML = "device.md", "bench.html"
MAX_ROWS = 40
"""Failures or worst results of a part on the page; the JSON file has all."""


def write_markdown(document: JsonObject, folder: Path) -> None:
    """Write the page of tables."""
    write_text(folder / MARKDOWN, to_markdown(document))


def write_html(document: JsonObject, folder: Path) -> None:
    """Write the page of the benchmarks; nothing if none has run, or if jinja2 or matplotlib are missing."""
    benchmark = merged_benchmark(document)
    if benchmark is None:
        return
    try:
        from dlcore.benchmark.page.html import to_html
    except ModuleNotFoundError as error:
        print(f"no {HTML}: {error.name} is not installed; --pages writes it from {NAME} elsewhere")
        return
    write_text(folder / HTML, to_html(benchmark))


def merged_benchmark(document: JsonObject) -> Benchmark | None:
    """Return the measurements of all suites as one run, with the machine and the peaks of the first."""
    results = [result for name, result in _results(document) if name.startswith("bench-") and result.get("cells")]
    if not results:
        return None
    cells = [Measurement.from_json(cell) for result in results for cell in result["cells"]]
    peaks = {name: RooflinePeaks(**values) for name, values in results[0]["ceilings"].items()}
    return Benchmark(results[0]["machine"], peaks, cells, document["small"])


def to_markdown(document: JsonObject) -> str:
    """Return all tables, with the device, the driver, the versions and the date above them."""
    results = dict(_results(document))
    lines = [*_heading(document, results.get("facts", {}))]
    lines += _table(("part", "status", "s", "estimate, s", "error"), _parts(document))
    for name, result in results.items():
        to_lines = SECTIONS.get(name.partition("-")[0])
        if result and to_lines:
            lines += [f"## {name}\n", *to_lines(result)]
    return "\n".join(lines) + "\n"


def _results(document: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Yield the name and the result of each part that has one."""
    for name, record in document["parts"].items():
        yield name, record["result"]


def _heading(document: JsonObject, facts: JsonObject) -> Iterator[str]:
    machine = document.get("machine", {})
    yield f"# dlcore on {machine.get('kind', 'an unknown device')}\n"
    if document["small"]:
        yield "**A rehearsal at small sizes: its figures mean nothing.**\n"
    yield f"Output of `scripts/on_device`, from {NAME} beside this page.\n"
    dates = sorted({record["started"][:10] for record in document["parts"].values() if "started" in record})
    yield f"- date: {', '.join(dates) or 'unknown'}"
    yield from (f"- {name}: {value}" for name, value in machine.items())
    host = facts.get("host", {})
    if host:
        yield from (f"- {name}: {host[name]}" for name in ("driver", "processor", "cores", "system", "python"))
        yield "- packages: " + ", ".join(f"{name} {version}" for name, version in host["packages"].items())
    yield ""


def _parts(document: JsonObject) -> Iterator[Sequence[str]]:
    for name, record in document["parts"].items():
        passed = {True: ", passed", False: ", NOT PASSED"}.get(record["result"].get("passed"), "")
        seconds, estimate = (_number(record.get(key)) for key in ("seconds", "estimate_s"))
        yield name, record["status"] + passed, seconds, estimate, record["error"]


def _facts(result: JsonObject) -> list[str]:
    lines = _table(("property", "measured"), result["arithmetic"].items())
    rows = [
        (
            where,
            f"{peaks['bandwidth'] / 1e9:.0f} GB/s",
            f"{peaks['rate'] / 1e12:.2f} TFLOP/s",
            f"{1e6 * peaks['latency']:.0f} µs",
        )
        for where, key in (("device", "peaks"), ("host", "host_peaks"))
        if (peaks := result.get(key))
    ]
    return lines + _table(("roofline peaks", "memory, read", "float32 product", "a call"), rows)


def _verify(result: JsonObject) -> list[str]:
    outcomes = result["outcomes"]
    n_passed = sum(outcome["passed"] for outcome in outcomes)
    lines = [
        f"{n_passed} of {len(outcomes)} results are within their bounds.",
        f"{result['programs']} programs were compiled in {result['compile_s']:.1f} s. The worst results:\n",
    ]
    rows = [
        (f"{o['function']} {o['result']}", _number(o["error"]), f"{o['bound']:g}", o["unit"], o["note"])
        for o in sorted(outcomes, key=_excess)[:MAX_ROWS]
    ]
    return lines + _table(("function", "error", "bound on a CPU", "unit", "note"), rows)


def _excess(outcome: JsonObject) -> float:
    """Return minus the error over the bound, so that the worst outcome is first."""
    error = float("inf") if outcome["error"] is None else outcome["error"]
    return -error / outcome["bound"] if outcome["bound"] else -float(error > 0)


def _passes(result: JsonObject) -> list[str]:
    rows = [
        (
            f"{m['rows']:,} × {m['features']}" if "rows" in m else f"{m['size']} bytes",
            m["dtype"],
            str(m["models"]),
            *(
                (m["error"], "", "", "", "")
                if m["error"]
                else (
                    f"{1e3 * m['value_and_grad_s']:.3g}",
                    f"{m['bandwidth'] / 1e9:.0f}",
                    f"{m['memory_bandwidth'] / 1e9:.0f}",
                    f"{m['passes']:.2f}",
                    f"{m['rate'] / 1e12:.3g}",
                )
            ),
        )
        for m in result["matrices"]
    ]
    header = ("X", "dtype", "models", "ms", "GB/s of X", "GB/s of a sum of X", "passes", "TFLOP/s")
    return _table(header, rows)


def _products(result: JsonObject) -> list[str]:
    rows = [
        (
            p["operation"],
            p["shape"],
            p["algorithm"],
            *(
                (p["error_text"][:80], "", "")
                if p["error_text"]
                else (f"{1e3 * p['seconds']:.3g}", f"{p['rate'] / 1e12:.3g}", _number(p["error"]))
            ),
        )
        for p in result["products"]
    ]
    return _table(("operation", "X", "algorithm", "ms", "TFLOP/s", "error"), rows)


def _tests(result: JsonObject) -> list[str]:
    outcomes = result["outcomes"]
    counts = collections.Counter(outcome["outcome"] for outcome in outcomes)
    bad = [o for o in outcomes if o["outcome"] in ("failed", "error")]
    rows = [(o["test"], o["outcome"], " ".join(o["message"].split())[-120:]) for o in bad[:MAX_ROWS]]
    lines = [", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + ".\n"]
    return lines + (_table(("test", "outcome", "message"), rows) if rows else [])


def _bench(result: JsonObject) -> list[str]:
    cells = [Measurement.from_json(cell) for cell in result["cells"]]
    device = next(iter(result["machine"]["devices"]))
    ours = f"dlcore {device}"
    libraries = ["dlcore cpu", *libraries_of(cells)]
    rows = [_bench_row(cell, ours, libraries) for cell in cells if ours in cell.results]
    rows += [(e["name"], str(e["size"]), e["error"][:80], *[""] * (2 + len(libraries))) for e in result["errors"]]
    ratios = [f"{library} ÷ dlcore" for library in libraries]
    return _table(("function", "size", "ms", "first call, s", "share", *ratios), rows)


def _bench_row(cell: Measurement, ours: str, libraries: Sequence[str]) -> tuple[str, ...]:
    result = cell.results[ours]
    ratios = []
    for library in libraries:
        peer = cell.results.get(library) or best_result(cell, library)
        ratio = speedup(result, peer) if peer else None
        ratios.append("–" if ratio is None else f"{ratio:.3g}")
    time = result.wrong or f"{1e3 * result.median:.3g}{'~' * result.noisy}"
    return (
        cell.name,
        cell.shape,
        time,
        f"{result.first:.2g}",
        f"{result.roofline_fraction:.0%} {cell.bound_by}",
        *ratios,
    )


SECTIONS = {
    "facts": _facts,
    "verify": _verify,
    "passes": _passes,
    "products": _products,
    "tests": _tests,
    "bench": _bench,
}
"""Functions that return the lines of a part, by the first word of its name."""


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    return [*(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines), ""]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}"
