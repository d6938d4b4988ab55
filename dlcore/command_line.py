"""The command line: `dlcore run EXPERIMENT`."""

import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

MAIN_JOB = "logistic_regression"
"""What `dlcore run` runs where no experiment is named."""

Config = TypeVar("Config")

USAGE = """usage: dlcore COMMAND ...

commands:
  run [EXPERIMENT] [OPTIONS]    run an experiment; `dlcore run --help` lists them
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments`, or those of the process, name."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command == "run":
        run(rest)
    elif command in ("-h", "--help"):
        print(USAGE, end="")
    else:
        sys.exit(f"dlcore: there is no command {command!r}\n{USAGE}")


def run(arguments: Sequence[str]) -> None:
    """Run the script of an experiment, as Python itself would, with the arguments after its name."""
    named = bool(arguments) and not arguments[0].startswith("-")
    name, options = (arguments[0], arguments[1:]) if named else (MAIN_JOB, arguments)
    scripts = {path.stem: path for path in sorted(experiments_folder().glob("[!_]*.py"))}
    if name not in scripts:
        sys.exit(f"dlcore run: there is no experiment {name!r}; there are {', '.join(scripts)}")
    if not named and {"-h", "--help"} & set(options):
        print(f"experiments: {', '.join(scripts)} (none named: {MAIN_JOB})\n")
    sys.argv = [str(scripts[name]), *options]
    runpy.run_path(str(scripts[name]), run_name="__main__")


def experiments_folder() -> Path:
    """Where the scripts are: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).parent
    checkout = package.parent / "experiments"
    return checkout if (package.parent / "pyproject.toml").exists() else package / "_experiments"


def run_experiment(main: Callable[[Config], None], config: type[Config], description: str) -> None:
    """Read the options of an experiment and run it; what the user got wrong ends as one sentence, not a trace.

    Args:
      main: the experiment.
      config: a dataclass of options; a string under each field is its help.
      description: shown by --help.
    """
    program = f"dlcore run {Path(sys.argv[0]).stem}"
    chosen = tyro.cli(config, prog=program, description=description)
    try:
        main(chosen)
    except (ValueError, OSError) as error:
        sys.exit(f"{program}: {error}")
