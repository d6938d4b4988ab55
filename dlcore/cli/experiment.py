"""The frame of an experiment: options, a folder, pictures, what was expected, one line of JSON.

An experiment is one flat script: a docstring whose first line is its question, options, and a `main` that
computes, draws, and says what it expected. Everything around that is here.
"""

import contextlib
import dataclasses
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import matplotlib.figure

from dlcore._core.files import atomic_writer
from dlcore._core.types import Device
from dlcore.cli import console, interrupts
from dlcore.cli.main import ExperimentError, checking_options, run_experiment
from dlcore.devices import DeviceName, find_device


@dataclasses.dataclass
class Options:
    """What every experiment can be asked; a subclass adds its own."""

    quick: bool = False
    """A smaller version of the same, to see that it runs."""
    device: DeviceName = "auto"
    """Where to compute; a device that is named and absent is an error."""
    out: Path = Path("runs")
    """Folder for the results."""

    def check(self) -> None:
        """Raise a `ValueError` or a `TypeError` for what the types of the options do not exclude."""


@dataclasses.dataclass
class Run:
    """One run of an experiment, while it lasts.

    Attributes:
      folder: where its files go; it gets its final name when all is written.
      device: where JAX computes.
      expected: what was expected, sentence by sentence, and whether it came so.
      pictures: the names of the files drawn.
    """

    folder: Path
    device: Device
    expected: dict[str, bool] = dataclasses.field(default_factory=dict)
    pictures: list[str] = dataclasses.field(default_factory=list)

    def expect(self, sentence: str, holds: Any) -> None:
        """State an expected result, with the figures in it, and whether it came so. Each sentence once."""
        if sentence in self.expected:
            raise ValueError(f"expect: {sentence!r} was stated before")
        self.expected[sentence] = bool(holds)

    def save(self, figure: matplotlib.figure.Figure, name: str) -> None:
        """Write a figure into the folder; the ending of `name` is its format."""
        with interrupts.held(), atomic_writer(self.folder / name) as file:
            figure.savefig(file, format=Path(name).suffix[1:], dpi=150)
        self.pictures.append(name)


Config = TypeVar("Config", bound=Options)


def run(main: Callable[[Config, Run], dict[str, Any]], options: type[Config], description: str | None) -> None:
    """Run an experiment as a command: read its options, compute, save, show.

    Prints a line for each thing expected and, last, the result as one line of JSON; writes the same JSON and
    the pictures into `out/<name>/<time>`. The process exits with 1 if something expected did not come so.

    Args:
      main: (options, run) to the figures of the result: numbers, strings, lists and dictionaries of them. It
        raises `UsageError` for what the user got wrong and only the computation shows.
      options: `Options` or a dataclass below it.
      description: the docstring of the script.
    """
    name = Path(inspect.getfile(main)).stem
    run_experiment(lambda chosen: _run(main, chosen, name), options, description or "")


def _run(main: Callable[[Config, Run], dict[str, Any]], options: Config, name: str) -> None:
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        with checking_options():
            options.check()
            device = find_device(options.device)
            folder = stack.enter_context(console.run_folder(options.out, name))
        stack.enter_context(jax.default_device(device))
        this = Run(folder, device)
        figures = main(options, this)
        result = {
            "experiment": name,
            "device": console.describe_device(device),
            "quick": options.quick,
            "seconds": round(time.perf_counter() - started, 3),
            **figures,
            "expected": this.expected,
            "pictures": this.pictures,
            "folder": str(console.final_folder(folder)),
        }
        console.write_json(folder / "result.json", result)
    for sentence, holds in this.expected.items():
        print(f"{'as expected' if holds else 'NOT AS EXPECTED'}: {sentence}")
    print(f"Results in {result['folder']}")
    console.print_result(result)
    if not all(this.expected.values()):
        raise ExperimentError("not everything came as expected")
