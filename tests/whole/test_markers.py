"""Markers of test files are true.

`conftest.check_any_mode` shows the other half of `any_mode`: no program runs in the dtype of the run.
"""

import ast
import functools

import pytest
from helpers import ROOT

FILES = {path.stem: path for path in sorted((ROOT / "tests").rglob("test_*.py"))}
MODE = {"device_count", "local_device_count", "jax_enable_x64", "result_type", "version_info", "python_version"}
"""Names that depend on the dtype of the run, its devices or its Python."""


def names_in(tree: ast.AST) -> set[str]:
    """Return every name, attribute, keyword and string constant of a syntax tree."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


@functools.cache
def mode_readers() -> frozenset[str]:
    """Return the names of `helpers` that depend on the mode, directly or indirectly."""
    body = ast.parse((ROOT / "tests" / "helpers.py").read_text(encoding="utf-8")).body
    uses = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef):
            uses[statement.name] = names_in(statement)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            uses[statement.targets[0].id] = names_in(statement)
    readers: set[str] = set()
    while new := {name for name, used in uses.items() if used & (MODE | readers)} - readers:
        readers |= new
    return frozenset(readers)


def faults(source: str) -> list[str]:
    """Return what a file marked any_mode reads of the mode."""
    tree = ast.parse(source)
    readers = set(mode_readers())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    comparisons = [call for call in calls if ast.unparse(call.func) == "assert_close"]
    if all(any(keyword.arg == "dtype" for keyword in call.keywords) for call in comparisons):
        readers -= {"assert_close"}  # it reads the mode where no dtype is given
    return sorted(names_in(tree) & (MODE | readers))


def is_marked(source: str) -> bool:
    """Return whether a file has the marker for all its tests."""
    assigned = [statement for statement in ast.parse(source).body if isinstance(statement, ast.Assign)]
    return any("any_mode" in names_in(statement) for statement in assigned)


MARKED = [name for name, path in FILES.items() if is_marked(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", MARKED)
def test_a_file_of_any_mode_reads_no_mode(name):
    assert faults(FILES[name].read_text(encoding="utf-8")) == []


def test_at_least_one_file_is_marked():
    assert len(MARKED) >= 10
    assert {"DTYPE", "EPS", "ulps", "breast_cancer", "random_like", "assert_close"} <= mode_readers()


@pytest.mark.parametrize(
    "source",
    [
        "from helpers import DTYPE",
        "from helpers import random_like",
        "import jax\n\ndef test():\n    assert jax.device_count() == 1",
        "import sys\n\nSKIP = sys.version_info >= (3, 12)",
        "from helpers import assert_close\n\ndef test():\n    assert_close(1, 1, units=1)",
    ],
)
def test_a_file_that_reads_the_mode_is_found(source):
    assert faults(source)


def test_a_comparison_with_a_fixed_dtype_reads_no_mode():
    assert not faults("from helpers import assert_close\n\nassert_close(1, 1, units=1, dtype=float)")


def test_the_header_names_the_mode(pytestconfig):
    """pytest shows the header only without -q, so that a broken header ends only those runs."""
    lines = pytestconfig.hook.pytest_report_header(config=pytestconfig, start_path=None)
    assert any("devices, cache" in str(line) for line in lines)
