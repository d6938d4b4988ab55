"""Names for heads with l2 = 0 that have no bound because the classes are separable or quasi-separable."""

import numpy as np

from dlcore.certificate.data_report.report import DataReport
from dlcore.certificate.data_report.separation import (
    QUASI_SEPARABLE,
    SEPARABLE,
    Separation,
    separation_of_head,
    separation_without_search,
)
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.result import NO_DUALITY, Bounds
from dlcore.certificate.rows import TrainingData

UNATTAINED = "none: separable, the infimum 0 is not attained"
QUASI_UNATTAINED = "none: quasi-separable, the infimum is not attained along"
"""Names of bounds of heads without a penalty."""
SHOWN = 5
"""Maximum number of columns of a direction that a name lists."""


def separations_without_search(
    heads: HeadArrays, data: TrainingData, witness: Separation | None
) -> dict[int, Separation]:
    """Return the separations that one pass over the rows shows, by the index of the head without a penalty."""
    separations = {}
    for h in np.flatnonzero(heads.l2 == 0).tolist():
        separation = separation_without_search(*heads.head(h), data.of_head(h), witness)
        if separation is not None:
            separations[h] = separation
    return separations


def names_with_separation(
    bounds: Bounds,
    heads: HeadArrays,
    data: TrainingData,
    report: DataReport | None,
    separations: dict[int, Separation],
) -> list[str]:
    """Return the names of the bounds, with the separation of the classes if it is why there is no bound."""
    names = list(bounds.bound)
    for h, name in enumerate(names):
        if heads.l2[h] > 0 or not name.startswith(NO_DUALITY):
            continue
        if h in separations:
            separation = separations[h]
        elif report is not None:
            separation = Separation(str(report.separability), report.direction, report.direction_intercept)
        else:
            separation = separation_of_head(*heads.head(h), *data.of_head(h))
        if separation.verdict == SEPARABLE:
            names[h] = UNATTAINED
        elif separation.verdict == QUASI_SEPARABLE and separation.coef is not None:
            names[h] = f"{QUASI_UNATTAINED} {_describe_direction(separation.coef, separation.intercept)}"
    return names


def _describe_direction(coef: np.ndarray, intercept: np.ndarray | None) -> str:
    """Return the columns with a nonzero coefficient in a direction, in words."""
    parts = [f"column {j}" for j in np.flatnonzero(np.atleast_2d(coef).any(0))]
    parts += ["the intercept"] if np.any(intercept) else []
    return ", ".join(parts[:SHOWN]) + (f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")
