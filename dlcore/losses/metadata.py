"""What the library must know of a loss besides its formula, said beside the formula.

A loss is a plain function of (prediction, target), both of one example. A new loss is one file: the
function, decorated with what is true of it; without the decorator it works too, and what would need
the missing fact says so.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dlcore._core.types import Loss

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
      null_value: (y, share), NumPy arrays (n, …) and (n,) of sum 1, and the loss's own arguments, to the mean
        loss of the best constant prediction; None searches for it.
      saturated: a target, and the loss's own arguments, to the least loss of any prediction, in JAX; None means 0.
        A loss that can be negative states it, so that `fit` knows how much of J is left to gain.
    """

    curvature: float | None = None
    check_targets: CheckTargets | None = None
    classes: bool = False
    null_value: Callable[..., float] | None = None
    saturated: Callable[..., Any] | None = None


def with_facts(
    *,
    curvature: float | None = None,
    check_targets: CheckTargets | None = None,
    classes: bool = False,
    null_value: Callable[..., float] | None = None,
    saturated: Callable[..., Any] | None = None,
) -> Callable[[LossFunction], LossFunction]:
    """Decorator that states the facts of a loss and leaves the function as it is.

    >>> @with_facts(curvature=2.0)
    ... def squared(prediction, target):
    ...     return (prediction - target) ** 2
    >>> facts_of(squared).curvature
    2.0
    """

    def state(loss: LossFunction) -> LossFunction:
        vars(loss)["facts"] = Facts(curvature, check_targets, classes, null_value, saturated)
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


def arguments_of(loss: Loss) -> dict[str, Any]:
    """The keyword arguments that `functools.partial` has bound to `loss`.

    >>> arguments_of(functools.partial(print, end=""))
    {'end': ''}
    """
    found: dict[str, Any] = {}
    while isinstance(loss, functools.partial):
        found = loss.keywords | found
        loss = loss.func
    return found
