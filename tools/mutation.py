"""Mutation testing: Cosmic Ray puts small errors into the library, one at a time, and the tests must fail.

A copy of the project is changed, never the project. The mutants are a random sample, the same for the same seed
and source. A place in the source is drawn first, then one of the errors that are possible there, so that every
place counts the same. A larger sample contains a smaller one.

Each mutant is tested in a process that is forked from one with JAX, but nothing of the library, imported. The
tests of its package run until one fails: in float32 and, if all pass, in float64. A package that always computes
in float64 skips the second run. Compiled programs are cached from one mutant to the next. The program prints a
line for each mutant and its outcome, and a line of JSON at the end.

    killed      a test failed, or an import failed
    timed out   the tests exceeded the limit; it counts as killed
    survived    all tests passed: the mutant is equivalent, or the place is not tested
"""

import argparse
import ast
import collections
import difflib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import cosmic_ray.plugins
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).parent.parent

TESTS = {
    "losses": (
        "dlcore/losses",
        "tests/losses",
        "tests/objective/test_classes.py",
        "tests/fitting/test_null_model.py",
    ),
    "objective": (
        "dlcore/objective",
        "tests/objective",
        "tests/certificate/test_curvature.py",
        "tests/fitting/test_minibatches.py",
        "tests/fitting/test_fit.py",
        "tests/_core/test_devices.py",
    ),
    "certificate": ("dlcore/certificate", "tests/certificate"),
    "heads": ("dlcore/heads", "tests/heads", "tests/_core/test_archive.py"),
}
"""Tests of each package: files and folders, first those with examples in docstrings."""

FLOAT64 = ("certificate", "heads")
"""Packages that compute in float64 in either mode: a second run would add little."""

OPERATORS = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("FloorDiv_Mul", "Mod_FloorDiv", "BitAnd_BitOr")),
    "ReplaceBinaryOperator_BitOr_BitAnd",
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_Gt", "Gt_Lt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *("ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Invert", "ReplaceUnaryOperator_Delete_Not"),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("NumberReplacer", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
)
"""Operators of Cosmic Ray that resemble human errors. Most of the others cause a TypeError at once."""


class Mutant(NamedTuple):
    """A change to a file.

    Attributes:
      path: the file.
      line: line of the change.
      operator: name of Cosmic Ray's operator.
      occurrence: index of the place among those that the operator finds in the file.
    """

    path: Path
    line: int
    operator: str
    occurrence: int


def main() -> None:
    """Test the mutants of the selected packages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"{', '.join(TESTS)} (default: all)")
    parser.add_argument("--number", type=int, default=20, help="mutants of each package (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default: %(default)s)")
    parser.add_argument(
        "--limit", type=int, default=1200, help="CPU seconds for the tests of a mutant (default: %(default)s)"
    )
    parser.add_argument("--only", default="", help="only mutants whose 'file:line' contains this text")
    options = parser.parse_args()
    if unknown := set(options.packages) - set(TESTS):
        parser.error(f"there are no tests for {', '.join(sorted(unknown))}, only for {', '.join(TESTS)}")
    with tempfile.TemporaryDirectory(prefix="dlcore-mutation-") as folder:
        copy = Path(folder, "dlcore")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist"))
        prepare(copy, Path(folder, "programs"))
        counts = {name: test_package(name, copy, options) for name in options.packages or TESTS}
    print(json.dumps(counts))


def prepare(copy: Path, programs: Path) -> None:
    """Set up this process, from which the others are forked: enter the copy and import all but the library."""
    os.chdir(copy)
    sys.path[:] = [str(copy), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    sys.dont_write_bytecode = True
    os.environ.update(
        PYTHONPATH=str(copy),
        PYTHONDONTWRITEBYTECODE="1",
        JAX_COMPILATION_CACHE_DIR=str(programs),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    )
    for name in ("jax", "optax", "mpmath", "scipy.linalg", "scipy.optimize", "sklearn.linear_model"):
        __import__(name)
    assert "dlcore" not in sys.modules


def test_package(package: str, copy: Path, options: argparse.Namespace) -> dict[str, int]:
    """Test the mutants of a package, and return the number of each outcome."""
    tests = [str(file) for name in TESTS[package] for file in files_of(name)]
    outcome, log = run_tests(tests, options.limit, copy)
    if outcome != "survived":
        raise SystemExit(f"{package}: the tests fail or take too long without a mutation\n{log}")
    counts: collections.Counter[str] = collections.Counter()
    for mutant in sample(package, copy, options.number, options.seed):
        place = f"{mutant.path.relative_to(copy)}:{mutant.line}"
        if options.only not in place:
            continue
        code = mutant.path.read_text()
        mutated = mutate_code(code, get_operator(mutant.operator), mutant.occurrence)
        assert mutated is not None
        mutant.path.write_text(mutated)
        try:
            same_name_first = sorted(tests, key=lambda test: mutant.path.stem not in test)
            outcome, log = run_tests(same_name_first, options.limit, copy)
            if outcome == "survived" and package not in FLOAT64:
                outcome, log = run_tests(same_name_first, options.limit, copy, x64=True)
        finally:
            mutant.path.write_text(code)
        counts[outcome] += 1
        failed = [line.split(" ")[1] for line in log.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        lines = list(difflib.unified_diff(code.splitlines(), mutated.splitlines(), lineterm="", n=0))[3:]
        print(f"{outcome:<9} {place}  {mutant.operator}  {' '.join(failed)}", *lines, sep="\n    ", flush=True)
    return dict(counts)


def get_operator(name: str) -> Any:
    """Return an operator of Cosmic Ray."""
    return cosmic_ray.plugins.get_operator(f"core/{name}")()


def files_of(name: str) -> list[Path]:
    """Return the test files in a folder of tests, small files first; for any other path, the path itself."""
    path = Path(name)
    if not (name.startswith("tests/") and path.is_dir()):
        return [path]
    return sorted(path.rglob("test_*.py"), key=lambda file: file.stat().st_size)


def sample(package: str, copy: Path, number: int, seed: int) -> list[Mutant]:
    """Draw a sample of mutants of a package; annotations, which are never run, are not mutated."""
    places: dict[tuple[Path, tuple[int, int]], list[Mutant]] = collections.defaultdict(list)
    for path in sorted(copy.glob(f"dlcore/{package}/**/*.py")):
        code = path.read_text()
        spans = annotations(code)
        nodes = list(ast_nodes(get_ast(code)))
        for name in OPERATORS:
            operator = get_operator(name)
            positions = (position for node in nodes for position in operator.mutation_positions(node))
            for occurrence, (start, _) in enumerate(positions):
                if not any(begin <= start < end for begin, end in spans):
                    places[path, start].append(Mutant(path, start[0], name, occurrence))
    rng, order = random.Random(seed), sorted(places)
    rng.shuffle(order)
    mutants = [rng.choice(places[place]) for place in order]  # of all places, so that samples are nested
    print(f"{package}: {min(number, len(mutants))} of {len(mutants)} places", flush=True)
    return mutants[:number]


def annotations(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the first and last position of every annotation, as (line, column)."""
    notes = [
        getattr(node, field, None) for node in ast.walk(ast.parse(code)) for field in ("annotation", "returns")
    ]
    return [
        ((note.lineno, note.col_offset), (note.end_lineno or 0, note.end_col_offset or 0))
        for note in notes
        if isinstance(note, ast.expr)
    ]


def run_tests(tests: list[str], limit: int, copy: Path, *, x64: bool = False) -> tuple[str, str]:
    """Run tests in a new process, and return the outcome and the output."""
    log = copy.parent / "log"
    process = multiprocessing.get_context("fork").Process(target=run_pytest, args=(tests, limit, log, x64))
    process.start()
    process.join(20 * limit)  # seconds, not CPU seconds: a deadlock uses no CPU time
    if is_stuck := process.is_alive():
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    timed_out = is_stuck or process.exitcode == -signal.SIGXCPU
    shutil.rmtree(copy / ".hypothesis", ignore_errors=True)
    outcome = "timed out" if timed_out else "killed" if process.exitcode else "survived"
    return outcome, log.read_text(errors="replace")


def run_pytest(tests: list[str], limit: int, log: Path, x64: bool) -> None:
    """Run pytest until a test fails, in a process group that can be killed as a whole, and exit."""
    os.setpgid(0, 0)
    import jax  # imported before, by `prepare`, which has set the variables that JAX reads

    os.environ["JAX_ENABLE_X64"] = str(int(x64))
    jax.config.update("jax_enable_x64", x64)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 10))
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = pytest.main(
        ["-x", "-q", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider", "--timeout", "0", *tests]
    )
    sys.stdout.flush()
    os._exit(int(code))


if __name__ == "__main__":
    main()
