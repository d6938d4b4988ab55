"""The end of a command: its status, one line on standard error, and nothing left behind.

Standard library alone: a signal must find its handler before NumPy and JAX are imported.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

FAILED, WRONG_USE, CLOSED_PIPE = 1, 2, 141
"""Exit statuses: of failed work, of a request that cannot be done (as tyro has it), and of SIGPIPE in a shell."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that ask a process to end and let it tidy up first."""

PATIENCE = 1.0
"""Seconds in which the main thread should answer a signal; compiled code may keep it for longer."""

_program = "dlcore"
_cleanups: list[Callable[[], None]] = []
_held = 0
_asked: int | None = None


def fail(message: str, status: int) -> NoReturn:
    """End the process with a line on standard error and an exit status."""
    print(message, file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def failing_in_one_line(*wrong_use: type[Exception]) -> Iterator[None]:
    """End the process with the program and one line where the block raises `wrong_use` or an `OSError`.

    A closed pipe is no failure of the work: its `BrokenPipeError` passes through.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except wrong_use as error:
        fail(f"{_program}: {error}", WRONG_USE)
    except OSError as error:  # a full disk, a folder that went away
        fail(f"{_program}: {error}", FAILED)


@contextlib.contextmanager
def needing(extra: str, what: str = "it") -> Iterator[None]:
    """End the process where the block imports a package that is not installed, and name it and its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "dlcore":
            raise
        fail(f"{_program}: {what} needs {error.name}; install it with: pip install 'dlcore-jax[{extra}]'", FAILED)


def write_error(text: bytes) -> None:
    """Write to standard error past Python's buffer, in the middle of which a signal may come."""
    with contextlib.suppress(OSError):
        os.write(2, text)


def name_program(program: str) -> None:
    """Set the words at the beginning of a line on standard error."""
    global _program
    _program = program


@contextlib.contextmanager
def cleaning_up(cleanup: Callable[[], None]) -> Iterator[None]:
    """Call `cleanup` before a signal ends the process inside the block; it must not raise."""
    _cleanups.append(cleanup)
    try:
        yield
    finally:
        _cleanups.remove(cleanup)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let a signal wait until the end of the block, such as the writing of a file."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if _asked is not None and not _held:
            _end(_asked)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let a signal end the process with one line; restore the handlers of the caller after the block."""
    before = {asked: signal.getsignal(asked) for asked in SIGNALS}
    _handle()
    try:
        yield
    finally:
        for asked, handler in before.items():
            signal.signal(asked, signal.SIG_DFL if handler is None else handler)  # None: no handler of Python's


def run_process(command: Callable[[], None]) -> NoReturn:
    """Run a command as the whole of this process, and end it.

    - A signal ends the process at any moment with one line and the status 128 + its number. The handler raises no
      exception: one could unwind through XLA's own frames, which is a segmentation fault (jax 0.10.2), or vanish
      in a callback whose exceptions Python ignores.
    - Characters that standard output cannot encode become question marks.
    - A closed pipe ends the process quietly with the status 141.
    - The interpreter is not torn down. That takes a quarter of a second in which a signal would be lost.
    """
    _handle()
    _watch()
    _open_streams()
    try:
        command()
        status = 0
    except SystemExit as ended:
        status = _status_of(ended)
    except BrokenPipeError:
        status = CLOSED_PIPE
    except KeyboardInterrupt:
        _end(signal.SIGINT)
    _finish(status)


def _open_streams() -> None:
    """Let standard output take any character, and let output that was closed before Python began go nowhere."""
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file of the command would take the number
        pass
    os.close(file)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]


def _finish(status: int) -> NoReturn:
    """End the process when all is written and every exit handler has run."""
    import atexit

    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = CLOSED_PIPE
    except OSError as error:
        if status == 0:
            write_error(f"{_program}: {error}\n".encode("ascii", "backslashreplace"))
            status = FAILED
    os._exit(status)


def _status_of(ended: SystemExit) -> int:
    """Return the exit status of a `SystemExit`, and print its message as Python does."""
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return FAILED


def _handle() -> None:
    """Set the handler of every signal that is not ignored, as those of a job in the background are."""
    for asked in SIGNALS:
        if signal.getsignal(asked) is not signal.SIG_IGN:
            signal.signal(asked, _answer)


def _answer(asked: int, frame: object) -> None:
    """End the process, unless a block of `held` is under way."""
    global _asked
    del frame
    if _held:
        _asked = asked
    else:
        _end(asked)


def _watch() -> None:
    """Start a thread that ends the process where compiled code keeps the main thread from answering a signal."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_answer_late, args=(reading,), daemon=True).start()


def _answer_late(reading: int) -> None:
    while True:
        for asked in os.read(reading, 64):
            if signal.getsignal(asked) is _answer:
                time.sleep(PATIENCE)
                while _held:
                    time.sleep(PATIENCE)
                _end(asked)


def _end(asked: int) -> NoReturn:
    """Tidy up, say so and end, from any thread."""
    for cleanup in reversed(_cleanups):
        cleanup()
    write_error(f"{_program}: interrupted\n".encode("ascii", "backslashreplace"))
    os._exit(128 + asked)
