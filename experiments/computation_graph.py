"""Does the computation graph show the right value and derivative of every step?

Three graphs are traced and drawn:

- f = x(ln 3y + z²) at (1, 2, 3).
- The cross-entropy of one example under a logistic regression, with a node for each product aⱼ = xⱼwⱼ.
- The squared error of a network of two layers, E(g(f(x; ω₁); ω₂)). Backpropagation gives
  ∂E/∂ω₂ = ∂E/∂g · ∂g/∂ω₂ and ∂E/∂ω₁ = ∂E/∂g · ∂g/∂f · ∂f/∂ω₁.

Every node is compared with the formulas by hand. The derivatives of the arguments are compared with jax.grad too.

Command: dlcore run computation_graph

Takes: about 4 s on two idle cores

Expected: every value and derivative equals that of the formulas, to rounding. For the first graph:
u = 1.791759, v = 9, ω = f = 10.791759, ∂f/∂x = 10.791759, ∂f/∂y = 0.5, ∂f/∂z = 6. For the second:
∂L/∂z = ∂L/∂aⱼ = ∂L/∂b = ŷ − y and ∂L/∂wⱼ = (ŷ − y)xⱼ.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.typing import ArrayLike

from dlcore import graph, linalg, losses, reference
from dlcore.cli import console, experiment

TOLERANCE = 16
"""Largest error, in units of eps relative to the largest number of a node or to 1."""


@dataclasses.dataclass
class Options(experiment.Options):
    """Options of the experiment."""

    features: int = 3
    """Number of features of the logistic regression, and of its products aⱼ."""
    hidden: int = 4
    """Width of the hidden layer of the network."""


def main(options: Options, run: experiment.Run) -> experiment.Result:
    """Trace, draw and compare the three graphs."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(2, options.features))
    hidden = options.hidden
    layers = [rng.normal(size=shape) for shape in ((hidden, 3), (hidden,), (hidden,), (), (3,), ())]
    example = [*w, *x, 0.1, 1.0]
    with jax.enable_x64(True):
        results = {
            "formula": compare(
                run, "formula", formula, [1.0, 2.0, 3.0], reference.graph.product_with_logarithm(1, 2, 3)
            ),
            "logistic": compare(
                run, "logistic", logistic(w.size), example, reference.graph.logistic_example(w, 0.1, x, 1.0)
            ),
            "two_layers": compare(run, "two_layers", two_layers, layers, reference.graph.two_layers(*layers)),
        }
    check_published_values(run, results)
    return {"graphs": {name: {"nodes": len(traced.nodes)} for name, traced in results.items()}}


def formula(x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
    """Return f = x(ln 3y + z²), with the steps named as on paper."""
    u = checkpoint_name(jnp.log(3 * y), "u")
    v = checkpoint_name(z**2, "v")
    return checkpoint_name(x * checkpoint_name(u + v, "ω"), "f")


def logistic(features: int) -> Callable[..., jax.Array]:
    """Return the cross-entropy of one example as a function of the numbers w₁ …, x₁ …, b, y."""

    def cross_entropy(*numbers: jax.Array) -> jax.Array:
        w, x, (b, y) = numbers[:features], numbers[features:-2], numbers[-2:]
        z = b
        for j in range(features):
            z = z + checkpoint_name(x[j] * w[j], f"a{j + 1}")
        p = checkpoint_name(losses.sigmoid(checkpoint_name(z, "z")), "ŷ")
        return checkpoint_name(-y * jnp.log(p) - (1 - y) * jnp.log(1 - p), "L")

    names = [*(f"w{j + 1}" for j in range(features)), *(f"x{j + 1}" for j in range(features)), "b", "y"]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    cross_entropy.__signature__ = inspect.Signature(parameters)
    return cross_entropy


def two_layers(
    W1: jax.Array, b1: jax.Array, w2: jax.Array, b2: jax.Array, x: jax.Array, y: jax.Array
) -> jax.Array:
    """Return E = (w₂ᵀ tanh(W₁x + b₁) + b₂ − y)²."""
    s = checkpoint_name(linalg.matmul(W1, x) + b1, "s")
    h = checkpoint_name(jnp.tanh(s), "h")
    prediction = checkpoint_name(linalg.vecdot(w2, h) + b2, "ŷ")
    return checkpoint_name(losses.squared_error(prediction, y), "E")


def compare(
    run: experiment.Run,
    name: str,
    f: Callable[..., jax.Array],
    values: Sequence[ArrayLike],
    by_hand: reference.graph.Nodes,
) -> graph.Graph:
    """Draw the graph of f, and compare its nodes with those by hand and its gradient with jax.grad."""
    arguments = [jnp.asarray(value) for value in values]
    traced = graph.trace(f, *arguments)
    eps = float(np.finfo(np.float64).eps)
    worst = max(
        distance(actual, expected) / eps
        for node, pair in by_hand.items()
        for actual, expected in zip((traced[node].value, traced[node].derivative), pair, strict=True)
    )
    run.expect(
        f"{name}: value and derivative of {len(by_hand)} nodes are those by hand, off by {worst:.1f} eps, "
        f"at most {TOLERANCE}",
        worst <= TOLERANCE,
    )
    gradient = jax.grad(f, tuple(range(len(arguments))))(*arguments)
    pairs = list(zip(gradient, traced.nodes, strict=False))
    worst = max(distance(node.derivative, partial) / eps for partial, node in pairs)
    run.expect(
        f"{name}: the derivatives of its {len(pairs)} arguments are those of jax.grad, off by {worst:.1f} eps, "
        f"at most {TOLERANCE}",
        worst <= TOLERANCE,
    )
    for suffix, text in (("svg", traced.to_svg()), ("html", traced.to_html(f"Computation graph: {name}"))):
        console.write_text(run.folder / f"{name}.{suffix}", text)
        run.pictures.append(f"{name}.{suffix}")
    print(f"{name}\n{traced.to_text()}\n")
    return traced


def distance(actual: ArrayLike | None, expected: ArrayLike) -> float:
    """Return the largest difference, relative to the largest expected number or 1."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if actual.shape != expected.shape:
        return float("inf")
    return float(np.abs(actual - expected).max() / max(1.0, np.abs(expected).max()))


def check_published_values(run: experiment.Run, results: Mapping[str, graph.Graph]) -> None:
    """Compare with the numbers and identities of the lecture."""
    traced = results["formula"]
    values = {name: round(float(traced[name].value), 6) for name in ("u", "v", "ω", "f")}
    run.expect(
        f"formula: the values are {values}", values == {"u": 1.791759, "v": 9, "ω": 10.791759, "f": 10.791759}
    )
    published = {"x": 10.791759, "y": 0.5, "z": 6, "u": 1, "v": 1, "ω": 1}
    derivatives = {name: round(np.asarray(traced[name].derivative).item(), 6) for name in published}
    run.expect(f"formula: the derivatives are {derivatives}", derivatives == published)
    traced = results["logistic"]
    residual = float(traced["ŷ"].value) - float(traced["y"].value)
    same = [node for node in traced.nodes if node.name in ("z", "b") or node.name.startswith("a")]
    run.expect(
        f"logistic: ∂L/∂z, ∂L/∂b and every ∂L/∂aⱼ are ŷ − y = {residual:.6f}",
        all(distance(node.derivative, residual) < 1e-14 for node in same) and len(same) > 2,
    )


if __name__ == "__main__":
    experiment.run(main, Options, __doc__)
