"""The files of a fit: a folder that appears complete, or not at all."""

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dlcore._core import files
from dlcore._core.files import check_path
from dlcore.cli import interrupts
from dlcore.cli.console import write_json
from dlcore.cli.heads.result import FitResult
from dlcore.export import save_model

FILES = MODEL, CARD, SWEEP, REPORT = "model.safetensors", "card.json", "sweep.parquet", "report.html"
"""The files of a fit."""


def check_folder(
    name: str, path: Path, *, overwrite: bool = False, known: tuple[str, ...] = FILES, what: str = "a fit"
) -> Path:
    """Return the absolute path of a folder that can be made: it is absent or empty, and its parent exists.

    A fit that an earlier command was killed while replacing is put back first.

    Args:
      name: the name of the option, for messages.
      path: the folder. A link to a folder is followed.
      overwrite: whether the folder may hold files of an earlier command.
      known: the names of these files.
      what: the kind of command that wrote them, for messages.
    """
    absolute = Path(path).absolute()
    _restore_replaced(absolute)
    if absolute.is_dir():
        absolute = Path(os.path.realpath(absolute))
        names = sorted(file.name for file in absolute.iterdir())
        if names and not overwrite:
            raise ValueError(
                f"{name}: expected a new or an empty folder, got {str(path)!r}, which has files; "
                f"--overwrite replaces those of {what}"
            )
        _check_replaceable(name, path, names, known, what)
        return absolute
    if absolute.exists() or absolute.is_symlink():
        raise ValueError(f"{name}: expected a folder, got the file {str(path)!r}")
    if not absolute.parent.is_dir():
        raise ValueError(f"{name}: expected a new folder in a folder that exists, got {str(path)!r}")
    return absolute


def _check_replaceable(name: str, path: Path, names: list[str], known: tuple[str, ...], what: str) -> None:
    """Raise a `ValueError` if a folder holds anything but known files, which a replacement would lose."""
    others = [other for other in names if other not in known]
    if others:
        raise ValueError(
            f"{name}: expected a folder with the files of {what} only, got {str(path)!r}, which has {others[0]!r}"
        )


def checkpoint_of(folder: Path) -> Path:
    """Return the path of the checkpoint of a fit, beside its folder."""
    return check_path("--out", folder.with_name(f"{folder.name}.checkpoint"))


@contextlib.contextmanager
def complete_folder(folder: Path, *, known: tuple[str, ...] = FILES, what: str = "a fit") -> Iterator[Path]:
    """Yield a folder to write into, which replaces `folder` when the block ends without an error.

    Args:
      folder: the folder, which may hold files of an earlier command.
      known: the names of these files.
      what: the kind of command that wrote them, for messages.
    """
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(files.partial_folder(folder))
        stack.enter_context(
            interrupts.cleanup_on_signal(functools.partial(shutil.rmtree, container, ignore_errors=True))
        )
        partial = container / folder.name
        partial.mkdir()
        yield partial
        for path in partial.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        with interrupts.defer_signals():
            _replace(partial, folder, known, what)


def _replace(partial: Path, folder: Path, known: tuple[str, ...], what: str) -> None:
    """Rename a folder to `folder`, and remove the fit that was there.

    The fit that was there is set aside first. A process that is killed between the two renames leaves it there,
    and `_restore_replaced` puts it back.
    """
    replaced = _replaced_path(folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        partial.rename(folder)
        return
    _check_replaceable("--out", folder, sorted(file.name for file in folder.iterdir()), known, what)
    for new, old in ((partial, folder), *((path, folder / path.name) for path in partial.iterdir())):
        if old.exists():
            shutil.copymode(old, new)
    shutil.rmtree(replaced, ignore_errors=True)  # of a process that was killed after both renames
    folder.rename(replaced)
    try:
        partial.rename(folder)
    except BaseException:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _replaced_path(folder: Path) -> Path:
    """Return the path to which a fit is set aside while another replaces it."""
    return folder.with_name(f".{folder.name}.dlcore-replaced")


def _restore_replaced(folder: Path) -> None:
    """Put a fit back that was set aside, if its folder is absent."""
    replaced = _replaced_path(folder)
    if replaced.is_dir() and not os.path.lexists(folder):
        replaced.rename(folder)


def write_outputs(folder: Path, result: FitResult) -> None:
    """Write the model, the card, the sweep and the report of a fit."""
    from dlcore.cli.heads.page.html import to_html

    with complete_folder(folder) as partial:
        save_model(result.model, partial / MODEL)
        write_json(partial / CARD, result.to_json())
        _write_sweep(partial / SWEEP, result)
        files.write_text(partial / REPORT, to_html(result))


def _write_sweep(path: Path, result: FitResult) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(result.rows())
    with files.atomic_writer(path) as file:
        pq.write_table(table, file)
