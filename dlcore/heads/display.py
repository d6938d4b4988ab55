"""Short descriptions of fitted heads: one line of text, and a small table in HTML."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore._core.html import escape
from dlcore._core.status import Status
from dlcore.certificate.losses import CERTIFIED_LOSSES

if TYPE_CHECKING:
    from dlcore.heads.result import Heads

MAX_ROWS = 50
"""The number of strengths that the table lists."""


def summary(heads: "Heads") -> str:
    """Return one line with the loss, the sizes, the best strength, the statuses and the worst gap."""
    targets = heads.coef.shape[0] if heads.status.ndim == 2 else 0
    classes = heads.coef.shape[-2] if CERTIFIED_LOSSES[heads.loss].has_classes else 0
    folds = heads.fold_gap.shape[-2]
    grid = f"{len(heads.l2)} l2"
    grid += f" × {folds} folds" if folds else ""
    grid += f" × {targets} targets" if targets else ""
    parts = [heads.loss, grid, f"{heads.coef.shape[-1]} features"]
    if classes:
        parts.append(f"{classes} classes")
    if heads.best_l2 is not None:
        best = np.unique(heads.best_l2)
        parts.append(f"best l2={best[0]:.3g}" + ("" if len(best) == 1 else f" to {best[-1]:.3g}"))
    parts.append(_statuses(np.concatenate([heads.status.ravel(), heads.fold_status.ravel()])))
    gaps = np.concatenate([np.ravel(heads.certificate.gap), heads.fold_gap.ravel()])
    parts.append(f"worst gap {gaps.max():.1g}" if np.isfinite(gaps).all() else "gap unknown of some")
    return f"Heads({', '.join(parts)})"


def table(heads: "Heads") -> str:
    """Return a table in HTML with a row for each strength, of one target; the summary alone of several."""
    caption = escape(summary(heads))
    if heads.status.ndim == 2:
        return f"<p>{caption}</p>"
    scores = None if heads.scores is None else heads.scores.mean(0)
    names = ["l2", *([] if scores is None else [f"mean {heads.scoring}"]), "status", "J", "gap", "passes"]
    rows = []
    for k, l2 in enumerate(heads.l2[:MAX_ROWS]):
        cells = [] if scores is None else [f"{scores[k]:.4g}"]
        cells += [str(heads.status[k]), f"{heads.value[k]:.6g}", f"{heads.certificate.gap[k]:.1g}"]
        cells += [str(heads.steps[k])]
        mark = " (best)" if heads.best is not None and k == heads.best else ""
        head = f'<th scope="row">{l2:.4g}{mark}</th>'
        rows.append(f"<tr>{head}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    if len(heads.l2) > MAX_ROWS:
        rows.append(f'<tr><td colspan="{len(names)}">… {len(heads.l2) - MAX_ROWS} more</td></tr>')
    titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return (
        f"<table><caption>{caption}</caption><thead><tr>{titles}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _statuses(statuses: np.ndarray) -> str:
    """Return "all converged", or the number of heads of each status."""
    names, counts = np.unique(statuses.astype(str), return_counts=True)
    if list(names) == [str(Status.CONVERGED)]:
        return "all converged"
    order = np.argsort(-counts, kind="stable")
    return " + ".join(f"{counts[k]} {names[k]}" for k in order)
