"""Atomic writes: many writers of one path, links, devices and FIFOs, killed writers, full disks."""

import concurrent.futures
import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from helpers import ROOT, assert_same_heads
from processes import wait_for

from dlcore import Heads, Objective, descent, fit, fit_heads
from dlcore._core.files import atomic_writer, check_path, write_text
from dlcore.cli import console
from dlcore.cli.main import main
from dlcore.losses import squared_error
from dlcore.models import linear

pytestmark = pytest.mark.any_mode

X = np.random.default_rng(0).normal(size=(24, 3))
Y = X @ [1.0, -1.0, 0.5] + 1


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def ridge(**given: Any) -> Heads:
    return fit_heads(X, Y, loss="squared", l2=[0.01, 0.1], folds=2, **given)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# -- many writers of one path ----------------------------------------------------------------------------------


@pytest.mark.parametrize("locks", [True, False])
def test_threads_write_one_path(locks, tmp_path, monkeypatch):
    """File systems without locks work too."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # as often as possible
    if not locks:
        monkeypatch.setattr("fcntl.flock", refuses_locks)
    path = tmp_path / "file"
    texts = [str(number) * 5_000 for number in range(8)]

    def writes(text: str) -> None:
        for _ in range(60):
            write_text(path, text)
            assert path.read_text() in texts

    with concurrent.futures.ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(writes, texts))
    assert names(tmp_path) == ["file"]


def refuses_locks(*arguments: Any) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_nested_writers_of_one_path(tmp_path):
    """The second writer does not remove the partial file of the first as abandoned."""
    path = tmp_path / "file"
    with atomic_writer(path) as first:
        first.write(b"first")
        first.flush()
        with atomic_writer(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


SAVES = """
import concurrent.futures, sys
from dlcore import Heads

path, threads, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
heads = Heads.load(path)

def save(number):
    heads.save(path)
    Heads.load(path)

with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    list(pool.map(save, range(count)))
"""

CALLS = """
import concurrent.futures, sys
import jax
import numpy as np
from dlcore import Objective, descent, fit, fit_heads
from dlcore.losses import squared_error
from dlcore.models import linear

path, threads, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
X = np.random.default_rng(0).normal(size=(24, 3))
Y = X @ [1.0, -1.0, 0.5] + 1
problem = Objective(linear, squared_error, 0.1)

def call(number):
    fit_heads(X, Y, loss="squared", l2=[0.01, 0.1], folds=2, checkpoint=path + ".heads")
    with jax.enable_x64(True):
        fit(problem, (X, Y), descent.adam(0.01), max_steps=20 + number, chunk=5, checkpoint=path + ".fit")

with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    list(pool.map(call, range(count)))
"""


def processes(program: str, *arguments: str | Path | int, count: int) -> None:
    """Run a program in several processes at once. None may fail."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with contextlib.ExitStack() as stack:
        pipes: Any = {"env": environment, "stderr": subprocess.PIPE, "text": True}
        running = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(count)]
        ended = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * count, "\n".join(ended)


@pytest.mark.parametrize(
    ("count", "threads", "saves"),
    [(2, 3, 25), pytest.param(3, 4, 100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_processes_and_threads_save_heads_to_one_path(count, threads, saves, tmp_path):
    heads, path = ridge(), tmp_path / "heads.npz"
    heads.save(path)
    processes(SAVES, path, threads, saves, count=count)
    assert_same_heads(Heads.load(path), heads)
    assert names(tmp_path) == ["heads.npz"]


@pytest.mark.parametrize(
    ("count", "threads", "calls"),
    [(2, 2, 3), pytest.param(3, 3, 15, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_processes_and_threads_share_a_checkpoint(count, threads, calls, tmp_path):
    path = tmp_path / "work"
    processes(CALLS, path, threads, calls, count=count)
    assert names(tmp_path) == ["work.fit", "work.heads"]
    assert_same_heads(ridge(checkpoint=f"{path}.heads"), ridge())
    problem = Objective(linear, squared_error, 0.1)
    ended, alone = (
        fit(problem, (X, Y), descent.adam(0.01), max_steps=60, checkpoint=checkpoint)
        for checkpoint in (f"{path}.fit", None)
    )
    np.testing.assert_array_equal(ended.params.weight, alone.params.weight)


# -- writers that were killed ----------------------------------------------------------------------------------

KILLED = """
import sys, time
from pathlib import Path
from dlcore.cli import console
from dlcore._core.files import atomic_writer

path = Path(sys.argv[1])
with console.run_folder(path.parent, "trial") as folder, atomic_writer(path) as file:
    (folder / "half").write_text("written")
    file.write(b"half")
    file.flush()
    (path.parent / "ready").touch()
    time.sleep(1000)
"""


def test_files_of_killed_writers_are_removed_by_the_next_writer(tmp_path):
    path = tmp_path / "results.json"
    write_text(path, "whole")
    for _ in range(3):
        (tmp_path / "ready").unlink(missing_ok=True)
        command = [sys.executable, "-c", KILLED, str(path)]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
            try:
                wait_for((tmp_path / "ready").exists, process)
            finally:
                process.kill()
        assert process.returncode == -signal.SIGKILL
        assert path.read_text() == "whole"
        assert len(names(tmp_path)) == 4  # one partial file of three killed writers is left
        assert len(names(tmp_path / "trial")) == 1
    write_text(path, "new")
    with console.run_folder(tmp_path, "trial") as folder:
        (folder / "all").write_text("written")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["ready", "results.json", "trial"]
    assert names(tmp_path / "trial") == [folder.name]
    assert names(console.final_folder(folder)) == ["all"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, OSError(errno.ENOSPC, "No space left")])
def test_a_failed_block_changes_nothing(failure, tmp_path):
    path = tmp_path / "file"
    write_text(path, "before")

    def write() -> None:
        with atomic_writer(path) as file:
            file.write(b"after")
            raise failure

    with pytest.raises(failure if isinstance(failure, type) else OSError):
        write()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file"]


def test_simultaneous_runs_are_all_kept(tmp_path):
    def run(text: str) -> None:
        with console.run_folder(tmp_path, "trial") as folder:
            (folder / "text").write_text(text)

    texts = [str(number) for number in range(12)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(run, texts))
    contents = [(folder / "text").read_text() for folder in (tmp_path / "trial").iterdir()]
    assert sorted(contents) == sorted(texts)


# -- links -----------------------------------------------------------------------------------------------------


def test_links_stay_and_their_targets_are_replaced(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "links").mkdir()
    target, link = tmp_path / "data" / "heads.npz", tmp_path / "links" / "latest"
    link.symlink_to(Path("..") / "data" / "heads.npz")
    heads = ridge()
    for _ in range(2):  # missing and existing
        heads.save(check_path("path", link))
        assert link.is_symlink()
        assert target.is_file()
        assert not target.is_symlink()
        assert_same_heads(Heads.load(link), heads)
    assert names(tmp_path / "links") == ["latest"]
    assert names(tmp_path / "data") == ["heads.npz"]


def test_dangling_and_circular_links_are_named(tmp_path):
    (tmp_path / "lost").symlink_to(tmp_path / "absent" / "heads.npz")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(ValueError, match=r"path: expected the path of a file in a folder that exists, got .*lost"):
        ridge().save(tmp_path / "lost")
    with pytest.raises(OSError, match="circle cannot be written"):
        ridge().save(tmp_path / "circle")


def test_a_link_at_a_partial_name_is_not_followed(tmp_path):
    """A file of that name is kept, and a FIFO of that name blocks no writer."""
    path, target = tmp_path / "heads.npz", tmp_path / "mine"
    target.write_text("mine")
    taken = ["heads.npz.partial", *(f".heads.npz.dlcore-partial-{number}" for number in range(3))]
    for name in taken[:-1]:
        (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / taken[-1])
    heads = ridge()
    heads.save(path)
    assert_same_heads(Heads.load(path), heads)
    assert target.read_text() == "mine"
    assert names(tmp_path) == sorted([*taken, "heads.npz", "mine"])


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_of_a_replaced_file_stay(mode, tmp_path):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    write_text(path, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "é" + "x" * 240])
def test_long_names(name, tmp_path):
    write_text(tmp_path / name, "text")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes", 3, None])
def test_an_invalid_path_is_named(path):
    with pytest.raises((ValueError, TypeError), match="checkpoint: expected "):
        check_path("checkpoint", path)


# -- devices and FIFOs -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def read_from(fifo: Path) -> Iterator[list[bytes]]:
    """Make a FIFO and read it in a thread. Its contents are in the list after the block."""
    os.mkfifo(fifo)
    contents: list[bytes] = []
    reader = threading.Thread(target=lambda: contents.append(fifo.read_bytes()), daemon=True)
    reader.start()
    yield contents
    reader.join(60)
    assert not reader.is_alive()


def graph(option: str) -> Callable[[Path], None]:
    return lambda path: main(["graph", "x*(log(3*y) + z**2)", "x=1", "y=2", "z=3", option, str(path)])


def verified(path: Path) -> None:
    main(["verify", "--only", "linalg.trace", "--dtype", "float64", "--json", str(path)])


def benched(option: str) -> Callable[[Path], None]:
    arguments = ["bench", "--quick", "--only", "linalg.vecdot", "--peers", "numpy", option]
    return lambda path: main([*arguments, str(path)])


WRITERS: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "Heads.save": (lambda path: ridge().save(path), b"PK"),
    "graph --svg": (graph("--svg"), b"<svg"),
    "graph --html": (graph("--html"), b"<!DOCTYPE html>"),
    "verify --json": (verified, b"{\n"),
    "bench --json": (benched("--json"), b"{\n"),
    "bench --html": (benched("--html"), b"<!DOCTYPE html>"),
    "write_json": (lambda path: console.write_json(path, {"a": 1}), b"{\n"),
    "write_json_lines": (lambda path: console.write_json_lines(path, iter([{"a": 1}])), b'{"a": 1}\n'),
}


@pytest.mark.parametrize("name", WRITERS)
def test_fifos_devices_and_links_are_written_through(name, tmp_path, capsys):
    """A null device is made in the folder of the test if the system allows it."""
    write, beginning = WRITERS[name]
    fifo, link, device, target = (tmp_path / name for name in ("fifo", "link", "device", "target"))
    with read_from(fifo) as contents:
        write(fifo)
    assert contents[0].startswith(beginning)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    target.write_text("before")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes().startswith(beginning)
    expected = ["fifo", "link", "target"]
    if make_null_device(device):
        write(device)
        assert stat.S_ISCHR(device.stat().st_mode)
        expected = ["device", *expected]
    assert names(tmp_path) == expected


def make_null_device(path: Path) -> bool:
    """Make a null device. Return False if that needs root or the folder allows no devices."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.write_bytes(b"")
    except OSError:
        path.unlink(missing_ok=True)
        return False
    return True


def test_a_failed_block_writes_nothing_to_a_fifo(tmp_path):
    def write() -> None:
        with atomic_writer(tmp_path / "fifo") as file:
            file.write(b"half")
            raise ValueError("changed my mind")

    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="changed my mind"):
        write()  # opening it would wait for a reader for ever


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_fifo_or_device_is_no_checkpoint_and_no_heads(kind, tmp_path):
    """Opening a FIFO for reading would wait for ever."""
    path = tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif not make_null_device(path):
        pytest.skip("no device can be made here")
    problem = Objective(linear, squared_error, 0.1)
    for read in (
        lambda: Heads.load(path),
        lambda: ridge(checkpoint=path),
        lambda: fit(problem, (X, Y), descent.adam(0.01), max_steps=3, checkpoint=path),
    ):
        with pytest.raises(ValueError, match=f"{kind} is damaged, or no .*: it is no regular file"):
            read()


STDOUT = """
import sys
from pathlib import Path
from dlcore._core.files import write_text

print("first", flush=True)
write_text(Path(sys.argv[1]), "second\\n")
print("third", flush=True)
"""


@pytest.mark.parametrize("name", ["stdout", "out"])
@pytest.mark.parametrize("piped", [True, False])
def test_standard_output_is_appended_to(name, piped, tmp_path):
    """`--json /dev/stdout > out` keeps what was printed before and after; the link is made by the test."""
    if not Path("/proc/self/fd/1").exists():
        pytest.skip("standard output has no name here")
    out = tmp_path / "out"
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "stdout").symlink_to("/proc/self/fd/1")
    command = [sys.executable, "-c", STDOUT, str(out if name == "out" else tmp_path / "links" / "stdout")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with out.open("wb") as file:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE if piped else file, check=True)
    if piped and name == "out":
        assert (done.stdout, out.read_bytes()) == (b"first\nthird\n", b"second\n")
    else:
        assert (done.stdout if piped else out.read_bytes()) == b"first\nsecond\nthird\n"
    assert (tmp_path / "links" / "stdout").is_symlink()


def test_a_closed_reader_is_named(tmp_path):
    """The command `dlcore graph … --svg >(head -c 1)` has such a reader."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    def write() -> None:
        with atomic_writer(fifo) as file:
            file.write(b"x" * 1_000_000)
            threading.Thread(target=lambda: (time.sleep(0.2), os.close(reader)), daemon=True).start()

    with pytest.raises(OSError, match=r"fifo cannot be written \(Broken pipe\)$"):
        write()
