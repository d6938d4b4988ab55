"""Imports only go down: each module may import only modules that precede it in this list."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_mode

PACKAGE = Path(__file__).parent.parent.parent / "dlcore"

FLOORS = {
    0: (
        *(
            "_core/types",
            "_core/blas_threads",
            "_core/threads",
            "_core/status",
            "_core/tables",
            "_core/host_checks",
            "_core/labels",
            "_core/soft_labels",
            "_core/files",
        ),
        *("_core/archive", "_core/html", "_core/array_checks", "_core/compilation", "devices", "_core/timing"),
        *("reference", "certificate", "metrics"),
    ),
    1: ("tensors", "linalg", "calculus", "graph"),
    2: ("losses", "models"),
    3: ("objective", "descent"),
    4: ("fitting",),
    5: ("sweeping", "heads"),
    6: (
        *("probing", "sklearn", "data", "export"),
        *("cli/interrupts", "cli/cache", "verification", "cli/console", "cli/plots", "cli/report", "benchmark"),
        *("cli/expressions", "cli/graph", "cli/verify", "cli/bench", "cli/heads", "cli/main", "cli/experiment"),
        "__main__",
    ),
}
ORDER = [unit for floor in FLOORS.values() for unit in floor]
NUMPY_ONLY = (
    *(
        "_core/blas_threads",
        "_core/threads",
        "_core/status",
        "_core/tables",
        "_core/host_checks",
        "_core/labels",
        "_core/soft_labels",
        "_core/files",
        "_core/archive",
    ),
    *("reference", "certificate", "metrics"),
)
BY_FILE = ("_core", "cli")
"""Packages in which each file or folder is a unit. Any other package is one unit."""


def unit_of(parts: tuple[str, ...]) -> str:
    """Return the unit of a module, from the parts of its name below `dlcore`."""
    return "/".join(parts[: 2 if parts[0] in BY_FILE else 1])


def imports_of(source: str) -> list[str]:
    """Return every module that the source imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def violations(unit: str, source: str) -> list[str]:
    """Return the forbidden imports of a module of `unit`, a file or a folder of the package."""
    forbidden = []
    for name in imports_of(source):
        top, _, rest = name.partition(".")
        if top == "dlcore" and rest:
            target = unit_of(tuple(rest.split(".")))
            below = target in ORDER and ORDER.index(target) < ORDER.index(unit)
            if target != unit and not below:
                forbidden.append(name)
            if unit in NUMPY_ONLY and target != unit and target not in NUMPY_ONLY:
                forbidden.append(name)
        elif top == "dlcore" or (unit in NUMPY_ONLY and top in ("jax", "jaxlib", "optax", "chex")):
            forbidden.append(name)
    return forbidden


def units() -> dict[Path, str]:
    empty = [PACKAGE / name / "__init__.py" for name in ("", *BY_FILE)]
    files = [path for path in PACKAGE.rglob("*.py") if path not in empty]
    return {path: unit_of(path.relative_to(PACKAGE).with_suffix("").parts) for path in files}


def test_every_module_has_a_floor():
    assert set(units().values()) == set(ORDER)


@pytest.mark.parametrize("path", units(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    assert violations(units()[path], path.read_text()) == []


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("linalg", "from dlcore.losses import sigmoid"),
        ("linalg", "def f():\n    import dlcore.fitting"),
        ("objective", "from dlcore import descent"),
        ("certificate", "import jax.numpy as jnp"),
        ("reference", "from dlcore._core import array_checks"),
        ("models", "import dlcore"),
    ],
)
def test_an_upward_import_is_found(unit, source):
    assert violations(unit, source)


def test_the_core_needs_no_more_than_it_declares():
    allowed = {"dlcore", "jax", "jaxlib", "optax", "chex", "numpy"}
    interfaces = FLOORS[6]
    for path, unit in units().items():
        if unit not in interfaces:
            tops = {name.partition(".")[0] for name in imports_of(path.read_text())}
            undeclared = {top for top in tops if top not in allowed and not _standard(top)}
            assert not undeclared, f"{path.name} imports {undeclared}"


def _standard(module: str) -> bool:
    import sys

    return module in sys.stdlib_module_names
