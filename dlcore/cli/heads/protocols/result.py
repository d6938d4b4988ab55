"""The result of `dlcore fit --protocol`: the means over subsets, and the card as text and as JSON."""

import collections
import dataclasses
from typing import Any

import numpy as np

from dlcore._core.status import Status
from dlcore.certificate.display import to_plain
from dlcore.cli.heads.protocols.sets import Sets
from dlcore.probing import ProbeTable

CERTIFIED = (Status.CONVERGED, Status.CLASS_ABSENT)
"""Statuses of cells that are in order. A fold without a class has no optimum to certify."""
SIZES = ("shots", "fraction")
"""Columns of the sizes of subsets, one of which a table may have."""
MAX_SHOWN = 3
"""The number of chosen penalties that a line of the card names."""


@dataclasses.dataclass(frozen=True)
class ProtocolResult:
    """All that a protocol has found.

    Attributes:
      protocol: the name of the protocol.
      sets: the rows.
      table: the table of the protocol.
      seconds: times of the parts of the command.
      warnings: warnings of the protocol.
      device: the device, in words.
    """

    protocol: str
    sets: Sets
    table: ProbeTable
    seconds: dict[str, float]
    warnings: list[str]
    device: str

    def statuses(self) -> dict[str, int]:
        """Return the number of cells of each status."""
        return dict(collections.Counter(self.table["status"].tolist()))

    @property
    def uncertified(self) -> int:
        """The number of cells that are not certified."""
        return sum(count for status, count in self.statuses().items() if status not in CERTIFIED)

    def worst_gap(self) -> float:
        """Return the largest certified gap of all cells."""
        return float(np.nanmax(self.table["gap"]))

    @property
    def penalty(self) -> str:
        """The name of the penalty, "C" or "l2"."""
        return "C" if "C" in self.table.columns else "l2"

    def sizes(self) -> list[dict[str, Any]]:
        """Return a summary for each size of subsets, or one for all if subsets have no sizes.

        A summary has the size, the number of final heads, their penalties with counts, and the mean and standard
        deviation (n − 1) of the score that chose and of each metric of test rows.
        """
        table = self.table.select(chosen=True)
        column = next((name for name in SIZES if name in table.columns), None)
        if column is None:
            return [self._size(table, None)]
        parts = [table.select(**{column: value}) for value in np.unique(table[column]).tolist()]
        return [self._size(part, column) for part in parts]

    def _size(self, table: ProbeTable, column: str | None) -> dict[str, Any]:
        sweep = table.select(stage="sweep")
        final = table.select(stage="refit") if "refit" in table["stage"] else sweep
        measured = {"score": sweep["score"]}
        measured |= {name: final[name] for name in final.columns if name.startswith("test_")}
        known = {name: values[~np.isnan(values)] for name, values in measured.items()}
        return {
            "size": None if column is None else {column: final[column][0].item()},
            "heads": len(final),
            "chosen": dict(collections.Counter(final[self.penalty].tolist())),
            "measured": {
                name: {"mean": float(values.mean()), "sd": _deviation(values)}
                for name, values in known.items()
                if len(values)
            },
        }

    def to_json(self) -> dict[str, Any]:
        """Return the result as values of JSON. Numbers that are not finite are None."""
        data = self.sets.data
        content = {
            "protocol": self.protocol,
            "data": {
                "source": data.source,
                "rows": {name: len(rows) for name, rows in self.sets.index.items()},
                "dropped_rows": len(data.dropped),
                "features": len(data.names),
                "dtype": str(data.features.dtype),
            },
            "loss": self.sets.loss,
            "penalty": self.penalty,
            "sizes": self.sizes(),
            "cells": {"statuses": self.statuses(), "worst_gap": self.worst_gap()},
            "seconds": self.seconds,
            "device": self.device,
            "warnings": self.warnings,
            "record": dict(self.table.record),
        }
        plain = to_plain(content)
        assert isinstance(plain, dict)
        return plain


def card(result: ProtocolResult, files: str | None) -> str:
    """Return the card of a protocol, a few lines of text.

    Args:
      result: the result.
      files: the folder with the files, or None.
    """
    data, sets = result.sets.data, result.sets
    rows = ", ".join(f"{len(rows):,} {name}" for name, rows in sets.index.items())
    dropped = f", {len(data.dropped):,} dropped" if len(data.dropped) else ""
    classes = "" if sets.n_classes is None else f" ({sets.n_classes} classes)"
    lines = [
        ("data", f"{data.source}: rows {rows}{dropped}; {len(data.names):,} features"),
        ("protocol", f"{result.protocol}, {sets.loss}{classes}"),
        ("certified", _statuses_text(result)),
    ]
    for summary in result.sizes():
        lines += _size_lines(summary, result.penalty)
    lines.append(("time", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result.seconds.items())))
    lines.append(("device", result.device))
    if files is not None:
        lines.append(("files", files))
    return "\n".join(f"{name:14} {text}" for name, text in lines)


def _size_lines(summary: dict[str, Any], penalty: str) -> list[tuple[str, str]]:
    """Return the lines of a size: a line for each metric, or for the score alone, and the chosen penalties."""
    size, heads = summary["size"], summary["heads"]
    name = "result" if size is None else " ".join(f"{key} {value:g}" for key, value in size.items())
    count = f" of {heads} heads" if heads > 1 else ""
    measured = summary["measured"]
    metrics = [key for key in measured if key.startswith("test_") and not key.endswith(("_low", "_high"))]
    texts = []
    for key in metrics or [key for key in measured if key == "score"]:
        text = f"{key} {measured[key]['mean']:.4f}"
        if heads > 1:
            text += f" ± {measured[key]['sd']:.2g}"
        elif f"{key}_low" in measured:
            text += f" ({measured[f'{key}_low']['mean']:.4f} to {measured[f'{key}_high']['mean']:.4f})"
        texts.append(text + count)
    pairs = sorted(summary["chosen"].items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{value:.4g}" + (f" ({count}×)" if heads > 1 else "") for value, count in pairs[:MAX_SHOWN])
    more = f" and {len(pairs) - MAX_SHOWN} more" if len(pairs) > MAX_SHOWN else ""
    texts.append(f"chosen {penalty} {shown}{more}")
    return [(name if position == 0 else "", text) for position, text in enumerate(texts)]


def _statuses_text(result: ProtocolResult) -> str:
    """Return how many cells are certified, and the worst gap."""
    cells, uncertified = len(result.table), result.uncertified
    if not uncertified:
        return f"all {cells} cells, worst gap {result.worst_gap():.1e}"
    others = ", ".join(
        f"{count} {status}" for status, count in result.statuses().items() if status not in CERTIFIED
    )
    return f"not {uncertified} of {cells} cells: {others}; worst gap {result.worst_gap():.1e}"


def _deviation(values: np.ndarray) -> float:
    """Return the standard deviation with n − 1, or nan for one value."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
