"""Whether the tests see an error: small ones, made by Cosmic Ray, one at a time, before the tests of a package.

A copy of the project is changed, never the project. The places are a random sample, the same for the same seed and
the same source: first a place, then one of the errors that are possible there, so that no place counts more than
another. Each error gets a process, forked from one that has imported JAX but nothing of the library, and goes
through the tests of its package until one fails, in float32 and, unless all is float64 in any case, in float64.
XLA's programs are kept from one error to the next, by what is in them. Prints a line for each error and its
outcome, JSON last:

    killed      a test failed, or nothing could be imported
    timed out   the tests took many times as long as they may: killed too
    survived    all passed: equal to what it was, or not tested
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
    "losses": ("dlcore/losses", "tests/losses", "tests/objective/test_classes.py"),
    "objective": (
        "dlcore/objective",
        "tests/objective",
        "tests/certificate/test_curvature.py",
        "tests/fitting/test_minibatches.py",
        "tests/fitting/test_fit.py",
        "tests/_core/test_devices.py",
    ),
    "certificate": ("dlcore/certificate", "tests/certificate"),
    "heads": ("dlcore/heads", "tests/heads"),
}
"""The tests of each package: files and folders, those with examples in docstrings first."""

FLOAT64 = ("certificate", "heads")
"""What computes in float64 in either mode, so that the other says little more."""

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
"""Errors that a person makes. Cosmic Ray has more: most of them are a TypeError at once."""


class Mutant(NamedTuple):
    """One error: what Cosmic Ray does to a file, and how often it finds the place before."""

    path: Path
    line: int
    operator: str
    occurrence: int


def main() -> None:
    """Read the options, put in the errors, say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"{', '.join(TESTS)}; all if none is named")
    parser.add_argument("--number", type=int, default=20, help="how many errors for each package")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument(
        "--limit", type=int, default=1200, help="seconds of a core that the tests of one error may take"
    )
    parser.add_argument("--only", default="", help="only errors whose 'file:line' has this in it")
    options = parser.parse_args()
    if unknown := set(options.packages) - set(TESTS):
        parser.error(f"there are no tests for {', '.join(sorted(unknown))}, only for {', '.join(TESTS)}")
    with tempfile.TemporaryDirectory(prefix="dlcore-mutation-") as folder:
        copy = Path(folder, "dlcore")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist"))
        prepare(copy, Path(folder, "programs"))
        counts = {name: judge(name, copy, options) for name in options.packages or TESTS}
    print(json.dumps(counts))


def prepare(copy: Path, programs: Path) -> None:
    """This process, from which the others are forked: in the copy, with all imported but the library."""
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


def judge(package: str, copy: Path, options: argparse.Namespace) -> dict[str, int]:
    """How many errors of one package had which outcome."""
    tests = [str(file) for name in TESTS[package] for file in files_of(name)]
    outcome, log = outcome_of(tests, options.limit, copy)
    if outcome != "survived":
        raise SystemExit(f"{package}: the tests fail or last too long without an error\n{log}")
    counts: collections.Counter[str] = collections.Counter()
    for mutant in sample(package, copy, options.number, options.seed):
        place = f"{mutant.path.relative_to(copy)}:{mutant.line}"
        if options.only not in place:
            continue
        code = mutant.path.read_text()
        operator = cosmic_ray.plugins.get_operator(f"core/{mutant.operator}")()
        changed = mutate_code(code, operator, mutant.occurrence)
        assert changed is not None
        mutant.path.write_text(changed)
        try:
            own_first = sorted(tests, key=lambda test: mutant.path.stem not in test)
            outcome, log = outcome_of(own_first, options.limit, copy)
            if outcome == "survived" and package not in FLOAT64:
                outcome, log = outcome_of(own_first, options.limit, copy, x64=True)
        finally:
            mutant.path.write_text(code)
        counts[outcome] += 1
        failed = [line.split(" ")[1] for line in log.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        lines = list(difflib.unified_diff(code.splitlines(), changed.splitlines(), lineterm="", n=0))[3:]
        print(f"{outcome:<9} {place}  {mutant.operator}  {' '.join(failed)}", *lines, sep="\n    ", flush=True)
    return dict(counts)


def files_of(name: str) -> list[Path]:
    """Return the tests of a folder of tests, the small files first, or the path itself."""
    path = Path(name)
    if not (name.startswith("tests/") and path.is_dir()):
        return [path]
    return sorted(path.glob("test_*.py"), key=lambda file: file.stat().st_size)


def sample(package: str, copy: Path, number: int, seed: int) -> list[Mutant]:
    """Places in the files of a package, and an error for each; annotations, which nothing runs, have none."""
    places: dict[tuple[Path, Any], list[Mutant]] = collections.defaultdict(list)
    for path in sorted(copy.glob(f"dlcore/{package}/**/*.py")):
        code = path.read_text()
        spans = annotations(code)
        nodes = list(ast_nodes(get_ast(code)))
        for name in OPERATORS:
            operator = cosmic_ray.plugins.get_operator(f"core/{name}")()
            found = (position for node in nodes for position in operator.mutation_positions(node))
            for occurrence, (start, _) in enumerate(found):
                if not any(begin <= start < end for begin, end in spans):
                    places[path, start].append(Mutant(path, start[0], name, occurrence))
    chance, order = random.Random(seed), sorted(places)
    chance.shuffle(order)
    drawn = [chance.choice(places[place]) for place in order]  # a larger sample begins with a smaller one
    print(f"{package}: {min(number, len(drawn))} of {len(drawn)} places", flush=True)
    return drawn[:number]


def annotations(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations begin and end, (line, column)."""
    nodes = ast.walk(ast.parse(code))
    notes = [
        note for node in nodes for note in (getattr(node, "annotation", None), getattr(node, "returns", None))
    ]
    return [
        ((note.lineno, note.col_offset), (note.end_lineno or 0, note.end_col_offset or 0))
        for note in notes
        if isinstance(note, ast.expr)
    ]


def outcome_of(tests: list[str], limit: int, copy: Path, *, x64: bool = False) -> tuple[str, str]:
    """How the tests end in a process of their own, and what they print."""
    log = copy.parent / "log"
    process = multiprocessing.get_context("fork").Process(target=run, args=(tests, limit, log, x64))
    process.start()
    process.join(20 * limit)  # on a busy machine; one that waits for ever uses no core
    if waits := process.is_alive():
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    timed_out = waits or process.exitcode == -signal.SIGXCPU
    shutil.rmtree(copy / ".hypothesis", ignore_errors=True)
    outcome = "timed out" if timed_out else "killed" if process.exitcode else "survived"
    return outcome, log.read_text(errors="replace")


def run(tests: list[str], limit: int, log: Path, x64: bool) -> None:
    """Go through the tests until one fails, in a group of processes that can be ended together."""
    os.setpgid(0, 0)
    import jax  # by `prepare`, which has set what JAX reads when it is imported

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
