"""Process of one part: it runs a function and saves its result as it grows.

Command: python -m on_device.child MODULE:FUNCTION NAME DEVICE full|small FILE, with a pipe as standard input.
The process ends when the pipe is closed, as when the process that began it is killed.
"""

import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from on_device.document import JsonObject, write_json

SAVE_EVERY_S = 1.0


class Request(NamedTuple):
    """Request for a part.

    Attributes:
      name: the name of the part.
      device: the name of the device, see `dlcore.devices.find_device`.
      small: whether sizes are too small for any conclusion.
    """

    name: str
    device: str
    small: bool


Save = Callable[[JsonObject], None]
"""A function that saves an incomplete result."""


class Report:
    """Result of a part in a file, with the device that it is of."""

    def __init__(self, path: Path, part: str, device: str) -> None:
        self._path, self._part, self._device = path, part, device
        self._saved = -SAVE_EVERY_S
        self._last: JsonObject = {}

    def save(self, result: JsonObject) -> None:
        """Save an incomplete result, unless the last one is a moment old."""
        self._last = result
        if time.monotonic() - self._saved >= SAVE_EVERY_S:
            self._write(result)
            self._saved = time.monotonic()

    def complete(self, result: JsonObject) -> None:
        """Save the result."""
        self._write(result, complete=True)

    def fail(self, text: str) -> None:
        """Save the text of an error beside the last incomplete result."""
        self._write(self._last, error=text)

    def _write(self, result: JsonObject, *, complete: bool = False, error: str = "") -> None:
        about = {"part": self._part, "machine": self._machine(), "complete": complete, "error": error}
        write_json(self._path, {**about, "result": result})

    def _machine(self) -> JsonObject:
        """Return the device and the versions, if JAX runs in this process."""
        if "jax" not in sys.modules:
            return {}
        try:
            return importlib.import_module("on_device.machine").describe(self._device)
        except Exception as error:  # a missing device
            return {"error": str(error)}


def main() -> None:
    """Run the part."""
    target, name, device, size, path = sys.argv[1:]
    end_with_parent()
    report = Report(Path(path), name, device)
    module, _, function = target.partition(":")
    try:
        run: Callable[[Request, Save], JsonObject] = getattr(importlib.import_module(module), function)
        report.complete(run(Request(name, device, size == "small"), report.save))
    except BaseException as error:  # any failure is a result of the visit
        traceback.print_exc()
        report.fail(describe_error(error))
        sys.exit(1)


def describe_error(error: BaseException) -> str:
    """Return the type and the text of an error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:1000]


def end_with_parent() -> None:
    """End this process when its standard input is closed; what it starts has an empty standard input."""
    pipe: Any = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        while os.read(pipe, 1):
            pass
        os._exit(3)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main()
