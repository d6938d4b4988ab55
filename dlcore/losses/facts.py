"""What the library must know of a loss besides its formula, said beside the formula.

A loss is a plain function of (prediction, target), both of one example. A new loss is one file: the
function, decorated with what is true of it; without the decorator it works too, and what would need
the missing fact says so.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from dlcore._types import Loss

LossFunction = TypeVar("LossFunction", bound=Loss)
CheckTargets = Callable[[np.ndarray, np.ndarray | None], None]


class Facts(NamedTuple):
    """What is known of a loss, whatever its arguments besides prediction and target are.

    Attributes:
      curvature: an upper bound on the largest eigenvalue of the second derivative with respect to the
        prediction, over all predictions and targets; None where there is none or nobody has stated it.
      check_targets: (y, weights) of a whole data set, raises what is wrong with them; None accepts all.
      classes: whether a target is the number of a class, an integer, and the prediction has one entry per
        class. The objective then hands labels over as integers, whatever dtype they came in.
    """

    curvature: float | None = None
    check_targets: CheckTargets | None = None
    classes: bool = False


def with_facts(
    *, curvature: float | None = None, check_targets: CheckTargets | None = None, classes: bool = False
) -> Callable[[LossFunction], LossFunction]:
    """Decorator that states the facts of a loss and leaves the function as it is.

    >>> @with_facts(curvature=2.0)
    ... def squared(prediction, target):
    ...     return (prediction - target) ** 2
    >>> facts_of(squared).curvature
    2.0
    """

    def state(loss: LossFunction) -> LossFunction:
        vars(loss)["facts"] = Facts(curvature, check_targets, classes)
        return loss

    return state


def facts_of(loss: Loss) -> Facts:
    """The facts stated of `loss`, also through `functools.partial`; of an undecorated function, none.

    >>> print(facts_of(lambda prediction, target: prediction - target).curvature)
    None
    """
    while isinstance(loss, functools.partial):
        loss = loss.func
    return getattr(loss, "facts", Facts())
