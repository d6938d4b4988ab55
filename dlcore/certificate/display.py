"""A certificate as people and programs read it: a short card, rows of a table, JSON."""

import json
import math
from typing import Any

import numpy as np

SHOWN = 20
"""So many heads does a card list."""
NUMBERS = ("value", "gradient_norm", "gap", "rounding")


def rows_of(certificate: Any) -> list[dict[str, Any]]:
    """One dictionary of plain numbers for each head, with its index among the heads, () for one head alone."""
    shape = np.shape(certificate.gap)
    names = certificate.bound if shape else (certificate.bound,)
    flat = {name: np.reshape(getattr(certificate, name), -1).tolist() for name in NUMBERS}
    return [
        {"head": index, **{name: flat[name][k] for name in NUMBERS}, "bound": names[k]}
        for k, index in enumerate(np.ndindex(shape))
    ]


def json_of(certificate: Any) -> str:
    """Strict JSON: what is not finite is null, and `bound` says why."""
    about = {name: getattr(certificate, name) for name in ("dtype", "precision", "device", "heads_device")}
    report = None if certificate.report is None else certificate.report.to_dict()
    return json.dumps(plain({**about, "heads": rows_of(certificate), "report": report}), allow_nan=False)


def plain(value: Any) -> Any:
    """Of what JSON knows: no tuples, no arrays, null for what is not finite."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def card_of(certificate: Any) -> str:
    """Plain text: the numbers of each head, then how they were computed and what the report says."""
    rows = rows_of(certificate)
    table = [["head", "J", "‖∇J‖", "J − J* ≤", "rounding", "bound"]]
    for row in rows[:SHOWN]:
        index = ", ".join(map(str, row["head"]))
        table.append([index, f"{row['value']:.7g}", *(f"{row[name]:.2g}" for name in NUMBERS[1:]), row["bound"]])
    if not np.shape(certificate.gap):
        table = [line[1:] for line in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    ]
    if len(rows) > SHOWN:
        least, most = (f"{pick(row['gap'] for row in rows):.2g}" for pick in (min, max))
        lines.append(f"… {len(rows) - SHOWN} more; of all {len(rows)} heads J − J* ≤ {least} to {most}")
    fitted = "" if certificate.heads_device is None else f"; the heads were fitted on {certificate.heads_device}"
    lines.append(
        f"computed in {certificate.dtype} by {certificate.device}, products in {certificate.precision}{fitted}"
    )
    return "\n".join(lines if certificate.report is None else [*lines, str(certificate.report)])
