"""Files that appear whole: a name stands for the old contents or for the new ones, never for a part. No NumPy.

Contents go into a file of a name of its own in the same folder, are forced to the disk, and the file is renamed.
A writer holds a lock on its file, which the system releases when the process ends in any way. A file of a writer
that was killed is therefore known, and the next writer of the same path removes it.
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
from typing import IO, Any

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

LONGEST = 200
"""Bytes of the name of a file that the name of its partial file repeats; most file systems allow 255 in all."""
SWEPT = 32
"""Names at which a writer looks for what killed writers left; more writers of one path at a time are rare."""


def check_path(name: str, path: Any) -> Path:
    """Return the path of a file, there or not, in a folder that is there; a link counts as what it points to."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{name}: expected a path, got {path!r}")
    found = Path(os.fspath(path)).absolute()
    with contextlib.suppress(ValueError):  # a zero byte, of which realpath complains without a name
        if os.path.isdir(os.path.dirname(os.path.realpath(found))) and not os.path.isdir(found):
            return found
    raise ValueError(f"{name}: expected the path of a file in a folder that exists, got {str(path)!r}")


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write into, whose contents take the place of `path` when the block ends.

    Where the block fails, nothing changes. Any number of threads and processes may write one path at a time; the
    last rename stays. A symbolic link stays, and its target is replaced. The owner and the permissions of a file
    that is replaced stay. A device, a FIFO, and the file that standard output or standard error goes into are not
    replaced: when the block ends, all contents are written into them.

    Raises:
      OSError: of the kind that came, naming `path`, if it cannot be written or the disk is full.
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
    """Write a text in UTF-8 with `atomic_writer`; what no Unicode stands for, as in some paths, is escaped."""
    with atomic_writer(path) as file:
        file.write(text.encode(errors="backslashreplace"))


@contextlib.contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, in the same folder, which is removed when the block ends."""
    beside, lock = _claim(path, _make_folder)
    try:
        yield beside
    finally:
        _remove(beside)
        os.close(lock)


def _is_replaceable(path: Path) -> bool:
    """Return whether a rename may replace `path`: a regular file, not standard output, or nothing yet."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and _standard_stream(found) is None


def _standard_stream(found: os.stat_result) -> int | None:
    """Return which of standard output and standard error goes into this file, if one does."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if os.path.samestat(os.fstat(stream), found):
                return stream
    return None


def _open_stream(path: Path) -> int:
    """Open what is not replaced. Standard output goes on behind what it has written so far."""
    found = os.stat(path)
    stream = _standard_stream(found) if stat.S_ISREG(found.st_mode) else None
    return os.open(path, os.O_WRONLY) if stream is None else os.dup(stream)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    beside, descriptor = _claim(path, _make_file)
    own = os.fstat(descriptor)
    with open(descriptor, "wb") as file:
        try:
            _copy_owner_and_mode(path, descriptor)
            yield file
            file.flush()
            os.fsync(descriptor)
            if os.name != "posix":  # an open file cannot be renamed there
                file.close()
            os.replace(beside, path)
        finally:
            if os.name != "posix":
                file.close()
            # Once it is renamed, its first name may be that of another writer's file.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.lstat(beside), own):
                    os.unlink(beside)
    _sync_folder(path.parent)


def _copy_owner_and_mode(path: Path, descriptor: int) -> None:
    """Give a new file the owner and the permissions of the file at `path`, if there is one, as far as allowed."""
    if os.name != "posix":
        return
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(path)
        with contextlib.suppress(OSError):
            os.fchown(descriptor, found.st_uid, found.st_gid)
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, found.st_mode & 0o777)


def _sync_folder(folder: Path) -> None:
    """Force a rename to the disk, where the system can open a folder and sync it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _claim(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Make a file or folder of a fresh name in the folder of `path`, and lock it.

    A name that is taken is passed over, whatever has it: nothing is opened through a link. What killed writers
    left under the first names is removed. So there are never more partial files than there were writers at once.

    Returns:
      Its path, and the descriptor that holds it open and locked.
    """
    name = path.name
    if len(os.fsencode(name)) > LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    partial = f".{name}.dlcore-partial-"
    for number in range(SWEPT):
        _remove_if_abandoned(path.with_name(f"{partial}{number}"))
    for number in itertools.count():
        beside = path.with_name(f"{partial}{number}")
        try:
            descriptor = make(beside)
        except FileExistsError:
            continue
        # Before the lock was set, another writer may have taken it for abandoned.
        if _lock(descriptor) is not False and _is_at(beside, descriptor):
            return beside, descriptor
        os.close(descriptor)
    raise AssertionError  # the numbers do not end


def _make_file(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _make_folder(path: Path) -> int:
    path.mkdir()
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise FileExistsError(path) from error  # another writer took it for abandoned


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_if_abandoned(path: Path) -> None:
    """Remove what a killed writer left at `path`, if anything stands there that no writer has locked.

    Only the holder of the lock on what stands at the name takes that name away, so it cannot be another's.
    """
    if fcntl is None:
        return
    with contextlib.suppress(OSError):  # nothing is there, or it may not be opened or removed
        flags = os.O_RDONLY if path.is_dir() else os.O_WRONLY | os.O_NONBLOCK  # a FIFO would wait for a reader
        descriptor = os.open(path, flags | os.O_NOFOLLOW)
        try:
            kind = os.fstat(descriptor).st_mode
            ours = stat.S_ISREG(kind) or stat.S_ISDIR(kind)
            if ours and _lock(descriptor) and _is_at(path, descriptor):
                _remove(path)
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file or folder; False where another has locked it, None where the file system has no locks."""
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
    """Return whether an open file is what stands at `path`."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False
