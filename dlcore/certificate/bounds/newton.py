"""Newton's way down from a place, for proofs alone: what is found on it is judged apart, and may be anything."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore.certificate.bounds.curvature import Place, newton_step
from dlcore.certificate.rows import UNIT, Weights, index_slices, lengths, weights_of

STEPS = 40
LEAST_RATE = 1e-6


def way_down(place: Place, x: Any, y: np.ndarray, s: Weights) -> Iterator[tuple[Place, bool]]:
    """Places of ever lower J, this one first, and of each whether the bound by curvature seems to hold there."""
    w = None
    value = loss_of(place, x, y, s)[0]
    for _ in range(STEPS):
        with np.errstate(all="ignore"):
            step, w, near = newton_step(place, x, y, s, w)
        yield place, near
        if step is None:
            return
        rate = 1.0
        while not (lower := loss_of(further := _moved(place, rate * step), x, y, s)[0]) < value:
            rate /= 2
            if rate < LEAST_RATE:
                return
        place, value = further, lower


def _moved(place: Place, step: np.ndarray) -> Place:
    return place._replace(coef=place.coef + step)


def loss_of(place: Place, x: Any, y: np.ndarray, s: Weights) -> tuple[float, float]:
    """J at a place, and how far it may be off: by sums, and by logits, whose errors count twice at most."""
    coef, features, total = place.coef, x.shape[1], 0.0
    loss, doubt = 0.0, 0.0
    norm = lengths(coef[:, :features]).max()
    bias = coef[:, features] if place.intercept else np.zeros(len(coef))
    blocks = index_slices(len(x), features + len(coef))
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            share = weights_of(s, slice(None), block).max(0)
            rows = x[block].astype(np.float64)
            wrong = -margins(rows @ coef[:, :features].T + bias, y[block].astype(np.intp))
            top = np.maximum(wrong.max(1), 0)
            loss += share @ (top + np.log(np.exp(wrong - top[:, None]).sum(1) + np.exp(-top)))
            off = 2 * (features + 8) * UNIT * (lengths(rows) * norm + np.abs(bias).max()) + 8 * UNIT
            doubt += share @ off
            total += share.sum()
        penalty = float((place.penalty * np.square(coef)).sum()) / 2
    unit = (blocks[0].stop - blocks[0].start + len(blocks) + len(coef) + coef.size + 20) * UNIT
    value = loss / total + penalty
    return float(value), float(2 * doubt / total + 2 * unit * value)


def margins(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The logit of the right class less each other one, (n, others), infinite for itself."""
    if logits.shape[1] == 1:
        return (2.0 * label[:, None] - 1) * logits
    index = np.arange(len(label))
    found = logits[index, label][:, None] - logits
    found[index, label] = np.inf
    return found
