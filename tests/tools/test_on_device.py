"""Visit to an accelerator: it resumes, keeps failures, and its estimates fit the budget."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import visit_parts
from helpers import ROOT
from on_device import runner
from on_device.document import NAME, RUNNING, to_plain
from on_device.estimate import START_S, Work, seconds_of
from on_device.page import merged_benchmark, to_markdown
from on_device.part import Part
from on_device.parts import bench, tests
from on_device.plan import BUDGET_S, PARTS
from on_device.runner import Visit
from processes import wait_for

pytestmark = pytest.mark.any_mode

FIRST_MINUTES_S = 240.0


@pytest.fixture(autouse=True)
def python_path(monkeypatch, tmp_path):
    """Let the processes of parts import the tools and the parts of these tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tools", ROOT / "tests"))))
    monkeypatch.setenv("VISIT_LOG", str(tmp_path / "runs.txt"))


def runs_of(folder: Path) -> list[str]:
    """Return the parts that ran, in order."""
    return (folder / "runs.txt").read_text().split()


def document_of(folder: Path) -> Any:
    return json.loads((folder / NAME).read_text())


def visit(folder: Path, *parts: Part, **options: Any) -> bool:
    return runner.run(parts, Visit(folder, "cpu", True, options.pop("budget", 60.0), **options), lambda *_: None)


def visit_in_process(folder: Path, **variables: str) -> int:
    """Run the three small parts in a new process and return its exit status."""
    command = [sys.executable, ROOT / "tests" / "visit_parts.py", folder, "60"]
    return subprocess.run(command, env={**os.environ, **variables}, check=False, timeout=100).returncode


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("name", visit_parts.NAMES)
def test_a_killed_visit_resumes_at_the_part_that_was_cut_off(tmp_path, name, number):
    status = visit_in_process(tmp_path, VISIT_KILL=name, VISIT_SIGNAL=str(int(number)))
    position = visit_parts.NAMES.index(name)
    before, after = visit_parts.NAMES[:position], visit_parts.NAMES[position:]
    assert status != 0
    assert runs_of(tmp_path) == [*before, name]
    if number == signal.SIGTERM:
        assert document_of(tmp_path)["parts"][name]["status"] == "cut off"
    assert visit_in_process(tmp_path) == 0
    assert runs_of(tmp_path) == [*before, name, *after]
    records = document_of(tmp_path)["parts"]
    assert set(records) == set(visit_parts.NAMES)
    assert all(record["result"]["found"] == part for part, record in records.items())
    assert not (tmp_path / RUNNING).exists()


def test_what_a_killed_part_had_found_is_kept(tmp_path):
    visit_in_process(tmp_path, VISIT_KILL="second", VISIT_SIGNAL=str(int(signal.SIGKILL)))
    visit(tmp_path, visit_parts.part("third"))
    record = document_of(tmp_path)["parts"]["second"]
    assert (record["status"], record["result"]) == ("cut off", {"found": "in part"})


def test_a_failure_is_recorded_and_the_next_part_runs(tmp_path):
    parts = [visit_parts.part("bad", "fail"), visit_parts.part("gone", "crash"), visit_parts.part("good")]
    assert not visit(tmp_path, *parts)
    records = document_of(tmp_path)["parts"]
    assert {name: record["status"] for name, record in records.items()} == {
        "bad": "failed",
        "gone": "failed",
        "good": "done",
    }
    assert records["bad"]["error"] == "RuntimeError: no such unit"
    assert records["bad"]["result"] == {"found": "in part"}
    assert records["gone"]["error"].startswith(f"ended with -{int(signal.SIGKILL)}: ")
    assert "the driver is gone" in records["gone"]["error"]
    assert "| bad | failed |" in to_markdown(document_of(tmp_path))


def test_failed_parts_run_again_only_if_asked(tmp_path):
    visit(tmp_path, visit_parts.part("first", "fail"))
    mended = visit_parts.part("first")
    assert not visit(tmp_path, mended)
    assert not (tmp_path / "runs.txt").exists()
    assert visit(tmp_path, mended, again=True)
    assert visit(tmp_path, mended, again=True)  # nothing is left
    assert runs_of(tmp_path) == ["first"]


def test_a_part_whose_checks_do_not_pass_is_done_and_not_a_success(tmp_path):
    assert not visit(tmp_path, visit_parts.part("first", "not_pass"))
    assert document_of(tmp_path)["parts"]["first"]["status"] == "done"
    assert not visit(tmp_path, visit_parts.part("first"))
    assert visit(tmp_path, visit_parts.part("first"), again=True)


def stop_endless_part(process: subprocess.Popen[bytes], limit: float) -> None:
    """Let the limit of a part that never ends be over as soon as it has saved a result."""
    command: Any = process.args
    name, path = command[3], Path(command[-1])
    if not name.endswith(":wait"):
        process.wait(limit)
        return
    wait_for(path.exists, process)
    raise subprocess.TimeoutExpired(name, limit)


def test_a_part_is_too_slow_beyond_its_limit_and_cut_off_at_the_end_of_the_visit(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "wait", stop_endless_part)
    endless, next_part = visit_parts.part("first", "wait"), visit_parts.part("second")
    assert not visit(tmp_path, endless, budget=runner.SMALL_LIMIT_S - 1)
    record = document_of(tmp_path)["parts"]["first"]
    assert (record["status"], record["result"]) == ("cut off", {"found": "in part"})
    assert not visit(tmp_path, endless, next_part, budget=runner.SMALL_LIMIT_S + 1000)
    records = document_of(tmp_path)["parts"]
    assert (records["first"]["status"], records["second"]["status"]) == ("too slow", "done")
    assert records["first"]["result"] == {"found": "in part"}


def test_no_part_begins_without_time(tmp_path):
    assert not visit(tmp_path, visit_parts.part("first"), budget=runner.MIN_LEFT_S - 1)
    assert not (tmp_path / "runs.txt").exists()


def test_a_result_without_its_fields_has_failed(tmp_path):
    assert not visit(tmp_path, visit_parts.part("first", fields=("found", "rate")))
    record = document_of(tmp_path)["parts"]["first"]
    assert (record["status"], record["error"]) == ("failed", "the result lacks rate")


def test_results_of_other_settings_are_not_mixed(tmp_path):
    visit(tmp_path, visit_parts.part("first"))
    with pytest.raises(ValueError, match="has small True, not False; use another folder"):
        runner.run([visit_parts.part("second")], Visit(tmp_path, "cpu", False, 60.0), lambda *_: None)


def test_results_of_another_device_are_not_mixed(tmp_path):
    visit(tmp_path, visit_parts.part("first"))
    document = document_of(tmp_path)
    document["machine"] = {"kind": "a larger abacus"}
    (tmp_path / NAME).write_text(json.dumps(document))
    visit(tmp_path, visit_parts.part("second"))
    record = document_of(tmp_path)["parts"]["second"]
    assert record["status"] == "failed"
    assert "a larger abacus" in record["error"]


def test_estimates_are_positive_and_fit_the_budget():
    assert all(part.estimate > START_S for part in PARTS)
    assert sum(part.estimate for part in PARTS) <= BUDGET_S == 480


def test_the_first_four_minutes_have_the_correctness_the_memory_and_the_products():
    first = sum(part.estimate for part in PARTS[:5])
    assert first <= FIRST_MINUTES_S
    assert [part.name for part in PARTS[:5]] == ["facts", "verify-float32", "passes", "products", "verify-float64"]


def test_an_estimate_counts_every_kind_of_work():
    work = Work(traffic=4.8e12, float32=67e12, float64=34e12)
    assert seconds_of(work) == pytest.approx(START_S + 6)  # three seconds at half of each rate
    assert all(seconds_of(Work(**{field: 1e9})) > START_S for field in Work._fields)


@pytest.mark.parametrize("suite", bench.CASES)
def test_the_planned_cases_exist(suite):
    assert len(bench.cases_of(suite, small=False)) == len(bench.CASES[suite])
    assert len(bench.cases_of(suite, small=True)) == bench.SMALL_CASES[suite]


def test_the_listed_tests_exist():
    assert all((ROOT / name).is_file() for name in (*tests.MARKED, *tests.WHOLE))
    assert all("mark.devices" in (ROOT / name).read_text() for name in tests.MARKED)


def test_a_report_is_json_without_infinities():
    assert to_plain({"a": (math.inf, True, 1, None, "x")}) == {"a": [None, True, 1, None, "x"]}


def test_facts_of_this_machine_are_complete(tmp_path):
    """Run one real part and draw the pages from its JSON file."""
    (facts,) = (part for part in PARTS if part.name == "facts")
    assert visit(tmp_path, facts)
    document = document_of(tmp_path)
    assert set(document) == {"format", "device", "small", "parts", "machine"}
    record = document["parts"]["facts"]
    assert set(record) >= {"status", "error", "machine", "result", "started", "seconds", "estimate_s"}
    assert set(facts.fields) <= set(record["result"])
    assert document["machine"]["platform"] == "cpu"
    assert {"jax", "jaxlib", "numpy"} <= set(record["result"]["host"]["packages"])
    page = to_markdown(document)
    assert "A rehearsal at small sizes" in page
    assert record["started"][:10] in page
    assert "| roofline peaks |" in page
    assert merged_benchmark(document) is None
