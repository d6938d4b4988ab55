"""Reports of a run: a progress bar, a table, a folder, one line of JSON."""

import contextlib
import datetime
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import rich.box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dlcore._files import partial_folder, write_text
from dlcore._types import Device

FAILED, WRONG_USE = 1, 2
"""Exit statuses: the work did not come out, and what was asked for cannot be done (as tyro has it for options)."""

TABLE_WIDTH = 100
"""Columns of a table where the output is no terminal."""


@contextlib.contextmanager
def run_folder(out: Path, experiment: str) -> Iterator[Path]:
    """A new folder `out/experiment/<time>` that appears whole at the end, or not at all.

    Yields:
      A folder to write into. It is renamed when the block ends, and removed when the block fails.

    Raises:
      OSError: if the folder cannot be made; before anything is computed.
    """
    parent = Path(out) / experiment
    stamp = datetime.datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
    with contextlib.ExitStack() as stack:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(partial_folder(parent / "run")) / stamp
            partial.mkdir()
        except OSError as error:
            raise type(error)(
                f"out: the folder {parent} cannot be written ({error.strerror}); name another"
            ) from error
        yield partial
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        _rename(partial, parent / stamp)


def final_folder(partial: Path) -> Path:
    """The name that a folder of `run_folder` has once it is whole, if no other run takes it first."""
    return partial.parent.parent / partial.name


def _rename(partial: Path, final: Path) -> None:
    """Rename to `final`, or to `final`-2, -3, … where another run ended in the same second."""
    for attempt in range(1, 1000):
        try:
            partial.rename(final if attempt == 1 else final.with_name(f"{final.name}-{attempt}"))
        except OSError:
            if not final.exists():
                raise
        else:
            return
    raise FileExistsError(f"out: {final} and 998 others exist")


def write_json(path: Path, value: Any) -> None:
    """One JSON document, readable by a person; whole or not at all, as by `write_text`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """One JSON document a line; whole or not at all, as by `write_text`."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def fail(message: str, status: int) -> NoReturn:
    """End the process with a line on standard error and an exit status."""
    print(message, file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a progress bar on standard error where that is a terminal; standard output carries results alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """A table on standard output, the first column left and the others right, with lines of text below."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=TABLE_WIDTH)
    table = Table(
        title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def print_result(result: dict[str, Any]) -> None:
    """The result as one line of JSON, the last on standard output."""
    print(json.dumps(result, ensure_ascii=False, allow_nan=False), flush=True)


def describe_device(device: Device) -> str:
    """A device in words: what it is, and its place among JAX's devices."""
    return f"{device.device_kind} ({device})"
