"""What a model is: three pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from dlcore._core.types import Array, Params


class LinearParams(NamedTuple):
    """Parameters of one affine map.

    Attributes:
      weight: shape (features,), or (features, outputs), a column for each output. Penalised by l2.
      bias: shape (), or (outputs,). Never penalised.
    """

    weight: Any
    bias: Any


class Model(NamedTuple):
    """A model as three pure functions of ONE example. A new model is one file with one of these in it.

    Attributes:
      init: (key, ...) to parameters: a pytree in which what l2 penalises is called `weight`.
      apply: (params, x) to what the loss takes: a number, a logit or logits.
      predict: (params, x) to what a person reads: a number, a probability or probabilities.
      affine: whether `apply` is weightᵀx + bias with `LinearParams`. The convexity and the curvature of
        the objective are then known from the loss, and `init` takes (key, features), and the number of classes
        too where the loss takes classes.
    """

    init: Callable[..., Params]
    apply: Callable[[Params, Array], Array]
    predict: Callable[[Params, Array], Array]
    affine: bool = False
