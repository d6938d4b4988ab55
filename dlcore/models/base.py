"""The interface of a model: three pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from dlcore._core.types import Array, Params


class LinearParams(NamedTuple):
    """Parameters of one affine map.

    Attributes:
      weight: shape (features,), or (features, outputs) with a column for each output. Penalised by l2.
      bias: shape (), or (outputs,). Never penalised.
    """

    weight: Any  # JAX maps functions over it: an array of JAX or NumPy, a shape, an axis
    bias: Any


class Model(NamedTuple):
    """A model as three pure functions of ONE example.

    A new model is one file with one `Model` in it.

    Attributes:
      init: (key, ...) to parameters: a pytree in which the leaves that l2 penalises are called `weight`.
      apply: (params, x) to the prediction that the loss takes: a number, a logit or logits.
      predict: (params, x) to a readable prediction: a number, a probability or probabilities.
      affine: whether `apply` is weightᵀx + bias with `LinearParams`. The loss then determines the convexity and
        the curvature of the objective. `init` takes (key, features), and the number of classes too if the
        loss takes classes.
    """

    init: Callable[..., Params]
    apply: Callable[[Params, Array], Array]
    predict: Callable[[Params, Array], Array]
    affine: bool = False
