"""Entry point of the command line, `dlcore COMMAND`; each command imports its dependencies itself."""

import ast
import importlib
import importlib.metadata
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dlcore.cli import interrupts
from dlcore.cli.interrupts import WRONG_USE, fail

MAIN_JOB = "logistic_regression"
"""Experiment that `dlcore run` runs when none is named."""

USAGE = """usage: dlcore COMMAND ...

commands:
  run [EXPERIMENT] [OPTIONS]    run an experiment; --help shows its options
  run --list                    list the experiments and their questions
  graph EXPRESSION [NAME=VALUE ...]
                                show the value and derivative of every intermediate result
  fit DATA --target NAME        fit certified linear heads to a table, with a report
  fit DATA --target NAME --protocol few-shot|label-efficiency|nested|select
                                run a protocol for linear probes
  predict MODEL DATA            predict the rows of a table
  certify MODEL DATA            bound how far any linear model is from its optimum
  export MODEL --to FORM        write a model for jax, torch, safetensors or sklearn
  bench [OPTIONS]               compare the speed of a device with that of other libraries
  bench compare FIRST SECOND    compare two saved runs
  verify [OPTIONS]              compare every function with its float64 reference on this device
  --version                     show the version of dlcore

dlcore COMMAND --help shows the options of a command.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments` name; without `arguments`, those of the process."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    interrupts.set_program_name(f"dlcore {command}" if command in COMMANDS else "dlcore")
    with interrupts.exit_on_error():
        if command in COMMANDS:
            COMMANDS[command](rest)
        elif command in ("-h", "--help"):
            print(USAGE, end="")
        elif command == "--version":
            print(importlib.metadata.version("dlcore-jax"))
        else:
            *others, last = COMMANDS
            names = f"{', '.join(others)} and {last}"
            fail(f"dlcore: there is no command {command!r}; there are {names} (dlcore --help)", WRONG_USE)


def run(arguments: Sequence[str]) -> None:
    """Run the script of an experiment as Python itself would, with the arguments after its name."""
    is_named = bool(arguments) and not arguments[0].startswith("-")
    name, options = (arguments[0], arguments[1:]) if is_named else (MAIN_JOB, arguments)
    scripts = {path.stem: path for path in sorted(experiments_folder().glob("[!_]*.py"))}
    if list(arguments) == ["--list"]:
        width = max(map(len, scripts))
        for experiment, path in scripts.items():
            print(f"{experiment:{width}}  {question(path)}")
        return
    if name not in scripts:
        fail(f"dlcore run: there is no experiment {name!r}; there are {', '.join(scripts)}", WRONG_USE)
    if not is_named and {"-h", "--help"} & set(options):
        print(f"experiments: {', '.join(scripts)} (default: {MAIN_JOB})\n")
    interrupts.set_program_name(f"dlcore run {name}")
    argv, sys.argv = sys.argv, [str(scripts[name]), *options]
    try:
        with interrupts.require_extra("all"):
            runpy.run_path(str(scripts[name]), run_name="__main__")
    finally:
        sys.argv = argv


def _command(module_name: str) -> Callable[[Sequence[str]], None]:
    """Return a command that imports its module when it runs."""

    def command(arguments: Sequence[str]) -> None:
        with interrupts.require_extra("cli"):
            module = importlib.import_module(f"dlcore.cli.{module_name}")
        module.run(arguments)

    return command


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "run": run,
    "graph": _command("graph"),
    **{name: _command(f"heads.{name}") for name in ("fit", "predict", "certify", "export")},
    "bench": _command("bench"),
    "verify": _command("verify"),
}


def question(script: Path) -> str:
    """Return the question of an experiment, the first line of its docstring, without running the script."""
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def experiments_folder() -> Path:
    """Return the folder of the scripts: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).parent.parent
    checkout = package.parent / "experiments"
    return checkout if (package.parent / "pyproject.toml").exists() else package / "_experiments"
