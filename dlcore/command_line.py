"""The command line: `dlcore run EXPERIMENT`."""

import ast
import contextlib
import importlib.metadata
import runpy
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from dlcore import bench_command, graph_command, verify_command
from dlcore.reporting import FAILED, WRONG_USE, fail

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
    if command == "run":
        run(rest)
    elif command == "graph":
        graph_command.run(rest)
    elif command == "bench":
        bench_command.run(rest)
    elif command == "verify":
        verify_command.run(rest)
    elif command in ("-h", "--help"):
        print(USAGE, end="")
    elif command == "--version":
        print(importlib.metadata.version("dlcore-jax"))
    else:
        fail(
            f"dlcore: there is no command {command!r}; there are run, graph, bench and verify (dlcore --help)",
            WRONG_USE,
        )


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
    argv, sys.argv = sys.argv, [str(scripts[name]), *options]
    try:
        runpy.run_path(str(scripts[name]), run_name="__main__")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "dlcore":
            raise
        sys.exit(f"dlcore run {name}: it needs {error.name}; install it with: pip install 'dlcore-jax[all]'")
    finally:
        sys.argv = argv


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
    program = f"dlcore run {Path(sys.argv[0]).stem}"
    chosen = tyro.cli(config, prog=program, description=description)
    with _signals_that_ask():
        try:
            main(chosen)
        except UsageError as error:
            fail(f"{program}: {error}", WRONG_USE)
        except ExperimentError as error:
            fail(f"{program}: {error}", FAILED)
        except OSError as error:  # a disk that is full, a folder that went away
            fail(f"{program}: {error}", FAILED)
        except Interruption as interrupted:
            fail(f"{program}: interrupted", 128 + interrupted.signal)


class Interruption(Exception):  # noqa: N818 (nothing went wrong)
    """The user or the system asked the process to end."""

    def __init__(self, asked: int) -> None:
        super().__init__(f"signal {asked}")
        self.signal = asked


_asked: list[int] = []


@contextlib.contextmanager
def _signals_that_ask() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask the block to stop; restore the handlers of the caller after the block."""
    _asked.clear()
    before = {asked: signal.signal(asked, _ask_to_stop) for asked in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for asked, handler in before.items():
            signal.signal(asked, signal.SIG_DFL if handler is None else handler)  # None: no handler of Python's


def _ask_to_stop(asked: int, frame: object) -> None:
    """Remember the first signal; the second one ends the process as it would without us.

    An exception raised here could unwind through XLA's own frames in the middle of a compilation, which ends in a
    segmentation fault (seen with jax 0.10.2); one raised by `stop_if_asked` cannot.
    """
    del frame
    _asked.append(asked)
    signal.signal(asked, signal.SIG_DFL)


def stop_if_asked() -> None:
    """Called by experiments between pieces of work: raises `Interruption` if Ctrl-C or SIGTERM came."""
    if _asked:
        raise Interruption(_asked[0])
