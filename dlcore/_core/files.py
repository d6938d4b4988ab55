"""Atomic writes of files: a path holds the old contents or the new contents, never a part. No NumPy.

Contents go into a partial file in the same folder, are forced to the disk, and the file is renamed.
A writer holds a lock on its partial file, which the system releases when the process ends in any way.
A partial file without a lock was left by a killed writer, and the next writer of the same path removes it.
"""

import contextlib
import hashlib
import io
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

MAX_NAME_BYTES = 200
"""The longest file name that the name of a partial file repeats. Most file systems allow 255 bytes in all."""
N_CLEANED = 32
"""The number of partial names at which a writer looks for files of killed writers."""


def check_path(name: str, path: object) -> Path:
    """Return the absolute path of a file in a folder that exists. The file may exist; a link is followed."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{name}: expected a path, got {path!r}")
    absolute = Path(os.fspath(path)).absolute()
    with contextlib.suppress(ValueError):  # a zero byte, which realpath refuses without naming the path
        if os.path.isdir(os.path.dirname(os.path.realpath(absolute))) and not os.path.isdir(absolute):
            return absolute
    raise ValueError(f"{name}: expected the path of a file in a folder that exists, got {str(path)!r}")


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write into. Its contents replace the file at `path` when the block ends.

    If the block fails, nothing changes.
    Any number of threads and processes may write one path at a time. The last rename wins.
    A symbolic link is kept, and its target is replaced. A replaced file keeps its owner and its permissions.
    A device, a FIFO, and the file behind standard output or standard error are not replaced.
    All contents are written into them when the block ends.

    Raises:
      OSError: if the path cannot be written or the disk is full. The error names `path` and keeps its class.
    """
    unchanged = "; what was there is unchanged"
    try:
        if _is_replaceable(path):
            with _replacing(Path(os.path.realpath(path))) as file:
                yield file
        else:
            unchanged, contents = "", io.BytesIO()
            yield contents
            with open(_open_stream(path), "wb") as stream:
                stream.write(contents.getbuffer())
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(f"{path} cannot be written ({reason}){unchanged}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 with `atomic_writer`. Surrogates, which some paths contain, are escaped."""
    with atomic_writer(path) as file:
        file.write(text.encode(errors="backslashreplace"))


@contextlib.contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder in the folder of `path`, which is removed when the block ends."""
    partial, lock = _create_partial(path, _make_folder)
    try:
        yield partial
    finally:
        _remove(partial)
        os.close(lock)


def _is_replaceable(path: Path) -> bool:
    """Return whether a rename may replace `path`: a missing or a regular file, not standard output."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and _standard_stream(status) is None


def _standard_stream(status: os.stat_result) -> int | None:
    """Return the descriptor of standard output or standard error if it writes into this file."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if os.path.samestat(os.fstat(stream), status):
                return stream
    return None


def _open_stream(path: Path) -> int:
    """Open a file that is not replaced. Standard output continues after its last byte."""
    status = os.stat(path)
    stream = _standard_stream(status) if stat.S_ISREG(status.st_mode) else None
    return os.open(path, os.O_WRONLY) if stream is None else os.dup(stream)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    partial, descriptor = _create_partial(path, _make_file)
    partial_status = os.fstat(descriptor)
    with open(descriptor, "wb") as file:
        try:
            _copy_owner_and_mode(path, descriptor)
            yield file
            file.flush()
            os.fsync(descriptor)
            if os.name != "posix":  # an open file cannot be renamed there
                file.close()
            os.replace(partial, path)
        finally:
            if os.name != "posix":
                file.close()
            # After the rename another writer's file may have the partial name.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.lstat(partial), partial_status):
                    os.unlink(partial)
    _sync_folder(path.parent)


def _copy_owner_and_mode(path: Path, descriptor: int) -> None:
    """Copy the owner and the permissions of the file at `path`, if it exists, as far as allowed."""
    if os.name != "posix":
        return
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(path)
        with contextlib.suppress(OSError):
            os.fchown(descriptor, status.st_uid, status.st_gid)
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, status.st_mode & 0o777)


def _sync_folder(folder: Path) -> None:
    """Force a rename to the disk if the system can open a folder and sync it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create_partial(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Create and lock a partial file or folder in the folder of `path`.

    A name that exists is skipped: nothing is opened through a link.
    Partial files of killed writers under the first names are removed.
    The number of partial files therefore never exceeds the largest number of simultaneous writers.

    Returns:
      Its path, and the descriptor that holds it open and locked.
    """
    name = path.name
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    prefix = f".{name}.dlcore-partial-"
    for number in range(N_CLEANED):
        _remove_if_abandoned(path.with_name(f"{prefix}{number}"))
    for number in itertools.count():
        partial = path.with_name(f"{prefix}{number}")
        try:
            descriptor = make(partial)
        except FileExistsError:
            continue
        # Before the lock was set, another writer may have removed it as abandoned.
        if _lock(descriptor) is not False and _is_at(partial, descriptor):
            return partial, descriptor
        os.close(descriptor)
    raise AssertionError  # the numbers do not end


def _make_file(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _make_folder(path: Path) -> int:
    path.mkdir()
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise FileExistsError(path) from error  # another writer removed it as abandoned


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_if_abandoned(path: Path) -> None:
    """Remove the file or folder at `path` if no writer has locked it.

    Only the holder of the lock on a file removes its name, so a file of a running writer is never removed.
    """
    if fcntl is None:
        return
    with contextlib.suppress(OSError):  # it does not exist, or may not be opened or removed
        flags = os.O_RDONLY if path.is_dir() else os.O_WRONLY | os.O_NONBLOCK  # a FIFO would wait for a reader
        descriptor = os.open(path, flags | os.O_NOFOLLOW)
        try:
            mode = os.fstat(descriptor).st_mode
            removable = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
            if removable and _lock(descriptor) and _is_at(path, descriptor):
                _remove(path)
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file or folder. Return False if it is locked, None if the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is the file at `path`."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False
