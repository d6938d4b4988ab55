"""Small parts of a visit to a device, without JAX, for tests of the runner in processes of their own.

`VISIT_LOG` names a file with a line for each run of a part.
`VISIT_KILL` names the part that kills the visit in its first run, after it has saved a result.
"""

import os
import signal
import sys
import time
from pathlib import Path

from on_device.child import Request, Save
from on_device.document import JsonObject
from on_device.estimate import Work
from on_device.part import Part
from on_device.runner import Visit, run

NAMES = ("first", "second", "third")


def succeed(request: Request, save: Save) -> JsonObject:
    """Return a result, after the visit was killed if that is due."""
    log = Path(os.environ["VISIT_LOG"])
    is_first_run = f"{request.name}\n" not in (log.read_text() if log.exists() else "")
    with open(log, "a") as file:
        file.write(f"{request.name}\n")
    save({"found": "in part"})
    if os.environ.get("VISIT_KILL") == request.name and is_first_run:
        os.kill(os.getppid(), int(os.environ["VISIT_SIGNAL"]))
        time.sleep(60)
    return {"found": request.name, "passed": True}


def fail(request: Request, save: Save) -> JsonObject:
    """Raise an error after saving a result."""
    save({"found": "in part"})
    raise RuntimeError("no such unit")


def not_pass(request: Request, save: Save) -> JsonObject:
    """Return a result of checks that did not pass."""
    return {"found": request.name, "passed": False}


def crash(request: Request, save: Save) -> JsonObject:
    """End without any report, as a driver may."""
    sys.stderr.write("the driver is gone\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def wait(request: Request, save: Save) -> JsonObject:
    """Save a result and never end."""
    save({"found": "in part"})
    time.sleep(600)
    return {}


def part(name: str, function: str = "succeed", fields: tuple[str, ...] = ("found",)) -> Part:
    """Return a part that runs a function of this module."""
    return Part(name, "what is it?", f"visit_parts:{function}", Work(), fields)


def main() -> None:
    """Run the three parts, with arguments FOLDER BUDGET."""
    visit = Visit(Path(sys.argv[1]), "cpu", True, float(sys.argv[2]))
    done = run([part(name) for name in NAMES], visit, lambda document, name: None)
    sys.exit(not done)


if __name__ == "__main__":
    main()
