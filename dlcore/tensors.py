"""Layouts: names of the axes of an array, so that a function of one example runs along any example axis."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from dlcore._core.array_checks import as_array
from dlcore._core.types import Array, Numeric

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names of the axes of an array, in order.

    A plain value: it can be compared, hashed and closed over by compiled functions.

    Args:
      names: one word for each axis, separated by spaces: "height width channel example".
      over: the example axis. It must be one of the names; "" says that the array is one example.

    Raises:
      TypeError: if `names` or `over` is not a string.
      ValueError: if a name is no identifier or occurs twice, or `over` is not one of the names.

    >>> images = Layout("height width channel example")
    >>> images.ndim, images.axis("channel"), images.axis(images.over)
    (4, 2, 3)
    >>> images.of_one()
    Layout(names='height width channel', over='')
    """

    names: str
    over: str = "example"

    def __post_init__(self) -> None:
        if not isinstance(self.names, str) or not isinstance(self.over, str):
            raise TypeError(f"Layout: expected names and over as strings, got {self.names!r} and {self.over!r}")
        for name in self.axes:
            if not name.isidentifier():
                raise ValueError(f"Layout: expected words separated by spaces, got {name!r} in {self.names!r}")
        if len(set(self.axes)) < len(self.axes):
            raise ValueError(f"Layout: expected every axis once, got {self.names!r}")
        if self.over and self.over not in self.axes:
            raise ValueError(f"Layout: expected over to be one of the axes {self.names!r}, got {self.over!r}")

    @property
    def axes(self) -> tuple[str, ...]:
        """The names as a tuple."""
        return tuple(self.names.split())

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.axes)

    def axis(self, name: str) -> int:
        """Return the index of the axis called `name`, counted from 0."""
        if not isinstance(name, str) or name not in self.axes:
            raise ValueError(f"Layout: there is no axis {name!r} in {self.names!r}")
        return self.axes.index(name)

    def of_one(self) -> "Layout":
        """Return the layout of one example: the same axes without the example axis."""
        return Layout(" ".join(name for name in self.axes if name != self.over), over="")

    def check(self, x: Numeric) -> Array:
        """Return `x` as an array. Raise a ValueError unless it has as many axes as the layout."""
        array = as_array("x", x)
        if array.ndim != self.ndim:
            raise ValueError(
                f"expected {self.ndim}-D [{', '.join(self.axes)}], got {array.ndim}-D with shape {array.shape}"
            )
        return array

    def rearrange(self, x: Numeric, names: str) -> Array:
        """Return `x` with its axes in another order.

        Under jit the compiler may read `x` in place. Outside jit the result is a copy.

        Args:
          x: an array in this layout.
          names: the same names in the new order.

        Returns:
          The same numbers, with the axes in the order of `names`.

        Raises:
          ValueError: if `x` has another number of axes, or `names` are not the same names.

        >>> images = Layout("height width example")
        >>> images.rearrange(jnp.zeros((28, 20, 5)), "example height width").shape
        (5, 28, 20)
        """
        target = Layout(names, over="")
        if set(target.axes) != set(self.axes):
            raise ValueError(f"rearrange: expected the axes of {self.names!r} in another order, got {names!r}")
        return jnp.transpose(self.check(x), [self.axis(name) for name in target.axes])


def over_examples(f: Callable[..., Result], layout: Layout) -> Callable[..., Result]:
    r"""Return a function of many examples from a function of ONE example.

    $F(X)_i = f(X_{\ldots i \ldots})$, with $i$ along the axis `layout.over`

    Args:
      f: a function of one example, in the layout `layout.of_one()`, and any further arguments, which all examples
        share.
      layout: the layout of the array of many examples.

    Returns:
      A function of that array and the shared arguments. Results are stacked along a new first axis, as by `vmap`;
      without examples they are empty.

    Raises:
      TypeError: if `f` is not a function or `layout` not a `Layout`.
      ValueError: if the layout is that of one example; when called, if the array does not have its axes.

    Notes:
      The function is `vmap` over the example axis. The data are not reordered first, and no result depends on the
      position of the axis. jit, grad and a further vmap apply. What the derivative in a shared argument copies is
      up to XLA.

    Source: Bradbury et al., JAX: composable transformations of Python+NumPy programs (2018), vmap.

    >>> brightest = over_examples(jnp.max, Layout("height width example"))
    >>> print(brightest(jnp.arange(12).reshape(2, 2, 3)))
    [ 9 10 11]
    """
    if not callable(f):
        raise TypeError(f"over_examples: expected a function of one example, got {type(f).__name__}")
    if not isinstance(layout, Layout):
        raise TypeError(f"over_examples: expected a Layout, got {layout!r}")
    if not layout.over:
        raise ValueError(
            f"over_examples: the layout {layout.names!r} is that of one example; name the axis `over`"
        )
    axis = layout.axis(layout.over)

    def batched(x: Numeric, *shared: object) -> Result:
        mapped = jax.vmap(f, in_axes=(axis, *(None for _ in shared)))
        return mapped(layout.check(x), *shared)

    return batched


__all__ = ["Layout", "over_examples"]
