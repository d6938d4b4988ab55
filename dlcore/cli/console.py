"""Output of a run: a progress bar, a table, a folder of results, one line of JSON."""

import contextlib
import datetime
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import rich.box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from dlcore._core import files
from dlcore._core.types import Device
from dlcore.cli import interrupts

CLEAR_LINE = b"\r\x1b[2K\x1b[?25h"
"""Escape sequence that clears the line of a progress bar and shows the cursor."""

TABLE_WIDTH = 100
"""Width of a table, in columns, when the output is not a terminal."""

ShowWork: TypeAlias = Callable[[str, int, int], None]
"""A function of (work, done, total) that shows progress."""


@contextlib.contextmanager
def run_folder(out: Path, experiment: str) -> Iterator[Path]:
    """Create a folder `out/experiment/<time>` that appears at the end, complete, or not at all.

    Yields:
      A folder to write into. It is renamed when the block ends, and removed when the block fails.

    Raises:
      OSError: if the folder cannot be created; it is raised before anything is computed.
    """
    parent = Path(out) / experiment
    stamp = datetime.datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
    with contextlib.ExitStack() as stack:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            container = stack.enter_context(files.partial_folder(parent / "run"))
            remove = functools.partial(shutil.rmtree, container, ignore_errors=True)
            stack.enter_context(interrupts.cleanup_on_signal(remove))
            partial = container / stamp
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
    """Return the final name of a folder of `run_folder`, unless another run takes that name first."""
    return partial.parent.parent / partial.name


def _rename(partial: Path, final: Path) -> None:
    """Rename to `final`, or to `final`-2, -3, … when another run ended in the same second."""
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
    """Write a text file atomically; a signal waits until the file is complete."""
    with interrupts.defer_signals():
        files.write_text(path, text)


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON document atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one JSON document per line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


class _Console(Console):
    """Console that raises the error of a closed pipe instead of exiting with status 1."""

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` again."""
        raise


@contextlib.contextmanager
def progress_bar(*, shows_remaining: bool = False) -> Iterator[Progress]:
    """Show a progress bar on standard error if that is a terminal; standard output carries only results."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    columns += [TextColumn("left"), TimeRemainingColumn()] if shows_remaining else []
    console = _Console(stderr=True)
    show_cursor = CLEAR_LINE if console.is_terminal else b""
    with (
        interrupts.cleanup_on_signal(lambda: interrupts.write_error(show_cursor)),
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        yield progress


@contextlib.contextmanager
def progress_counter(name: str) -> Iterator[Callable[[str], None]]:
    """Show a progress bar of unknown length; calling the result with a description advances the bar."""
    with progress_bar() as progress:
        task = progress.add_task(name, total=None)
        yield lambda description: progress.update(task, advance=1, description=description)


def ignore_work(work: str, done: int, total: int) -> None:
    """Show nothing: the `ShowWork` of a caller that has no terminal."""


@contextlib.contextmanager
def work_progress() -> Iterator[ShowWork]:
    """Show a bar with the time left for each kind of work; the result is called with (work, done, total)."""
    with progress_bar(shows_remaining=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(work: str, done: int, total: int) -> None:
            if work not in tasks:
                tasks[work] = progress.add_task(work, total=total)
            progress.update(tasks[work], completed=done, total=total)

        yield show


def print_table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()
) -> None:
    """Print a table and lines of text below it; the first column is left-aligned, the others are right-aligned."""
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


def print_result(result: Mapping[str, object]) -> None:
    """Print the result as one line of JSON, escaped when standard output cannot encode it."""
    line = json.dumps(result, ensure_ascii=False, allow_nan=False)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(result, allow_nan=False)
    print(line, flush=True)


def describe_device(device: Device) -> str:
    """Return the kind of a device and its name in JAX."""
    return f"{device.device_kind} ({device})"
