"""Certificates and data reports for people and programs: cards, short `repr`, tables in HTML, rows, JSON."""

import dataclasses
import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import numpy as np

if TYPE_CHECKING:
    from dlcore.certificate.result import Certificate

SHOWN = 20
"""Maximum number of heads that a card or a table lists."""
NUMBERS = ("value", "gradient_norm", "gap", "rounding")
HEADERS = ("head", "J", "‖∇J‖", "J − J* ≤", "rounding", "bound")
DEFAULT_TOL = 1e-6
"""The tolerance at which `repr` counts heads as converged: the default of `fit_heads`."""

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""A value of JSON."""


class HeadRow(TypedDict):
    """The certificate of a head as plain numbers. `head` is its index, () for a single head."""

    head: tuple[int, ...]
    value: float
    gradient_norm: float
    gap: float
    rounding: float
    bound: str


def certificate_rows(certificate: "Certificate") -> list[HeadRow]:
    """Return a dictionary of plain numbers for each head."""
    names = (certificate.bound,) if isinstance(certificate.bound, str) else certificate.bound
    columns = (np.reshape(getattr(certificate, name), -1).tolist() for name in NUMBERS)
    return [
        HeadRow(head=head, value=value, gradient_norm=norm, gap=gap, rounding=rounding, bound=name)
        for head, value, norm, gap, rounding, name in zip(
            np.ndindex(np.shape(certificate.gap)), *columns, names, strict=True
        )
    ]


def certificate_json(certificate: "Certificate") -> str:
    """Return strict JSON. Numbers that are not finite are null, and `bound` says why."""
    context = {name: getattr(certificate, name) for name in ("dtype", "precision", "device", "heads_device")}
    report = None if certificate.report is None else certificate.report.to_dict()
    content = {**context, "heads": [dict(row) for row in certificate_rows(certificate)], "report": report}
    return json.dumps(to_plain(content), allow_nan=False)


def to_plain(value: object) -> Plain:
    """Convert to values of JSON: tuples and arrays become lists, numbers that are not finite None."""
    if isinstance(value, dict):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value  # pyright: ignore[reportReturnType]


def certificate_card(certificate: "Certificate") -> str:
    """Return plain text: the numbers of each head, then how they were computed and the report."""
    rows = certificate_rows(certificate)
    table = _cells(rows)
    if not np.shape(certificate.gap):
        table = [line[1:] for line in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    ]
    if len(rows) > SHOWN:
        lines.append(_remaining(rows))
    lines.append(_computation(certificate))
    return "\n".join(lines if certificate.report is None else [*lines, str(certificate.report)])


def certificate_repr(certificate: "Certificate") -> str:
    """Return a line: the number of heads, how many are converged, and the worst gap."""
    names = (certificate.bound,) if isinstance(certificate.bound, str) else certificate.bound
    if not np.shape(certificate.gap):
        return f"Certificate(J {certificate.value:.4g}, gap {certificate.gap:.2g}, {names[0]})"
    if not names:
        return "Certificate(0 heads)"
    gap = np.asarray(certificate.gap)
    converged = int((gap <= certificate.gap_tol(DEFAULT_TOL)).sum())
    count = "all" if converged == gap.size else f"{converged} of {gap.size}"
    return f"Certificate({gap.size} heads, {count} converged at tol {DEFAULT_TOL:g}, worst gap {gap.max():.2g})"


def certificate_html(certificate: "Certificate") -> str:
    """Return an HTML table with a row for each head up to `SHOWN`. Its headers have a scope for screen readers."""
    rows = certificate_rows(certificate)
    header, *body = _cells(rows)
    notes = [_remaining(rows)] if len(rows) > SHOWN else []
    if certificate.report is not None:
        notes += str(certificate.report).split("\n")
    return html_table(_computation(certificate), header, body, notes)


def html_table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()
) -> str:
    """Return an HTML table with escaped text. The first cell of each row is its header.

    Args:
      caption: the caption of the table.
      columns: the names of the columns.
      rows: the cells of each row.
      notes: lines below the table.
    """
    escape = html.escape
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for first, *cells in rows
    )
    table = (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
    return table + "".join(f"<div>{escape(note)}</div>" for note in notes)


def equal_fields(first: object, second: object) -> bool:
    """Return whether two dataclass instances have equal fields, array by array. nan equals nan."""
    if type(first) is not type(second) or not dataclasses.is_dataclass(first):
        return False
    names = (field.name for field in dataclasses.fields(first))
    return all(_equal(getattr(first, name), getattr(second, name)) for name in names)


def _equal(first: object, second: object) -> bool:
    """Return whether two values are equal. Arrays and numbers are compared entry by entry."""
    numeric = (int, float, np.ndarray, np.generic)
    if isinstance(first, numeric) != isinstance(second, numeric):
        return False
    if not (isinstance(first, numeric) and isinstance(second, numeric)):
        return first == second
    first, second = np.asarray(first), np.asarray(second)
    return np.array_equal(first, second, equal_nan=first.dtype.kind == second.dtype.kind == "f")


def _cells(rows: list[HeadRow]) -> list[list[str]]:
    """Return the cells of a table: a header, and a line for each head up to `SHOWN`."""
    table: list[list[str]] = [list(HEADERS)]
    for row in rows[:SHOWN]:
        numbers = (f"{row[name]:.2g}" for name in ("gradient_norm", "gap", "rounding"))
        table.append([", ".join(map(str, row["head"])), f"{row['value']:.7g}", *numbers, row["bound"]])
    return table


def _remaining(rows: list[HeadRow]) -> str:
    """Return a line on the heads that are not listed."""
    gaps = [row["gap"] for row in rows]
    bounds = f"the bounds on J − J* of all {len(rows)} heads range from {min(gaps):.2g} to {max(gaps):.2g}"
    return f"… {len(rows) - SHOWN} more; {bounds}"


def _computation(certificate: "Certificate") -> str:
    """Return a line on how the certificate was computed."""
    fitted = "" if certificate.heads_device is None else f"; the heads were fitted on {certificate.heads_device}"
    computed = f"computed in {certificate.dtype} by {certificate.device}"
    return f"{computed}, products in {certificate.precision}{fitted}"
