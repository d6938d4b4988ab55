"""Exit status, error message and cleanup of a command, also after a signal.

This module imports the standard library alone. A signal must find its handler before NumPy and JAX are imported.
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
"""Exit statuses of failed work, of a wrong request (the same as tyro's), and of SIGPIPE in a shell."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a process to clean up and end."""

RESPONSE_SECONDS = 1.0
"""Time in which the main thread should answer a signal; compiled code may block it for longer."""

_program = "dlcore"
_cleanups: list[Callable[[], None]] = []
_n_deferrals = 0
_pending_signal: int | None = None


def fail(message: str, status: int) -> NoReturn:
    """End the process with a line on standard error and an exit status."""
    print(message, file=sys.stderr)
    sys.exit(status)


def warn(message: str) -> None:
    """Print a line on standard error that begins with the name of the program."""
    print(f"{_program}: {message}", file=sys.stderr)


@contextlib.contextmanager
def exit_on_error(*wrong_use: type[Exception]) -> Iterator[None]:
    """End the process with one line when the block raises `wrong_use` or an `OSError`.

    A closed pipe is not a failure: its `BrokenPipeError` passes through.
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
def require_extra(extra: str, feature: str = "it") -> Iterator[None]:
    """End the process when the block imports a missing package, and name the package and its extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "dlcore":
            raise
        install = f"pip install 'dlcore-jax[{extra}]'"
        fail(f"{_program}: {feature} needs {error.name}; install it with: {install}", FAILED)


def write_error(text: bytes) -> None:
    """Write to standard error directly: a signal may arrive while Python's buffer is being written."""
    with contextlib.suppress(OSError):
        os.write(2, text)


def set_program_name(program: str) -> None:
    """Set the name that begins each error message."""
    global _program
    _program = program


@contextlib.contextmanager
def cleanup_on_signal(cleanup: Callable[[], None]) -> Iterator[None]:
    """Call `cleanup` before a signal ends the process inside the block; `cleanup` must not raise."""
    _cleanups.append(cleanup)
    try:
        yield
    finally:
        _cleanups.remove(cleanup)


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Delay signals until the end of the block, for example while a file is written."""
    global _n_deferrals
    _n_deferrals += 1
    try:
        yield
    finally:
        _n_deferrals -= 1
        if _pending_signal is not None and not _n_deferrals:
            _end(_pending_signal)


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """End the process with one line on a signal; restore the caller's handlers after the block."""
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    _set_handlers()
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)  # None: not a Python handler


def run_process(command: Callable[[], None]) -> NoReturn:
    """Run a command as the whole of this process, and end the process.

    - A signal ends the process at any moment with one line and the status 128 + its number. The handler raises no
      exception. An exception could unwind through XLA's own frames, which is a segmentation fault (jax 0.10.2).
      It could also vanish in a callback whose exceptions Python ignores.
    - Characters that standard output cannot encode become question marks.
    - A closed pipe ends the process quietly with the status 141.
    - The interpreter is not torn down. That takes a quarter of a second in which a signal would be lost.
    """
    _set_handlers()
    _start_watchdog()
    _open_streams()
    try:
        command()
        status = 0
    except SystemExit as error:
        status = _exit_status(error)
    except BrokenPipeError:
        status = CLOSED_PIPE
    except KeyboardInterrupt:
        _end(signal.SIGINT)
    _finish(status)


def _open_streams() -> None:
    """Make standard output accept every character, and replace closed streams by the null device."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file of the command takes the number
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]


def _finish(status: int) -> NoReturn:
    """Run the exit handlers, flush the output and end the process."""
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


def _exit_status(error: SystemExit) -> int:
    """Return the exit status of a `SystemExit`, and print its message as Python does."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return FAILED


def _set_handlers() -> None:
    """Set the handler of every signal that is not ignored; a shell ignores SIGINT for background jobs."""
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _handle_signal)


def _handle_signal(signum: int, frame: object) -> None:
    """End the process, or remember the signal while signals are deferred."""
    global _pending_signal
    del frame
    if _n_deferrals:
        _pending_signal = signum
    else:
        _end(signum)


def _start_watchdog() -> None:
    """Start a thread that ends the process when compiled code blocks the main thread after a signal."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    threading.Thread(target=_watch_signals, args=(read_end,), daemon=True).start()


def _watch_signals(read_end: int) -> None:
    """End the process when the main thread has not answered a signal in time."""
    while True:
        for signum in os.read(read_end, 64):
            if signal.getsignal(signum) is _handle_signal:
                time.sleep(RESPONSE_SECONDS)
                while _n_deferrals:
                    time.sleep(RESPONSE_SECONDS)
                _end(signum)


def _end(signum: int) -> NoReturn:
    """Clean up, print one line and end the process, from any thread."""
    for cleanup in reversed(_cleanups):
        cleanup()
    write_error(f"{_program}: interrupted\n".encode("ascii", "backslashreplace"))
    os._exit(128 + signum)
