"""The command line: `dlcore COMMAND`. What a command needs is imported when it is asked for."""

import ast
import contextlib
import importlib.metadata
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dlcore.cli import interrupts
from dlcore.cli.interrupts import FAILED, WRONG_USE, fail

MAIN_JOB = "logistic_regression"
"""What `dlcore run` runs where no experiment is named."""

Config = TypeVar("Config")

USAGE = """usage: dlcore COMMAND ...

commands:
  run [EXPERIMENT] [OPTIONS]    run an experiment; --help tells its options
  run --list                    every experiment with its question
  graph EXPRESSION [NAME=VALUE ...]
                                the value and derivative of every intermediate; --help tells more
  bench [OPTIONS]               what a device gains, against peers, judged; --help tells more
  bench compare FIRST SECOND    whether two runs agree
  verify [OPTIONS]              every function against its twin on this device; --help tells more
  --version                     of dlcore
"""


class UsageError(Exception):
    """A request that cannot be done; the message says what can."""


class ExperimentError(Exception):
    """A result of an experiment that is not the expected one."""


@contextlib.contextmanager
def checking_options() -> Iterator[None]:
    """Turns a wrong value or a folder that cannot be written into a `UsageError`."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments`, or those of the process, name."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    interrupts.name_program(f"dlcore {command}" if command in COMMANDS else "dlcore")
    with interrupts.failing_in_one_line():
        if command in COMMANDS:
            COMMANDS[command](rest)
        elif command in ("-h", "--help"):
            print(USAGE, end="")
        elif command == "--version":
            print(importlib.metadata.version("dlcore-jax"))
        else:
            names = "run, graph, bench and verify"
            fail(f"dlcore: there is no command {command!r}; there are {names} (dlcore --help)", WRONG_USE)


def run(arguments: Sequence[str]) -> None:
    """Run the script of an experiment, as Python itself would, with the arguments after its name."""
    named = bool(arguments) and not arguments[0].startswith("-")
    name, options = (arguments[0], arguments[1:]) if named else (MAIN_JOB, arguments)
    scripts = {path.stem: path for path in sorted(experiments_folder().glob("[!_]*.py"))}
    if list(arguments) == ["--list"]:
        width = max(map(len, scripts))
        for experiment, path in scripts.items():
            print(f"{experiment:{width}}  {question(path)}")
        return
    if name not in scripts:
        fail(f"dlcore run: there is no experiment {name!r}; there are {', '.join(scripts)}", WRONG_USE)
    if not named and {"-h", "--help"} & set(options):
        print(f"experiments: {', '.join(scripts)} (none named: {MAIN_JOB})\n")
    interrupts.name_program(f"dlcore run {name}")
    argv, sys.argv = sys.argv, [str(scripts[name]), *options]
    try:
        with interrupts.needing("all"):
            runpy.run_path(str(scripts[name]), run_name="__main__")
    finally:
        sys.argv = argv


def graph(arguments: Sequence[str]) -> None:
    """Run `dlcore graph`."""
    with interrupts.needing("cli"):
        from dlcore.cli import graph
    graph.run(arguments)


def bench(arguments: Sequence[str]) -> None:
    """Run `dlcore bench`."""
    with interrupts.needing("cli"):
        from dlcore.cli import bench
    bench.run(arguments)


def verify(arguments: Sequence[str]) -> None:
    """Run `dlcore verify`."""
    with interrupts.needing("cli"):
        from dlcore.cli import verify
    verify.run(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "run": run,
    "graph": graph,
    "bench": bench,
    "verify": verify,
}


def question(script: Path) -> str:
    """The question of an experiment: the first line of its docstring, read without running it."""
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def experiments_folder() -> Path:
    """Return the folder of the scripts: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).parent
    checkout = package.parent / "experiments"
    return checkout if (package.parent / "pyproject.toml").exists() else package / "_experiments"


def run_experiment(main: Callable[[Config], None], config: type[Config], description: str) -> None:
    """Read the options of an experiment and run it; what the user got wrong ends as one sentence, not a trace.

    Args:
      main: the experiment; it raises `UsageError` for what the user got wrong, `ExperimentError` for a result
        that did not come as expected.
      config: a dataclass of options; a string under each field is its help.
      description: shown by --help.
    """
    import tyro

    program = f"dlcore run {Path(sys.argv[0]).stem}"
    interrupts.name_program(program)
    with interrupts.ending_on_signals():
        chosen = tyro.cli(config, prog=program, description=description)
        try:
            with interrupts.failing_in_one_line(UsageError):
                main(chosen)
        except ExperimentError as error:
            fail(f"{program}: {error}", FAILED)
