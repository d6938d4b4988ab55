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


def check_folder(name: str, path: Path) -> Path:
    """Return the absolute path of a folder that can be made: it is absent or empty, and its parent exists."""
    absolute = Path(path).absolute()
    if absolute.is_dir():
        if any(absolute.iterdir()):
            raise ValueError(f"{name}: expected a new or an empty folder, got {str(path)!r}, which has files")
        return absolute
    if absolute.exists() or absolute.is_symlink():
        raise ValueError(f"{name}: expected a folder, got the file {str(path)!r}")
    if not absolute.parent.is_dir():
        raise ValueError(f"{name}: expected a new folder in a folder that exists, got {str(path)!r}")
    return absolute


def checkpoint_of(folder: Path) -> Path:
    """Return the path of the checkpoint of a fit, beside its folder."""
    return check_path("--out", folder.with_name(f"{folder.name}.checkpoint"))


@contextlib.contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, which is renamed to `folder` when the block ends without an error."""
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
            partial.rename(folder)


def write_outputs(folder: Path, result: FitResult) -> None:
    """Write the model, the card, the sweep and the report of a fit."""
    from dlcore.cli.heads.page.html import to_html

    with complete_folder(folder) as partial:
        save_model(result.model, partial / "model.safetensors")
        write_json(partial / "card.json", result.to_json())
        _write_sweep(partial / "sweep.parquet", result)
        files.write_text(partial / "report.html", to_html(result))


def _write_sweep(path: Path, result: FitResult) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(result.rows())
    with files.atomic_writer(path) as file:
        pq.write_table(table, file)
