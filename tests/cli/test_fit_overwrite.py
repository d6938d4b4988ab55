"""`dlcore fit --overwrite`: nothing is lost unless asked for, and a fit that breaks off leaves the old files."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from processes import TIMEOUT_S, call, user_environment

from dlcore.cli.heads.outputs import check_folder, complete_folder

FILES = {"model.safetensors", "card.json", "sweep.parquet", "report.html"}
N, M = 60, 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, M))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """Return a folder with a table and a fit of the penalty 0.5."""
    root = tmp_path_factory.mktemp("overwrite")
    np.savez(root / "t.npz", x=X, y=(X[:, 0] + RNG.normal(size=N) > 0).astype(int))
    done = call(*arguments(root, "0.5"))
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def root(fitted, tmp_path) -> Path:
    """Return a copy of the table and its fit."""
    shutil.copytree(fitted, tmp_path / "root")
    return tmp_path / "root"


def arguments(root: Path, l2: str, *options: str, out: str = "out") -> list[str]:
    fixed = ["fit", root / "t.npz", "--target", "y", "--folds", "0", "--l2", l2, "--out", root / out]
    return [*map(str, fixed), *options]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def penalty(folder: Path) -> float:
    return json.loads((folder / "card.json").read_text())["chosen"]["l2"]


def test_a_fit_is_replaced_only_if_asked_for(root):
    before = contents(root / "out")
    done = call(*arguments(root, "0.25"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "which has files; --overwrite replaces those of a fit" in done.stderr
    assert contents(root / "out") == before
    done = call(*arguments(root, "0.25", "--overwrite"))
    assert done.returncode == 0, done.stderr
    assert penalty(root / "out") == 0.25
    assert set(contents(root / "out")) == FILES
    assert sorted(os.listdir(root)) == ["out", "t.npz"]


def test_a_new_and_an_empty_folder_are_written_too(root):
    (root / "empty").mkdir()
    for name in ("new", "empty"):
        assert call(*arguments(root, "0.25", "--overwrite", out=name)).returncode == 0
        assert set(contents(root / name)) == FILES


def test_a_folder_with_another_file_is_refused(root):
    (root / "out" / "notes.txt").write_text("mine")
    before = contents(root / "out")
    done = call(*arguments(root, "0.25", "--overwrite"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a folder with the files of a fit only" in done.stderr
    assert "which has 'notes.txt'" in done.stderr
    assert contents(root / "out") == before


def test_a_file_that_comes_during_the_fit_is_not_lost(root):
    with contextlib.ExitStack() as stack:
        partial = stack.enter_context(complete_folder(root / "out"))
        (partial / "card.json").write_text("new")
        (root / "out" / "notes.txt").write_text("mine")
        with pytest.raises(ValueError, match=r"which has 'notes\.txt'"):
            stack.close()
    assert set(contents(root / "out")) == {*FILES, "notes.txt"}
    assert penalty(root / "out") == 0.5


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions and links")
def test_permissions_and_links_are_kept(root):
    (root / "out").chmod(0o700)
    (root / "out" / "card.json").chmod(0o600)
    (root / "link").symlink_to("out", target_is_directory=True)
    assert call(*arguments(root, "0.25", "--overwrite", out="link")).returncode == 0
    assert (root / "link").is_symlink()
    assert penalty(root / "out") == 0.25
    assert (root / "out").stat().st_mode & 0o777 == 0o700
    assert (root / "out" / "card.json").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(root)) == ["link", "out", "t.npz"]


def test_an_error_leaves_the_old_fit(root, monkeypatch):
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    before = contents(root / "out")
    monkeypatch.setattr("dlcore.cli.heads.outputs._write_sweep", fail)
    done = call(*arguments(root, "0.25", "--overwrite"))
    assert done.returncode == 1
    assert contents(root / "out") == before
    assert sorted(os.listdir(root)) == ["out", "out.checkpoint", "t.npz"]


def test_an_error_of_the_second_rename_puts_the_old_fit_back(root, monkeypatch):
    before, rename = contents(root / "out"), Path.rename

    def fail(path: Path, target: Path) -> Path:
        if "dlcore-partial" in str(path):
            raise OSError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    assert call(*arguments(root, "0.25", "--overwrite")).returncode == 1
    assert contents(root / "out") == before
    assert sorted(os.listdir(root)) == ["out", "out.checkpoint", "t.npz"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_fit_that_was_set_aside_is_put_back(overwrite, root):
    """A process that was killed between two renames leaves the old fit beside its folder."""
    before = contents(root / "out")
    (root / "out").rename(root / ".out.dlcore-replaced")
    if overwrite:
        assert check_folder("--out", root / "out", overwrite=True) == (root / "out").resolve()
    else:
        with pytest.raises(ValueError, match="expected a new or an empty folder"):
            check_folder("--out", root / "out")
    assert contents(root / "out") == before


def test_the_rest_of_a_killed_process_is_removed(root):
    (root / ".out.dlcore-replaced").mkdir()
    (root / ".out.dlcore-replaced" / "card.json").write_text("older")
    assert call(*arguments(root, "0.25", "--overwrite")).returncode == 0
    assert penalty(root / "out") == 0.25
    assert sorted(os.listdir(root)) == ["out", "t.npz"]


KILLED = """
import os, pathlib, signal, sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent process may ignore it

from dlcore.__main__ import main
from dlcore.cli.heads import outputs

number, place = int(sys.argv.pop(1)), sys.argv.pop(1)
write_sweep, rename = outputs._write_sweep, pathlib.Path.rename


def kill(*arguments):
    if place == "write":
        os.kill(os.getpid(), number)
    return write_sweep(*arguments)


def rename_and_kill(path, target):
    found = rename(path, target)
    if place == "rename" and "dlcore-replaced" in str(target):
        os.kill(os.getpid(), number)
    return found


outputs._write_sweep, pathlib.Path.rename = kill, rename_and_kill
main()
"""
"""Program that runs `dlcore` and sends itself a signal while it writes the files, or between two renames."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child")
@pytest.mark.parametrize(
    ("number", "place"),
    [
        (signal.SIGINT, "write"),
        (getattr(signal, "SIGKILL", 9), "write"),
        (signal.SIGINT, "rename"),
        (getattr(signal, "SIGKILL", 9), "rename"),
    ],
)
def test_a_killed_fit_leaves_one_whole_fit(number, place, root):
    before = contents(root / "out")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(int(number)), place, *arguments(root, "0.25", "--overwrite")],
        cwd=ROOT,
        env=user_environment(PYTHONPATH=str(ROOT)),
        text=True,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    is_interrupted = number == signal.SIGINT
    assert killed.returncode == (128 + number if is_interrupted else -number), killed.stderr
    if is_interrupted and place == "rename":  # the signal waits for the second rename
        assert penalty(root / "out") == 0.25
        assert set(contents(root / "out")) == FILES
    else:
        check_folder("--out", root / "out", overwrite=True)
        assert contents(root / "out") == before
    done = call(*arguments(root, "0.25", "--overwrite"))
    assert done.returncode == 0, done.stderr
    assert penalty(root / "out") == 0.25
    assert sorted(os.listdir(root)) == ["out", "t.npz"]
