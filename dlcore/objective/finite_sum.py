"""The objective that every fit minimises."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks, _guards
from dlcore._precision import working_dtype
from dlcore._types import Array, Loss, Numeric, Params
from dlcore.linalg import vecdot
from dlcore.losses import facts_of
from dlcore.models import Model
from dlcore.objective.blocks import BlockedData, rows_per_block, sum_over_blocks
from dlcore.objective.labels import are_labels, as_labels, check_labels


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
      l2: $\lambda \ge 0$.

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
        _guards.check_number("l2", self.l2, least=0)

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
          ValueError: if the shapes of data and parameters do not fit, or l2 is not 0 and finds no `weight`.
        """
        self.check_penalised(params)
        return self._value(params, data)

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
          ValueError: if the shapes of data and parameters do not fit, or l2 is not 0 and finds no `weight`.
        """
        self.check_penalised(params)
        return self._value_and_grad(params, data)

    def check_classes(self, params: Params, data: BlockedData) -> None:
        """A ValueError if a label in `data` is the number of a class that the model does not have.

        `prepare` cannot know it and a compiled program cannot raise: there such a label gives nan. `fit` asks.
        """
        if are_labels(self.loss, data.y) and not _guards.is_traced(data.y):
            example = jax.ShapeDtypeStruct(data.x.shape[1:], _dtype(params))
            model = jax.eval_shape(lambda p, x: self.model.apply(_in_working_dtype(p), x), params, example)
            check_labels(data.y, model)

    def check_penalised(self, params: Params) -> None:
        """A ValueError if there is a penalty and nothing in `params` that it acts on."""
        known = not _guards.is_traced(self.l2)
        if known and not penalised(params) and np.asarray(self.l2).any():
            raise ValueError(
                "l2: expected parameters with a leaf called `weight` to penalise, got none; pass l2=0"
            )

    @jax.jit
    def _value(self, params: Params, data: Any) -> Array:
        data = self._blocked(data)
        total = sum_over_blocks(functools.partial(self._sum, params), data)
        return total / self._weight_sum(params, data) + self._penalty(params)

    @jax.jit
    def _value_and_grad(self, params: Params, data: Any) -> tuple[Array, Params]:
        data = self._blocked(data)
        working = _in_working_dtype(params)

        def block(x: Array, y: Array, weights: Array | None) -> tuple[Array, Params]:
            return jax.value_and_grad(self._sum)(working, x, y, weights)

        scale = 1 / self._weight_sum(params, data)
        total, slope = sum_over_blocks(block, data)
        penalty, shrinkage = jax.value_and_grad(self._penalty)(working)
        gradient = jax.tree.map(
            lambda summed, shrunk, leaf: (summed * scale + shrunk).astype(leaf.dtype), slope, shrinkage, params
        )
        return total * scale + penalty, gradient

    def prepare(self, data: Any) -> BlockedData:
        """Check the values of `data` once and place them on the default device, in blocks.

        Args:
          data: (x, y) or (x, y, weights): NumPy or JAX arrays, lists, data frames. Integers and booleans
            become the default floating-point dtype; other dtypes are kept, but float64 becomes float32
            unless JAX's x64 mode is on. Labels become int32 for a loss that takes classes. Copied once, so
            that the caller's arrays may change afterwards. The weights are scaled by a power of two, which
            changes no J.

        Returns:
          What `value`, `value_and_grad` and `fit` take as data.

        Raises:
          ValueError: if shapes do not fit, or a value is nan, infinite, beyond the range of the dtype, or not
            what the loss takes.
          TypeError: if something is not an array of real numbers.
        """
        if isinstance(data, BlockedData):
            if data.checked_for is self.loss:
                return data
            data = (data.x, data.y) if data.weights is None else (data.x, data.y, data.weights)
        x, y, weights = _parts(data)
        named = {"x": x, "y": y} | ({} if weights is None else {"weights": weights})
        known = {name: part for name, part in named.items() if not _guards.is_traced(part)}
        numbers = {name: _checks.as_host_numbers(name, part) for name, part in known.items()}
        if "x" in numbers and self.model.affine:
            _checks.check_matrix("x", numbers["x"])
        if len(numbers) < len(named):  # what is traced has no values to check
            for name, array in numbers.items():
                _checks.check_finite(name, array)
            return self._blocked(data)
        x, y, weights = numbers["x"], numbers["y"], numbers.get("weights")
        if weights is not None:
            _checks.check_weights(weights, len(x) if x.ndim else 0)
            weights = weights.astype(np.float64)
            weights = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
        _checks.check_rows(x=x, y=y)
        _checks.check_finite("x", x)
        _checks.check_finite("y", y)
        check_targets = facts_of(self.loss).check_targets
        if check_targets is not None:
            check_targets(y, weights)
        labels = are_labels(self.loss, y)
        y_dtype = np.dtype(np.int32) if labels else working_dtype(_floating(y.dtype))
        x, y = _place("x", x, _floating(x.dtype)), _place("y", y, y_dtype)
        if weights is not None:
            weights = _place("weights", weights, working_dtype(x.dtype))
        return BlockedData(x, y, weights, rows_per_block(x), self.loss)

    def _blocked(self, data: Any) -> BlockedData:
        """Arrays as they are, in blocks: what the compiled functions do with what was not prepared."""
        if isinstance(data, BlockedData):
            return data
        x, y, weights = _parts(data)
        x, y = _guards.as_inexact("x", x), _guards.as_array("y", y)
        if self.model.affine:
            _checks.check_rank("x", x, 2, "[n, features]")
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
            raise ValueError(f"expected a row of x for every row of y, got shapes x {x.shape} and y {y.shape}")
        if weights is not None:
            weights = _guards.as_array("weights", weights)
            if weights.shape != x.shape[:1]:
                raise ValueError(f"weights: expected shape {x.shape[:1]}, one per row, got {weights.shape}")
        return BlockedData(x, y, weights, rows_per_block(x))

    def _sum(self, params: Params, x: Array, y: Array, weights: Array | None) -> Array:
        """Sum of the losses of some rows, each times its weight."""
        dtype = _dtype(params)
        params = _in_working_dtype(params)

        def loss_of_one(x: Array, y: Array) -> Array:
            return self.loss(self.model.apply(params, x), y)

        targets = as_labels(y) if are_labels(self.loss, y) else y.astype(dtype)
        losses = jax.vmap(loss_of_one)(x.astype(dtype), targets)
        if losses.ndim != 1:
            raise ValueError(f"loss: expected a scalar per example, got shape {losses.shape[1:]}")
        if weights is None:
            return losses.sum()
        # A row of weight 0 counts 0 also where its loss is infinite.
        return vecdot(weights.astype(dtype), jnp.where(weights.astype(bool), losses, 0))

    def _weight_sum(self, params: Params, data: BlockedData) -> Array:
        """S, the sum of the weights."""
        if data.weights is None:
            return jnp.asarray(data.x.shape[0], _dtype(params))
        return data.weights.astype(_dtype(params)).sum()

    def _penalty(self, params: Params) -> Array:
        """(l2/2)‖w‖² over every leaf called `weight`."""
        squares = sum(jnp.square(weight).sum() for weight in penalised(_in_working_dtype(params)))
        return jnp.asarray(self.l2, _dtype(params)) / 2 * squares


def penalised(params: Params) -> list[Array]:
    """The leaves of `params` that l2 acts on: attributes and dictionary keys called `weight`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [leaf for path, leaf in leaves if path and _name(path[-1]) == "weight"]


def _name(key: Any) -> Any:
    """What the last step of a path is called: an attribute's name or a dictionary's key."""
    return getattr(key, "name", getattr(key, "key", None))


def _parts(data: Any) -> tuple[Any, Any, Any]:
    """x, y, and weights or None."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        got = f"{len(data)} of them" if isinstance(data, tuple | list) else type(data).__name__
        raise TypeError(f"data: expected (x, y) or (x, y, weights), got {got}")
    return data[0], data[1], data[2] if len(data) == 3 else None


def _dtype(params: Params) -> np.dtype:
    """The dtype of the arithmetic: that of the parameters, float32 for halves."""
    return working_dtype(_floating(jnp.result_type(*jax.tree.leaves(params))))


def _in_working_dtype(params: Params) -> Params:
    """The parameters in the dtype of the arithmetic."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, working_dtype(jnp.result_type(leaf))), params)


def _floating(dtype: np.dtype) -> np.dtype:
    """The dtype if it is of floating-point numbers, else the default one, as JAX has it."""
    return jax.dtypes.canonicalize_dtype(dtype if jnp.issubdtype(dtype, jnp.floating) else float)


def _place(name: str, array: np.ndarray, dtype: np.dtype) -> Array:
    """A copy of `array` on the default device: a device may otherwise read the caller's own memory."""
    with np.errstate(over="ignore"):
        copy = np.array(array, dtype)
    if dtype.itemsize < array.dtype.itemsize:
        try:
            _checks.check_finite(name, copy)
        except ValueError:
            raise ValueError(f"{name}: expected numbers within the range of {dtype}; scale them") from None
    return jax.device_put(copy)
