"""Frame of the experiments: options, a folder of results, pictures, expectations, one line of JSON.

An experiment is one flat script. The first line of its docstring is its question. It has a dataclass of options,
and a `main` that computes, draws and states what it expects. This module does the rest.
"""

import contextlib
import dataclasses
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import matplotlib.figure
import numpy as np
import tyro

from dlcore._core.files import atomic_writer
from dlcore._core.types import Device
from dlcore.cli import console, interrupts
from dlcore.cli.cache import cached_programs
from dlcore.devices import DeviceName, find_device

Result = dict[str, Any]
"""Result of an experiment: numbers, strings, lists and dictionaries of them, by name."""


class UsageError(Exception):
    """Error in a user's request; the message says what is possible."""


@dataclasses.dataclass
class Options:
    """Options of every experiment; a subclass adds its own."""

    quick: bool = False
    """Run a smaller version, to see that it works."""
    device: DeviceName = "auto"
    """Device to compute on; a named device that is absent is an error."""
    out: Path = Path("runs")
    """Folder for the results."""

    def check(self) -> None:
        """Raise a `ValueError` or a `TypeError` for values that the types of the options allow wrongly."""


@dataclasses.dataclass
class Run:
    """One run of an experiment, passed to its `main`.

    Attributes:
      folder: where files are written; it gets its final name when everything is written.
      device: where JAX computes.
      expected: each expectation, a sentence, and whether it was met.
      pictures: names of the files drawn.
    """

    folder: Path
    device: Device
    expected: dict[str, bool] = dataclasses.field(default_factory=dict)
    pictures: list[str] = dataclasses.field(default_factory=list)

    def expect(self, sentence: str, holds: bool | np.bool | jax.Array) -> None:
        """State an expected result, with its figures, and whether it holds; each sentence only once."""
        if sentence in self.expected:
            raise ValueError(f"expect: {sentence!r} was stated before")
        self.expected[sentence] = bool(holds)

    def save(self, figure: matplotlib.figure.Figure, name: str) -> None:
        """Write a figure into the folder; the suffix of `name` is its format."""
        with interrupts.defer_signals(), atomic_writer(self.folder / name) as file:
            figure.savefig(file, format=Path(name).suffix[1:], dpi=150)
        self.pictures.append(name)


Config = TypeVar("Config", bound=Options)


def run(main: Callable[[Config, Run], Result], options: type[Config], description: str | None) -> None:
    """Run an experiment as a command: read its options, compute, save, print.

    It prints a line for each expectation and, last, the result as one line of JSON. It writes the same JSON and
    the pictures into `out/<name>/<time>`. The process exits with 1 if an expectation was not met. An error of the
    user ends it with one line instead of a traceback.

    Args:
      main: maps (options, run) to the results. It raises `UsageError` for a wrong request that only
        the computation reveals.
      options: `Options` or a subclass; the string under each field is its help.
      description: the docstring of the script, shown by --help.
    """
    name = Path(inspect.getfile(main)).stem
    program = f"dlcore run {Path(sys.argv[0]).stem}"
    interrupts.set_program_name(program)
    with interrupts.exit_on_signals():
        config = tyro.cli(options, prog=program, description=description or "")
        with interrupts.exit_on_error(UsageError):
            as_expected = _run(main, config, name)
        if not as_expected:
            interrupts.fail(f"{program}: not everything came as expected", interrupts.FAILED)


def _run(main: Callable[[Config, Run], Result], options: Config, name: str) -> bool:
    """Run an experiment, save and print its result, and return whether every expectation was met."""
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        with _raise_usage_error():
            options.check()
            device = find_device(options.device)
            folder = stack.enter_context(console.run_folder(options.out, name))
        stack.enter_context(cached_programs())
        stack.enter_context(jax.default_device(device))
        current = Run(folder, device)
        values = main(options, current)
        result = {
            "experiment": name,
            "device": console.describe_device(device),
            "quick": options.quick,
            "seconds": round(time.perf_counter() - start, 3),
            **values,
            "expected": current.expected,
            "pictures": current.pictures,
            "folder": str(console.final_folder(folder)),
        }
        console.write_json(folder / "result.json", result)
    for sentence, holds in current.expected.items():
        print(f"{'as expected' if holds else 'NOT AS EXPECTED'}: {sentence}")
    print(f"Results in {result['folder']}")
    console.print_result(result)
    return all(current.expected.values())


@contextlib.contextmanager
def _raise_usage_error() -> Iterator[None]:
    """Convert a wrong value, or a folder that cannot be written, into a `UsageError`."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(str(error)) from error
