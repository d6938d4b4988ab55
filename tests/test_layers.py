"""Imports only go down: each module may import the ones that stand before it here, and no others."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_mode

PACKAGE = Path(__file__).parent.parent / "dlcore"

FLOORS = {
    0: (
        "_types",
        "_precision",
        "_status",
        "_arguments",
        "_columns",
        "_sparse",
        "_checks",
        "_files",
        "_archive",
        "_markup",
        "_guards",
        "_programs",
        "devices",
        "measuring",
        "reference",
        "certificate",
    ),
    1: ("tensors", "linalg", "calculus", "graph"),
    2: ("losses", "models"),
    3: ("objective", "descent"),
    4: ("fitting",),
    5: ("sweeping", "heads"),
    6: (
        "exits",
        "verification",
        "reporting",
        "pictures",
        "report",
        "benchmark",
        "expressions",
        "graph_command",
        "verify_command",
        "bench_command",
        "command_line",
        "experiment",
        "__main__",
    ),
}
ORDER = [unit for floor in FLOORS.values() for unit in floor]
NUMPY_ONLY = (
    "_status",
    "_arguments",
    "_columns",
    "_sparse",
    "_checks",
    "_files",
    "_archive",
    "reference",
    "certificate",
)


def imported(source: str) -> list[str]:
    """Every module that the source imports, functions' own imports included."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def violations(unit: str, source: str) -> list[str]:
    """What a module of `unit` (a file or a folder of the package) imports and may not."""
    wrong = []
    for name in imported(source):
        top, _, rest = name.partition(".")
        if top == "dlcore" and rest:
            target = rest.partition(".")[0]
            below = target in ORDER and ORDER.index(target) < ORDER.index(unit)
            if target != unit and not below:
                wrong.append(name)
            if unit in NUMPY_ONLY and target != unit and target not in NUMPY_ONLY:
                wrong.append(name)
        elif top == "dlcore" or (unit in NUMPY_ONLY and top in ("jax", "jaxlib", "optax", "chex")):
            wrong.append(name)
    return wrong


def units() -> dict[Path, str]:
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    return {path: path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files}


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
        ("reference", "from dlcore import _guards"),
        ("models", "import dlcore"),
    ],
)
def test_an_upward_import_is_found(unit, source):
    assert violations(unit, source)


def test_the_core_needs_no_more_than_it_declares():
    allowed = {"dlcore", "jax", "jaxlib", "optax", "chex", "numpy"}
    faces = FLOORS[6]
    for path, unit in units().items():
        if unit not in faces:
            tops = {name.partition(".")[0] for name in imported(path.read_text())}
            outside = {top for top in tops if top not in allowed and not _standard(top)}
            assert not outside, f"{path.name} imports {outside}"


def _standard(module: str) -> bool:
    import sys

    return module in sys.stdlib_module_names
