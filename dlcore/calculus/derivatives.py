"""Derivatives, as limits of difference quotients and as JAX computes them."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dlcore._core.array_checks import as_floating, as_inexact, check_equal_shapes, with_constants
from dlcore._core.types import Array, Numeric
from dlcore.devices import to_device


@with_constants
def difference_quotient(f: Callable[[Array], Array], x: Numeric, h: Numeric) -> Array:
    r"""Slope of the secant through two points of a function: the forward difference.

    $\frac{f(x + h) - f(x)}{h} = f'(x) + \frac{h}{2} f''(x) + O(h^2)$

    Args:
      f: a function of a scalar, or of an array of scalars element by element.
      x: shape (), or any.
      h: the step, not 0; shape () or that of `x`; negative from the left.

    Returns:
      The shape and floating-point dtype of `x`. Rounding adds about eps·|f(x)|/h: the least error, near
      h = √eps, is about √eps. nan at h = 0.

    Raises:
      TypeError: if `x` or `h` is not a number.

    Source: Burden and Faires, Numerical Analysis, section 4.1.

    >>> import jax.numpy as jnp
    >>> print(difference_quotient(lambda x: x**2 + 1, jnp.array(2.0), jnp.array(0.25)))
    4.25
    """
    x = as_inexact("x", x)
    step = as_inexact("h", h).astype(x.dtype)
    return (f(x + step) - f(x)) / step


@with_constants
def central_difference(f: Callable[[Array], Array], x: Numeric, h: Numeric) -> Array:
    r"""Slope of the secant through two points on either side: the central difference.

    $\frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + O(h^4)$

    Args:
      f: a function of a scalar, or of an array of scalars element by element.
      x: shape (), or any.
      h: the step, not 0; shape () or that of `x`.

    Returns:
      The shape and floating-point dtype of `x`. Rounding adds about eps·|f(x)|/h: the least error, near
      h = ∛eps, is about eps^⅔. nan at h = 0.

    Raises:
      TypeError: if `x` or `h` is not a number.

    Source: Burden and Faires, Numerical Analysis, section 4.1.

    >>> import jax.numpy as jnp
    >>> print(central_difference(lambda x: x**2 + 1, jnp.array(2.0), jnp.array(0.25)))
    4.0
    """
    x = as_inexact("x", x)
    step = as_inexact("h", h).astype(x.dtype)
    return (f(x + step) - f(x - step)) / (2 * step)


def derivative(f: Callable[[Array], Any]) -> Callable[[Numeric], Any]:
    r"""The derivative of a function of one number.

    $f'(x) = \lim_{h \to 0} \frac{f(x + h) - f(x)}{h}$, by forward-mode differentiation

    Args:
      f: a function of a scalar to an array or a tree of arrays.

    Returns:
      The function f', of a scalar; its result has the shape and dtype of that of `f`. `vmap` evaluates it at many
      points, and it can be differentiated again. What f' is where f has no derivative, JAX's rules decide.

    Raises:
      TypeError: if `f` is not a function; when called, if x is not a number.
      ValueError: when called, if x is not a scalar.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 4.3.

    >>> print(derivative(lambda x: x**3)(2.0))
    12.0
    """
    _check_function("derivative", f)

    def slope(x: Numeric) -> Any:
        x = as_inexact("x", x)
        if x.ndim:
            raise ValueError(f"derivative: expected a scalar x, got shape {x.shape}; vmap, or use gradient")
        return jax.jvp(f, (x,), (to_device(np.ones(x.shape, x.dtype)),))[1]

    return slope


def partial(f: Callable[..., Any], argnum: int) -> Callable[..., Any]:
    r"""The partial derivative with respect to one of several scalar arguments.

    $\frac{\partial f}{\partial x_k}(x_0, x_1, \ldots)$, the other arguments held fixed

    Args:
      f: a function of several arguments, the chosen one a scalar.
      argnum: k, counted from 0.

    Returns:
      A function of the same arguments; its result has the shape and dtype of that of `f`.

    Raises:
      TypeError: if `f` is not a function; when called, if the argument is not a number.
      ValueError: when called, if there is no such argument or it is not a scalar.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 4.3.

    >>> print(partial(lambda x, y: x**2 * y, 1)(3.0, 5.0))
    9.0
    """
    _check_function("partial", f)

    def slope(*arguments: Any) -> Any:
        if not 0 <= argnum < len(arguments):
            raise ValueError(f"partial: there is no argument {argnum} among {len(arguments)}")
        before, after = arguments[:argnum], arguments[argnum + 1 :]
        return derivative(lambda x: f(*before, x, *after))(arguments[argnum])

    return slope


def gradient(f: Callable[..., Array]) -> Callable[..., Array]:
    r"""The gradient of a scalar function of a vector, a matrix or any array.

    $(\nabla f(x))_i = \partial f/\partial x_i$; it points where f rises fastest, and its length is that slope.

    Args:
      f: a function of an array to a scalar; further arguments are held fixed.

    Returns:
      A function of the same arguments; its result has the shape and dtype of the first. One reverse sweep,
      whatever the size.

    Raises:
      TypeError: if `f` is not a function; when called, if its first argument is not a floating-point array or
        its result no scalar.

    Source: Goodfellow, Bengio and Courville, Deep Learning, sections 4.3 and 6.5.

    >>> import jax.numpy as jnp
    >>> print(gradient(lambda a: jnp.sum(a * a))(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
    [[2. 4.]
     [6. 8.]]
    """
    _check_function("gradient", f)

    def of(x: Numeric, *fixed: Any) -> Array:
        return jax.grad(f)(as_floating("x", as_inexact("x", x)), *fixed)

    return of


def jacobian(f: Callable[..., Array]) -> Callable[..., Array]:
    r"""The matrix of all partial derivatives of an array function of an array.

    $J_{ij} = \partial f_i/\partial x_j$

    Args:
      f: a function of an array to an array; further arguments are held fixed.

    Returns:
      A function of the same arguments; its result has the shape (*f(x).shape, *x.shape), so (n, m) for vectors.
      As many forward sweeps as x has entries or as many reverse sweeps as f(x) has, whichever are fewer.

    Raises:
      TypeError: if `f` is not a function; when called, if its first argument or its result is not an array of
        floating-point numbers.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 4.3.1.

    >>> import jax.numpy as jnp
    >>> print(jacobian(lambda x: jnp.stack([x[0] * x[1], x[0] + x[1]]))(jnp.array([2.0, 3.0])))
    [[3. 2.]
     [1. 1.]]
    """
    _check_function("jacobian", f)

    def of(x: Numeric, *fixed: Any) -> Array:
        x = as_floating("x", as_inexact("x", x))
        entries = jax.eval_shape(f, x, *fixed).size
        sweep = jax.jacfwd if x.size <= entries else jax.jacrev
        return sweep(f)(x, *fixed)

    return of


@with_constants
def directional_derivative(f: Callable[[Array], Any], x: Numeric, v: Numeric) -> Any:
    r"""How fast a function changes as its argument moves along a vector.

    $D_v f(x) = \lim_{h \to 0} \frac{f(x + h v) - f(x)}{h} = J(x)\,v$; of a scalar f, $\nabla f(x) \cdot v$

    Args:
      f: a function of an array to an array or a tree of arrays.
      x: any shape.
      v: the shape of `x`; not normalised, so twice the vector gives twice the derivative.

    Returns:
      The shape and dtype of f(x). One forward sweep; no Jacobian is formed.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `f` is not a function, or `x` or `v` not an array of numbers.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 4.3.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([1.0, 2.0])
    >>> print(directional_derivative(lambda x: jnp.sum(x * x), x, jnp.array([1.0, 0.0])))
    2.0
    """
    _check_function("directional_derivative", f)
    x = as_inexact("x", x)
    v = as_inexact("v", v).astype(x.dtype)
    check_equal_shapes(x=x, v=v)
    return jax.jvp(f, (x,), (v,))[1]


def _check_function(name: str, f: Any) -> None:
    if not callable(f):
        raise TypeError(f"{name}: expected a function, got {type(f).__name__}")
