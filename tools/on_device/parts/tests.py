"""Part `tests`: tests of the project that say something on an accelerator.

Most tests compare small arrays with an oracle, as `verify` does. Tests of the threads of the host, of simulated
devices and of the command line say nothing here. These remain:

- tests marked `devices` of `MARKED`: data, fits and graphs are on the device that was asked for. The other files
  with this marker test the cores of a CPU.
- all tests of `WHOLE` that are not slow.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any

from on_device.child import Request, Save
from on_device.document import JsonObject
from on_device.estimate import Work

ROOT = Path(__file__).parents[3]
MARKED = ("tests/_core/test_devices.py", "tests/graph/test_graph.py", "tests/fitting/test_fit.py")
WHOLE = ("tests/whole/test_repeatability.py", "tests/objective/test_objective.py")
SMALL = MARKED[:2]
PROGRAMS, LOOPS = 88, 12
"""Programs that the tests compile, 100 as counted on a CPU, and about how many of them are of fits."""
MESSAGE = 500
"""Characters of a failure that are kept."""
FIELDS = ("passed", "outcomes", "exit")
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Some tests start processes, which need memory of the device too."""


class Recorder:
    """Plugin of pytest that keeps the outcome of each test, and the tests to run."""

    def __init__(self, save: Save) -> None:
        self.outcomes: list[JsonObject] = []
        self._save = save

    def result(self) -> JsonObject:
        """Return the outcomes so far."""
        bad = any(outcome["outcome"] in ("failed", "error") for outcome in self.outcomes)
        return {"outcomes": self.outcomes, "passed": bool(self.outcomes) and not bad}

    def pytest_addoption(self, parser: Any) -> None:
        """Accept the project's settings where the plugin that reads them is not installed."""
        if importlib.util.find_spec("pytest_timeout") is None:
            parser.addini("timeout", "seconds of a test, which nothing limits here")

    def pytest_configure(self, config: Any) -> None:
        """Accept the marker of the same plugin."""
        config.addinivalue_line("markers", "timeout: seconds of a test")

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Deselect the tests that say nothing on an accelerator."""
        kept = [
            item
            for item in items
            if not item.get_closest_marker("slow")
            and (item.path.relative_to(ROOT).as_posix() in WHOLE or item.get_closest_marker("devices"))
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def pytest_collectreport(self, report: Any) -> None:
        """Keep a file that cannot be imported."""
        if report.failed:
            self._add(report.nodeid, "error", 0.0, report.longreprtext)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the outcome of a call, and of a setup or teardown that did not pass."""
        if report.when == "call" or report.outcome != "passed":
            outcome = "error" if report.failed and report.when != "call" else report.outcome
            text = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else report.longreprtext
            self._add(report.nodeid, outcome, report.duration, text)

    def _add(self, test: str, outcome: str, seconds: float, text: str) -> None:
        self.outcomes.append(
            {"test": test, "outcome": outcome, "seconds": seconds, "message": text.strip()[-MESSAGE:]}
        )
        self._save(self.result())


def run(request: Request, save: Save) -> JsonObject:
    """Run the tests in this process, which must not have imported JAX: their set-up chooses its settings."""
    os.chdir(ROOT)
    if not request.small:
        os.environ["DLCORE_TEST_OPTIMIZE"] = "1"  # as users compile
    recorder = Recorder(save)
    files = SMALL if request.small else (*MARKED, *WHOLE)
    pytest = importlib.import_module("pytest")
    status = pytest.main(["-p", "no:cacheprovider", "-v", *files], plugins=[recorder])
    return {**recorder.result(), "exit": int(status)}


def work() -> Work:
    """Return the work of all files."""
    processes_s = 12.0  # that tests start
    return Work(programs=PROGRAMS, loops=LOOPS, calls=5_000, seconds=processes_s)
