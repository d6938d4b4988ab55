"""Derivatives as limits of difference quotients, and as JAX computes them."""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from dlcore._core.array_checks import allow_constant_transfers, as_floating, as_inexact, check_equal_shapes
from dlcore._core.types import Array, Numeric
from dlcore.devices import to_device

Result = TypeVar("Result")


@allow_constant_transfers
def difference_quotient(f: Callable[[Array], Array], x: Numeric, h: Numeric) -> Array:
    r"""Return the forward difference, the slope of the secant through (x, f(x)) and (x + h, f(x + h)).

    $\frac{f(x + h) - f(x)}{h} = f'(x) + \frac{h}{2} f''(x) + O(h^2)$

    Args:
      f: a function of a scalar, or of an array of scalars element by element.
      x: shape (), or any.
      h: the step, not 0; shape () or that of `x`. A negative step gives the backward difference.

    Returns:
      The shape and floating-point dtype of `x`. nan at h = 0.

    Notes:
      Rounding adds about eps·|f(x)|/h. The smallest error, about √eps, is that of h near √eps.

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


@allow_constant_transfers
def central_difference(f: Callable[[Array], Array], x: Numeric, h: Numeric) -> Array:
    r"""Return the central difference, the slope of the secant through x − h and x + h.

    $\frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + O(h^4)$

    Args:
      f: a function of a scalar, or of an array of scalars element by element.
      x: shape (), or any.
      h: the step, not 0; shape () or that of `x`.

    Returns:
      The shape and floating-point dtype of `x`. nan at h = 0.

    Notes:
      Rounding adds about eps·|f(x)|/h. The smallest error, about eps^⅔, is that of h near ∛eps.

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


def derivative(f: Callable[[Array], Result]) -> Callable[[Numeric], Result]:
    r"""Return the derivative of a function of one number.

    $f'(x) = \lim_{h \to 0} \frac{f(x + h) - f(x)}{h}$, by forward-mode differentiation

    Args:
      f: a function of a scalar to an array or a tree of arrays.

    Returns:
      The function f', of a scalar. Its result has the shape and dtype of the result of `f`. `vmap` evaluates it at
      many points, and it can be differentiated again. At points without a derivative JAX's rules apply.

    Raises:
      TypeError: if `f` is not a function; when called, if x is not a number.
      ValueError: when called, if x is not a scalar.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 4.3.

    >>> print(derivative(lambda x: x**3)(2.0))
    12.0
    """
    _check_function("derivative", f)

    def df(x: Numeric) -> Result:
        x = as_inexact("x", x)
        if x.ndim:
            raise ValueError(f"derivative: expected a scalar x, got shape {x.shape}; vmap, or use gradient")
        return jax.jvp(f, (x,), (to_device(np.ones(x.shape, x.dtype)),))[1]

    return df


def partial(f: Callable[..., Result], argnum: int) -> Callable[..., Result]:
    r"""Return the partial derivative with respect to one of several scalar arguments.

    $\frac{\partial f}{\partial x_k}(x_0, x_1, \ldots)$, the other arguments held fixed

    Args:
      f: a function of several arguments, of which argument `argnum` is a scalar.
      argnum: k, counted from 0.

    Returns:
      A function of the same arguments. Its result has the shape and dtype of the result of `f`.

    Raises:
      TypeError: if `f` is not a function; when called, if the argument is not a number.
      ValueError: when called, if the argument is missing or not a scalar.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 4.3.

    >>> print(partial(lambda x, y: x**2 * y, 1)(3.0, 5.0))
    9.0
    """
    _check_function("partial", f)

    def df(*args: Numeric) -> Result:
        if not 0 <= argnum < len(args):
            raise ValueError(f"partial: there is no argument {argnum} among {len(args)}")
        before, after = args[:argnum], args[argnum + 1 :]
        return derivative(lambda x: f(*before, x, *after))(args[argnum])

    return df


def gradient(f: Callable[..., Array]) -> Callable[..., Array]:
    r"""Return the gradient of a scalar function of a vector, a matrix or any array.

    $(\nabla f(x))_i = \partial f/\partial x_i$, the direction of steepest ascent, whose length is the slope there.

    Args:
      f: a function of an array to a scalar; further arguments are held fixed.

    Returns:
      A function of the same arguments. Its result has the shape and dtype of the first argument. It takes one
      reverse sweep, whatever the size.

    Raises:
      TypeError: if `f` is not a function; when called, if its first argument is not a floating-point array or
        its result is no scalar.

    Source: Goodfellow, Bengio and Courville, Deep Learning, sections 4.3 and 6.5.

    >>> import jax.numpy as jnp
    >>> print(gradient(lambda a: jnp.sum(a * a))(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
    [[2. 4.]
     [6. 8.]]
    """
    _check_function("gradient", f)

    def df(x: Numeric, *fixed: object) -> Array:
        return jax.grad(f)(as_floating("x", as_inexact("x", x)), *fixed)

    return df


def jacobian(f: Callable[..., Array]) -> Callable[..., Array]:
    r"""Return the matrix of all partial derivatives of an array function of an array.

    $J_{ij} = \partial f_i/\partial x_j$

    Args:
      f: a function of an array to an array; further arguments are held fixed.

    Returns:
      A function of the same arguments. Its result has the shape (*f(x).shape, *x.shape), (n, m) for vectors.
      It takes a forward sweep for each entry of x, or a reverse sweep for each entry of f(x), whichever are fewer.

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

    def df(x: Numeric, *fixed: object) -> Array:
        x = as_floating("x", as_inexact("x", x))
        entries = jax.eval_shape(f, x, *fixed).size
        sweep = jax.jacfwd if x.size <= entries else jax.jacrev
        return sweep(f)(x, *fixed)

    return df


@allow_constant_transfers
def directional_derivative(f: Callable[[Array], Result], x: Numeric, v: Numeric) -> Result:
    r"""Return the derivative of a function along a vector.

    $D_v f(x) = \lim_{h \to 0} \frac{f(x + h v) - f(x)}{h} = J(x)\,v$; for a scalar f it is $\nabla f(x) \cdot v$

    Args:
      f: a function of an array to an array or a tree of arrays.
      x: any shape.
      v: the shape of `x`. It is not normalised: twice the vector gives twice the derivative.

    Returns:
      The shape and dtype of f(x). It takes one forward sweep, and no Jacobian is formed.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `f` is not a function, or `x` or `v` is not an array of numbers.

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


def _check_function(name: str, f: object) -> None:
    if not callable(f):
        raise TypeError(f"{name}: expected a function, got {type(f).__name__}")
