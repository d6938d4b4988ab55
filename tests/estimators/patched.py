"""Pytest plugin: scikit-learn's modules with dlcore's estimators in place of their own.

`not_applicable.txt` lists the tests that are left out.
"""

import fnmatch
from pathlib import Path

import compilation_cache
import pytest

compilation_cache.enable()
compilation_cache.compile_quickly()

import sklearn.linear_model  # noqa: E402
from sklearn.linear_model import _base, _logistic, _ridge  # noqa: E402

import dlcore.sklearn  # noqa: E402

LIST = Path(__file__).with_name("not_applicable.txt")
MODULES = (sklearn.linear_model, _base, _logistic, _ridge)

for _name in dlcore.sklearn.__all__:
    for _module in MODULES:
        if hasattr(_module, _name):
            setattr(_module, _name, getattr(dlcore.sklearn, _name))


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
