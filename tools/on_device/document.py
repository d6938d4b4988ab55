"""The JSON file of a visit: one record for each part, written atomically after each."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from dlcore._core.files import write_text

FORMAT = 1
NAME = "device.json"
RUNNING = "running.json"
"""File of the part that runs, in the same folder."""

DONE, FAILED, TOO_SLOW, CUT_OFF = "done", "failed", "too slow", "cut off"
"""Status of a part. A part is cut off by the end of the visit and begins anew in the next call."""

JsonObject: TypeAlias = dict[str, Any]


def read_document(folder: Path, settings: Mapping[str, object]) -> JsonObject:
    """Return the document of a folder, or a new one with these settings.

    Raises:
      ValueError: if the folder has a document with other settings.
    """
    path = folder / NAME
    if not path.exists():
        return {"format": FORMAT, **settings, "parts": {}}
    document = read_json(path)
    for name, value in {"format": FORMAT, **settings}.items():
        if document.get(name) != value:
            raise ValueError(f"--out: {path} has {name} {document.get(name)!r}, not {value!r}; use another folder")
    return document


def read_json(path: Path) -> JsonObject:
    """Return the object of a file of JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, values: object) -> None:
    """Write a file of JSON atomically."""
    write_text(path, json.dumps(to_plain(values), indent=1, allow_nan=False) + "\n")


def to_plain(value: object) -> Any:
    """Return a value of dicts, sequences and numbers as JSON has it: None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None


def succeeded(record: Mapping[str, Any]) -> bool:
    """Return whether a part is done and what it checks has passed."""
    return record["status"] == DONE and record["result"].get("passed") is not False
