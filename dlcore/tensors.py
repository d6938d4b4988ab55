"""Layouts: the names of an array's axes, so that a function of one example runs wherever the examples stand."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore._core.array_checks import as_array
from dlcore._core.types import Array, Numeric


@dataclasses.dataclass(frozen=True)
class Layout:
    """The axes of an array, by name and in order.

    A plain value: it can be compared, hashed and closed over by compiled functions.

    Args:
      names: one word for each axis, separated by spaces: "height width channel example".
      over: the axis along which the examples stand. It must be one of the names; "" says that the array is
        one example.

    Raises:
      TypeError: if `names` or `over` is not a string.
      ValueError: if a name is no identifier or stands twice, or `over` is none of them.

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
        """The names, one by one."""
        return tuple(self.names.split())

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.axes)

    def axis(self, name: str) -> int:
        """Where the axis called `name` stands, counted from the first, 0."""
        if not isinstance(name, str) or name not in self.axes:
            raise ValueError(f"Layout: there is no axis {name!r} in {self.names!r}")
        return self.axes.index(name)

    def of_one(self) -> "Layout":
        """The layout of one example: the same without the axis of the examples."""
        return Layout(" ".join(name for name in self.axes if name != self.over), over="")

    def check(self, x: Numeric) -> Array:
        """`x` as an array, if it has as many axes as the layout; else a ValueError that names them."""
        array = as_array("x", x)
        if array.ndim != self.ndim:
            raise ValueError(
                f"expected {self.ndim}-D [{', '.join(self.axes)}], got {array.ndim}-D with shape {array.shape}"
            )
        return array

    def rearrange(self, x: Numeric, names: str) -> Array:
        """`x` with its axes in another order.

        Under jit the compiler may read `x` in place; outside it the result is a copy.

        Args:
          x: an array in this layout.
          names: the same names in the order that is wanted.

        Returns:
          The same numbers, the axis called k where `names` has it.

        Raises:
          ValueError: if `x` has another number of axes, or `names` are not the same names.

        >>> images = Layout("height width example")
        >>> images.rearrange(jnp.zeros((28, 20, 5)), "example height width").shape
        (5, 28, 20)
        """
        wanted = Layout(names, over="")
        if set(wanted.axes) != set(self.axes):
            raise ValueError(f"rearrange: expected the axes of {self.names!r} in another order, got {names!r}")
        return jnp.transpose(self.check(x), [self.axis(name) for name in wanted.axes])


def over_examples(f: Callable[..., Any], layout: Layout) -> Callable[..., Any]:
    r"""A function of ONE example as a function of many, wherever their axis stands.

    $F(X)_i = f(X_{\ldots i \ldots})$, with $i$ along the axis `layout.over`

    Args:
      f: takes one example, in the layout `layout.of_one()`, and any further arguments, which all examples share.
      layout: of the array of many examples.

    Returns:
      A function of that array and the shared arguments. The results stand along a new first axis, as `vmap` puts
      them. It is `vmap` over that axis: the data are not brought into another order first, no result depends on
      where the axis stands, and jit, grad and a further vmap go through. (What a derivative in a shared argument
      makes XLA copy, XLA decides.) Of no examples the results are empty.

    Raises:
      TypeError: if `f` is not a function or `layout` not a `Layout`.
      ValueError: if the layout is that of one example; when called, if the array does not have its axes.

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

    def over_all(x: Numeric, *shared: Any) -> Any:
        mapped = jax.vmap(f, in_axes=(axis, *(None for _ in shared)))
        return mapped(layout.check(x), *shared)

    return over_all


__all__ = ["Layout", "over_examples"]
