"""The objective that every fit minimises."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import array_checks
from dlcore._core.programs import kept_programs
from dlcore._core.types import Array, Loss, Numeric, Params
from dlcore.devices import to_device
from dlcore.models import Model
from dlcore.objective import passes
from dlcore.objective.blocks import BlockedData, run_program
from dlcore.objective.data import prepare_data
from dlcore.objective.labels import are_labels, check_labels
from dlcore.objective.terms import dtype_of, in_working_dtype, penalised


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    r"""Weighted mean loss of a model over examples, plus an l2 penalty.

    $J(\theta) = \frac{1}{S}\sum_i s_i\,\ell(f_\theta(x_i), y_i) + \frac{\lambda}{2}\|w\|^2$, $S = \sum_i s_i$

    where $w$ is every leaf of the parameters that is called `weight`: biases are not penalised. A pytree:
    `l2` is data, so that another value compiles nothing; model and loss are part of the program.

    Args:
      model: a `Model`, a function of one example.
      loss: (prediction, target) of one example to a scalar.
      l2: $\lambda \ge 0$, 1/(C·S) for scikit-learn's C.

    Raises:
      ValueError: if `l2` is negative or not finite.
      TypeError: if `l2` is not a number, `model` not a `Model` or `loss` not a function.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, sections 3.4.1 and 4.4.4.

    >>> import jax.numpy as jnp
    >>> from dlcore.losses import squared_error
    >>> from dlcore.models import LinearParams, linear
    >>> objective = Objective(linear, squared_error, l2=2.0)
    >>> x, y = jnp.array([[1.0], [2.0]]), jnp.array([1.0, 2.0])
    >>> print(objective.value(LinearParams(jnp.array([2.0]), jnp.array(0.0)), (x, y)))
    6.5
    """

    model: Model
    loss: Loss
    l2: Numeric = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.model, Model):
            raise TypeError(f"model: expected a dlcore.models.Model, got {self.model!r}")
        if not callable(self.loss):
            raise TypeError(f"loss: expected a function of (prediction, target), got {self.loss!r}")
        array_checks.check_number("l2", self.l2, least=0)
        object.__setattr__(self, "l2", array_checks.as_float(self.l2))

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Numeric]], tuple[Model, Loss]]:
        """What is data, l2, and what is part of the program."""
        return ((jax.tree_util.GetAttrKey("l2"), self.l2),), (self.model, self.loss)

    @classmethod
    def tree_unflatten(cls, program: tuple[Model, Loss], data: tuple[Any]) -> "Objective":
        """Rebuilt unchecked: JAX also puts placeholders where l2 was."""
        objective = object.__new__(cls)
        for name, value in zip(("model", "loss", "l2"), (*program, *data), strict=True):
            object.__setattr__(objective, name, value)
        return objective

    def value(self, params: Params, data: Any) -> Array:
        """$J$ at `params`.

        Args:
          params: what the model takes, of a floating-point dtype.
          data: (x, y), (x, y, weights) or what `prepare` made of them; read in place.

        Returns:
          A scalar in the dtype of the parameters, float32 for halves. Under any transformation of JAX; X is not
          copied.

        Raises:
          ValueError: if the shapes of data and parameters do not fit, integers are beyond the range of JAX's, or
            l2 is not 0 and finds no `weight`.
          TypeError: if something is not an array of real numbers, or parameters of a linear head are none.
        """
        self.check_params(params)
        return passes.run(passes.VALUE, self, data, params)

    def value_and_grad(self, params: Params, data: Any) -> tuple[Array, Params]:
        r"""$J$ and $\nabla J$ at `params`, in one pass over the data.

        For a linear head and the cross-entropy the gradient is $\frac{1}{n}X^\top(\hat y - y) + \lambda w$
        in the weights and the mean of $\hat y - y$ in the bias.

        Args:
          params: what the model takes, of a floating-point dtype.
          data: (x, y), (x, y, weights) or what `prepare` made of them; read in place.

        Returns:
          A scalar in the dtype of the parameters, float32 for halves, and a tree like `params`.

        Raises:
          ValueError: if the shapes of data and parameters do not fit, integers are beyond the range of JAX's, or
            l2 is not 0 and finds no `weight`.
          TypeError: if something is not an array of real numbers, or parameters of a linear head are none.
        """
        self.check_params(params)
        return passes.run(passes.VALUE_AND_GRAD, self, data, params)

    def values_and_grads(self, params: Params, data: Any, l2: Numeric | None = None) -> tuple[Array, Params]:
        r"""$J$ and $\nabla J$ of many models, $\theta_1, \dots, \theta_K$, in one pass over the data.

        What `jax.vmap(objective.value_and_grad, (0, None))` gives: each block of X is read once and multiplied in
        two matrix products.

        Args:
          params: like those of `value_and_grad`, with an axis of length K in front of every leaf.
          data: (x, y), (x, y, weights) or what `prepare` made of them; read in place.
          l2: (K,), λ of each model in place of the objective's.

        Returns:
          Shape (K,) in the dtype of the parameters, float32 for halves, and a tree like `params`.

        Raises:
          ValueError: if the leaves and `l2` are not of one length K, and as `value` does.
          TypeError: as `value` does.
        """
        self.check_params(params)
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(params)}
        if len(lengths) != 1 or () in lengths:
            shapes = ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves(params))
            raise ValueError(f"params: expected an axis of the models in front of every leaf, got shapes {shapes}")
        if l2 is not None and (np.shape(l2),) != tuple(lengths):
            raise ValueError(f"l2: expected one for each of the models {next(iter(lengths))}, got {np.shape(l2)}")
        l2 = None if l2 is None else array_checks.as_real("l2", l2)
        objective, data, params = to_device((self, data, params))
        return run_program(lambda data: _models_first(objective, data, params, l2), data, objective, params, l2)

    def hvp(self, params: Params, v: Params, data: Any) -> Params:
        r"""Hessian-vector product, $\nabla^2 J(\theta)\,v$, in one pass over the data.

        Args:
          params: what the model takes, of a floating-point dtype.
          v: a tree of the same shapes, the direction.
          data: (x, y), (x, y, weights) or what `prepare` made of them; read in place.

        Returns:
          A tree like `params`. The Hessian is never made: the cost is a few times that of the gradient.

        Raises:
          ValueError: if `v` has other shapes than `params`, and as `value` does.
          TypeError: as `value` does.

        Source: Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).
        """
        self.check_params(params)
        shapes = [jax.tree.map(np.shape, tree) for tree in (params, v)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"hvp: expected v of the shapes of params, got params {shapes[0]} and v {shapes[1]}")
        return passes.run(passes.HVP, self, data, params, v)

    def hessian(self, params: Params, data: Any) -> Array:
        r"""$\nabla^2 J$ of a linear head with one output, in one pass over the data.

        $\frac{1}{S}\sum_i s_i\,\ell''(z_i, y_i)\,a_i a_i^\top + \lambda\,\mathrm{diag}(1, \dots, 1, 0)$,
        $a_i = (x_i, 1)$, $z_i = w^\top x_i + b$

        Args:
          params: weight of shape (m,) and bias of shape ().
          data: (x, y), (x, y, weights) or what `prepare` made of them; read in place.

        Returns:
          Shape (m + 1, m + 1), symmetric, the bias last; the dtype of the parameters, float32 for halves.

        Raises:
          ValueError: if the model is not affine with one output, and as `value` does.
          TypeError: as `value` does.

        Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, equation 4.23.
        """
        self.check_params(params)
        if not self.model.affine or len(np.shape(params.weight)) != 1:
            raise ValueError("hessian: expected a linear head with one output; use hvp")
        return passes.run(passes.HESSIAN, self, data, params)

    def check_classes(self, params: Params, data: BlockedData) -> None:
        """A ValueError if a label in `data` is the number of a class that the model does not have.

        `prepare` cannot know it and a compiled program cannot raise: there such a label gives nan. `fit` asks.
        """
        if are_labels(self.loss, data.y) and not array_checks.is_traced(data.y):
            example = jax.ShapeDtypeStruct(data.x.shape[1:], dtype_of(params))
            model = jax.eval_shape(lambda p, x: self.model.apply(in_working_dtype(p), x), params, example)
            check_labels(data.y, model)

    def check_params(self, params: Params) -> None:
        """`params` are real arrays, a linear head's if the model is one, and l2 finds what it acts on."""
        if not jax.tree.leaves(params):
            raise ValueError("params: expected at least one array, got none")
        for leaf in jax.tree.leaves(params):  # of what is an array, or will be, the dtype alone is asked
            array_checks.check_parameter("params", leaf)
        known = not array_checks.is_traced(self.l2)
        if known and not penalised(params) and np.asarray(self.l2).any():
            raise ValueError(
                "l2: expected parameters with a leaf called `weight` to penalise, got none; pass l2=0"
            )
        if self.model.affine and not (hasattr(params, "weight") and hasattr(params, "bias")):
            raise TypeError(f"params: expected LinearParams(weight, bias), got {type(params).__name__}")

    def prepare(self, data: Any, devices: Any = None) -> BlockedData:
        """Check the values of `data` once and place them on the default device, or on several, in blocks.

        Args:
          data: (x, y) or (x, y, weights): NumPy or JAX arrays, lists, data frames. Integers and booleans
            become the default floating-point dtype; other dtypes are kept, but float64 becomes float32
            unless JAX's x64 mode is on. Labels become int32 for a loss that takes classes. Copied once, so
            that the caller's arrays may change afterwards. The weights are scaled by a power of two, which
            changes no J.
          devices: how many of `jax.devices()` the rows lie over, or a list of them; None for the default one.
            Every pass then runs on all of them, on equally many rows each (the last one is repeated with weight
            0 where they do not divide), and ends in one collective. Another number of devices changes results
            by rounding; the same one gives the same bits. On CPU devices each call waits until it is done, and
            a transformation of your own is refused where JAX has too few threads to be safe from deadlock.

        Returns:
          What `value`, `value_and_grad` and `fit` take as data.

        Raises:
          ValueError: if shapes do not fit, or a value is nan, infinite, beyond the range of the dtype, or not
            what the loss takes, or there are not so many devices.
          TypeError: if something is not an array of real numbers.
        """
        return prepare_data(self, data, devices)


@kept_programs()
def _models_first(objective: Objective, data: Any, params: Params, l2: Any) -> tuple[Array, Params]:
    """`passes.VALUES_AND_GRADS` with the axis of the models in front."""
    behind = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), params)
    values, gradients = passes.run(passes.VALUES_AND_GRADS, objective, data, behind, l2)
    return values, jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), gradients)
