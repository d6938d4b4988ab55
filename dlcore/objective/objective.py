"""The objective function that every fit minimises."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import array_checks
from dlcore._core.compilation.jit_cache import cached_jit
from dlcore._core.types import Array, Loss, Numeric, Params
from dlcore.devices import to_device
from dlcore.models import Model
from dlcore.objective import passes
from dlcore.objective.blocks import BlockedData, Data
from dlcore.objective.data import prepare_data
from dlcore.objective.labels import are_labels, check_labels
from dlcore.objective.sharding import Devices, run_program
from dlcore.objective.terms import dtype_of, in_working_dtype, penalised


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    r"""Weighted mean loss of a model over examples, plus an l2 penalty.

    $J(\theta) = \frac{1}{S}\sum_i s_i\,\ell(f_\theta(x_i), y_i) + \frac{\lambda}{2}\|w\|^2$, $S = \sum_i s_i$

    where $w$ is every leaf of the parameters that is called `weight`. Biases are not penalised. The objective is a
    pytree: `l2` is data, and a new value compiles nothing. Model and loss are part of the program.

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
        array_checks.check_number("l2", self.l2, minimum=0)
        object.__setattr__(self, "l2", array_checks.as_python_float(self.l2))

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[object, Numeric]], tuple[Model, Loss]]:
        """Return l2 as the data of the pytree, and the model and the loss as its static part."""
        return ((jax.tree_util.GetAttrKey("l2"), self.l2),), (self.model, self.loss)

    @classmethod
    def tree_unflatten(cls, program: tuple[Model, Loss], data: tuple[Numeric]) -> "Objective":
        """Return the objective unchecked: JAX also puts placeholders in place of l2."""
        objective = object.__new__(cls)
        for name, value in zip(("model", "loss", "l2"), (*program, *data), strict=True):
            object.__setattr__(objective, name, value)
        return objective

    def value(self, params: Params, data: Data) -> Array:
        """Return $J$ at `params`.

        Args:
          params: parameters of the model, of a floating-point dtype.
          data: (x, y), (x, y, weights) or the result of `prepare`; read in place.

        Returns:
          A scalar in the dtype of the parameters, float32 for halves. All transformations of JAX apply. X is not
          copied.

        Raises:
          ValueError: if the shapes of data and parameters do not fit, integers overflow JAX's, or l2 is not 0 and
            no parameter is called `weight`.
          TypeError: if an argument is not an array of real numbers, or the parameters are not those of a linear
            head.
        """
        self.check_params(params)
        return passes.run(passes.VALUE, self, data, params)

    def value_and_grad(self, params: Params, data: Data) -> tuple[Array, Params]:
        r"""Return $J$ and $\nabla J$ at `params`, in one pass over the data.

        For a linear head and the cross-entropy the gradient is $\frac{1}{n}X^\top(\hat y - y) + \lambda w$
        in the weights and the mean of $\hat y - y$ in the bias.

        Args:
          params: parameters of the model, of a floating-point dtype.
          data: (x, y), (x, y, weights) or the result of `prepare`; read in place.

        Returns:
          A scalar in the dtype of the parameters, float32 for halves, and a tree like `params`.

        Raises:
          ValueError: if the shapes of data and parameters do not fit, integers overflow JAX's, or l2 is not 0 and
            no parameter is called `weight`.
          TypeError: if an argument is not an array of real numbers, or the parameters are not those of a linear
            head.
        """
        self.check_params(params)
        return passes.run(passes.VALUE_AND_GRAD, self, data, params)

    def values_and_grads(self, params: Params, data: Data, l2: Numeric | None = None) -> tuple[Array, Params]:
        r"""Return $J$ and $\nabla J$ of many models, $\theta_1, \dots, \theta_K$, in one pass over the data.

        The result equals that of `jax.vmap(objective.value_and_grad, (0, None))`. Each block of X is read once and
        multiplied in two matrix products.

        Args:
          params: like those of `value_and_grad`, with an axis of length K in front of every leaf.
          data: (x, y), (x, y, weights) or the result of `prepare`; read in place.
          l2: λ of each model, shape (K,); None takes that of the objective.

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

    def hvp(self, params: Params, v: Params, data: Data) -> Params:
        r"""Return the Hessian-vector product $\nabla^2 J(\theta)\,v$, in one pass over the data.

        Args:
          params: parameters of the model, of a floating-point dtype.
          v: the direction, a tree of the same shapes.
          data: (x, y), (x, y, weights) or the result of `prepare`; read in place.

        Returns:
          A tree like `params`. The Hessian is never formed: the cost is a few times that of the gradient.

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

    def hessian(self, params: Params, data: Data) -> Array:
        r"""Return $\nabla^2 J$ of a linear head with one output, in one pass over the data.

        $\frac{1}{S}\sum_i s_i\,\ell''(z_i, y_i)\,a_i a_i^\top + \lambda\,\mathrm{diag}(1, \dots, 1, 0)$,
        $a_i = (x_i, 1)$, $z_i = w^\top x_i + b$

        Args:
          params: weight of shape (m,) and bias of shape ().
          data: (x, y), (x, y, weights) or the result of `prepare`; read in place.

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
        """Raise a ValueError if a label in `data` is the number of a class that the model does not have.

        `fit` calls it. `prepare` does not know the parameters, and in a compiled program such a label gives nan.
        """
        if are_labels(self.loss, data.y) and not array_checks.is_traced(data.y):
            example = jax.ShapeDtypeStruct(data.x.shape[1:], dtype_of(params))
            outputs = jax.eval_shape(lambda p, x: self.model.apply(in_working_dtype(p), x), params, example)
            check_labels(data.y, outputs)

    def check_params(self, params: Params) -> None:
        """Check that `params` are real arrays, those of the model, with a `weight` if l2 is not 0."""
        if not jax.tree.leaves(params):
            raise ValueError("params: expected at least one array, got none")
        for leaf in jax.tree.leaves(params):  # of a traced array too: only the dtype is read
            array_checks.check_parameter("params", leaf)
        if not array_checks.is_traced(self.l2) and not penalised(params) and np.asarray(self.l2).any():
            raise ValueError(
                "l2: expected parameters with a leaf called `weight` to penalise, got none; pass l2=0"
            )
        if self.model.affine and not (hasattr(params, "weight") and hasattr(params, "bias")):
            raise TypeError(f"params: expected LinearParams(weight, bias), got {type(params).__name__}")

    def prepare(self, data: Data, devices: Devices | None = None) -> BlockedData:
        """Check the values of `data` once and place them on the device or devices, in blocks.

        Args:
          data: (x, y) or (x, y, weights): NumPy or JAX arrays, lists, data frames. Integers and booleans
            become the default floating-point dtype. Other dtypes are kept, except that float64 becomes float32
            unless JAX's x64 mode is on. Labels become int32 for a loss that takes classes. The data is copied
            once, so that the caller's arrays may change afterwards. The weights are scaled by a power of two,
            which changes no J.
          devices: the number of `jax.devices()` over which the rows are sharded, or a list of them; None for the
            default device. Every pass then runs on all devices and ends in one collective. Each device has
            equally many rows: if they do not divide, the last row is repeated with weight 0. Another number
            of devices changes results by rounding; the same number gives the same bits. On CPU devices each
            call waits until it is done. A transformation of your own is refused where JAX has too few threads
            to be safe from deadlock.

        Returns:
          The data in the form that `value`, `value_and_grad` and `fit` read without another check.

        Raises:
          ValueError: if shapes do not fit, if a value is not finite in the dtype or not accepted by the loss, or
            if there are fewer devices.
          TypeError: if an argument is not an array of real numbers.
        """
        return prepare_data(self, data, devices)


@cached_jit()
def _models_first(objective: Objective, data: Data, params: Params, l2: Array | None) -> tuple[Array, Params]:
    """Run `passes.VALUES_AND_GRADS` with the axis of the models in front."""
    models_last = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), params)
    values, gradients = passes.run(passes.VALUES_AND_GRADS, objective, data, models_last, l2)
    return values, jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), gradients)
