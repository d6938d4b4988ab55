"""Reports of a run: a progress bar, a table, a folder, one line of JSON."""

import contextlib
import datetime
import functools
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rich.box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dlcore._core import files
from dlcore._core.types import Device
from dlcore.cli import interrupts

CLEAR_LINE = b"\r\x1b[2K\x1b[?25h"
"""The sequence that clears the line of a progress bar and shows the cursor."""

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
            beside = stack.enter_context(files.partial_folder(parent / "run"))
            stack.enter_context(
                interrupts.cleaning_up(functools.partial(shutil.rmtree, beside, ignore_errors=True))
            )
            partial = beside / stamp
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


def write_text(path: Path, text: str) -> None:
    """Write a text as `_files.write_text` does; a signal waits until the file is whole."""
    with interrupts.held():
        files.write_text(path, text)


def write_json(path: Path, value: Any) -> None:
    """One JSON document, readable by a person; whole or not at all, as by `write_text`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """One JSON document a line; whole or not at all, as by `write_text`."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


class _Console(Console):
    """A console on which a closed pipe is an error to pass on, not an exit with the status 1."""

    def on_broken_pipe(self) -> None:
        """Pass the `BrokenPipeError` on."""
        raise


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a progress bar on standard error where that is a terminal; standard output carries results alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = _Console(stderr=True)
    show_cursor = CLEAR_LINE if console.is_terminal else b""
    with (
        interrupts.cleaning_up(lambda: interrupts.write_error(show_cursor)),
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        yield progress


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """A table on standard output, the first column left and the others right, with lines of text below."""
    console = _Console()
    if not console.is_terminal:
        console = _Console(width=TABLE_WIDTH)
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
    """The result as one line of JSON, the last on standard output; escaped where that cannot encode it."""
    line = json.dumps(result, ensure_ascii=False, allow_nan=False)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(result, allow_nan=False)
    print(line, flush=True)


def describe_device(device: Device) -> str:
    """A device in words: what it is, and its place among JAX's devices."""
    return f"{device.device_kind} ({device})"
