"""The card that `dlcore fit` prints: a few lines of text."""

from dlcore.cli.heads.class_weight import class_weight_text
from dlcore.cli.heads.result import FitResult


def card(result: FitResult, files: str | None) -> str:
    """Return the card of a fit.

    Args:
      result: the result.
      files: the folder with the files, or None.
    """
    heads, model, data = result.heads, result.model, result.train
    held = "" if result.held is None else f", {len(result.held):,} held out"
    dropped = f", {len(data.dropped):,} dropped" if len(data.dropped) else ""
    folds = heads.fold_gap.shape[0]
    grid = f"{len(heads.l2)} l2" + (f" × {folds} folds" if folds else "")
    lines = [
        ("data", f"{data.source}: {len(data):,} rows train{held}{dropped}; {len(data.names):,} features"),
        ("loss", f"{model.loss}{classes_text(result)}; {grid}; {statuses_text(result)}"),
        ("chosen", chosen_text(result)),
        ("certified", certified_text(result)),
    ]
    if model.class_weight is not None:
        lines.insert(2, ("classes", f"weights {class_weight_text(model)}"))
    if result.metrics:
        first, *rest = result.metrics.items()
        lines.append(("held out", f"{first[0]} {first[1]} with 95 % intervals"))
        lines += [("", f"{name} {interval}") for name, interval in rest]
    lines.append(("time", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result.seconds.items())))
    lines.append(("device", result.device))
    if files is not None:
        lines.append(("files", files))
    return "\n".join(f"{name:10} {text}" for name, text in lines)


def classes_text(result: FitResult) -> str:
    """Return the number of classes in parentheses, or nothing."""
    classes = result.model.classes_
    return "" if classes is None else f" ({len(classes)} classes)"


def statuses_text(result: FitResult) -> str:
    """Return how many heads have converged, and the worst gap."""
    counts = result.statuses()
    total = sum(counts.values())
    if counts.get("converged") == total:
        return f"all {total} heads converged, worst gap {result.worst_gap():.1e}"
    parts = [f"{count} {status}" for status, count in sorted(counts.items(), key=lambda item: -item[1])]
    return f"of {total} heads {', '.join(parts)}"


def chosen_text(result: FitResult) -> str:
    """Return the chosen penalty, its C, its ties and its score."""
    heads, l2 = result.heads, result.model.l2
    c = result.c_of(l2)
    text = f"l2 {l2:.4g}" + ("" if c is None else f" (C {c:.4g})")
    if heads.scores is not None:
        scores = heads.scores[:, result.index]
        spread = f" ± {scores.std(ddof=1) / len(scores) ** 0.5:.2g}" if len(scores) > 1 else ""
        text += f", {heads.scoring} {scores.mean():.4f}{spread}"
    tied = result.tied()
    if len(tied) > 1:
        text += f"; ties {min(tied):.3g} to {max(tied):.3g} ({len(tied)} l2)"
    return text


def certified_text(result: FitResult) -> str:
    """Return the certificate of the chosen head."""
    certificate, k = result.heads.certificate, result.index
    return (
        f"J − J* ≤ {certificate.gap[k]:.2g} at J = {result.heads.value[k]:.6g}, {result.model.status} "
        f"({certificate.bound[k]})"
    )
