"""Pytest plugin: scikit-learn's modules with dlcore's estimators in place of their own.

`not_applicable.txt` lists the tests that are left out.
"""

import fnmatch
import importlib
from pathlib import Path

import compilation_cache
import pytest

LIST = Path(__file__).with_name("not_applicable.txt")
MODULES = tuple(f"sklearn.linear_model{module}" for module in ("", "._base", "._logistic", "._ridge"))


def pytest_configure() -> None:
    """Replace scikit-learn's estimators. Only a run with this plugin does, not one that imports the file."""
    compilation_cache.enable()
    compilation_cache.compile_quickly()
    ours = importlib.import_module("dlcore.sklearn")
    for module in map(importlib.import_module, MODULES):
        for name in ours.__all__:
            if hasattr(module, name):
                setattr(module, name, getattr(ours, name))


def read_list() -> list[tuple[str, str, str]]:
    """Return the name of each test that is left out, a pattern of its variants, and the reason."""
    lines = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    entries = []
    for line in lines:
        name, pattern, reason = line.split(" | ")
        entries.append((name, pattern, reason))
    return entries


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the listed tests, and complain of a line that names none."""
    entries, found, left_out, kept = read_list(), set(), [], []
    for item in items:
        function, _, variant = item.name.partition("[")
        name = f"{item.path.name}::{function}"
        matching = {
            entry for entry in entries if entry[0] == name and fnmatch.fnmatch(variant.removesuffix("]"), entry[1])
        }
        found |= matching
        (left_out if matching else kept).append(item)
    files = {item.path.name for item in items}
    missing = [entry for entry in entries if entry[0].partition("::")[0] in files and entry not in found]
    if missing:
        raise pytest.UsageError(f"{LIST.name} names what is not there: {missing}")
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
