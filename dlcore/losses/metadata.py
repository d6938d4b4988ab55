"""Properties of a loss that its formula does not show, stated beside the formula.

A loss is a plain function of (prediction, target), both of one example. A new loss is one file: the function, with
a decorator that states its properties. A loss without the decorator works too. A function that needs a missing
property raises an error that names it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from dlcore._core.types import Array, Loss

LossFunction = TypeVar("LossFunction", bound=Loss)
CheckTargets = Callable[[np.ndarray, np.ndarray | None], None]


class LossInfo(NamedTuple):
    """Properties of a loss that hold for all values of its arguments besides prediction and target.

    Attributes:
      curvature: an upper bound on the largest eigenvalue of the second derivative in the prediction, for all
        predictions and targets. None if no bound is stated.
      check_targets: a function of (y, weights) of a whole data set that raises an error for invalid targets;
        None accepts all.
      classes: whether a target is the number of a class, an integer, and the prediction has one entry per
        class. The objective then passes labels as integers, whatever their dtype was.
      null_value: a function of (y, normalised weights) and the loss's further arguments to the mean loss of the
        best constant prediction. The two are NumPy arrays, shapes (n, …) and (n,), and the weights sum to 1.
        None: the library searches for the value.
      saturated: a function, in JAX, of a target and the loss's further arguments to the least loss of any
        prediction; None means 0. A loss that can be negative states it, so that `fit` knows by how much J can
        still fall.
    """

    curvature: float | None = None
    check_targets: CheckTargets | None = None
    classes: bool = False
    null_value: Callable[..., float] | None = None
    saturated: Callable[..., Array] | None = None


def with_loss_info(
    *,
    curvature: float | None = None,
    check_targets: CheckTargets | None = None,
    classes: bool = False,
    null_value: Callable[..., float] | None = None,
    saturated: Callable[..., Array] | None = None,
) -> Callable[[LossFunction], LossFunction]:
    """Return a decorator that states the `LossInfo` of a loss and leaves the function unchanged.

    >>> @with_loss_info(curvature=2.0)
    ... def squared(prediction, target):
    ...     return (prediction - target) ** 2
    >>> get_loss_info(squared).curvature
    2.0
    """
    info = LossInfo(curvature, check_targets, classes, null_value, saturated)

    def decorate(loss: LossFunction) -> LossFunction:
        vars(loss)["loss_info"] = info
        return loss

    return decorate


def get_loss_info(loss: Loss) -> LossInfo:
    """Return the properties stated of `loss`, also through `functools.partial`; the defaults if none are stated.

    >>> print(get_loss_info(lambda prediction, target: prediction - target).curvature)
    None
    """
    while isinstance(loss, functools.partial):
        loss = loss.func
    earlier_name = getattr(loss, "facts", LossInfo())
    return getattr(loss, "loss_info", earlier_name)


def bound_arguments(loss: Loss) -> dict[str, object]:
    """Return the keyword arguments that `functools.partial` has bound to `loss`.

    >>> bound_arguments(functools.partial(print, end=""))
    {'end': ''}
    """
    arguments: dict[str, object] = {}
    while isinstance(loss, functools.partial):
        arguments = loss.keywords | arguments
        loss = loss.func
    return arguments
