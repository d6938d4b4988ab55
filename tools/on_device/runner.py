"""Run of a visit: each part in a process of its own, with a limit; a later call resumes behind the last part."""

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from on_device.document import (
    CUT_OFF,
    DONE,
    FAILED,
    NAME,
    RUNNING,
    TOO_SLOW,
    JsonObject,
    read_document,
    read_json,
    succeeded,
    write_json,
)
from on_device.part import Part

LOG = "log.txt"
LIMIT_FACTOR, MIN_LIMIT_S, SMALL_LIMIT_S = 2.0, 30.0, 120.0
"""A part is stopped beyond this multiple of its estimate. A rehearsal on a busy CPU has a constant limit."""
MIN_LEFT_S = 10.0
"""No part begins with fewer seconds left."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Visit(NamedTuple):
    """Options of a visit.

    Attributes:
      folder: folder of the JSON file, the pages and the log.
      device: name of the device.
      small: whether it is a rehearsal at small sizes.
      budget: seconds of this call.
      only: names of parts to run; empty for all.
      again: whether parts run again that failed, were too slow or did not pass.
    """

    folder: Path
    device: str
    small: bool
    budget: float
    only: Sequence[str] = ()
    again: bool = False


INTERRUPTED = "the visit was interrupted"


class VisitInterruptedError(Exception):
    """A signal that ends the visit."""


def run(parts: Sequence[Part], visit: Visit, callback: Callable[[JsonObject, str], object]) -> bool:
    """Run the parts that are not done, most important first, while the budget lasts.

    Args:
      parts: the parts in their order.
      visit: the options.
      callback: called with the document and the name of a part, after each part.

    Returns:
      Whether all selected parts are done and passed.

    Raises:
      ValueError: if the folder has results of other settings.
    """
    end = time.monotonic() + visit.budget
    visit.folder.mkdir(parents=True, exist_ok=True)
    document = read_document(visit.folder, {"device": visit.device, "small": visit.small})
    selected = [part for part in parts if not visit.only or part.name in visit.only]
    _recover(document, visit.folder)
    previous = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        for part in selected:
            if not _is_due(document, part, again=visit.again):
                continue
            if end - time.monotonic() < MIN_LEFT_S:
                break
            record = _run_part(part, visit, end)
            _judge(record, part, document)
            document["parts"][part.name] = record
            write_json(visit.folder / NAME, document)
            (visit.folder / RUNNING).unlink(missing_ok=True)
            callback(document, part.name)
            if record["error"] == INTERRUPTED:
                break
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return all(succeeded(document["parts"].get(part.name, {"status": ""})) for part in selected)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise VisitInterruptedError


def _is_due(document: JsonObject, part: Part, *, again: bool) -> bool:
    """Return whether a part is to run: it has no record, was cut off, or did not succeed and is tried again."""
    record = document["parts"].get(part.name)
    return record is None or record["status"] == CUT_OFF or (again and not succeeded(record))


def _recover(document: JsonObject, folder: Path) -> None:
    """Keep what the part had found that ran when an earlier call was killed."""
    path = folder / RUNNING
    if path.exists():
        running = read_report(path)
        name = running.pop("part", "")
        if name and name not in document["parts"]:
            document["parts"][name] = _record(CUT_OFF, running, error="the visit was killed")
            write_json(folder / NAME, document)
        path.unlink()


def _run_part(part: Part, visit: Visit, end: float) -> JsonObject:
    """Run a part until it ends, its limit or the end of the visit; return its record."""
    started, begin = datetime.datetime.now(datetime.UTC), time.monotonic()
    own_limit = SMALL_LIMIT_S if visit.small else max(MIN_LIMIT_S, LIMIT_FACTOR * part.estimate)
    limit = min(own_limit, end - begin)
    path = visit.folder / RUNNING
    path.unlink(missing_ok=True)
    size = "small" if visit.small else "full"
    command = [sys.executable, "-m", "on_device.child", part.target, part.name, visit.device, size, str(path)]
    status, error = "", ""
    with open(visit.folder / LOG, "ab") as log:
        log.write(f"\n== {part.name}\n".encode())
        log.flush()
        position = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment(part, visit),
            start_new_session=True,
        )
        try:
            wait(process, limit)
        except subprocess.TimeoutExpired:
            is_slow = limit == own_limit
            status = TOO_SLOW if is_slow else CUT_OFF
            error = f"took longer than {limit:.0f} s" if is_slow else "the time of the visit was over"
        except VisitInterruptedError:
            status, error = CUT_OFF, INTERRUPTED
        finally:
            _kill(process)
    report = read_report(path)
    if not status:
        status = DONE if report["complete"] and process.returncode == 0 else FAILED
        if status == FAILED:
            error = report["error"] or f"ended with {process.returncode}: {_tail(visit.folder / LOG, position)}"
    record = _record(status, report, error=error)
    return record | {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begin, 2),
        "estimate_s": round(part.estimate, 1),
    }


def wait(process: subprocess.Popen[bytes], limit: float) -> None:
    """Wait for the end of a process, at most for a number of seconds."""
    process.wait(limit)


def environment(part: Part, visit: Visit) -> dict[str, str]:
    """Return the variables of a part's process: float32 unless asked for, and JAX finds the device by itself."""
    variables = {
        name: value for name, value in os.environ.items() if name not in ("JAX_PLATFORMS", "JAX_ENABLE_X64")
    }
    if visit.device == "cpu":  # one simulated device stands for the accelerator, the other for the CPU beside it
        variables |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    return {**variables, **part.environment, "PYTHONUNBUFFERED": "1"}


def read_report(path: Path) -> JsonObject:
    """Return the report of a part's process, an empty one if it wrote none."""
    empty = {"part": "", "result": {}, "complete": False, "error": "", "machine": {}}
    return empty | (read_json(path) if path.exists() else {})


def _record(status: str, report: JsonObject, *, error: str) -> JsonObject:
    """Return the record of a part in the document."""
    return {"status": status, "error": error, "machine": report["machine"], "result": report["result"]}


def _judge(record: JsonObject, part: Part, document: JsonObject) -> None:
    """Let a part fail that lacks a field, or that ran on another device than the other parts."""
    if record["status"] != DONE:
        return
    if missing := [field for field in part.fields if field not in record["result"]]:
        record |= {"status": FAILED, "error": f"the result lacks {', '.join(missing)}"}
    machine = document.setdefault("machine", record["machine"])
    if record["machine"] != machine:
        record |= {"status": FAILED, "error": f"ran on {record['machine']}, and other parts on {machine}"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a part's process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _tail(path: Path, position: int) -> str:
    """Return the end of what a part printed, on one line."""
    with open(path, "rb") as log:
        log.seek(position)
        return " ".join(log.read().decode(errors="replace").split())[-500:]
