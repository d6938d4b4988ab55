"""References of `dlcore.graph` for three functions: every node and its derivative, by hand from the formulas.

Each function returns a dictionary from the name of a node to its value and the derivative of the output with
respect to it.
"""

import numpy as np
from numpy.typing import ArrayLike

Nodes = dict[str, tuple[np.ndarray, np.ndarray]]


def product_with_logarithm(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Nodes:
    r"""Return the nodes of $f = x(\ln 3y + z^2)$ with $u = \ln 3y$, $v = z^2$, $\omega = u + v$, $f = x\omega$."""
    x, y, z = (np.asarray(number, np.float64) for number in (x, y, z))
    u, v = np.log(3 * y), z * z
    omega = u + v
    return _nodes(
        x=(x, omega),
        y=(y, x / y),
        z=(z, 2 * x * z),
        u=(u, x),
        v=(v, x),
        ω=(omega, x),
        f=(x * omega, 1),
    )


def logistic_example(weight: ArrayLike, bias: ArrayLike, x: ArrayLike, y: ArrayLike) -> Nodes:
    r"""Return the nodes of the cross-entropy of one example under a logistic regression.

    $a_j = x_j w_j$, $z = \sum_j a_j + b$, $\hat y = \sigma(z)$, $L = -y\ln\hat y - (1-y)\ln(1-\hat y)$;
    $\partial L/\partial\hat y = (\hat y - y)/(\hat y(1 - \hat y))$,
    $\partial\hat y/\partial z = \hat y(1 - \hat y)$,
    $\partial L/\partial z = \partial L/\partial a_j = \partial L/\partial b = \hat y - y$,
    $\partial L/\partial w_j = (\hat y - y)x_j$, $\partial L/\partial x_j = (\hat y - y)w_j$.

    Names are w1, w2, …, x1, …, a1, …, b, y, z, ŷ, L.
    """
    w, b, x, y = (np.asarray(part, np.float64) for part in (weight, bias, x, y))
    a = x * w
    z = a.sum() + b
    p = 1 / (1 + np.exp(-z))
    loss = -y * np.log(p) - (1 - y) * np.log(1 - p)
    nodes: dict[str, tuple[ArrayLike, ArrayLike]] = {}
    for j in range(w.size):
        nodes[f"w{j + 1}"] = w[j], (p - y) * x[j]
        nodes[f"x{j + 1}"] = x[j], (p - y) * w[j]
        nodes[f"a{j + 1}"] = a[j], p - y
    dp = (p - y) / (p * (1 - p))
    return _nodes(**nodes, b=(b, p - y), y=(y, np.log((1 - p) / p)), z=(z, p - y), ŷ=(p, dp), L=(loss, 1))


def two_layers(
    weight1: ArrayLike, bias1: ArrayLike, weight2: ArrayLike, bias2: ArrayLike, x: ArrayLike, y: ArrayLike
) -> Nodes:
    r"""Return the nodes of the squared error $E(g(f(x; \omega_1); \omega_2))$ of two layers, by backpropagation.

    $s = W_1 x + b_1$, $h = f(x; \omega_1) = \tanh s$, $\hat y = g(h; \omega_2) = w_2^\top h + b_2$,
    $E = (\hat y - y)^2$; $\partial E/\partial\omega_2 = \partial E/\partial g \cdot \partial g/\partial\omega_2$,
    $\partial E/\partial\omega_1 =
    \partial E/\partial g \cdot \partial g/\partial f \cdot \partial f/\partial\omega_1$.

    Names are W1, b1, w2, b2, x, y, s, h, ŷ, E.
    """
    W1, b1, w2, b2, x, y = (np.asarray(part, np.float64) for part in (weight1, bias1, weight2, bias2, x, y))
    s = (W1 * x).sum(1) + b1
    h = np.tanh(s)
    prediction = (w2 * h).sum() + b2
    d_prediction = 2 * (prediction - y)  # ∂E/∂g
    d_h = d_prediction * w2  # ∂E/∂g · ∂g/∂f
    d_s = d_h * (1 - h * h)
    return _nodes(
        W1=(W1, d_s[:, None] * x[None, :]),
        b1=(b1, d_s),
        w2=(w2, d_prediction * h),
        b2=(b2, d_prediction),
        x=(x, (W1 * d_s[:, None]).sum(0)),
        y=(y, -d_prediction),
        s=(s, d_s),
        h=(h, d_h),
        ŷ=(prediction, d_prediction),
        E=((prediction - y) ** 2, 1),
    )


def _nodes(**pairs: tuple[ArrayLike, ArrayLike]) -> Nodes:
    return {
        name: (np.asarray(value, np.float64), np.asarray(derivative, np.float64))
        for name, (value, derivative) in pairs.items()
    }
