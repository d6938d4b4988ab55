"""HTML page of a fit. The template `page.html.jinja` holds the text; this file computes what it shows."""

from typing import Any

import jinja2
import numpy as np

from dlcore import metrics
from dlcore._core.html import drop_control_characters, html_page
from dlcore._core.labels import codes_of
from dlcore.cli.heads.card import card
from dlcore.cli.heads.page.pictures import (
    draw_calibration,
    draw_gaps,
    draw_paths,
    draw_residuals,
    draw_validation,
    largest_coefficients,
)
from dlcore.cli.heads.result import FitResult
from dlcore.cli.report import STYLE

PHONE_STYLE = """
svg { min-width: 0 }
h1 { overflow-wrap: anywhere }
figure { margin: 1rem 0; max-width: 40rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.85rem }
td.mark { background: var(--shade); font-weight: 600 }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin: 0 0 0.5rem } }
"""
"""Style beside that of other reports: pictures and lists shrink to the width of a phone."""
MAX_CLASSES = 20
"""The largest number of classes whose confusion matrix is shown."""
BINS = 10
"""The number of bins of the calibration."""
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def to_html(result: FitResult) -> str:
    """Return the report of a fit: a page without scripts that loads nothing."""
    title = f"dlcore fit: {result.train.source}"
    has_scores = result.heads.scores is not None and len(result.heads.l2) > 1
    several = len(result.heads.l2) > 1
    body = ENVIRONMENT.get_template("page.html.jinja").render(
        title=title,
        card=card(result, None),
        result=result,
        validation=draw_validation(result) if has_scores else None,
        gaps=draw_gaps(result),
        paths=draw_paths(result) if several else None,
        sweep=result.rows(),
        folds=0 if result.heads.scores is None else len(result.heads.scores),
        coefficients=_coefficients(result),
        labels=_labels(result) if result.model.coef.ndim == 2 else None,
        held=_held_out(result),
        data=_data(result),
    )
    return html_page(title, STYLE + PHONE_STYLE, body)


def _coefficients(result: FitResult) -> list[tuple[str, list[float]]]:
    """Return the largest features with their coefficients, one for each class."""
    coef = np.atleast_2d(result.model.coef)
    return [(result.train.names[j], coef[:, j].tolist()) for j in largest_coefficients(result)]


def _labels(result: FitResult) -> list[str]:
    """Return the labels of the classes as text."""
    return [str(label) for label in np.asarray(result.model.classes_)]


def _held_out(result: FitResult) -> dict[str, Any] | None:
    """Return the tables and pictures of the held-out rows, or None without such rows."""
    held, model = result.held, result.model
    if held is None:
        return None
    target = np.asarray(held.target)
    if model.loss in ("squared", "poisson"):
        y, predicted = target.astype(np.float64), model.predict(held.features)
        residuals = np.percentile(y - predicted, QUANTILES).tolist()
        return {"picture": draw_residuals(y, predicted), "quantiles": list(zip(QUANTILES, residuals, strict=True))}
    classes = np.asarray(model.classes_)
    codes, p = codes_of("target", target, classes), model.predict_proba(held.features)
    predicted = p.argmax(1)
    k = len(classes)
    confusion = np.bincount(codes * k + predicted, minlength=k * k).reshape(k, k)
    recall = metrics.per_class_accuracy(codes, predicted)
    bins = _calibration_bins(p[:, 1], codes == 1) if k == 2 else _calibration_bins(p.max(1), codes == predicted)
    present = np.unique(codes)
    recalls = dict(zip(present.tolist(), np.ravel(recall).tolist(), strict=False))
    called = confusion.sum(0)
    rows = [
        {
            "label": str(classes[code]),
            "rows": int(confusion[code].sum()),
            "predicted": int(called[code]),
            "recall": recalls.get(code),
            "precision": float(confusion[code, code] / called[code]) if called[code] else None,
        }
        for code in range(k)
    ]
    return {
        "picture": draw_calibration(bins),
        "quantiles": None,
        "bins": bins,
        "confidence": f"probability of {classes[1]}" if k == 2 else "probability of the predicted class",
        "classes": rows,
        "labels": _labels(result),
        "confusion": confusion.tolist() if k <= MAX_CLASSES else None,
    }


def _calibration_bins(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, float]]:
    """Return the rows, the mean confidence and the fraction of correct rows of each bin that has rows."""
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "low": index / BINS,
            "high": (index + 1) / BINS,
            "rows": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "fraction": float(correct[inside].mean()),
        }
        for index in range(BINS)
        if (inside := number == index).any()
    ]


def _data(result: FitResult) -> list[tuple[str, str]]:
    """Return what the training data is like, as pairs of a property and a text."""
    report, names = result.report, result.train.names
    if report is None:
        return []

    def listed(columns: tuple[int, ...]) -> str:
        shown = ", ".join(names[j] for j in columns[:10])
        return (shown + (f" and {len(columns) - 10} more" if len(columns) > 10 else "")) or "none"

    equal = "; ".join(" = ".join(names[j] for j in group) for group in report.duplicates[:10]) or "none"
    pairs = [
        ("rows of positive weight", f"{report.rows:,}"),
        ("columns", f"{report.columns:,} of {report.dtype}"),
        ("rank", str(report.rank)),
        ("condition number", f"{report.condition:.3g}"),
        ("condition number with columns of one scale", f"{report.condition_scaled:.3g}"),
        ("ratio of the spreads of columns", f"{report.scale_ratio:.3g}"),
        ("constant columns", f"{len(report.constant)}: {listed(report.constant)}"),
        ("groups of equal columns", f"{len(report.duplicates)}: {equal}"),
    ]
    if result.model.classes_ is not None:
        text = "not searched, because the table is large" if report.separability is None else report.separability
        pairs.append(("separability of the classes", text))
    return pairs


def number(value: float | None, digits: int = 4) -> str:
    """Return a number as text, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}g}"


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("dlcore.cli.heads.page", ""),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # Escaping leaves characters that HTML does not allow.
    finalize=lambda value: value if hasattr(value, "__html__") else drop_control_characters(str(value)),
)
ENVIRONMENT.globals["number"] = number
